//! A peer's link: shared by all who send to it, and by whichever connection carries it at the time.
//!
//! Senders append to the frame that is being filled, under a lock that is held for the copying; the carrier takes frames as fast as the
//! connection goes, so they grow with the load by themselves. What arrives is handed to the node's inboxes by the reader, without an
//! actor in between. The rules are in `core`.

mod core;
mod parts;
mod strain;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::agent::{AgentId, Reply, Target as _};
use nexus_actors::clock::Millis;
use nexus_actors::route::DeadLetterReason;
use nexus_actors::route::remote::{Asker, Credit, Forwarded, Parcel, Ticket};
use nexus_actors::{AgentError, Node};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use self::core::{Arrival, Core, Lost, Next, Refused};
use self::parts::Parts;
use self::strain::Watch;
use super::config::LinkConfig;
use super::envelope::{self, Envelope, Kind};
use super::frame;
use super::{CloseReason, ControlError, Outgoing};
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
    /// The peer's asks that wait for their answer here, by session and number.
    serving: Mutex<BTreeMap<(u64, u64), Weak<Serving>>>,
    pub(super) work: Arc<Notify>,
    room: Arc<Notify>,
    next_number: AtomicU64,
}

#[derive(Debug, Default)]
struct Inbound {
    parts: Parts,
    watch: Watch,
}

/// What holds for the letters of one frame.
struct Terms {
    now: Millis,
    credit: Arc<Credit>,
    strained: bool,
    session: u64,
}

#[derive(Debug)]
struct Out {
    core: Core,
    /// Who waits for the peer's answers, by the ask's number.
    pending: BTreeMap<u64, Asker>,
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
    /// Bytes that the peer has sent and agents here have not consumed are what this lacks to what has come.
    pub consumed_bytes: i64,
}

/// An ask of the peer.
#[derive(Debug)]
struct Serving {
    link: Arc<Link>,
    number: u64,
    session: u64,
    cancelled: AtomicBool,
}

impl Link {
    pub(super) fn new(peer: NodeName, node: Node, config: Arc<LinkConfig>) -> Arc<Self> {
        let work = Arc::new(Notify::new());
        let core = Core::new(config.clone(), node.clock().now(), work.clone());
        Arc::new(Self {
            peer,
            config,
            node,
            out: Mutex::new(Out { core, pending: BTreeMap::new() }),
            inbound: Mutex::default(),
            serving: Mutex::default(),
            work,
            room: Arc::default(),
            next_number: AtomicU64::new(1),
        })
    }

    pub(super) const fn peer(&self) -> &NodeName {
        &self.peer
    }

