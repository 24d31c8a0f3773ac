//! The peer's asks while they wait for their answer here. One that may be tried again outlives its session: its answer is kept for the next try.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use nexus_actors::AgentError;
use nexus_actors::agent::{Reply, RequestId};
use nexus_actors::clock::Millis;
use nexus_actors::route::remote::Ticket;

use super::super::config::LinkConfig;
use super::super::envelope::{self, Kind};
use super::core::Refused;
use super::dedup::{Asked, Dedup, Limits, Try};
use super::violation::Violation;
use super::{Link, REQUEST_OVERHEAD};

/// The peer's asks.
#[derive(Debug)]
pub(super) struct Served {
    /// Those that wait for their answer, by their last try.
    asks: BTreeMap<Try, Weak<Serving>>,
    /// Those that may be tried again.
    dedup: Dedup<Weak<Serving>>,
}

/// An ask of the peer.
#[derive(Debug)]
struct Serving {
    link: Arc<Link>,
    kind: Asking,
    cancelled: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum Asking {
    /// Once.
    Once(Try),
    /// It may be tried again: by what the table knows it.
    Again(RequestId, u64),
}

impl Served {
    pub(super) const fn new(config: &LinkConfig) -> Self {
        let limits = Limits {
            asks: config.remembered_max,
            answer_bytes: config.answer_bytes,
            kept_for: config.answers_kept_for,
        };
        Self { asks: BTreeMap::new(), dedup: Dedup::new(limits) }
    }

    /// Asks that wait for their answer; answers that are kept, and their bytes.
    pub(super) fn overview(&self) -> (usize, (usize, u64)) {
        (self.asks.len(), self.dedup.kept())
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Millis) {
        self.dedup.pass(now);
    }
}

impl Link {
    /// Who is to be answered. `None` if the ask is not to be handed to its agent: it is answered already, or will be with another try.
    /// A number that waits for its answer already is no ask's.
    pub(super) fn serve(
        self: &Arc<Self>,
        to: Try,
        id: Option<RequestId>,
        now: Millis,
    ) -> Result<Option<Arc<dyn Ticket>>, Violation> {
        let ticket = |kind| {
            let cancelled = AtomicBool::new(false);
            Arc::new(Serving { link: self.clone(), kind, cancelled })
        };
        let mut served = self.served.lock();
        if served.asks.contains_key(&to) {
            return Err("a number in use".into());
        }
        let serving_max = self.config.serving_max;
        let is_full = served.asks.len() >= serving_max;
        let (mut started, mut limit) = (None, serving_max);
        let asked = match id {
            None if is_full => Asked::Full,
            None => {
                started = Some(ticket(Asking::Once(to)));
                Asked::New
            }
            Some(id) if is_full && !served.dedup.knows(id) => Asked::Full,
            Some(id) => {
                limit = self.config.remembered_max;
                served.dedup.asked(now, id, to, |serial| {
                    Arc::downgrade(started.insert(ticket(Asking::Again(id, serial))))
                })
            }
        };
        match asked {
            Asked::New => {
                let Some(started) = started else { return Ok(None) };
                served.asks.insert(to, Arc::downgrade(&started));
                return Ok(Some(started));
            }
            Asked::Joined(before, serving) => {
                served.asks.remove(&before);
                served.asks.insert(to, serving);
            }
            Asked::Answered(answer) => {
                drop(served);
                self.repeat(to, &answer);
            }
            Asked::Full => {
                drop(served);
                let (queued, limit) = (limit as u64, limit as u64);
                self.reply(to, Err(AgentError::Overloaded { queued, limit, shed_below_percent: None }));
            }
        }
        Ok(None)
    }

    /// The asker of this try waits no more.
    pub(super) fn cancel(&self, to: Try) {
        let serving = self.served.lock().asks.remove(&to);
        let Some(serving) = serving.and_then(|serving| serving.upgrade()) else { return };
        serving.cancelled.store(true, Ordering::Release);
        // It will not try again either.
        serving.forget();
    }

    /// The session is lost: those who asked once hear no answer.
    pub(super) fn cancel_lost(&self) {
        let asks = std::mem::take(&mut self.served.lock().asks);
        for serving in asks.values().filter_map(Weak::upgrade) {
            if matches!(serving.kind, Asking::Once(_)) {
                serving.cancelled.store(true, Ordering::Release);
            }
        }
    }

