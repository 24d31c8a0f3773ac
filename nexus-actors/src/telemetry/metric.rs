//! What the hot path counts. Everything else is summed up from the agents' own counters when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter};

/// Bucket bounds in seconds: from the clock's resolution to the reactive level's promise (1 ms) and well past it.
const DURATION_BOUNDS: [f64; 14] =
    [500e-9, 1e-6, 2e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 10e-3, 100e-3, 1.0];

/// Bucket bounds in seconds: from a file system in memory to a disk that is in trouble.
const COMMIT_BOUNDS: [f64; 12] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 100e-3, 1.0, 10.0];

/// A node's own instruments.
#[derive(Debug)]
pub struct Metrics {
    /// `agent.state_updated`: updates handled to the end.
    pub(crate) updates: AtomicU64,
    /// `agent.message_processed`: seconds a behavior took for a message; one message in 64 is timed.
    message_duration: Histogram<f64>,
    /// The same samples by bucket, for readers within the node: the exporter's instrument can only be written. One more than there
    /// are bounds, for what takes longer.
    message_durations: [AtomicU64; DURATION_BOUNDS.len() + 1],
    /// `store.committed`: seconds a commit took, failed ones included.
    commit_duration: Histogram<f64>,
}

impl Metrics {
    /// Instruments made by `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            updates: AtomicU64::new(0),
            message_durations: Default::default(),
            message_duration: meter
                .f64_histogram("nexus.agent.message.duration")
                .with_unit("s")
                .with_description("Time a behavior takes to handle a message; one message in 64 is timed")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            commit_duration: meter
                .f64_histogram("nexus.store.commit.duration")
                .with_unit("s")
                .with_description("Time a commit of the store takes, failed ones included")
                .with_boundaries(COMMIT_BOUNDS.to_vec())
                .build(),
        }
    }

    pub(crate) fn commit_duration(&self, took: Duration) {
        self.commit_duration.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn message_duration(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.message_duration.record(seconds, &[]);
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        self.message_durations[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Timed messages so far: each bucket's upper bound in seconds, the last one's infinite, and how many fell into it.
    pub(crate) fn message_durations(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.message_durations.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
