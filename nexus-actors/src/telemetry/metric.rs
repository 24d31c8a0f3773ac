//! What the hot path counts. Everything else is summed up from the agents' own counters when somebody looks.

use std::sync::atomic::AtomicU64;
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
    /// `store.committed`: seconds a commit took, failed ones included.
    commit_duration: Histogram<f64>,
}

impl Metrics {
    /// Instruments made by `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            updates: AtomicU64::new(0),
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
        self.message_duration.record(took.as_secs_f64(), &[]);
    }
}
