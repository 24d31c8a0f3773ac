//! The agents' inboxes, and how much each group of agents did. Costs a few cache misses for each agent that is awake, nothing for
//! those that sleep, and bounds itself: what took long is not done again before a hundred times as long has passed.

use std::sync::Arc;

use serde::Serialize;

use super::Groups;
use crate::agent::AgentCell;
use crate::clock::Millis;
use crate::node::Node;
use crate::performance::core::GroupLoad;
use crate::scheduler::place::{BUCKETS, bucket_of};

/// The part of a core that looking at the agents may take: one in so many.
const COST_MAX: u64 = 100;

/// The agents' inboxes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct InboxReading {
    /// When they were looked at, on the node's clock.
    pub at: Millis,
    /// How long that took, in microseconds. It is not done again before a hundred times as long has passed.
    pub took_us: u64,
    /// Agents that have one: all but those that sleep.
    pub live: u64,
    /// Messages in all of them, those being handled included.
    pub queued: u64,
    /// Messages in the fullest.
    pub deepest: u64,
    /// Whose that is; `None` if all are empty.
    pub deepest_agent: Option<Arc<str>>,
    /// Inboxes that take no more.
    pub full: u64,
}

/// What the agents of a group have done since they were started.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    processed: u64,
    /// The same, each message weighed with the nanoseconds that its agent takes for one.
    weighed: f64,
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub(super) struct InboxSensor {
    last: InboxReading,
    looked_ns: Option<(u64, u64)>,
    /// Messages each group had handled at the last look.
    processed: Vec<u64>,
}

impl InboxSensor {
    pub(super) const fn last(&self) -> &InboxReading {
        &self.last
    }

    /// Looks, if it is time; says what groups did since the last look if `by_group`.
    pub(super) fn read(&mut self, node: &Node, by_group: bool) -> Groups {
        let began = node.clock().nanos();
        if self.looked_ns.is_some_and(|(at, cost)| began.saturating_sub(at) < cost.saturating_mul(COST_MAX)) {
            return Groups::new();
        }
        let mut reading = InboxReading { at: node.clock().now(), ..InboxReading::default() };
        let mut works = vec![Work::default(); if by_group { BUCKETS } else { 0 }];
        node.routes().for_each(|cell| {
            let processed = reading.add(cell);
            if let Some(work) = works.get_mut(bucket_of(cell.id)) {
                work.add(processed, cell.service_ns());
            }
        });
        let cost = node.clock().nanos().saturating_sub(began);
        self.looked_ns = Some((began, cost));
        reading.took_us = cost / 1000;
        self.last = reading;
        self.groups(node, &works)
    }

    fn groups(&mut self, node: &Node, works: &[Work]) -> Groups {
        let known = self.processed.len() == works.len();
        let groups = works.iter().enumerate().filter_map(|(bucket, work)| {
            // Agents that have gone to sleep meanwhile have taken their counts with them.
            let done = work.processed.saturating_sub(*self.processed.get(bucket)?);
            let runtime = node.schedulers()?.runtime_of_bucket(bucket)?;
            (done > 0).then(|| GroupLoad { bucket, runtime, work: work.of(done) })
        });
        let groups = if known { groups.collect() } else { Groups::new() };
        self.processed = works.iter().map(|work| work.processed).collect();
        groups
    }
}

impl InboxReading {
    /// Answers how many messages the agent has handled.
    fn add(&mut self, cell: &Arc<AgentCell>) -> u64 {
        let (queued, processed) = cell.glance();
        self.live += 1;
        self.queued += queued;
        self.full += u64::from(queued >= cell.limit());
        // Of equals the first by name, so that no order of the index is seen.
        if queued > self.deepest
            || queued > 0 && queued == self.deepest && self.deepest_agent.as_ref() > Some(&cell.name)
        {
            (self.deepest, self.deepest_agent) = (queued, Some(cell.name.clone()));
        }
        processed
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of work need no 53 bits")]
impl Work {
    fn add(&mut self, processed: u64, service_ns: u32) {
        self.processed += processed;
        self.weighed += processed as f64 * f64::from(service_ns.max(1));
    }

    /// `done` messages of the group's mean weight.
    fn of(&self, done: u64) -> f64 {
        done as f64 * self.weighed / self.processed.max(1) as f64
    }
}
