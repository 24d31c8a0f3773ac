//! Which agents have been idle for long enough. Pure: time arrives as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Millis;

/// Watched agents in the order in which they may be idle for long enough. An agent is looked at when its time has come, and then
/// again as long after its last activity as its family asks: being active costs it nothing here.
#[derive(Debug)]
pub(crate) struct IdleWatch<T> {
    due: BTreeMap<Turn, T>,
    /// Breaks ties in the order of watching.
    sequence: u64,
}

/// When it is an agent's turn to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    at: Millis,
    sequence: u64,
}

impl<T> Default for IdleWatch<T> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), sequence: 0 }
    }
}

impl<T> IdleWatch<T> {
    /// `agent` is worth a look at `at`.
    pub(crate) fn watch(&mut self, agent: T, at: Millis) -> Turn {
        self.sequence += 1;
        let turn = Turn { at, sequence: self.sequence };
        self.due.insert(turn, agent);
        turn
    }

    /// The agent of this turn is not worth a look any more.
    pub(crate) fn forget(&mut self, turn: Turn) {
        self.due.remove(&turn);
    }

    /// The next agent whose time has come.
    pub(crate) fn next_due(&mut self, now: Millis) -> Option<T> {
        let first = self.due.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }

    /// When the next agent's time comes.
    pub(crate) fn next_at(&self) -> Option<Millis> {
        self.due.first_key_value().map(|(turn, _)| turn.at)
    }
}

/// When an agent that was last active at `active` has been idle for `after`: now or before (`None`), or then.
pub(crate) fn idle_at(active: Millis, after: Duration, now: Millis) -> Option<Millis> {
    let at = active + after;
    (at > now).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: agents come due in the order of their times, equal ones in the order of watching, and never early.
    #[test]
    fn agents_come_due_in_order() {
        let mut watch = IdleWatch::default();
        for (agent, at) in [("late", 30), ("first", 10), ("second", 10)] {
            watch.watch(agent, Millis::new(at));
        }
        let gone = watch.watch("gone", Millis::new(5));
        watch.forget(gone);
        assert_eq!((watch.next_at(), watch.next_due(Millis::new(9))), (Some(Millis::new(10)), None));
        assert_eq!(watch.next_due(Millis::new(10)), Some("first"));
        assert_eq!(watch.next_due(Millis::new(29)), Some("second"));
        assert_eq!(watch.next_due(Millis::new(29)), None);
        assert_eq!((watch.next_due(Millis::new(30)), watch.next_at()), (Some("late"), None));
    }

    /// Goal: an agent is idle exactly `after` its last activity.
    #[test]
    fn idle_is_counted_from_the_last_activity() {
        let after = Duration::from_millis(100);
        assert_eq!(idle_at(Millis::new(50), after, Millis::new(149)), Some(Millis::new(150)));
        assert_eq!(idle_at(Millis::new(50), after, Millis::new(150)), None);
    }
}
