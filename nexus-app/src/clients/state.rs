//! What the endpoint's parts share: configuration, counters, and the list of clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nexus_actors::Node;
use nexus_actors::clock::Millis;
use nexus_actors::telemetry::Event;
use nexus_client::protocol::CloseReason;
use parking_lot::Mutex;

use super::core::Rules;
use super::protocol::Allow;
use crate::debug::BoundAddress;
use crate::topology::{Auth, ClientsConfig, Secret};

/// Why a connection was refused before it was a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// All connections are in use.
    Full,
    /// It took too long, ended early, or was no HTTP.
    Handshake,
    /// It was HTTP and no WebSocket of this protocol.
    Request,
    /// No or a wrong token, or from another web site.
    Access,
}

impl RefusalReason {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 4] = [Self::Full, Self::Handshake, Self::Request, Self::Access];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Access => "access",
        }
    }
}

/// One client's numbers: its task counts, the debug endpoint reads.
#[derive(Debug)]
pub(super) struct ClientRecord {
    pub(super) peer: SocketAddr,
    pub(super) since: Millis,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) queued: AtomicU32,
    pub(super) asks: AtomicU32,
    pub(super) subscriptions: AtomicU32,
}

/// A client as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOverview {
    /// Its number: 1 for the node's first.
    pub id: u64,
    /// Where it is.
    pub peer: SocketAddr,
    /// When it came.
    pub since: Millis,
    /// Messages it sent.
    pub received: u64,
    /// Messages written to it.
    pub sent: u64,
    /// Messages of it that were refused because there were too many.
    pub rate_limited: u64,
    /// Publications it missed.
    pub missed: u64,
    /// Messages that wait to be written.
    pub queued: u32,
    /// Asks that wait for their answers.
    pub asks: u32,
    /// Groups it listens to.
    pub subscriptions: u32,
}

/// What all clients did, since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientsTotals {
    /// Clients connected now.
    pub connections: u64,
    /// The most there may be, as far as the system's file limit allows.
    pub connections_max: u64,
    /// Clients that were let in.
    pub accepted: u64,
    /// Connections refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Clients that have gone, by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Messages received.
    pub received: u64,
    /// Messages written.
    pub sent: u64,
    /// Messages refused because a client sent too many.
    pub rate_limited: u64,
    /// Publications that clients missed.
    pub missed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    closed: [AtomicU64; CloseReason::ALL.len()],
    received: AtomicU64,
    sent: AtomicU64,
    rate_limited: AtomicU64,
    missed: AtomicU64,
}

/// The endpoint's configuration, counters and clients. Cheap to clone; survives restarts of its actor.
#[derive(Clone, Debug)]
pub struct Clients {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientsConfig,
    rules: Arc<Rules>,
    node: Node,
    bound: BoundAddress,
    connections_max: AtomicU64,
    next_id: AtomicU64,
    counters: Counters,
    /// By number, so that a page is the same whoever asks for it.
    records: Mutex<BTreeMap<u64, Arc<ClientRecord>>>,
    /// When a client that was cut off was last told of, by reason.
    cut_off_told: Mutex<BTreeMap<CloseReason, Millis>>,
}

impl Clients {
    /// Puts configuration and node together. `payload_bytes` is `limits.payload_bytes`.
    #[must_use]
    pub fn new(config: ClientsConfig, node: Node, payload_bytes: u32) -> Self {
        let rules = Rules {
            allow: Allow::new(&config.allow),
            rate: config.rate,
            burst: config.burst,
            asks: config.asks,
            ask_timeout: config.ask_timeout,
            payload_bytes: payload_bytes as usize,
            subscriptions: config.subscriptions,
            queue_messages: config.queue_messages as usize,
            queue_bytes: config.queue_bytes as usize,
            write_timeout: config.write_timeout,
            idle_timeout: config.idle_timeout,
            ping_interval: config.ping_interval,
            pong_timeout: config.pong_timeout,
        };
        Self {
            inner: Arc::new(Inner {
                connections_max: AtomicU64::new(config.connections.into()),
                bound: BoundAddress::default(),
                config,
                rules: Arc::new(rules),
                node,
                next_id: AtomicU64::new(1),
                counters: Counters::default(),
                records: Mutex::default(),
                cut_off_told: Mutex::default(),
            }),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ClientsConfig {
        &self.inner.config
    }

    /// Where the endpoint listens; `None` before its first start.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.inner.bound.get()
    }

    pub(super) fn bound(&self) -> &BoundAddress {
        &self.inner.bound
    }

    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.inner.rules
    }

