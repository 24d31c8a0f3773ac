//! Which side of a partition goes on.
//!
//! Dynamic voting with ordered names: the set of members that last saw each other for long enough is the agreed one. Whoever sees
//! more than half of it goes on, and so does whoever sees exactly half if the smallest name is on that side; everyone else is in the
//! minority until it sees most of them again. Once the majority's view has been the same for a while it becomes the agreed one, so
//! that a cluster that shrinks one by one keeps working; those that leave on purpose are taken out at once.
//!
//! Source: Jajodia and Mutchler, "Dynamic Voting Algorithms for Maintaining the Consistency of a Replicated Database" (1990),
//! dynamic-linear voting. Unlike there, the views are not agreed by a commit protocol but by time: two sides of a partition that
//! comes while views differ may both go on. It is a policy for availability; what must be safe uses consensus.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_actors::clock::Millis;
use serde::{Deserialize, Serialize};

use crate::NodeName;

/// What a node does that sees fewer than most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionPolicy {
    /// Both sides go on.
    #[default]
    Available,
    /// The side without a majority says that it is in the minority.
    Quorum,
}

/// On which side of a partition a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PartitionState {
    /// It sees enough, or does not count.
    Whole,
    /// It sees too few of the members last agreed on.
    Minority {
        /// Those of them that it sees, itself included.
        reachable: usize,
        /// How many they are.
        agreed: usize,
    },
}

/// Counts members against those last agreed on.
#[derive(Clone, Debug)]
pub struct Quorum {
    policy: PartitionPolicy,
    agree_after: Duration,
    agreed: BTreeSet<NodeName>,
    /// The last view, and since when it is the same.
    view: BTreeSet<NodeName>,
    since: Millis,
    state: PartitionState,
}

impl Quorum {
    /// Nobody is agreed on yet.
    #[must_use]
    pub fn new(policy: PartitionPolicy, agree_after: Duration) -> Self {
        Self {
            policy,
            agree_after,
            agreed: BTreeSet::new(),
            view: BTreeSet::new(),
            since: Millis::ZERO,
            state: PartitionState::Whole,
        }
    }

    /// Whether it counts at all.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.policy == PartitionPolicy::Quorum
    }

    /// On which side this node is.
    #[must_use]
    pub fn state(&self) -> PartitionState {
        self.state
    }

    /// A member went on purpose: it is not missed.
    pub fn left(&mut self, name: &NodeName) {
        self.agreed.remove(name);
    }

    /// The members seen at `now`, this node among them. Call it when they change and from time to time. Says how the state changed,
    /// if it did.
    pub fn observe(&mut self, now: Millis, alive: &BTreeSet<NodeName>) -> Option<PartitionState> {
        if !self.counts() {
            return None;
        }
        if self.view != *alive {
            self.view.clone_from(alive);
            self.since = now;
        }
        let reachable = self.agreed.intersection(alive).count();
        let agreed = self.agreed.len();
        let tie_is_ours = self.agreed.first().is_none_or(|smallest| alive.contains(smallest));
        let most = reachable * 2 > agreed || (reachable * 2 == agreed && tie_is_ours);
        let state = if most {
            // Whoever is new is missed from now on; who is gone, until the view is old enough.
            self.agreed.extend(alive.iter().cloned());
            if now.since(self.since) >= self.agree_after {
                self.agreed.clone_from(alive);
            }
            PartitionState::Whole
        } else {
            PartitionState::Minority { reachable, agreed }
        };
        (std::mem::replace(&mut self.state, state) != state).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> BTreeSet<NodeName> {
        names.split(' ').map(|name| name.parse().unwrap()).collect()
    }

    fn quorum() -> Quorum {
        let mut quorum = Quorum::new(PartitionPolicy::Quorum, Duration::from_secs(30));
        assert_eq!(quorum.observe(Millis::ZERO, &names("a b c d")), None);
        quorum
    }

    /// Goal: of two halves exactly one goes on, the one with the smallest name; fewer never do; healing ends it.
    #[test]
    fn one_side_goes_on() {
        for (side, whole) in [("a b", true), ("c d", false), ("a d", true), ("b c d", true), ("a", false)] {
            let mut quorum = quorum();
            let change = quorum.observe(Millis::new(1), &names(side));
            assert_eq!(change.is_none(), whole, "{side}");
            if let Some(state) = change {
                let reachable = side.split(' ').count();
                assert_eq!(state, PartitionState::Minority { reachable, agreed: 4 });
                let healed = quorum.observe(Millis::new(2), &names("a b c d"));
                assert_eq!(healed, Some(PartitionState::Whole));
            }
        }
    }

    /// Goal: a minority never becomes the agreed set however long it lasts, a majority does after its time and not before.
    #[test]
    fn the_majority_agrees_anew_and_the_minority_never() {
        let (mut most, mut few) = (quorum(), quorum());
        for second in 1..=100 {
            most.observe(Millis::new(second * 1000), &names("b c d"));
            few.observe(Millis::new(second * 1000), &names("a"));
            // 2 of 4 without the smallest name are not enough; 2 of 3 are.
            let mut shrunk = most.clone();
            let change = shrunk.observe(Millis::new(second * 1000), &names("c d"));
            assert_eq!(change.is_none(), second > 30, "after {second} s");
        }
        assert_eq!(few.state(), PartitionState::Minority { reachable: 1, agreed: 4 });
    }

    /// Goal: those that left are not missed, and policy `available` never counts.
    #[test]
    fn leavers_are_not_missed() {
        let mut quorum = quorum();
        quorum.left(&"a".parse().unwrap());
        quorum.left(&"b".parse().unwrap());
        assert_eq!(quorum.observe(Millis::new(1), &names("c")), None);
        let mut available = Quorum::new(PartitionPolicy::Available, Duration::from_secs(30));
        available.observe(Millis::ZERO, &names("a b c"));
        assert_eq!(available.observe(Millis::new(1), &names("c")), None);
        assert_eq!(available.state(), PartitionState::Whole);
    }
}
