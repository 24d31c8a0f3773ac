//! What arrives: frames are checked, their envelopes gathered by target and handed to the node's inboxes by the reader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::agent::{Request, Target as _};
use nexus_actors::clock::Millis;
use nexus_actors::route::remote::{Bundle, Credit, Ticket};

use super::super::CloseReason;
use super::super::envelope::{self, Address, Envelope, Kind};
use super::super::frame;
use super::super::reader::Reader;
use super::Link;
use super::core::Arrival;
use super::dedup::Try;
use super::parts::Parts;
use super::strain::Watch;
use super::violation::Violation;

/// Bundles whose room is kept from frame to frame, and for how many messages each at most.
const BUNDLES_KEPT: usize = 64;
const ROOM_KEPT: usize = 1024;

/// What is kept between frames.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    parts: Parts,
    watch: Watch,
    /// What the frame at hand has for each of its targets, by their numbers; empty between frames.
    gathered: Vec<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    bundle: Bundle,
    bytes: u32,
}

/// What holds for the letters of one frame.
struct Terms {
    now: Millis,
    credit: Arc<Credit>,
    strained: bool,
    session: u64,
}

impl Link {
    /// A frame has come on this connection.
    pub(in crate::transport) fn arrived(
        self: &Arc<Self>,
        epoch: u64,
        bytes: &Bytes,
    ) -> Result<(), CloseReason> {
        let violation = match frame::decode(bytes, self.config.body_bytes_max) {
            Ok(frame) => match self.take_in(epoch, &frame)? {
                Ok(()) => return Ok(()),
                Err(violation) => violation,
            },
            Err(error) => error.into(),
        };
        *self.violations.lock().entry(violation.reason).or_default() += 1;
        Err(CloseReason::Malformed(violation.detail))
    }

    fn take_in(
        self: &Arc<Self>,
        epoch: u64,
        frame: &frame::Frame,
    ) -> Result<Result<(), Violation>, CloseReason> {
        let mut inbound = self.inbound.lock();
        let (arrival, terms, has_work) = {
            let mut out = self.out.lock();
            if !out.core.is_on(epoch) {
                return Err(CloseReason::Replaced);
            }
            let arrival = match out.core.arrived(&frame.header, frame.body.len()) {
                Ok(arrival) => arrival,
                Err(what) => return Ok(Err(what.into())),
            };
            if matches!(arrival, Arrival::NewSession(_)) {
                out.renew(&self.work);
            }
            let now = self.node.clock().now();
            let (credit, strained) = (out.credit.clone(), out.core.is_strained());
            (arrival, Terms { now, credit, strained, session: out.core.session() }, out.has_work())
        };
        // More may be sent, or there is something to confirm.
        if has_work {
            self.work.notify_one();
        }
        let handed = match arrival {
            Arrival::Nothing => Ok(()),
            Arrival::NewSession(lost) => {
                inbound.parts = Parts::default();
                if let Some(lost) = lost {
                    self.settle(lost, "it has given this node up, or lost what it knew of it");
                }
                Ok(())
            }
            Arrival::Body => self.hand_out(frame, &mut inbound, &terms),
        };
        Ok(handed.inspect_err(|violation| {
            inbound.parts = Parts::default();
            // What it meant cannot be known any more: a session goes on without a gap or not at all.
            let lost = self.out.lock().lose(None, &self.work);
            self.settle(lost, &violation.detail);
        }))
    }

    fn hand_out(
        self: &Arc<Self>,
        frame: &frame::Frame,
        inbound: &mut Inbound,
        terms: &Terms,
    ) -> Result<(), Violation> {
        if !terms.strained {
            inbound.watch.clear();
        }
        let mut reader = Reader::new(&frame.body);
        let gathered = self.gather_all(frame, inbound, &mut reader, terms);
        // What was understood counts, whatever followed it.
        self.deliver(inbound, reader.targets(), terms);
        inbound.gathered.truncate(BUNDLES_KEPT);
        gathered
    }