    /// The peer that asked is no more: nobody asks again.
    pub(super) fn forget_served(&self) {
        let running = self.served.lock().dedup.clear();
        for serving in running.iter().filter_map(Weak::upgrade) {
            serving.cancelled.store(true, Ordering::Release);
        }
    }

    /// An ask that may be tried again is answered.
    fn answer_again(&self, id: RequestId, serial: u64, reply: Reply) {
        // That the way on to another node was lost is no answer: the asker tries again, and that try is a new one.
        let way_lost = matches!(reply, Err(AgentError::NodeLost { .. }));
        let mut answer = Vec::new();
        envelope::write_reply(&mut answer, &self.fitting(reply));
        // Kept without room to grow: the table counts its bytes.
        let (answer, now) = (Bytes::from(answer.into_boxed_slice()), self.node.clock().now());
        let to = {
            let mut served = self.served.lock();
            let to = match way_lost {
                true => served.dedup.forget(id, serial),
                false => served.dedup.answered(now, id, serial, &answer),
            };
            to.inspect(|to| drop(served.asks.remove(to)))
        };
        if let Some(to) = to {
            self.repeat(to, &answer);
        }
    }

    /// The same reply, or that it is too large.
    fn fitting(&self, reply: Reply) -> Reply {
        let (size, limit) = (size_of(&reply), self.config.message_bytes_max);
        if size <= limit {
            return reply;
        }
        let reason = format!("the answer's {size} bytes are more than the {limit} that go between nodes");
        Err(AgentError::Failed { reason })
    }

    fn reply(&self, to: Try, reply: Reply) {
        let reply = self.fitting(reply);
        self.write_answer(to, size_of(&reply), |out| envelope::write_reply(out, &reply));
    }

    /// Sends an answer that is encoded.
    fn repeat(&self, to: Try, answer: &Bytes) {
        self.write_answer(to, answer.len() + REQUEST_OVERHEAD, |out| out.extend_from_slice(answer));
    }

    fn write_answer(&self, Try { session, number }: Try, size: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.out.lock();
        if out.core.session() != session {
            return;
        }
        let first = match out.core.admit(size, true) {
            Ok(()) => self.write(&mut out.core, size, Kind::Reply, number, None, write),
            // Its asker was lost with the session.
            Err(Refused::Lost(_)) => return,
            // As bounded as the asks that are served, and short.
            Err(Refused::Full { queued, limit }) => {
                let full = Err(AgentError::Overloaded { queued, limit, shed_below_percent: None });
                let write = |out: &mut Vec<u8>| envelope::write_reply(out, &full);
                self.write(&mut out.core, size_of(&full), Kind::Reply, number, None, write)
            }
        };
        drop(out);
        if first {
            self.work.notify_one();
        }
    }
}

/// The bytes of a reply's envelope at most.
fn size_of(reply: &Reply) -> usize {
    match reply {
        Ok(payload) => payload.bytes().len() + REQUEST_OVERHEAD,
        Err(error) => error.to_string().len() + 2 * REQUEST_OVERHEAD,
    }
}

impl Serving {
    /// Its end is not to be remembered.
    fn forget(&self) {
        if let Asking::Again(id, serial) = self.kind {
            let mut served = self.link.served.lock();
            let to = served.dedup.forget(id, serial);
            to.map(|to| served.asks.remove(&to));
        }
    }
}

impl Ticket for Serving {
    fn is_wanted(&self) -> bool {
        !self.cancelled.load(Ordering::Acquire)
    }

    fn answer(&self, reply: Reply) {
        match self.kind {
            Asking::Again(id, serial) => self.link.answer_again(id, serial, reply),
            Asking::Once(to) => {
                self.link.served.lock().asks.remove(&to);
                if self.is_wanted() {
                    self.link.reply(to, reply);
                }
            }
        }
    }
}

impl Drop for Serving {
    /// Whoever drops it without an answer has not handled it, as far as anybody knows. Nothing but the table's lock is taken: it may be
    /// dropped under another one of a link.
    fn drop(&mut self) {
        self.forget();
    }
}
