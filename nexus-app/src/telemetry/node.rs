//! The node's own counters as metrics. No labels per agent: a million of them would be a million time series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::agent::{AgentStatus, Tally};
use nexus_actors::route::DeadLetterReason;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How old a look at the agents may be when an instrument is read: all instruments of one export share one look.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(1);

/// One look at the node.
#[derive(Debug, Default)]
struct Sample {
    agents: BTreeMap<(Arc<str>, &'static str), u64>,
    tally: Tally,
    deepest_inbox: u64,
    dead_letters: Vec<(DeadLetterReason, u64)>,
    dormant: u64,
    updates: u64,
    refused: u64,
    events: Vec<(&'static str, u64)>,
}

impl Sample {
    fn restarts(&self) -> u64 {
        let restarted = self.events.iter().find(|(name, _)| *name == "supervision.child_restarted");
        restarted.map_or(0, |(_, count)| *count)
    }

    fn take(node: &Node) -> Self {
        let mut agents = BTreeMap::new();
        let mut deepest_inbox = 0;
        for agent in node.agents() {
            *agents.entry((agent.behavior, status_name(agent.status))).or_default() += 1;
            deepest_inbox = deepest_inbox.max(agent.queued);
        }
        Self {
            agents,
            deepest_inbox,
            tally: node.tally(),
            dead_letters: node.dead_letters().counts(),
            dormant: node.dormant_count() as u64,
            updates: node.updates(),
            refused: node.refused(),
            events: node.events().counts(),
        }
    }
}

pub(crate) const fn status_name(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Starting => "starting",
        AgentStatus::Running => "running",
        AgentStatus::Down => "down",
        AgentStatus::Stopped => "stopped",
        AgentStatus::Dormant => "dormant",
        AgentStatus::Moving => "moving",
    }
}

/// The last look at the node, shared by its instruments.
pub(super) struct NodeMetrics {
    node: Node,
    last: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl NodeMetrics {
    /// Makes the instruments.
    pub(super) fn observe(meter: &Meter, node: Node) -> Arc<Self> {
        let observed = Arc::new(Self { node, last: Mutex::new(None) });
        observed.observe_agents(meter);
        observed.observe_messages(meter);
        observed
    }

    /// The next instrument that is read looks anew.
    pub(super) fn refresh(&self) {
        *self.last.lock() = None;
    }

    /// Held while the look is taken, so that two exports at a time look once.
    fn sample(&self) -> Arc<Sample> {
        let mut last = self.last.lock();
        if let Some((taken, sample)) = &*last
            && taken.elapsed() < SAMPLE_AGE_MAX
        {
            return sample.clone();
        }
        let sample = Arc::new(Sample::take(&self.node));
        *last = Some((Instant::now(), sample.clone()));
        sample
    }

    fn observe_agents(self: &Arc<Self>, meter: &Meter) {
        let this = self.clone();
        meter
            .u64_observable_gauge("nexus.agents")
            .with_description("Agents that have an inbox, by behavior and status")
            .with_callback(move |observer| {
                for ((behavior, status), count) in &this.sample().agents {
                    let labels =
                        [KeyValue::new("behavior", behavior.clone()), KeyValue::new("status", *status)];
                    observer.observe(*count, &labels);
                }
            })
            .build();
        self.gauge(meter, "nexus.agents.dormant", "Agents that sleep until a message wakes them", |sample| {
            sample.dormant
        });
        self.gauge(meter, "nexus.inbox.depth.max", "Messages in the fullest inbox", |sample| {
            sample.deepest_inbox
        });
        self.counter(
            meter,
            "nexus.agent.state_updates",
            "Updates handled to the end, also those that were refused",
            |sample| sample.updates,
        );
        self.counter(
            meter,
            "nexus.restarts",
            "Restarts of agents, supervisors and workers",
            Sample::restarts,
        );
        let this = self.clone();
        meter
            .u64_observable_counter("nexus.events.emitted")
            .with_description("Events: starts, exits, restarts and the like, by name")
            .with_callback(move |observer| {
                for (name, count) in &this.sample().events {
                    observer.observe(*count, &[KeyValue::new("event", *name)]);
                }
            })
            .build();
    }

    fn observe_messages(self: &Arc<Self>, meter: &Meter) {
        self.counter(meter, "nexus.messages.sent", "Attempts to send a message", |sample| sample.tally.sent);
        self.counter(meter, "nexus.messages.processed", "Messages handled to the end", |sample| {
            sample.tally.processed
        });
        self.counter(
            meter,
            "nexus.messages.rejected",
            "Messages refused because an inbox was full or their priority too low",
            |sample| sample.tally.rejected,
        );
        self.counter(
            meter,
            "nexus.messages.refused",
            "Messages among the processed ones that were sent, not asked, and answered with an error",
            |sample| sample.refused,
        );
        self.gauge(meter, "nexus.messages.queued", "Messages waiting or being handled", |sample| {
            sample.tally.queued
        });
        let this = self.clone();
        meter
            .u64_observable_counter("nexus.messages.dead_lettered")
            .with_description("Messages that could not be handled, by reason")
            .with_callback(move |observer| {
                for (reason, count) in &this.sample().dead_letters {
                    observer.observe(*count, &[KeyValue::new("reason", reason.name())]);
                }
            })
            .build();
    }

    fn counter(
        self: &Arc<Self>,
        meter: &Meter,
        name: &'static str,
        description: &'static str,
        read: impl Fn(&Sample) -> u64 + Send + Sync + 'static,
    ) {
        let this = self.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(&this.sample()), &[]))
            .build();
    }

    fn gauge(
        self: &Arc<Self>,
        meter: &Meter,
        name: &'static str,
        description: &'static str,
        read: impl Fn(&Sample) -> u64 + Send + Sync + 'static,
    ) {
        let this = self.clone();
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(&this.sample()), &[]))
            .build();
    }
}
