//! Typed events: what happened on this node, in one order, kept in a bounded ring and sent live to whoever listens.
//!
//! Names follow the source document's monitoring section (`agent.started`, `agent.message_processed`, …); the supervision
//! and feed events are added in the same style. Frequent events (`agent.message_processed`, `agent.state_updated`) are
//! counted and timed in the metrics, never kept one by one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokio::sync::broadcast;

use super::cluster_event::ClusterEvent;
use crate::agent::Operation;
use crate::clock::{Clock, Millis};
use crate::performance::Vitals;
use crate::supervision::ExitReason;

/// Something that happened on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// An agent's `pre_start` succeeded and it is about to handle its inbox.
    #[serde(rename = "agent.started")]
    AgentStarted {
        /// The agent's name.
        agent: Arc<str>,
        /// Registered name of its behavior.
        behavior: Arc<str>,
        /// 1 for the first start, one more for each restart.
        incarnation: u64,
    },
    /// An agent ended; its supervisor decides what follows.
    #[serde(rename = "agent.stopped")]
    AgentStopped {
        /// The agent's name.
        agent: Arc<str>,
        /// Why.
        reason: ExitReason,
        /// Messages still waiting in its inbox, kept for the next incarnation if there is one.
        queued: u64,
    },
    /// An agent's intelligence level was asked to change.
    #[serde(rename = "agent.intelligence_adapted")]
    AgentIntelligenceAdapted {
        /// The agent's name.
        agent: Arc<str>,
        /// The level that was asked for.
        requested: Arc<str>,
        /// The level that serves the agent from now on.
        granted: Arc<str>,
    },
    /// A supervisor or child was started by its supervisor.
    #[serde(rename = "supervision.child_started")]
    ChildStarted {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
    },
    /// A child exited by itself and its supervisor saw it. What the supervisor made of it follows: restarts, terminations, an
    /// escalation, or nothing.
    #[serde(rename = "supervision.child_exited")]
    ChildExited {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// Why it ended.
        reason: ExitReason,
    },
    /// A child was started again.
    #[serde(rename = "supervision.child_restarted")]
    ChildRestarted {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// How often this child has been restarted so far.
        restarts: u64,
        /// The child whose exit caused this: the same one, or a sibling under one-for-all and rest-for-one.
        cause: Arc<str>,
        /// Why that child ended.
        reason: ExitReason,
    },
    /// A child was terminated by its supervisor: on request, by a sibling's exit, or because the supervisor ends.
    #[serde(rename = "supervision.child_terminated")]
    ChildTerminated {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// Why the supervisor ended it.
        why: Arc<str>,
        /// How it ended.
        reason: ExitReason,
    },
    /// A child could not be started or restarted.
    #[serde(rename = "supervision.start_failed")]
    StartFailed {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// The start function's error.
        reason: ExitReason,
    },
    /// A child will be started again, after its back-off.
    #[serde(rename = "supervision.restart_delayed")]
    RestartDelayed {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// How long it waits, in milliseconds.
        delay_ms: u64,
        /// Why it ended, or why its last start failed.
        reason: ExitReason,
    },
    /// A killed child did not reach an await point in time. Its supervisor goes on without it; it still occupies its thread.
    #[serde(rename = "supervision.child_unresponsive")]
    ChildUnresponsive {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// Id of the child under it.
        child: Arc<str>,
        /// How long the supervisor waited after the kill, in milliseconds.
        waited_ms: u64,
    },
    /// A supervisor gave up and ends: its intensity was exceeded.
    #[serde(rename = "supervision.escalated")]
    Escalated {
        /// Path of the supervisor.
        supervisor: Arc<str>,
        /// The exit that was one too many, with its causes.
        reason: ExitReason,
    },
    /// An agent of this node lives on another one now.
    #[serde(rename = "agent.moved")]
    AgentMoved {
        /// The agent's name.
        agent: Arc<str>,
        /// Where it lives.
        to: Arc<str>,
    },
    /// Two nodes ran an agent, and this one's went on: the other one's state was merged into it.
    #[serde(rename = "agent.merged")]
    AgentMerged {
        /// The agent's name.
        agent: Arc<str>,
        /// Where it has stopped.
        loser: Arc<str>,
    },
    /// Two nodes ran an agent, and it was decided who goes on.
    #[serde(rename = "agent.duplicate")]
    AgentDuplicate {
        /// The agent's name, or its key where only that is known.
        agent: Arc<str>,
        /// Where it goes on.
        winner: Arc<str>,
        /// Where it stops.
        loser: Arc<str>,
    },
    /// An idle agent went to sleep: its state is written down, its actor has ended.
    #[serde(rename = "agent.hibernated")]
    AgentHibernated {
        /// The agent's name.
        agent: Arc<str>,
        /// Size of its state in bytes.
        state_bytes: u64,
    },
    /// An idle agent's state could not be written down: it stays awake.
    #[serde(rename = "agent.not_hibernated")]
    AgentNotHibernated {
        /// The agent's name.
        agent: Arc<str>,
        /// What the encoder said.
        reason: Arc<str>,
    },
    /// A dormant agent did not wake, however often it was tried: its messages are dead letters, its state is kept.
    #[serde(rename = "agent.wake_failed")]
    AgentWakeFailed {
        /// The agent's name.
        agent: Arc<str>,
        /// Messages that waited for it.
        letters: u64,
    },
    /// The store does not write: agents that must write before they answer refuse updates. It tries again by itself.
    #[serde(rename = "store.degraded")]
    StoreDegraded {
        /// The store's file.
        store: Arc<str>,
        /// What is wrong and what to do.
        reason: Arc<str>,
    },
    /// The store writes again.
    #[serde(rename = "store.recovered")]
    StoreRecovered {
        /// The store's file.
        store: Arc<str>,
        /// How long it did not, in milliseconds.
        after_ms: u64,
    },
    /// An agent's record in the store is damaged: it is put aside, and the agent begins anew.
    #[serde(rename = "store.snapshot_damaged")]
    SnapshotDamaged {
        /// The agent's name.
        agent: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// An agent's state could not be given to the store.
    #[serde(rename = "store.snapshot_failed")]
    SnapshotFailed {
        /// The agent's name.
        agent: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// A message was dead-lettered. At most one such event is kept per reason and second; the counters have them all.
    #[serde(rename = "route.dead_letter")]
    DeadLetter {
        /// The target's name.
        target: Arc<str>,
        /// Why it could not be handled.
        reason: Arc<str>,
    },
    /// A request that was sent, not asked, got an error for an answer. At most one such event is kept per second; the counters
    /// have them all.
    #[serde(rename = "agent.request_refused")]
    RequestRefused {
        /// The agent's name.
        agent: Arc<str>,
        /// Query, update or action.
        operation: Operation,
        /// The request's key.
        key: SmolStr,
        /// The behavior's answer.
        reason: Arc<str>,
    },
    /// A feed started or resumed.
    #[serde(rename = "feed.started")]
    FeedStarted {
        /// The feed's name.
        feed: Arc<str>,
        /// Requests already confirmed by an earlier incarnation, which will not be sent again.
        resumed_at: u64,
    },
    /// A feed ran to the end of its source.
    #[serde(rename = "feed.completed")]
    FeedCompleted {
        /// The feed's name.
        feed: Arc<str>,
        /// Records read.
        records: u64,
        /// Requests sent to agents.
        requests: u64,
        /// Records that were malformed and went to the reject file.
        malformed: u64,
    },
    /// A feed stopped with an error.
    #[serde(rename = "feed.failed")]
    FeedFailed {
        /// The feed's name.
        feed: Arc<str>,
        /// What went wrong, with the place in the source.
        error: Arc<str>,
    },
    /// The node has come under pressure, or is out of it.
    #[serde(rename = "performance.pressure_changed")]
    PressureChanged {
        /// `memory`, `cpu` or `imbalance`.
        measure: Arc<str>,
        /// Whether it is pressed from now on.
        pressed: bool,
        /// The reading and the level it was judged by.
        reason: Arc<str>,
        /// What was read.
        readings: Vitals,
    },
    /// The performance monitor did something about a pressure, or took it back when the pressure was over.
    #[serde(rename = "performance.acted")]
    Acted {
        /// `memory`, `cpu` or `imbalance`.
        measure: Arc<str>,
        /// `hibernate`, `shrink`, `lower_batch`, `restore_batch`, `shed`, `admit` or `move`.
        action: Arc<str>,
        /// The reading and the level it was judged by.
        reason: Arc<str>,
        /// What came of it.
        outcome: Arc<str>,
        /// What was read.
        readings: Vitals,
    },
    /// A client was disconnected for what it did or did not do. At most one such event is kept per reason and second; the
    /// counters have them all.
    #[serde(rename = "clients.cut_off")]
    ClientCutOff {
        /// The client's number, 1 for the node's first.
        client: u64,
        /// Its address.
        peer: Arc<str>,
        /// `slow`, `unresponsive`, `rate_limited`, `too_long`, `protocol` or `text`.
        reason: Arc<str>,
    },
    /// Something happened between nodes.
    #[serde(untagged)]
    Cluster(ClusterEvent),
}

impl Event {
    /// The event's stable dotted name, as in `/debug/events` and in the metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AgentStarted { .. } => "agent.started",
            Self::AgentStopped { .. } => "agent.stopped",
            Self::AgentIntelligenceAdapted { .. } => "agent.intelligence_adapted",
            Self::ChildStarted { .. } => "supervision.child_started",
            Self::ChildExited { .. } => "supervision.child_exited",
            Self::ChildRestarted { .. } => "supervision.child_restarted",
            Self::ChildTerminated { .. } => "supervision.child_terminated",
            Self::StartFailed { .. } => "supervision.start_failed",
            Self::RestartDelayed { .. } => "supervision.restart_delayed",
            Self::ChildUnresponsive { .. } => "supervision.child_unresponsive",
            Self::Escalated { .. } => "supervision.escalated",
            Self::AgentMoved { .. } => "agent.moved",
            Self::AgentMerged { .. } => "agent.merged",
            Self::AgentDuplicate { .. } => "agent.duplicate",
            Self::AgentHibernated { .. } => "agent.hibernated",
            Self::AgentNotHibernated { .. } => "agent.not_hibernated",
            Self::AgentWakeFailed { .. } => "agent.wake_failed",
            Self::StoreDegraded { .. } => "store.degraded",
            Self::StoreRecovered { .. } => "store.recovered",
            Self::SnapshotDamaged { .. } => "store.snapshot_damaged",
            Self::SnapshotFailed { .. } => "store.snapshot_failed",
            Self::DeadLetter { .. } => "route.dead_letter",
            Self::RequestRefused { .. } => "agent.request_refused",
            Self::FeedStarted { .. } => "feed.started",
            Self::FeedCompleted { .. } => "feed.completed",
            Self::FeedFailed { .. } => "feed.failed",
            Self::PressureChanged { .. } => "performance.pressure_changed",
            Self::Acted { .. } => "performance.acted",
            Self::ClientCutOff { .. } => "clients.cut_off",
            Self::Cluster(event) => event.name(),
        }
    }
}