    pub(super) fn node(&self) -> &Node {
        &self.inner.node
    }

    /// The token that lets clients in; `None` where everybody may come.
    pub(super) fn token(&self) -> Option<&Secret> {
        match self.inner.config.auth {
            Auth::Token => self.inner.config.token.as_ref(),
            Auth::Off => None,
        }
    }

    /// The most connections there may be.
    pub(super) fn set_connections_max(&self, most: u64) {
        self.inner.connections_max.store(most, Ordering::Relaxed);
    }

    /// A client came.
    pub(super) fn came(&self, peer: SocketAddr) -> (u64, Arc<ClientRecord>) {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        self.inner.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(ClientRecord {
            peer,
            since: self.node().clock().now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            rate_limited: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            queued: AtomicU32::new(0),
            asks: AtomicU32::new(0),
            subscriptions: AtomicU32::new(0),
        });
        self.inner.records.lock().insert(id, record.clone());
        (id, record)
    }

    /// A client went. Those that were cut off are told of in the events, at most one of a reason each second.
    pub(super) fn went(&self, id: u64, record: &ClientRecord, reason: CloseReason) {
        self.inner.records.lock().remove(&id);
        tracing::debug!(client = id, peer = %record.peer, reason = reason.name(), "client gone");
        self.tell_cut_off(id, record, reason);
        // Last: whoever sees the count finds the event.
        let at = CloseReason::ALL.iter().position(|other| *other == reason).unwrap_or_default();
        self.inner.counters.closed[at].fetch_add(1, Ordering::Release);
    }

    fn tell_cut_off(&self, id: u64, record: &ClientRecord, reason: CloseReason) {
        if matches!(reason, CloseReason::Client | CloseReason::Stopping | CloseReason::Idle) {
            return;
        }
        let now = self.node().clock().now();
        let mut told = self.inner.cut_off_told.lock();
        if told.get(&reason).is_none_or(|last| now.since(*last).as_secs() >= 1) {
            told.insert(reason, now);
            drop(told);
            self.node().events().emit(Event::ClientCutOff {
                client: id,
                peer: record.peer.to_string().into(),
                reason: reason.name().into(),
            });
        }
    }

    pub(super) fn refused(&self, reason: RefusalReason) {
        let at = RefusalReason::ALL.iter().position(|other| *other == reason).unwrap_or_default();
        self.inner.counters.refused[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, record: &ClientRecord) {
        record.received.fetch_add(1, Ordering::Relaxed);
        self.inner.counters.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, record: &ClientRecord) {
        record.sent.fetch_add(1, Ordering::Relaxed);
        self.inner.counters.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rate_limited(&self, record: &ClientRecord) {
        record.rate_limited.fetch_add(1, Ordering::Relaxed);
        self.inner.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_missed(&self, record: &ClientRecord, count: u64) {
        record.missed.fetch_add(count, Ordering::Relaxed);
        self.inner.counters.missed.fetch_add(count, Ordering::Relaxed);
    }

    /// What all clients did.
    #[must_use]
    pub fn totals(&self) -> ClientsTotals {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = RefusalReason::ALL.iter().zip(&counters.refused);
        let closed = CloseReason::ALL.iter().zip(&counters.closed);
        ClientsTotals {
            connections: self.inner.records.lock().len() as u64,
            connections_max: read(&self.inner.connections_max),
            accepted: read(&counters.accepted),
            refused: refused.map(|(reason, counter)| (reason.name(), read(counter))).collect(),
            closed: closed.map(|(reason, counter)| (reason.name(), read(counter))).collect(),
            received: read(&counters.received),
            sent: read(&counters.sent),
            rate_limited: read(&counters.rate_limited),
            missed: read(&counters.missed),
        }
    }

    /// A page of the clients, by number.
    #[must_use]
    pub fn page(&self, offset: usize, limit: usize) -> Vec<ClientOverview> {
        let records = self.inner.records.lock();
        let page = records.iter().skip(offset).take(limit);
        page.map(|(id, record)| ClientOverview {
            id: *id,
            peer: record.peer,
            since: record.since,
            received: record.received.load(Ordering::Relaxed),
            sent: record.sent.load(Ordering::Relaxed),
            rate_limited: record.rate_limited.load(Ordering::Relaxed),
            missed: record.missed.load(Ordering::Relaxed),
            queued: record.queued.load(Ordering::Relaxed),
            asks: record.asks.load(Ordering::Relaxed),
            subscriptions: record.subscriptions.load(Ordering::Relaxed),
        })
        .collect()
    }
}
