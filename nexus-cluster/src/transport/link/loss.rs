//! Time that passes, and what becomes of all that waits when a peer is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_actors::AgentError;
use nexus_actors::clock::Millis;

use super::super::envelope::{self, Envelope, Kind};
use super::super::reader::Reader;
use super::parts::Parts;
use super::{Link, Lost, Out};

/// Asks that are looked at with each tick: whether anybody still waits.
const LOOKED_AT: usize = 256;

impl Link {
    /// Time has passed.
    pub(in crate::transport) fn tick(&self) {
        let now = self.node.clock().now();
        let (lost, has_work) = {
            let mut out = self.out.lock();
            cancel_abandoned(&mut out, now);
            let consumed = out.credit.consumed();
            (out.core.tick(now, consumed), out.has_work())
        };
        self.served.lock().pass(now);
        match lost {
            Some(reason) => self.lose(&reason),
            None if has_work => self.work.notify_one(),
            None => {}
        }
    }

    /// The same, unless there is a connection. Answers whether it is lost.
    pub(in crate::transport) fn give_up(&self, reason: &str) -> bool {
        let lost = {
            let mut out = self.out.lock();
            if out.core.is_up() {
                return false;
            }
            out.lose(Some(reason), &self.work)
        };
        self.settle(lost, reason);
        true
    }

    /// The peer was started anew: its life before is gone, and asks nothing again.
    pub(in crate::transport) fn outlive(&self, reason: &str) {
        self.lose(reason);
        self.forget_served();
    }

    /// The peer, or this life of it, is gone: all who wait hear it now.
    fn lose(&self, reason: &str) {
        let lost = self.out.lock().lose(Some(reason), &self.work);
        self.settle(lost, reason);
    }

    pub(super) fn settle(&self, lost: Lost, reason: &str) {
        let pending = std::mem::take(&mut self.out.lock().pending);
        // What is tried again is not dead.
        let waiting =
            pending.iter().filter(|(_, asker)| !asker.is_gone()).map(|(number, _)| *number).collect();
        for asker in pending.into_values() {
            asker.answer(Err(self.lost_error(reason)));
        }
        self.cancel_lost();
        self.bury(lost, &waiting);
        self.room.notify_waiters();
    }

    /// Requests that nobody has confirmed become dead letters, unless they are asks that may be tried again and somebody still waits for
    /// an answer.
    fn bury(&self, Lost(bodies): Lost, waiting: &BTreeSet<u64>) {
        let mut parts = Parts::default();
        for body in &bodies {
            let mut reader = Reader::new(body);
            for envelope in envelope::decode(body, Duration::ZERO).flatten() {
                if envelope.kind != Kind::Part {
                    self.bury_one(&envelope, &mut reader, waiting);
                } else if let Ok(Some(whole)) =
                    parts.add(envelope.number, envelope.content, self.config.message_bytes_max)
                {
                    for envelope in envelope::decode(&whole, Duration::ZERO).flatten() {
                        self.bury_one(&envelope, &mut Reader::new(&whole), waiting);
                    }
                }
            }
        }
    }

    fn bury_one<'a>(&self, envelope: &Envelope<'a>, reader: &mut Reader<'a>, waiting: &BTreeSet<u64>) {
        if matches!(envelope.kind, Kind::Tell | Kind::Ask)
            && let Ok((to, request)) = reader.request(envelope.content)
            && (request.request_id().is_none() || !waiting.contains(&envelope.number))
        {
            self.node.bury_lost(&reader.targets()[to], request);
        }
        if envelope.kind == Kind::Publish
            && let Ok((group, request)) = reader.publication(envelope.content)
        {
            self.node.bury_lost(group, request);
        }
    }

    pub(super) fn lost_error(&self, reason: &str) -> AgentError {
        AgentError::NodeLost { node: self.peer.to_string(), reason: reason.to_owned() }
    }
}

/// Tells the peer of some askers that have gone. Each ask has its turn, so that a tick costs the same however many wait.
fn cancel_abandoned(out: &mut Out, now: Millis) {
    let looked_at: Vec<_> = out.pending.range(out.looked_at..).take(LOOKED_AT).collect();
    let all = looked_at.len() < LOOKED_AT;
    let next = looked_at.last().filter(|_| !all).map_or(0, |(number, _)| *number + 1);
    let gone: Vec<_> =
        looked_at.into_iter().filter(|(_, asker)| asker.is_gone()).map(|(number, _)| *number).collect();
    out.looked_at = next;
    for number in gone {
        out.pending.remove(&number);
        // Best effort: an ask that is not cancelled is answered to nobody.
        if out.core.admit(envelope::HEADER_BYTES, true).is_ok() {
            out.core.push(now, |out| envelope::encode(out, Kind::Cancel, number, None, |_| {}));
        }
    }
}
