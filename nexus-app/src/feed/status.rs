//! What is known of a feed from the outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Malformed records remembered and logged one by one; the rest is counted.
const MALFORMED_KEPT: usize = 10;

/// Where a feed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// Not started yet, or stopped by its supervisor.
    Waiting,
    /// Delivering requests.
    Running,
    /// Told to pause.
    Paused,
    /// Ran to the end of its source.
    Completed,
    /// Stopped with an error.
    Failed,
}

impl FeedState {
    /// Whether the feed has ended by itself.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// A malformed record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedRecord {
    /// The line it starts on.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for MalformedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// A feed as the debug endpoint shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// The feed's name.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: FeedState,
    /// Why it failed, with the place in the source.
    pub error: Option<Arc<str>>,
    /// Records read from the source, malformed ones included. Reading runs a little ahead of delivering.
    pub records: u64,
    /// Requests delivered to agents or, where there was no agent, to the dead letters. Where the feed would go on.
    pub confirmed: u64,
    /// Those of the confirmed requests that were dead-lettered.
    pub dead_lettered: u64,
    /// Malformed records.
    pub malformed: u64,
    /// Requests that came too late to be put in the order of their times.
    pub late: u64,
    /// Requests that were delivered before their turn because `max_reorder_bytes` was reached.
    pub hurried: u64,
    /// Bytes of the source read, as it is packed.
    pub bytes_read: u64,
    /// Bytes of the source in all, if that can be known.
    pub bytes_total: Option<u64>,
    /// Records read per second: lately while it runs, over all once it has ended.
    pub records_per_s: f64,
    /// When it was started first, in milliseconds since 1970 (UTC).
    pub started_unix_ms: Option<u64>,
    /// When it completed or failed.
    pub finished_unix_ms: Option<u64>,
    /// How often it was started again and went on after the last confirmed request.
    pub resumes: u64,
    /// The first malformed records.
    pub first_malformed: Vec<MalformedRecord>,
    /// What the store has of it; none if its place is not kept.
    pub checkpoint: Option<CheckpointStatus>,
    /// Why its place is not kept, so that it begins anew when the process has ended.
    pub not_kept: Option<Arc<str>>,
    /// The node of the cluster that runs it, if that is not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// How often it went back because part of it was lost in the cluster, since its node runs it.
    #[serde(default)]
    pub replays: u64,
    /// While it gives again what it had given: why, and up to where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStatus>,
    /// Agents that have not handled all of it although it is over: they cannot be started, or have stopped.
    #[serde(default)]
    pub behind: u64,
}

/// A feed on its way back to where it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayStatus {
    /// What was lost, as in "replaying after …".
    pub cause: Arc<str>,
    /// The place it went back to.
    pub from: u64,
    /// The place it had come to.
    pub until: u64,
}

/// What the store has of a feed's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// Requests whose effect is kept: where a restarted process goes on.
    pub position: u64,
    /// When it was kept, in milliseconds since 1970 (UTC); none if that was before the process started, or never.
    pub unix_ms: Option<u64>,
    /// Checkpoints in a row that failed since.
    pub failures: u64,
    /// Why the last one failed; it is tried again.
    pub error: Option<Arc<str>>,
}

/// Counters of one pass over a source. The producer writes, everybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) hurried: AtomicU64,
    pub(crate) first_malformed: Mutex<Vec<MalformedRecord>>,
    /// Bytes read, and in all; once the source is open.
    bytes: Mutex<Option<(Arc<AtomicU64>, Option<u64>)>>,
}

impl Counters {
    pub(crate) fn open(&self, read: Arc<AtomicU64>, total: Option<u64>) {
        *self.bytes.lock() = Some((read, total));
    }

    pub(crate) fn bytes(&self) -> (u64, Option<u64>) {
        match &*self.bytes.lock() {
            Some((read, total)) => (read.load(Ordering::Relaxed), *total),
            None => (0, None),
        }
    }

    /// Remembers a malformed record if it is among the first ones; whether it is.
    pub(crate) fn keep_malformed(&self, line: u64, reason: &str) -> bool {
        let mut first = self.first_malformed.lock();
        if first.len() >= MALFORMED_KEPT {
            return false;
        }
        first.push(MalformedRecord { line, reason: reason.to_owned() });
        true
    }
}
