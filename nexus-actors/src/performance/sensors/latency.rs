//! What handling a message took, from the samples that the hosts take for the node's metrics: one message in 64.

use serde::Serialize;

use crate::telemetry::Metrics;

/// Messages timed since the look before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyReading {
    /// How many were timed.
    pub timed: u64,
    /// Half of them took no longer than this, in microseconds, as far as the histogram's buckets tell; `None`: longer than its last
    /// bound, a second.
    pub p50_us: Option<f64>,
    /// The same of 99 in a hundred.
    pub p99_us: Option<f64>,
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub(super) struct LatencySensor {
    last: Vec<u64>,
}

impl LatencySensor {
    /// The messages since the last call; `None` if none was timed.
    pub(super) fn read(&mut self, metrics: &Metrics) -> Option<LatencyReading> {
        self.since(metrics.message_durations().collect())
    }

    /// Each bucket has its upper bound in seconds and its count so far.
    fn since(&mut self, buckets: Vec<(f64, u64)>) -> Option<LatencyReading> {
        let before = |at: usize| self.last.get(at).copied().unwrap_or(0);
        let new: Vec<(f64, u64)> = buckets
            .iter()
            .enumerate()
            .map(|(at, (bound, count))| (*bound, count.saturating_sub(before(at))))
            .collect();
        self.last = buckets.into_iter().map(|(_, count)| count).collect();
        let timed = new.iter().map(|(_, count)| count).sum();
        (timed > 0).then(|| LatencyReading {
            timed,
            p50_us: quantile_us(&new, timed.div_ceil(2)),
            p99_us: quantile_us(&new, timed - timed / 100),
        })
    }
}

/// The upper bound of the bucket that the `rank`th smallest is in.
fn quantile_us(buckets: &[(f64, u64)], rank: u64) -> Option<f64> {
    let mut seen = 0;
    let bound = buckets.iter().find(|(_, count)| {
        seen += count;
        seen >= rank
    });
    bound.map(|(bound, _)| bound * 1e6).filter(|us| us.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: quantiles are of what came since the look before, and bounded by their buckets.
    #[test]
    fn quantiles_are_of_the_window() {
        let mut sensor = LatencySensor::default();
        let buckets = |a, b, over| vec![(1e-6, a), (1e-3, b), (f64::INFINITY, over)];
        assert_eq!(sensor.since(buckets(0, 0, 0)), None);
        let reading = sensor.since(buckets(98, 2, 0)).unwrap();
        assert_eq!((reading.timed, reading.p50_us, reading.p99_us), (100, Some(1.0), Some(1e3)));
        let reading = sensor.since(buckets(98, 2, 1)).unwrap();
        assert_eq!((reading.timed, reading.p50_us), (1, None));
        assert_eq!(sensor.since(buckets(98, 2, 1)), None);
    }
}
