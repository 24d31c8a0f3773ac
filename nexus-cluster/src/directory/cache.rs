//! Answers of other nodes, for a while. Bounded: the oldest goes first.

use std::collections::VecDeque;
use std::time::Duration;

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::table::{Stamp, Table};

/// Where names were said to be. A stamp's epoch is the time of the answer here.
#[derive(Debug)]
pub(crate) struct Cache {
    table: Table,
    /// Answers by age. One that is not in the table any more, or newer there, is passed by.
    ages: VecDeque<(Millis, AgentId)>,
    ttl: Duration,
    len_max: usize,
}

impl Cache {
    pub(crate) fn new(ttl: Duration, len_max: usize) -> Self {
        Self { table: Table::new(), ages: VecDeque::new(), ttl, len_max }
    }

    pub(crate) const fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.ages.capacity() * size_of::<(Millis, AgentId)>()
    }

    /// The place of the node that `id` was said to be at.
    pub(crate) fn get(&self, id: AgentId) -> Option<u16> {
        self.table.get(id).map(Stamp::place)
    }

    /// Keeps an answer; returns what it put out.
    pub(crate) fn insert(&mut self, now: Millis, id: AgentId, place: u16) -> Option<AgentId> {
        self.table.insert(id, Stamp::new(now.get(), place));
        self.ages.push_back((now, id));
        // Answers that were replaced are in `ages` twice, so it is what is bounded.
        if self.ages.len() > self.len_max { self.pop() } else { None }
    }

    pub(crate) fn remove(&mut self, id: AgentId) -> bool {
        self.table.remove(id).is_some()
    }

    /// Removes what is too old, and returns it.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<AgentId> {
        let mut gone = Vec::new();
        while self.ages.front().is_some_and(|(at, _)| *at + self.ttl <= now) {
            gone.extend(self.pop());
        }
        gone
    }

    /// Gives each answer the place that `keep` returns, or removes it; returns those removed.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(AgentId, u16) -> Option<u16>) -> Vec<AgentId> {
        let mut gone = Vec::new();
        self.table.retain(|id, stamp| {
            let kept = keep(id, stamp.place());
            if kept.is_none() {
                gone.push(id);
            }
            kept.map(|place| Stamp::new(stamp.epoch(), place))
        });
        gone
    }

    fn pop(&mut self) -> Option<AgentId> {
        let (at, id) = self.ages.pop_front()?;
        (self.table.get(id)?.epoch() == at.get()).then(|| self.table.remove(id).map(|_| id)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: age and bound. Method: answers given again count from then, and the oldest makes room.
    #[test]
    fn the_oldest_goes() {
        let id = |n: u128| AgentId::from_key(n << 100);
        let mut cache = Cache::new(Duration::from_millis(100), 3);
        assert_eq!(cache.insert(Millis::new(0), id(1), 5), None);
        assert_eq!(cache.insert(Millis::new(10), id(2), 6), None);
        assert_eq!(cache.insert(Millis::new(50), id(1), 7), None);
        assert_eq!(cache.expire(Millis::new(109)), []);
        assert_eq!(cache.expire(Millis::new(110)), [id(2)]);
        assert_eq!((cache.get(id(1)), cache.get(id(2))), (Some(7), None));
        for n in 3..5 {
            assert_eq!(cache.insert(Millis::new(120), id(n), 1), None);
        }
        assert_eq!(cache.insert(Millis::new(121), id(5), 1), Some(id(1)));
        assert_eq!(cache.retain(|_, place| (place > 1).then_some(0)), [id(3), id(4), id(5)]);
        assert_eq!(cache.len(), 0);
    }
}
