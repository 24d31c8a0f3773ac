//! Delays: how many flights were how many minutes late. Exact: delays are whole minutes, so counting each value keeps
//! everything there is to know in a few hundred entries, where a histogram would round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A multiset of delays in minutes. Its size is bounded by the range of delays a [`Flight`](super::Flight) may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Flights by minutes late.
    counts: BTreeMap<i32, u64>,
    /// The sum of `counts`' values.
    count: u64,
    /// The sum of all delays.
    sum: i64,
}

/// What is said about delays; all in minutes. The statistics are nil while there are none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelaySummary {
    /// Delays known.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Median, by nearest rank.
    pub p50: Option<i32>,
    /// 90th percentile, by nearest rank.
    pub p90: Option<i32>,
    /// 99th percentile, by nearest rank.
    pub p99: Option<i32>,
}

impl Delays {
    /// Adds one delay.
    pub fn add(&mut self, minutes: i32) {
        *self.counts.entry(minutes).or_insert(0) += 1;
        self.count += 1;
        self.sum += i64::from(minutes);
    }

    /// Delays added.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Flights by minutes late.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<i32, u64> {
        &self.counts
    }

    /// Arithmetic mean in minutes.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        mean(self.sum, self.count)
    }

    /// The smallest delay that at least `percent` of 100 delays do not exceed: the ⌈percent/100 · N⌉th of N in ascending
    /// order (nearest-rank percentile: definition 1 of Hyndman and Fan, Sample Quantiles in Statistical Packages, 1996). It is
    /// always a delay that occurred. `percent` is 1 to 100; more counts as 100 and 0 as the smallest.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<i32> {
        let percent = u128::from(percent.min(100));
        let rank = (percent * u128::from(self.count)).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(&minutes, &count)| {
            seen += u128::from(count);
            (seen >= rank).then_some(minutes)
        })
    }

    /// Count, mean and percentiles.
    #[must_use]
    pub fn summary(&self) -> DelaySummary {
        DelaySummary {
            count: self.count,
            mean: self.mean(),
            p50: self.percentile(50),
            p90: self.percentile(90),
            p99: self.percentile(99),
        }
    }
}

/// A count and a sum: enough for a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mean {
    count: u64,
    sum: i64,
}

impl Mean {
    pub(super) fn add(&mut self, minutes: i32) {
        self.count += 1;
        self.sum += i64::from(minutes);
    }

    pub(super) const fn count(self) -> u64 {
        self.count
    }

    pub(super) fn value(self) -> Option<f64> {
        mean(self.sum, self.count)
    }

    /// Whether this mean is higher than `other`'s: exact, where quotients might round two means to one. No mean is the
    /// lowest.
    pub(super) fn exceeds(self, other: Self) -> bool {
        match (self.count, other.count) {
            (0, _) => false,
            (_, 0) => true,
            _ => {
                i128::from(self.sum) * i128::from(other.count)
                    > i128::from(other.sum) * i128::from(self.count)
            }
        }
    }
}

fn mean(sum: i64, count: u64) -> Option<f64> {
    // Exact below 2^53, which is a sum of delays no fleet reaches.
    (count > 0).then(|| sum as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delays(minutes: &[i32]) -> Delays {
        let mut delays = Delays::default();
        minutes.iter().for_each(|&minutes| delays.add(minutes));
        delays
    }

    /// Goal: nothing is said about no delays, and one delay is every percentile.
    #[test]
    fn none_and_one() {
        let none = Delays::default().summary();
        assert_eq!(none, DelaySummary { count: 0, mean: None, p50: None, p90: None, p99: None });
        let one = delays(&[-3]).summary();
        assert_eq!(
            one,
            DelaySummary { count: 1, mean: Some(-3.0), p50: Some(-3), p90: Some(-3), p99: Some(-3) }
        );
    }

    /// Goal: the standard example of the nearest-rank method.
    #[test]
    fn nearest_rank() {
        let five = delays(&[15, 20, 35, 40, 50]);
        let found = [0, 5, 30, 40, 50, 100, 255].map(|percent| five.percentile(percent));
        assert_eq!(found, [15, 15, 20, 20, 35, 50, 50].map(Some));
        assert_eq!(five.mean(), Some(32.0));
    }

    /// Goal: means are compared exactly, and a missing one is the lowest.
    #[test]
    fn comparing_means() {
        let mean = |count, sum| Mean { count, sum };
        assert!(mean(3, 10).exceeds(mean(2, 6)));
        assert!(!mean(2, 6).exceeds(mean(1, 3)) && !mean(1, 3).exceeds(mean(2, 6)));
        assert!(mean(1, -5).exceeds(mean(0, 0)) && !mean(0, 0).exceeds(mean(1, -5)));
    }

    proptest! {
        /// Goal: counting gives what sorting gives. Method: the ⌈p·N/100⌉th of the sorted delays.
        #[test]
        fn percentile_is_the_sorted_vectors(
            mut minutes in proptest::collection::vec(-60_i32..300, 1..400),
            percent in 1_u8..=100,
        ) {
            let delays = delays(&minutes);
            minutes.sort_unstable();
            let rank = (f64::from(percent) * minutes.len() as f64 / 100.0).ceil() as usize;
            prop_assert_eq!(delays.percentile(percent), Some(minutes[rank - 1]));
            prop_assert_eq!(delays.count(), minutes.len() as u64);
        }

        /// Goal: a snapshot gives the same delays back.
        #[test]
        fn reads_back(minutes in proptest::collection::vec(-60_i32..300, 0..50)) {
            let delays = delays(&minutes);
            let stored = nexus_actors::agent::Payload::encode(&delays).unwrap();
            prop_assert_eq!(stored.decode::<Delays>().unwrap(), delays);
        }
    }
}
