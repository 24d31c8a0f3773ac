//! Which agents have been idle for long enough. Pure: time arrives as an argument.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::clock::Millis;

/// Watched agents in the order in which they may be idle for long enough. An agent is looked at when its time has come, and then
/// again as long after its last activity as its family asks: being active costs it nothing here.
#[derive(Debug)]
pub(crate) struct IdleWatch<T> {
    due: BinaryHeap<Reverse<Entry<T>>>,
    /// Breaks ties in the order of watching.
    sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Millis,
    sequence: u64,
    agent: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<T> Default for IdleWatch<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> IdleWatch<T> {
    /// `agent` is worth a look at `at`.
    pub(crate) fn watch(&mut self, agent: T, at: Millis) {
        self.sequence += 1;
        self.due.push(Reverse(Entry { at, sequence: self.sequence, agent }));
    }

    /// The next agent whose time has come.
    pub(crate) fn next_due(&mut self, now: Millis) -> Option<T> {
        if self.due.peek()?.0.at > now {
            return None;
        }
        self.due.pop().map(|entry| entry.0.agent)
    }

    /// When the next agent's time comes.
    pub(crate) fn next_at(&self) -> Option<Millis> {
        self.due.peek().map(|entry| entry.0.at)
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