impl Event {
    /// Writes what an operator should not have to look for into the log.
    fn log(&self) {
        match self {
            Self::ChildRestarted { supervisor, child, restarts, cause, reason } => {
                tracing::warn!(%supervisor, %child, restarts, %cause, %reason, "restarted");
            }
            Self::StartFailed { supervisor, child, reason } => {
                tracing::warn!(%supervisor, %child, %reason, "start failed");
            }
            Self::ChildUnresponsive { supervisor, child, waited_ms } => {
                tracing::error!(%supervisor, %child, waited_ms, "does not end, although it was killed");
            }
            Self::Escalated { supervisor, reason } => tracing::error!(%supervisor, %reason, "gave up"),
            Self::AgentNotHibernated { agent, reason } => {
                tracing::warn!(%agent, %reason, "cannot hibernate");
            }
            Self::AgentWakeFailed { agent, letters } => tracing::error!(%agent, letters, "did not wake"),
            Self::StoreDegraded { store, reason } => {
                tracing::error!(%store, %reason, "the store does not write")
            }
            Self::StoreRecovered { store, after_ms } => {
                tracing::warn!(%store, after_ms, "the store writes again");
            }
            Self::SnapshotDamaged { agent, reason } => tracing::error!(%agent, %reason, "damaged snapshot"),
            Self::SnapshotFailed { agent, reason } => tracing::warn!(%agent, %reason, "state not stored"),
            Self::DeadLetter { target, reason } => tracing::warn!(agent = %target, %reason, "dead letter"),
            Self::RequestRefused { agent, operation, key, reason } => {
                tracing::warn!(%agent, operation = operation.name(), %key, %reason, "refused a request that nobody asked");
            }
            Self::PressureChanged { measure, pressed: true, reason, .. } => {
                tracing::warn!(%measure, %reason, "under pressure");
            }
            Self::PressureChanged { measure, reason, .. } => {
                tracing::info!(%measure, %reason, "out of pressure");
            }
            Self::Acted { measure, action, reason, outcome, .. } => {
                tracing::info!(%measure, %action, %reason, "{outcome}");
            }
            Self::ClientCutOff { client, peer, reason } => {
                tracing::warn!(client, %peer, %reason, "cut off a client");
            }
            Self::Cluster(event) => event.log(),
            _ => {}
        }
    }
}

