//! A peer's link: shared by all who send to it, and by whichever connection carries it at the time.
//!
//! Senders append to the frame that is being filled, under a lock that is held for the copying; the carrier takes frames as fast as the
//! connection goes, so they grow with the load by themselves. What arrives is handed to the node's inboxes by the reader, without an
//! actor in between. The rules are in `core`.

mod core;
mod dedup;
mod loss;
mod parts;
mod receive;
mod serve;
mod strain;
mod violation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::agent::{AgentId, NAME_BYTES_MAX, Request};
use nexus_actors::clock::Millis;
use nexus_actors::route::DeadLetterReason;
use nexus_actors::route::remote::{Asker, Credit, Forwarded, Parcel};
use nexus_actors::{AgentError, Node};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use self::core::{Core, Lost, Next, Refused};
use self::receive::Inbound;
use self::serve::Served;
use self::violation::Violations;
use super::config::LinkConfig;
use super::envelope::{self, Address, Kind, Mention};
use super::frame;
use super::{ControlError, Outgoing};
use crate::NodeName;

/// What a request needs beside its payload, key and target, at most: headers and hints.
const REQUEST_OVERHEAD: usize = 160;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    peer: NodeName,
    config: Arc<LinkConfig>,
    node: Node,
    out: Mutex<Out>,
    /// Held while a frame is handed out, so that two connections in turn keep the order.
    inbound: Mutex<Inbound>,
    served: Mutex<Served>,
    violations: Mutex<Violations>,
    pub(super) work: Arc<Notify>,
    room: Arc<Notify>,
    next_number: AtomicU64,
}

#[derive(Debug)]
struct Out {
    core: Core,
    /// Where the letters of this session return their credit.
    credit: Arc<Credit>,
    /// Who waits for the peer's answers, by the ask's number.
    pending: BTreeMap<u64, Asker>,
    /// Which of them is looked at next: whether it still waits.
    looked_at: u64,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinkOverview {
    /// Whether there is a connection.
    pub connected: bool,
    /// Messages that have not been sent.
    pub queued: u64,
    /// Messages that were sent and are not acknowledged.
    pub unacknowledged: u64,
    /// Asks that wait for the peer's answer.
    pub pending_asks: usize,
    /// Asks of the peer that wait for an answer here.
    pub serving_asks: usize,
    /// Answers that are kept for asks that may be tried again.
    pub answers_kept: usize,
    /// And their bytes.
    pub answer_bytes_kept: u64,
    /// Bytes that the peer has sent and agents here have not consumed are what this lacks to what has come.
    pub consumed_bytes: i64,
}

impl Out {
    /// Gives the session up; see [`Core::lose`].
    fn lose(&mut self, reason: Option<&str>, work: &Arc<Notify>) -> Lost {
        let lost = self.core.lose(reason.map(Arc::from));
        self.renew(work);
        lost
    }

    /// Letters of the session before keep the credit that they return to.
    fn renew(&mut self, work: &Arc<Notify>) {
        self.credit = Credit::new(work.clone());
    }

    fn has_work(&self) -> bool {
        self.core.has_work(self.credit.consumed())
    }
}

impl Link {
    pub(super) fn new(peer: NodeName, node: Node, config: Arc<LinkConfig>) -> Arc<Self> {
        let work = Arc::new(Notify::new());
        let core = Core::new(config.clone(), node.clock().now());
        let credit = Credit::new(work.clone());
        let served = Served::new(&config);
        Arc::new(Self {
            peer,
            config,
            node,
            out: Mutex::new(Out { core, credit, pending: BTreeMap::new(), looked_at: 0 }),
            inbound: Mutex::default(),
            served: Mutex::new(served),
            violations: Mutex::default(),
            work,
            room: Arc::default(),
            next_number: AtomicU64::new(1),
        })
    }

    pub(super) const fn peer(&self) -> &NodeName {
        &self.peer
    }

