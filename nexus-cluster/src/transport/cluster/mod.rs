//! The carrier of production: TCP and TLS below, ractor_cluster for the control lane, our own frames for the data lane (design decision
//! D7).
//!
//! ```text
//!   TCP ── TLS 1.3, both certificates ── who are you? ── one stream, three channels ─┬─ 0  ractor_cluster: the control lane
//!   listener: rate,                      cluster, version,                           ├─ 1  frames: the data lane
//!   caps, deadline                       cookie by HMAC                              └─ 2  alive, ready, handled, closing
//! ```
//!
//! ractor_cluster carries remote messages between actors; what it lacks is here: a listener that a stalled client cannot block, a handshake
//! that cannot be replayed, dead-peer detection, reconnection, bounds. It sees a stream when both ends are proven and the one connection
//! of the pair is agreed on (`core`), so its own weaker challenge and its election of sessions never decide anything.

mod actor;
mod cert;
mod config;
mod connection;
mod core;
mod handshake;
mod listener;
mod mux;
mod outer;
mod refusal;
mod session;
mod tls;

#[cfg(test)]
mod cert_test;
#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod core_test;
#[cfg(test)]
mod handshake_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod mux_test;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nexus_actors::rng::Seed;
use nexus_actors::supervision::ChildSpec;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef, SpawnErr};
use serde::Serialize;
use thiserror::Error;
use tokio::task::JoinHandle;

use self::actor::CarrierMsg;
use self::core::Input;
use self::refusal::Tally;
use self::session::Conns;
use self::tls::Tls;
use super::{Carrier, CloseReason, Exchange};
use crate::{NodeId, NodeName};

pub use self::cert::{CertError, CertificateAuthority};
pub use self::config::{
    ClusterConfig, ClusterConfigError, Cookie, Limits, Security, Timing, TlsFiles, VERSIONS,
};
pub use self::refusal::{HandshakeError, Handshakes, Observer, Refusal};
pub use self::tls::TlsError;

/// The carrier cannot start.
#[derive(Debug, Error)]
pub enum CarrierError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ClusterConfigError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The carrier of a node, seen from outside. Cheap to clone.
#[derive(Clone)]
pub struct ClusterCarrier {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ClusterConfig>,
    seed: Seed,
    tls: Option<Arc<Tls>>,
    exchange: Arc<dyn Exchange>,
    tally: Arc<Tally>,
    conns: Conns,
    running: Mutex<Running>,
}

/// What the actor and those who call it share.
#[derive(Default)]
struct Running {
    /// Survives a restart of the actor.
    kept: BTreeSet<String>,
    actor: Option<ActorRef<CarrierMsg>>,
    address: Option<SocketAddr>,
}

/// What the carrier does now and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CarrierOverview {
    /// Who we are.
    pub node: NodeId,
    /// Where we listen; `None` while the carrier does not run.
    pub listening: Option<SocketAddr>,
    /// Whether streams are under TLS.
    pub tls: bool,
    /// Why changed certificates could not be read, if so: the former are in use.
    pub tls_error: Option<String>,
    /// Addresses that are kept.
    pub kept: Vec<String>,
    /// Counts of handshakes.
    pub handshakes: Handshakes,
    /// Connections, by peer.
    pub connections: Vec<ConnectionOverview>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConnectionOverview {
    /// Who is at the other end.
    pub peer: NodeId,
    /// See [`super::Connection::epoch`].
    pub epoch: u64,
    /// See [`super::Connection::version`].
    pub version: u16,
    /// Whether we dialled.
    pub dialed: bool,
    /// Bytes sent, before TLS.
    pub sent_bytes: u64,
    /// Bytes received, after TLS.
    pub received_bytes: u64,
}

