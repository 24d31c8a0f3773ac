//! Asks that may come twice: which of the peer's are being handled here, and what the others were answered. No locks, no tasks; time is
//! handed in.
//!
//! All tries of such an ask have one id. The first is handed to its agent; one that comes while that runs joins it, which is to say that the
//! answer goes to the last try; one that comes later is given the answer that was kept. What is kept belongs to a life of the
//! peer, not to a session: it is when a session is lost that there is a second try.
//!
//! Three limits hold: on asks, running ones included, on the bytes of kept answers, of which one may always be kept, and on their
//! age. What is answered is forgotten oldest first; a try that comes after that is handed on as if it were the first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::agent::RequestId;
use nexus_actors::clock::Millis;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Try {
    pub(super) session: u64,
    pub(super) number: u64,
}

/// What is remembered at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) asks: usize,
    pub(super) answer_bytes: u64,
    pub(super) kept_for: Duration,
}

/// See the module. `R` is what its owner has of an ask that runs.
#[derive(Debug)]
pub(super) struct Dedup<R> {
    limits: Limits,
    asks: BTreeMap<RequestId, Ask<R>>,
    /// Those that are answered, and when that was, oldest first.
    answered: VecDeque<(Millis, RequestId)>,
    answer_bytes: u64,
    next_serial: u64,
}

#[derive(Debug)]
enum Ask<R> {
    Running(Running<R>),
    Answered(Bytes),
}

#[derive(Debug)]
struct Running<R> {
    serial: u64,
    to: Try,
    owned: R,
}

/// What becomes of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<R> {
    /// It is the first that is known of.
    New,
    /// Another one is being handled, which was this try's turn to be answered.
    Joined(Try, R),
    /// It was answered so.
    Answered(Bytes),
    /// So many are being handled that it cannot be remembered.
    Full,
}

impl<R: Clone> Dedup<R> {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, asks: BTreeMap::new(), answered: VecDeque::new(), answer_bytes: 0, next_serial: 0 }
    }

    /// Asks that are remembered and answered, and the bytes of their answers.
    pub(super) fn kept(&self) -> (usize, u64) {
        (self.answered.len(), self.answer_bytes)
    }

    /// Whether another try of it has come.
    pub(super) fn knows(&self, id: RequestId) -> bool {
        self.asks.contains_key(&id)
    }

    /// A try has come. If it is [`New`](Asked::New), `start` has been called with the number by which its end is to be told.
    pub(super) fn asked(
        &mut self,
        now: Millis,
        id: RequestId,
        to: Try,
        start: impl FnOnce(u64) -> R,
    ) -> Asked<R> {
        self.pass(now);
        match self.asks.get_mut(&id) {
            Some(Ask::Running(running)) => {
                return Asked::Joined(std::mem::replace(&mut running.to, to), running.owned.clone());
            }
            Some(Ask::Answered(answer)) => return Asked::Answered(answer.clone()),
            None => {}
        }
        if self.asks.len() >= self.limits.asks && !self.forget_oldest() {
            return Asked::Full;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.asks.insert(id, Ask::Running(Running { serial, to, owned: start(serial) }));
        Asked::New
    }

    /// An ask is answered: who waits for it. `None` if it is not remembered.
    pub(super) fn answered(
        &mut self,
        now: Millis,
        id: RequestId,
        serial: u64,
        answer: &Bytes,
    ) -> Option<Try> {
        let to = self.running(id, serial)?.to;
        self.asks.insert(id, Ask::Answered(answer.clone()));
        self.answered.push_back((now, id));
        self.answer_bytes += answer.len() as u64;
        while self.answer_bytes > self.limits.answer_bytes && self.answered.len() > 1 {
            self.forget_oldest();
        }
        Some(to)
    }

    /// An ask has ended and is not to be remembered: the next try of it is a first one. Who waits for it.
    pub(super) fn forget(&mut self, id: RequestId, serial: u64) -> Option<Try> {
        let to = self.running(id, serial)?.to;
        self.asks.remove(&id);
        Some(to)
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Millis) {
        while self.answered.front().is_some_and(|(at, _)| now.since(*at) >= self.limits.kept_for) {
            self.forget_oldest();
        }
    }

    /// There will be no second try of anything so far. What the owner has of those that run.
    pub(super) fn clear(&mut self) -> Vec<R> {
        self.answered.clear();
        self.answer_bytes = 0;
        let asks = std::mem::take(&mut self.asks).into_values();
        asks.filter_map(|ask| match ask {
            Ask::Running(running) => Some(running.owned),
            Ask::Answered(_) => None,
        })
        .collect()
    }

    /// Unless another ask has its id by now.
    fn running(&self, id: RequestId, serial: u64) -> Option<&Running<R>> {
        match self.asks.get(&id)? {
            Ask::Running(running) if running.serial == serial => Some(running),
            Ask::Running(_) | Ask::Answered(_) => None,
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, id)) = self.answered.pop_front() else { return false };
        if let Some(Ask::Answered(answer)) = self.asks.remove(&id) {
            self.answer_bytes -= answer.len() as u64;
        }
        true
    }
}

#[cfg(test)]
#[path = "dedup_test.rs"]
mod dedup_test;