    fn gather_all<'a>(
        self: &Arc<Self>,
        frame: &'a frame::Frame,
        inbound: &mut Inbound,
        reader: &mut Reader<'a>,
        terms: &Terms,
    ) -> Result<(), Violation> {
        let age = Duration::from_millis(frame.header.age_ms.into());
        for decoded in envelope::decode(&frame.body, age) {
            let envelope = decoded?;
            let bytes = u32::try_from(envelope.bytes()).unwrap_or(u32::MAX);
            if matches!(envelope.kind, Kind::Publish | Kind::Fence) {
                // Behind all that was sent before it.
                self.deliver(inbound, reader.targets(), terms);
            }
            if envelope.kind != Kind::Part {
                self.gather(&envelope, bytes, &mut inbound.gathered, reader, terms)?;
                continue;
            }
            terms.credit.release(bytes);
            let limit = self.config.message_bytes_max;
            let Some(whole) = inbound.parts.add(envelope.number, envelope.content, limit)? else { continue };
            // Behind all that was sent before it.
            self.deliver(inbound, reader.targets(), terms);
            self.hand_whole(&whole, age, inbound, terms)?;
        }
        Ok(())
    }

    /// A message that came in parts: a body of its own.
    fn hand_whole(
        self: &Arc<Self>,
        whole: &Bytes,
        age: Duration,
        inbound: &mut Inbound,
        terms: &Terms,
    ) -> Result<(), Violation> {
        // It is whole and takes its room again, until its agent has consumed it.
        let bytes = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        terms.credit.owe(bytes);
        let mut inner = envelope::decode(whole, age);
        let envelope = inner.next().ok_or("nothing in parts")??;
        if envelope.kind == Kind::Part || inner.next().is_some() {
            return Err("parts of parts".into());
        }
        let mut reader = Reader::new(whole);
        self.gather(&envelope, bytes, &mut inbound.gathered, &mut reader, terms)?;
        self.deliver(inbound, reader.targets(), terms);
        Ok(())
    }

    /// Puts a request where the others for its target are; the rest has its effect now.
    fn gather<'a>(
        self: &Arc<Self>,
        envelope: &Envelope<'a>,
        bytes: u32,
        gathered: &mut Vec<Gathered>,
        reader: &mut Reader<'a>,
        terms: &Terms,
    ) -> Result<(), Violation> {
        match envelope.kind {
            Kind::Tell | Kind::Ask => {
                let (at, mut request) = reader.request(envelope.content)?;
                if at >= gathered.len() {
                    gathered.resize_with(at + 1, Gathered::default);
                }
                if let Some(left) = envelope.deadline {
                    request = request.with_deadline(terms.now + left);
                }
                let ticket = match envelope.kind {
                    Kind::Ask => {
                        let to = Try { session: terms.session, number: envelope.number };
                        let Some(ticket) = self.serve(to, request.request_id(), terms.now)? else {
                            terms.credit.release(bytes);
                            return Ok(());
                        };
                        Some(ticket)
                    }
                    _ => None,
                };
                gathered[at].add(request, ticket, bytes);
                return Ok(());
            }
            Kind::Reply => {
                let reply = reader.reply(envelope.content)?;
                let asker = self.out.lock().pending.remove(&envelope.number);
                // An asker that has gone is not there any more.
                if let Some(asker) = asker {
                    asker.answer(reply);
                }
            }
            Kind::Cancel => {
                self.cancel(Try { session: terms.session, number: envelope.number });
            }
            Kind::Publish => {
                let (group, mut request) = reader.publication(envelope.content)?;
                if let Some(left) = envelope.deadline {
                    request = request.with_deadline(terms.now + left);
                }
                // Under strain one member that is stuck does not hold the others' credit.
                let owed = if terms.strained { 0 } else { bytes };
                terms.credit.release(bytes - owed);
                self.node.receive_published(group, request, terms.credit.receipt(owed));
                return Ok(());
            }
            Kind::Fence => {
                let (agent, origin) = envelope::read_fence(envelope.content)?;
                let to = Try { session: terms.session, number: envelope.number };
                if let Some(ticket) = self.serve(to, None, terms.now)? {
                    self.node.receive_fence(agent, self.peer.as_str(), origin, ticket);
                }
            }
            Kind::Part => return Err("a part is not whole".into()),
        }
        terms.credit.release(bytes);
        Ok(())
    }

    /// Hands what was gathered to the agents' inboxes.
    fn deliver(&self, inbound: &mut Inbound, targets: &[Address<'_>], terms: &Terms) {
        for (gathered, to) in inbound.gathered.iter_mut().zip(targets) {
            let bytes = std::mem::take(&mut gathered.bytes);
            if bytes == 0 {
                continue;
            }
            let reject = terms.strained && {
                let agent = to.id();
                let progress = self.node.progress(agent);
                inbound.watch.is_stuck(agent, progress, bytes, self.config.strained_share)
            };
            self.node.receive(
                to,
                self.peer.as_str(),
                &mut gathered.bundle,
                terms.credit.receipt(bytes),
                reject,
            );
            gathered.bundle.shrink(ROOM_KEPT);
        }
    }
}

impl Gathered {
    fn add(&mut self, request: Request, ticket: Option<Arc<dyn Ticket>>, bytes: u32) {
        self.bundle.add(request, ticket);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