    pub(super) fn overview(&self) -> LinkOverview {
        let out = self.out.lock();
        LinkOverview {
            connected: out.core.is_up(),
            queued: out.core.queued().0,
            unacknowledged: out.core.unacked_messages(),
            pending_asks: out.pending.len(),
            serving_asks: self.serving.lock().len(),
            consumed_bytes: out.core.terms().0.consumed(),
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
        let now = self.node.clock().now();
        let left = request.deadline().map(|deadline| deadline.since(now));
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
        let first = self.write(&mut out.core, now, size, kind, number, left, |out| {
            envelope::write_request(out, to, name, request);
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

    /// Sends a fence behind what was sent to the agent; `asker` hears when it has passed, or why it has not.
    pub(super) fn fence(&self, to: AgentId, asker: Asker) {
        let now = self.node.clock().now();
        let mut out = self.out.lock();
        // As short as a reply, and there is one for each agent that moves.
        let refused = match out.core.admit(envelope::HEADER_BYTES, true) {
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
        let first = out.core.push(now, |out| {
            envelope::encode(out, Kind::Fence, number, None, |out| envelope::write_fence(out, to));
        });
        out.pending.insert(number, asker);
        drop(out);
        if first {
            self.work.notify_one();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an envelope's header has as many fields")]
    fn write(
        &self,
        core: &mut Core,
        now: Millis,
        size: usize,
        kind: Kind,
        number: u64,
        left: Option<Duration>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if size <= self.config.part_bytes {
            return core.push(now, |out| envelope::encode(out, kind, number, left, write));
        }
        let mut encoded = Vec::with_capacity(size);
        envelope::encode(&mut encoded, kind, number, left, write);
        core.push_parts(now, &encoded)
    }

    fn reply(&self, number: u64, session: u64, mut reply: Reply) {
        let size_of = |reply: &Reply| match reply {
            Ok(payload) => payload.bytes().len() + REQUEST_OVERHEAD,
            Err(error) => error.to_string().len() + 2 * REQUEST_OVERHEAD,
        };
        let limit = self.config.message_bytes_max;
        let mut size = size_of(&reply);
        if size > limit {
            let reason = format!("the answer's {size} bytes are more than the {limit} that go between nodes");
            reply = Err(AgentError::Failed { reason });
            size = size_of(&reply);
        }
        let now = self.node.clock().now();
        let mut out = self.out.lock();
        if out.core.session() != session {
            return;
        }
        match out.core.admit(size, true) {
            Ok(()) => {}
            // Its asker was lost with the session.
            Err(Refused::Lost(_)) => return,
            // As bounded as the asks that are served, and short.
            Err(Refused::Full { queued, limit }) => {
                reply = Err(AgentError::Overloaded { queued, limit, shed_below_percent: None });
                size = size_of(&reply);
            }
        }
        let first = self.write(&mut out.core, now, size, Kind::Reply, number, None, |out| {
            envelope::write_reply(out, &reply);
        });
        drop(out);
        if first {
            self.work.notify_one();
        }
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
            let next = out.core.take(now)?;
            (next, !had_room && out.core.has_room())
        };
        if room {
            self.room.notify_waiters();
        }
        Some(match next {
            Next::Control(bytes) => Outgoing::Control(bytes),
            // Compressed and copied outside the lock.
            Next::Frame(header, body) => {
                Outgoing::Data(frame::encode(&header, &body, self.config.lz4_min_bytes))
            }
        })
    }

    /// A frame has come on this connection.
    pub(super) fn arrived(self: &Arc<Self>, epoch: u64, bytes: &Bytes) -> Result<(), CloseReason> {
        let malformed = |what: String| CloseReason::Malformed(what);
        let frame =
            frame::decode(bytes, self.config.body_bytes_max).map_err(|error| malformed(error.to_string()))?;
        let mut inbound = self.inbound.lock();
        let (arrival, terms) = {
            let mut out = self.out.lock();
            if !out.core.is_on(epoch) {
                return Err(CloseReason::Replaced);
            }
            let arrival =
                out.core.arrived(&frame.header, frame.body.len()).map_err(|what| malformed(what.into()))?;
            let (credit, strained) = out.core.terms();
            let now = self.node.clock().now();
            (arrival, Terms { now, credit, strained, session: out.core.session() })
        };
        let handed = match arrival {
            Arrival::Nothing => Ok(()),
            Arrival::NewSession(lost) => {
                inbound.parts = Parts::default();
                if let Some(lost) = lost {
                    self.settle(lost, "it has given this node up, or lost what it knew of it");
                }
                Ok(())
            }
            Arrival::Body => self.hand_out(&frame, &mut inbound, &terms),
        };
        // More may be sent, or there is something to confirm.
        self.work.notify_one();
        handed.map_err(|what| {
            inbound.parts = Parts::default();
            // What it meant cannot be known any more: a session goes on without a gap or not at all.
            let lost = self.out.lock().core.lose(None);
            self.settle(lost, &what);
            malformed(what)
        })
    }

    fn hand_out(
        self: &Arc<Self>,
        frame: &frame::Frame,
        inbound: &mut Inbound,
        terms: &Terms,
    ) -> Result<(), String> {
        let age = Duration::from_millis(frame.header.age_ms.into());
        if !terms.strained {
            inbound.watch.clear();
        }
        for decoded in envelope::decode(&frame.body, age) {
            let envelope = decoded.map_err(|error| error.to_string())?;
            let bytes = u32::try_from(envelope.bytes()).unwrap_or(u32::MAX);
            if envelope.kind != Kind::Part {
                self.hand(&envelope, &frame.body, bytes, terms, &mut inbound.watch)?;
                continue;
            }
            terms.credit.release(bytes);
            let limit = self.config.message_bytes_max;
            let Some(whole) = inbound.parts.add(envelope.number, envelope.content, limit)? else { continue };
            // It is whole and takes its room again, until its agent has consumed it.
            let bytes = u32::try_from(whole.len()).unwrap_or(u32::MAX);
            terms.credit.owe(bytes);
            let mut inner = envelope::decode(&whole, age);
            let envelope = inner.next().ok_or("nothing in parts")?.map_err(|error| error.to_string())?;
            if envelope.kind == Kind::Part || inner.next().is_some() {
                return Err("parts of parts".into());
            }
            self.hand(&envelope, &whole, bytes, terms, &mut inbound.watch)?;
        }
        Ok(())
    }

    fn hand(
        self: &Arc<Self>,
        envelope: &Envelope<'_>,
        body: &Bytes,
        bytes: u32,
        terms: &Terms,
        watch: &mut Watch,
    ) -> Result<(), String> {
        // Dropped with whatever does not become a letter.
        let receipt = terms.credit.receipt(bytes);
        let session = terms.session;
        match envelope.kind {
            Kind::Tell | Kind::Ask => {
                let (to, mut request) =
                    envelope::read_request(envelope.content, body).map_err(|error| error.to_string())?;
                if let Some(left) = envelope.deadline {
                    request = request.with_deadline(terms.now + left);
                }
                let ticket = (envelope.kind == Kind::Ask).then(|| self.serve(envelope.number, session));
                let ticket = match ticket.transpose() {
                    Ok(ticket) => ticket,
                    Err(busy) => {
                        self.reply(envelope.number, session, Err(busy));
                        return Ok(());
                    }
                };
                let reject = terms.strained && {
                    let agent = to.id();
                    watch.is_stuck(agent, self.node.progress(agent), bytes, self.config.strained_share)
                };
                // Counted and answered there, whatever it is.
                let _ = self.node.receive(&to, request, receipt, ticket, reject);
            }
            Kind::Fence => {
                let agent = envelope::read_fence(envelope.content).map_err(|error| error.to_string())?;
                match self.serve(envelope.number, session) {
                    Ok(ticket) => self.node.receive_fence(agent, ticket),
                    Err(busy) => self.reply(envelope.number, session, Err(busy)),
                }
            }
            Kind::Reply => {
                let reply =
                    envelope::read_reply(envelope.content, body).map_err(|error| error.to_string())?;
                let asker = self.out.lock().pending.remove(&envelope.number);
                // An asker that has gone is not there any more.
                if let Some(asker) = asker {
                    asker.answer(reply);
                }
            }
            Kind::Cancel => {
                let serving = self
                    .serving
                    .lock()
                    .remove(&(session, envelope.number))
                    .and_then(|serving| serving.upgrade());
                if let Some(serving) = serving {
                    serving.cancelled.store(true, Ordering::Release);
                }
            }
            Kind::Part => return Err("a part is not whole".into()),
        }
        Ok(())
    }

    fn serve(self: &Arc<Self>, number: u64, session: u64) -> Result<Arc<dyn Ticket>, AgentError> {
        let mut serving = self.serving.lock();
        let (queued, limit) = (serving.len() as u64, self.config.serving_max as u64);
        if queued >= limit {
            return Err(AgentError::Overloaded { queued, limit, shed_below_percent: None });
        }
        let cancelled = AtomicBool::new(false);
        let ticket = Arc::new(Serving { link: self.clone(), number, session, cancelled });
        serving.insert((session, number), Arc::downgrade(&ticket));
        Ok(ticket)
    }

    // ---- time and loss ----

    /// Time has passed.
    pub(super) fn tick(&self) {
        let now = self.node.clock().now();
        let lost = {
            let mut out = self.out.lock();
            self.cancel_abandoned(&mut out, now);
            out.core.tick(now)
        };
        match lost {
            Some(reason) => self.lose(&reason),
            None => self.work.notify_one(),
        }
    }

    /// Tells the peer of askers that have gone.
    fn cancel_abandoned(&self, out: &mut Out, now: Millis) {
        let gone: Vec<_> =
            out.pending.iter().filter(|(_, asker)| asker.is_gone()).map(|(number, _)| *number).collect();
        for number in gone {
            out.pending.remove(&number);
            // Best effort: an ask that is not cancelled is answered to nobody.
            if out.core.admit(envelope::HEADER_BYTES, true).is_ok() {
                out.core.push(now, |out| envelope::encode(out, Kind::Cancel, number, None, |_| {}));
            }
        }
    }

    /// The same, unless there is a connection. Answers whether it is lost.
    pub(super) fn give_up(&self, reason: &str) -> bool {
        let lost = {
            let mut out = self.out.lock();
            if out.core.is_up() {
                return false;
            }
            out.core.lose(Some(reason.into()))
        };
        self.settle(lost, reason);
        true
    }

    /// The peer, or this life of it, is gone: all who wait hear it now.
    pub(super) fn lose(&self, reason: &str) {
        let lost = self.out.lock().core.lose(Some(reason.into()));
        self.settle(lost, reason);
    }

    fn settle(&self, lost: Lost, reason: &str) {
        let pending = std::mem::take(&mut self.out.lock().pending);
        for asker in pending.into_values() {
            asker.answer(Err(self.lost_error(reason)));
        }
        let serving = std::mem::take(&mut *self.serving.lock());
        for serving in serving.values().filter_map(Weak::upgrade) {
            serving.cancelled.store(true, Ordering::Release);
        }
        self.bury(lost);
        self.room.notify_waiters();
    }

    /// Requests that nobody has confirmed become dead letters.
    fn bury(&self, Lost(bodies): Lost) {
        let mut parts = Parts::default();
        for body in &bodies {
            for envelope in envelope::decode(body, Duration::ZERO).flatten() {
                if envelope.kind != Kind::Part {
                    self.bury_one(&envelope, body);
                } else if let Ok(Some(whole)) =
                    parts.add(envelope.number, envelope.content, self.config.message_bytes_max)
                {
                    for envelope in envelope::decode(&whole, Duration::ZERO).flatten() {
                        self.bury_one(&envelope, &whole);
                    }
                }
            }
        }
    }

    fn bury_one(&self, envelope: &Envelope<'_>, body: &Bytes) {
        if matches!(envelope.kind, Kind::Tell | Kind::Ask)
            && let Ok((to, request)) = envelope::read_request(envelope.content, body)
        {
            self.node.bury_lost(&to, request);
        }
    }

    fn lost_error(&self, reason: &str) -> AgentError {
        AgentError::NodeLost { node: self.peer.to_string(), reason: reason.to_owned() }
    }
}

impl Ticket for Serving {
    fn is_wanted(&self) -> bool {
        !self.cancelled.load(Ordering::Acquire)
    }

    fn answer(&self, reply: Reply) {
        self.link.serving.lock().remove(&(self.session, self.number));
        if self.is_wanted() {
            self.link.reply(self.number, self.session, reply);
        }
    }
}