/// An event with its place in the node's order of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// 1 for the node's first event, without gaps.
    pub seq: u64,
    /// When, on the node's clock.
    pub at: Millis,
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// The node's event log: the last `capacity` events and a live stream. Cheap to clone, shared by everything on the node.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    capacity: usize,
    /// Guards order: the ring and the live stream see events in the same sequence.
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<EventRecord>>,
    emitted: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    next_seq: u64,
    records: VecDeque<Arc<EventRecord>>,
    /// Events emitted, by name.
    counts: BTreeMap<&'static str, u64>,
}

impl Events {
    /// An empty log that keeps the last `capacity` events (at least 1).
    #[must_use]
    pub fn new(clock: Clock, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        // A listener that falls behind by more than this is told how many it missed.
        let (live, _) = broadcast::channel(capacity.clamp(16, 4096));
        Self {
            inner: Arc::new(Inner {
                clock,
                capacity,
                ring: Mutex::new(Ring { next_seq: 1, records: VecDeque::new(), counts: BTreeMap::new() }),
                live,
                emitted: AtomicU64::new(0),
            }),
        }
    }

    /// Appends `event`, stamps it and sends it to every listener.
    pub fn emit(&self, event: Event) {
        event.log();
        let at = self.inner.clock.now();
        let mut ring = self.inner.ring.lock();
        let seq = ring.next_seq;
        ring.next_seq += 1;
        *ring.counts.entry(event.name()).or_default() += 1;
        let record = Arc::new(EventRecord { seq, at, unix_ms: self.inner.clock.unix_ms(at), event });
        if ring.records.len() == self.inner.capacity {
            ring.records.pop_front();
        }
        ring.records.push_back(record.clone());
        self.inner.emitted.store(seq, Ordering::Relaxed);
        // Fails only when nobody listens.
        let _ = self.inner.live.send(record);
    }