    /// How often the peer has sent what no peer sends, by reason.
    pub(super) fn violations(&self) -> Violations {
        self.violations.lock().clone()
    }

    pub(super) fn overview(&self) -> LinkOverview {
        let (serving_asks, (answers_kept, answer_bytes_kept)) = self.served.lock().overview();
        let out = self.out.lock();
        LinkOverview {
            connected: out.core.is_up(),
            queued: out.core.queued().0,
            unacknowledged: out.core.unacked_messages(),
            pending_asks: out.pending.len(),
            serving_asks,
            answers_kept,
            answer_bytes_kept,
            consumed_bytes: out.credit.consumed(),
        }
    }

    // ---- sending ----

    /// Takes a tell or an ask.
    pub(super) fn forward(&self, to: AgentId, name: Option<&str>, parcel: Parcel) -> Forwarded {
        let request = parcel.request();
        let payload = request.payload.bytes().len();
        let size = payload + request.key.len() + name.map_or(0, str::len) + REQUEST_OVERHEAD;
        if size > self.config.message_bytes_max {
            let limit = self.config.message_bytes_max;
            let reason = format!("{size} bytes are more than the {limit} that go between nodes");
            return Forwarded::Refused(parcel, AgentError::Invalid { reason }, DeadLetterReason::TooLarge);
        }
        let number = if parcel.is_asked() { self.next_number.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let kind = if number > 0 { Kind::Ask } else { Kind::Tell };
        let mut out = self.out.lock();
        match out.core.admit(size, false) {
            Ok(()) => {}
            Err(Refused::Full { .. }) => return Forwarded::Full(parcel),
            Err(Refused::Lost(reason)) => {
                let error = self.lost_error(&reason);
                return Forwarded::Lost(parcel, error);
            }
        }
        let left = request.deadline().map(|deadline| deadline.since(self.node.clock().now()));
        // A message in parts is a body of its own.
        let whole = size <= self.config.part_bytes;
        let to = if whole { out.core.mention(to, name) } else { Mention::First(Address::of(to, name)) };
        let first = self.write(&mut out.core, size, kind, number, left, |out| {
            envelope::write_request(out, to, request);
        });
        if number > 0 {
            out.pending.insert(number, parcel.into_asker());
        }
        drop(out);
        if first {
            self.work.notify_one();
        }
        Forwarded::Taken
    }

    /// Sends a fence of the node `origin` behind what was sent to the agent; `asker` hears when it has passed, or why it has not.
    pub(super) fn fence(&self, to: AgentId, origin: &str, asker: Asker) {
        let mut out = self.out.lock();
        // As short as a reply, and there is one for each agent that moves.
        let size = envelope::HEADER_BYTES + size_of::<AgentId>() + origin.len();
        let refused = match out.core.admit(size, true) {
            Ok(()) => None,
            Err(Refused::Lost(reason)) => Some(self.lost_error(&reason)),
            Err(Refused::Full { queued, limit }) => {
                Some(AgentError::Overloaded { queued, limit, shed_below_percent: None })
            }
        };
        if let Some(error) = refused {
            drop(out);
            return asker.answer(Err(error));
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let first = self.write(&mut out.core, size, Kind::Fence, number, None, |out| {
            envelope::write_fence(out, to, origin);
        });
        out.pending.insert(number, asker);
        drop(out);
        if first {
            self.work.notify_one();
        }
    }

    /// Takes a request for all members of a group there. `None`: there is nobody to take it for, the peer is lost.
    pub(super) fn publish(&self, group: &str, request: &Request) -> Option<bool> {
        let size = request.payload.bytes().len() + request.key.len() + group.len() + REQUEST_OVERHEAD;
        if !(1..=NAME_BYTES_MAX).contains(&group.len()) {
            return Some(false);
        }
        let mut out = self.out.lock();
        match out.core.admit(size, false) {
            Ok(()) if size <= self.config.message_bytes_max => {}
            Ok(()) | Err(Refused::Full { .. }) => return Some(false),
            Err(Refused::Lost(_)) => return None,
        }
        let left = request.deadline().map(|deadline| deadline.since(self.node.clock().now()));
        let to = Mention::First(Address::Name(group));
        let first = self.write(&mut out.core, size, Kind::Publish, 0, left, |out| {
            envelope::write_request(out, to, request);
        });
        drop(out);
        if first {
            self.work.notify_one();
        }
        Some(true)
    }

    /// Appends an envelope; its content is `size` bytes long at most. `true` if the carrier is to be told.
    fn write(
        &self,
        core: &mut Core,
        size: usize,
        kind: Kind,
        number: u64,
        left: Option<Duration>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let whole = size <= self.config.part_bytes;
        // Clocks are not free, and most envelopes join a frame that is open already.
        let now = if whole && !core.opens() { Millis::ZERO } else { self.node.clock().now() };
        if whole {
            return core.push(now, |out| envelope::encode(out, kind, number, left, write));
        }
        let mut encoded = Vec::with_capacity(size);
        envelope::encode(&mut encoded, kind, number, left, write);
        core.push_parts(now, &encoded)
    }

    /// Messages that wait, and how many may.
    pub(super) fn queue(&self) -> (u64, u64) {
        self.out.lock().core.queued()
    }

    /// Waits until less than half of what may wait does, or the peer is lost.
    pub(super) fn room(&self) -> BoxFuture<'static, ()> {
        // Registered before the look, so that a notification between the two is not lost.
        let mut notified = Box::pin(self.room.clone().notified_owned());
        notified.as_mut().enable();
        if self.out.lock().core.has_room() { async {}.boxed() } else { notified }
    }

    pub(super) fn send_control(&self, bytes: Bytes) -> Result<(), ControlError> {
        let mut out = self.out.lock();
        if !out.core.is_up() {
            return Err(ControlError::NotConnected { to: self.peer.clone() });
        }
        let limit_bytes = self.config.control_bytes;
        let to = || self.peer.clone();
        out.core.push_control(bytes).map_err(|queued_bytes| ControlError::Full {
            to: to(),
            queued_bytes,
            limit_bytes,
        })?;
        drop(out);
        self.work.notify_one();
        Ok(())
    }

    // ---- the connection ----

    pub(super) fn connected(&self, epoch: u64) {
        self.out.lock().core.connected(epoch);
        // The reader of the connection before waits for it, if there was one.
        self.work.notify_one();
    }

    /// Whether that was the connection at hand.
    pub(super) fn closed(&self, epoch: u64) -> bool {
        let mut out = self.out.lock();
        let current = out.core.is_on(epoch);
        if current {
            out.core.disconnected(self.node.clock().now());
        }
        current
    }

    pub(super) fn is_on(&self, epoch: u64) -> bool {
        self.out.lock().core.is_on(epoch)
    }

    /// What to send next on this connection.
    pub(super) fn take(&self, epoch: u64) -> Option<Outgoing> {
        let now = self.node.clock().now();
        let (next, room) = {
            let mut out = self.out.lock();
            if !out.core.is_on(epoch) {
                return None;
            }
            let had_room = out.core.has_room();
            let consumed = out.credit.consumed();
            let next = out.core.take(now, consumed)?;
            // If it has come to that meanwhile, the next look finds it: there is one until there is nothing to take.
            out.credit.set_due(out.core.due());
            (next, !had_room && out.core.has_room())
        };
        if room {
            self.room.notify_waiters();
        }
        Some(match next {
            Next::Control(bytes) => Outgoing::Control(bytes),
            // Compressed and summed outside the lock.
            Next::Frame(header, body) => {
                Outgoing::Data(frame::encode(&header, &body, self.config.lz4_min_bytes))
            }
        })
    }
}
