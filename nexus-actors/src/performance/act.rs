//! How actions are carried out. Each looks at the agents that are awake, at most once: not for an async thread.

use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use super::core::Action;
use crate::agent::{AgentCell, AgentMessage, HostMessage, Phase};
use crate::clock::Millis;
use crate::node::Node;
use crate::scheduler::place::bucket_of;

/// An agent that may be told to sleep. The least idle is the greatest.
struct Candidate {
    rested_at: Millis,
    cell: Arc<AgentCell>,
}

impl Candidate {
    /// Equal ones by name, so that no order of the index is seen.
    fn order(&self) -> (Millis, &str) {
        (self.rested_at, &self.cell.name)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Node {
    /// Does what `action` says, and tells in words what came of it; `None` if there was nothing to do.
    pub(super) fn carry_out(&self, action: &Action) -> Option<String> {
        let outcome = match action {
            Action::Hibernate { agents, idle } => {
                let told = self.hibernate_longest_idle(*agents as usize, *idle);
                return (told > 0)
                    .then(|| format!("agents told to hibernate, the longest idle first: {told}"));
            }
            Action::Shrink => return self.shrink(),
            Action::SetBatch { from, to } => {
                self.controls().set_batch(*to);
                format!("agents handle {to} messages in a turn, not {from}")
            }
            Action::SetShedBelow { to: 0, .. } => {
                self.controls().set_shed_below(0);
                "requests of every priority are admitted".to_owned()
            }
            Action::SetShedBelow { to, .. } => {
                self.controls().set_shed_below(*to);
                format!("requests of a priority below {:.2} are refused", f64::from(*to) / 100.0)
            }
            Action::Move { buckets, from, to } => self.move_groups(buckets, *from, *to),
        };
        Some(outcome)
    }

    /// Gives up what is kept for convenience.
    fn shrink(&self) -> Option<String> {
        let mut bytes = 0;
        self.routes().for_each(|cell| bytes += cell.shrink());
        let dropped = self.dead_letters().shrink();
        (bytes + dropped > 0).then(|| {
            format!("{bytes} bytes of spare room in inboxes given back, {dropped} dead letters forgotten")
        })
    }

    /// Everything as it is without a monitor; groups that were moved stay where they are.
    pub(super) fn controls_at_rest(&self) {
        self.controls().set_batch(self.batch_configured());
        self.controls().set_shed_below(0);
    }

    /// Tells the agents that have been idle the longest, and for `idle` at least, to hibernate: at most `max` of those that can.
    /// Answers how many were told. One that does not follow, because a message came or its state cannot be written down, counts as
    /// idle since now, so that it does not stand in the way of the others.
    pub(crate) fn hibernate_longest_idle(&self, max: usize, idle: Duration) -> usize {
        let now = self.clock().now();
        let mut longest: BinaryHeap<Candidate> = BinaryHeap::new();
        self.routes().for_each(|cell| {
            let rested_at = cell.rested_at();
            if !may_sleep(cell) || rested_at + idle > now || cell.glance().0 > 0 {
                return;
            }
            if longest.len() < max {
                longest.push(Candidate { rested_at, cell: cell.clone() });
            } else if let Some(mut least) = longest.peek_mut()
                && (rested_at, &*cell.name) < least.order()
            {
                *least = Candidate { rested_at, cell: cell.clone() };
            }
        });
        let told = longest.into_sorted_vec();
        told.iter()
            .filter(|candidate| {
                candidate.cell.rested(now);
                tell_to_sleep(&candidate.cell)
            })
            .count()
    }

    /// Places the agents of `buckets` on runtime `to` from their next start on, and has that start come soon for those that can sleep:
    /// whoever has nothing to do at the moment ends, and the next message, which may be waiting already, wakes it there.
    fn move_groups(&self, buckets: &[usize], from: usize, to: usize) -> String {
        let Some(schedulers) = self.schedulers() else { return "there are no runtimes".to_owned() };
        let moved: BTreeSet<usize> =
            buckets.iter().copied().filter(|bucket| schedulers.move_bucket(*bucket, to).is_some()).collect();
        let (mut sleepers, mut staying) = (Vec::new(), 0_usize);
        self.routes().for_each(|cell| {
            if !moved.contains(&bucket_of(cell.id)) {
            } else if may_sleep(cell) {
                sleepers.push(cell.clone());
            } else {
                staying += 1;
            }
        });
        let told = sleepers.iter().filter(|cell| tell_to_sleep(cell)).count();
        let name = |at: usize| schedulers.layout().runtimes.get(at).map_or("?", |runtime| &runtime.name);
        format!(
            "{} groups placed on {} instead of {}: {told} agents told to move, {staying} stay until their next start",
            moved.len(),
            name(to),
            name(from)
        )
    }
}

/// Whether it is awake, and could sleep.
fn may_sleep(cell: &AgentCell) -> bool {
    cell.can_sleep() && cell.phase() == Phase::Live && !cell.is_retired()
}

/// `false` if its actor has ended meanwhile.
fn tell_to_sleep(cell: &AgentCell) -> bool {
    cell.actor().is_some_and(|actor| actor.cast(AgentMessage::Host(HostMessage::Hibernate)).is_ok())
}