    /// Events emitted since the node started, kept or not.
    #[must_use]
    pub fn emitted(&self) -> u64 {
        self.inner.emitted.load(Ordering::Relaxed)
    }

    /// Events emitted since the node started, by [`Event::name`], in its order; names that never happened are absent.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.inner.ring.lock().counts.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// At most `limit` of the kept events after `seq`, oldest first, and the newest event's place in the order. Costs only what
    /// it gives.
    #[must_use]
    pub fn page(&self, seq: u64, limit: usize) -> (Vec<Arc<EventRecord>>, u64) {
        let ring = self.inner.ring.lock();
        let newest = ring.next_seq - 1;
        let first_kept = ring.next_seq - ring.records.len() as u64;
        // There are no gaps, so the place in the order gives the place in the ring.
        let skipped = usize::try_from(seq.saturating_add(1).saturating_sub(first_kept)).unwrap_or(usize::MAX);
        (ring.records.iter().skip(skipped).take(limit).cloned().collect(), newest)
    }

    /// A stream of the events from now on. A listener that falls behind by more than the stream holds is told so.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<EventRecord>> {
        self.inner.live.subscribe()
    }

    /// The kept events after `seq` (0: all that are kept), oldest first, and a stream of those that follow without a gap.
    #[must_use]
    pub fn since(&self, seq: u64) -> (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>) {
        let ring = self.inner.ring.lock();
        let kept = ring.records.iter().filter(|record| record.seq > seq).cloned().collect();
        (kept, self.inner.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(agent: &str) -> Event {
        Event::AgentStopped { agent: agent.into(), reason: ExitReason::Normal, queued: 0 }
    }

    /// Goal: events between nodes look like the others to whoever reads them, and come back as what they were.
    #[test]
    fn events_between_nodes_are_events() {
        let event = Event::Cluster(ClusterEvent::MemberSuspect { node: "b".into() });
        let record = EventRecord { seq: 1, at: Millis::ZERO, unix_ms: 2, event: event.clone() };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"seq":1,"at":0,"unix_ms":2,"event":"cluster.member_suspect","node":"b"}"#);
        assert_eq!(serde_json::from_str::<EventRecord>(&text).unwrap().event, event);
        assert_eq!(
            serde_json::from_str::<EventRecord>(&text).unwrap().event.name(),
            "cluster.member_suspect"
        );
    }

    /// Goal: the ring forgets the oldest, numbers stay without gaps, and a listener continues where the kept ones end.
    #[test]
    fn keeps_the_last_and_streams_the_rest() {
        let events = Events::new(Clock::start_at(0), 2);
        for agent in ["a", "b", "c"] {
            events.emit(stopped(agent));
        }
        let (kept, mut live) = events.since(0);
        assert_eq!(kept.iter().map(|record| record.seq).collect::<Vec<_>>(), [2, 3]);
        events.emit(stopped("d"));
        let next = live.try_recv().expect("a listener receives what follows");
        assert_eq!((next.seq, &next.event), (4, &stopped("d")));
        assert_eq!(events.since(3).0.len(), 1);
        assert_eq!(events.emitted(), 4);
        let page = |seq, limit| events.page(seq, limit).0.iter().map(|record| record.seq).collect::<Vec<_>>();
        assert_eq!(
            (page(0, 1), page(0, 9), page(3, 9), page(u64::MAX, 9)),
            (vec![3], vec![3, 4], vec![4], vec![])
        );
        assert_eq!(events.page(0, 0).1, 4);
        assert_eq!(events.counts(), [("agent.stopped", 4)]);
    }
}