impl ClusterCarrier {
    /// A carrier that tells `exchange` of its connections. Reads the certificates, so it blocks for a moment. `seed` is for the waits
    /// before dialling again only.
    ///
    /// # Errors
    /// A setting or a certificate cannot be used.
    pub fn new(config: ClusterConfig, seed: Seed, exchange: Arc<dyn Exchange>) -> Result<Self, CarrierError> {
        config.validate()?;
        let tls = match &config.security {
            Security::Plain => None,
            Security::Tls(files) => Some(Arc::new(Tls::load(files.clone())?)),
        };
        let (config, (tally, conns, running)) = (Arc::new(config), Default::default());
        Ok(Self { inner: Arc::new(Inner { config, seed, tls, exchange, tally, conns, running }) })
    }

    /// The actor that does the work, for the node's tree.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        ChildSpec::actor("transport.cluster", || actor::Carrier, self.clone())
    }

    /// Starts the actor outside any tree; it ends with [`ClusterCarrier::stop`].
    ///
    /// # Errors
    /// We cannot listen.
    pub async fn start(&self) -> Result<JoinHandle<()>, SpawnErr> {
        Actor::spawn(None, actor::Carrier, self.clone()).await.map(|(_, task)| task)
    }

    /// Ends the actor and with it all connections.
    pub fn stop(&self) {
        if let Some(actor) = &self.inner.running.lock().actor {
            actor.stop(None);
        }
    }

    /// Reads the certificates again now. Otherwise they are read when they have changed and a handshake begins. Blocks for a moment.
    ///
    /// # Errors
    /// They cannot be used; the former stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.inner.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Tells `observer` of each stream that does not become a connection from now on. Only the first one counts.
    pub fn observe(&self, observer: Observer) {
        self.inner.tally.observe(observer);
    }

    /// Where we listen; `None` while the carrier does not run.
    #[must_use]
    pub fn listening(&self) -> Option<SocketAddr> {
        self.inner.running.lock().address
    }

    /// What it does now and has done.
    #[must_use]
    pub fn overview(&self) -> CarrierOverview {
        let inner = &*self.inner;
        let (listening, kept) = {
            let running = inner.running.lock();
            (running.address, running.kept.iter().cloned().collect())
        };
        let mut connections: Vec<_> = inner.conns.read().values().filter_map(|conn| shown(conn)).collect();
        connections.sort();
        CarrierOverview {
            node: inner.config.node.clone(),
            listening,
            tls: inner.tls.is_some(),
            tls_error: inner.tls.as_ref().and_then(|tls| tls.failed()),
            kept,
            handshakes: inner.tally.overview(),
            connections,
        }
    }

    /// The actor runs; gives the addresses to keep.
    fn started(&self, actor: &ActorRef<CarrierMsg>, address: SocketAddr) -> Vec<String> {
        let mut running = self.inner.running.lock();
        running.actor = Some(actor.clone());
        running.address = Some(address);
        running.kept.iter().cloned().collect()
    }

    fn stopped(&self) {
        let mut running = self.inner.running.lock();
        running.actor = None;
        running.address = None;
    }
}

fn shown(conn: &mux::Conn) -> Option<ConnectionOverview> {
    let ours = conn.ours()?;
    Some(ConnectionOverview {
        peer: ours.connection.peer.clone(),
        epoch: ours.connection.epoch,
        version: ours.connection.version,
        dialed: ours.dialed,
        sent_bytes: conn.sent_bytes.load(Ordering::Relaxed),
        received_bytes: conn.received_bytes.load(Ordering::Relaxed),
    })
}

impl Running {
    fn tell(&self, input: Input) {
        if let Some(actor) = &self.actor {
            _ = actor.cast(CarrierMsg::Input(input));
        }
    }
}

impl Carrier for ClusterCarrier {
    fn keep(&self, address: &str) {
        let mut running = self.inner.running.lock();
        if running.kept.insert(address.into()) {
            running.tell(Input::Keep(address.into()));
        }
    }

    fn forget(&self, address: &str) {
        let mut running = self.inner.running.lock();
        if running.kept.remove(address) {
            running.tell(Input::Forget(address.into()));
        }
    }

    fn close(&self, peer: &NodeName, reason: CloseReason) {
        self.inner.running.lock().tell(Input::Close(peer.clone(), reason));
    }
}

impl fmt::Debug for ClusterCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCarrier").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
