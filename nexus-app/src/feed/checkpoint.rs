//! When a feed's place is kept, and with whose state.
//!
//! ```text
//! delivered:   a b a c │ b a d …            confirmed = 7
//!                      C = 4                 touched since = {a: 6, b: 5, d: 7}
//! ```
//!
//! A checkpoint is a position C, and for every agent reached since the one before the number of the last pair it was given, none
//! of which is past C. It holds once each of these agents has handled that pair and its state is written, and C with it. So the
//! state of every agent covers whatever was delivered up to C, and a feed that goes on at C gives nobody too little; what an agent
//! is given a second time it skips by its number.
//!
//! One checkpoint is under way at a time, and the feed runs on meanwhile. One that failed is kept: what it was about goes into
//! the next, tried after the same time.
//!
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

/// What of a feed is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Pairs confirmed: where the feed goes on.
    pub position: u64,
    /// The agents reached since the last checkpoint with the number of the last pair each was given, in order.
    pub touched: Vec<(AgentId, u64)>,
}

/// One feed's checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    every: Duration,
    /// Agents that no kept checkpoint covers and none under way.
    touched: BTreeMap<AgentId, u64>,
    under_way: Option<Checkpoint>,
    /// The position that is kept.
    kept: u64,
    /// No checkpoint begins before this, unless the feed has nothing else to do.
    due: Millis,
    kept_at: Option<Millis>,
    /// In a row.
    failures: u64,
    error: Option<Arc<str>>,
}

/// The checkpoints as they are seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) position: u64,
    pub(crate) at: Option<Millis>,
    pub(crate) failures: u64,
    pub(crate) error: Option<Arc<str>>,
}

impl Checkpoints {
    /// The first one is due when `every` has passed; `kept` is the position that an earlier process kept.
    pub(crate) const fn new(every: Duration, kept: u64) -> Self {
        Self {
            every,
            touched: BTreeMap::new(),
            under_way: None,
            kept,
            due: Millis::ZERO,
            kept_at: None,
            failures: 0,
            error: None,
        }
    }

    /// An agent was given pair number `pair`.
    pub(crate) fn touch(&mut self, agent: AgentId, pair: u64) {
        self.touched.insert(agent, pair);
    }

    /// The checkpoint to take now: something is to be kept, none is under way, and it is due, or `is_last`. It is under way from
    /// now on, and ends with [`Checkpoints::end`].
    pub(crate) fn begin(&mut self, now: Millis, confirmed: u64, is_last: bool) -> Option<Checkpoint> {
        if self.under_way.is_some() || self.is_kept(confirmed) || (now < self.due && !is_last) {
            return None;
        }
        let touched = std::mem::take(&mut self.touched).into_iter().collect();
        Some(self.under_way.insert(Checkpoint { position: confirmed, touched }).clone())
    }

    /// The checkpoint under way is kept, or failed. Ignored if none is under way.
    pub(crate) fn end(&mut self, now: Millis, outcome: Result<(), Arc<str>>) {
        let Some(Checkpoint { position, touched }) = self.under_way.take() else { return };
        self.due = now + self.every;
        match outcome {
            Ok(()) => {
                (self.kept, self.kept_at) = (position, Some(now));
                (self.failures, self.error) = (0, None);
            }
            Err(error) => {
                for (agent, pair) in touched {
                    // It may have been given more since then.
                    self.touched.entry(agent).or_insert(pair);
                }
                self.failures += 1;
                self.error = Some(error);
            }
        }
    }

    /// Whether all of the `confirmed` pairs are kept.
    pub(crate) const fn is_kept(&self, confirmed: u64) -> bool {
        self.kept == confirmed
    }

    /// Whether one is under way.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(crate) fn overview(&self) -> Overview {
        Overview { position: self.kept, at: self.kept_at, failures: self.failures, error: self.error.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);

    fn agent(name: &str) -> AgentId {
        AgentId::of(name)
    }

    fn sorted<const N: usize>(touched: [(&str, u64); N]) -> Vec<(AgentId, u64)> {
        let touched: BTreeMap<_, _> = touched.into_iter().map(|(name, pair)| (agent(name), pair)).collect();
        touched.into_iter().collect()
    }

    fn at(ms: u64) -> Millis {
        Millis::new(ms)
    }

    /// Goal: a checkpoint covers everybody reached since the one before, with the last pair of each; one at a time; the next when
    /// its time has come and there is something to keep.
    #[test]
    fn a_checkpoint_covers_what_was_reached() {
        let mut checkpoints = Checkpoints::new(EVERY, 0);
        assert_eq!(checkpoints.begin(at(0), 0, true), None, "nothing is to be kept");
        for (pair, name) in (1..).zip(["a", "b", "a", "c"]) {
            checkpoints.touch(agent(name), pair);
        }
        let first = checkpoints.begin(at(5), 4, false).unwrap();
        assert_eq!((first.position, first.touched), (4, sorted([("a", 3), ("b", 2), ("c", 4)])));
        for (pair, name) in (5..).zip(["b", "a", "d"]) {
            checkpoints.touch(agent(name), pair);
        }
        assert_eq!(checkpoints.begin(at(500), 7, true), None, "one is under way");
        assert!(!checkpoints.is_kept(4));
        checkpoints.end(at(510), Ok(()));
        assert!(checkpoints.is_kept(4) && !checkpoints.is_kept(7));
        assert_eq!(checkpoints.begin(at(609), 7, false), None, "not yet due");
        let second = checkpoints.begin(at(610), 7, false).unwrap();
        assert_eq!((second.position, second.touched), (7, sorted([("a", 6), ("b", 5), ("d", 7)])));
        checkpoints.end(at(611), Ok(()));
        assert_eq!(checkpoints.begin(at(9999), 7, true), None, "everything is kept");
        let Overview { position, at, failures, error } = checkpoints.overview();
        assert_eq!((position, at, failures, error), (7, Some(Millis::new(611)), 0, None));
    }

    /// Goal: what a failed checkpoint was about goes into the next, with what came since; the last one waits for no interval.
    #[test]
    fn a_failed_checkpoint_is_kept_and_tried_again() {
        let mut checkpoints = Checkpoints::new(EVERY, 10);
        checkpoints.touch(agent("a"), 11);
        checkpoints.touch(agent("b"), 12);
        assert_eq!(checkpoints.begin(at(0), 12, false).map(|one| one.touched.len()), Some(2));
        checkpoints.touch(agent("a"), 13);
        checkpoints.end(at(1), Err("no room".into()));
        let seen = checkpoints.overview();
        assert_eq!((seen.position, seen.failures, seen.error.as_deref()), (10, 1, Some("no room")));
        assert_eq!(checkpoints.begin(at(50), 13, false), None, "not before its time");
        let again = checkpoints.begin(at(50), 13, true).unwrap();
        assert_eq!((again.position, again.touched), (13, sorted([("a", 13), ("b", 12)])));
        checkpoints.end(at(60), Err("still none".into()));
        assert_eq!(checkpoints.overview().failures, 2);
        assert!(checkpoints.begin(at(160), 13, false).is_some());
        checkpoints.end(at(161), Ok(()));
        let seen = checkpoints.overview();
        assert_eq!((seen.position, seen.failures, seen.error), (13, 0, None));
        checkpoints.end(at(200), Err("nobody asked".into()));
        assert_eq!(checkpoints.overview().failures, 0, "none was under way");
    }
}
