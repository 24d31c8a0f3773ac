//! How busy the runtimes' workers were, from tokio's own counters, and how late their timers fired.

use serde::Serialize;
use std::time::Duration;
use tokio::runtime::Handle;

use crate::node::Node;
use crate::scheduler::{self, BusyTime, Schedulers};

/// A runtime since the look before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuntimeReading {
    /// `system`, or the layout's name for it.
    pub name: String,
    /// Whether agents live on it.
    pub agents: bool,
    /// Its workers.
    pub workers: usize,
    /// The mean of the parts of the time they were busy, 0 to 1. A single long poll counts when it is over.
    pub busy: f64,
    /// How late a timer on it fired at most, in microseconds; one that is due and has not fired counts as well. Below 1 ms is the
    /// timer's own coarseness.
    pub lag_us: u64,
}

/// Where busy times come from.
enum Source {
    Schedulers(Schedulers),
    /// The node has no runtimes but the one that it was started on.
    System(Handle),
}

/// Remembers the look before.
pub(super) struct BusySensor {
    source: Source,
    last_ns: u64,
    last: Vec<Duration>,
}

impl BusySensor {
    pub(super) fn new(node: &Node) -> Self {
        let source = match node.schedulers() {
            Some(schedulers) => Source::Schedulers(schedulers.clone()),
            None => Source::System(Handle::current()),
        };
        let last = source.times().into_iter().map(|time| time.busy).collect();
        Self { source, last_ns: node.clock().nanos(), last }
    }

    /// The runtimes since the last call, with the lags of the same ones.
    pub(super) fn read(&mut self, now_ns: u64, lags: &[u64]) -> Vec<RuntimeReading> {
        let window = Duration::from_nanos(now_ns.saturating_sub(self.last_ns));
        self.last_ns = now_ns;
        let times = self.source.times();
        let several = times.len() > 1;
        let readings = times.iter().enumerate().map(|(at, time)| {
            let before = self.last.get(at).copied().unwrap_or_default();
            RuntimeReading {
                name: time.name.clone(),
                agents: !several || at > 0,
                workers: time.workers,
                busy: part(time.busy.saturating_sub(before), window, time.workers),
                lag_us: lags.get(at).copied().unwrap_or(0),
            }
        });
        let readings = readings.collect();
        self.last = times.into_iter().map(|time| time.busy).collect();
        readings
    }
}

#[expect(clippy::cast_precision_loss, reason = "workers are few")]
fn part(busy: Duration, window: Duration, workers: usize) -> f64 {
    if window.is_zero() || workers == 0 {
        return 0.0;
    }
    (busy.as_secs_f64() / window.as_secs_f64() / workers as f64).min(1.0)
}

impl Source {
    fn times(&self) -> Vec<BusyTime> {
        match self {
            Self::Schedulers(schedulers) => schedulers.busy_times(),
            Self::System(handle) => vec![scheduler::busy_time("system", &handle.metrics())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: parts are of all workers' time, and never more than all of it.
    #[test]
    fn parts_are_of_all_workers_time() {
        let seconds = Duration::from_secs;
        assert_eq!(part(seconds(3), seconds(2), 2), 0.75);
        assert_eq!(part(seconds(9), seconds(2), 2), 1.0);
        assert_eq!((part(seconds(1), Duration::ZERO, 2), part(seconds(1), seconds(1), 0)), (0.0, 0.0));
    }
}
