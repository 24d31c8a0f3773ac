//! Maximum restart intensity. Source: `add_restart/1` in OTP's `supervisor.erl`. Pure: time arrives as an argument.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Millis;

/// The highest intensity a specification may ask for: a bound on what a supervisor remembers (8 bytes a restart).
pub const INTENSITY_MAX: u32 = 1_000_000;

/// The restarts of the last `period`, of which `max` are allowed.
///
/// As in OTP the window includes its edge: a restart counts until it is *older* than `period`. OTP measures whole seconds,
/// this measures milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Intensity {
    max: u32,
    period: Duration,
    /// Oldest first; at most `max + 1`, since one too many is the last.
    restarts: VecDeque<Millis>,
}

impl Intensity {
    pub(crate) const fn new(max: u32, period: Duration) -> Self {
        Self { max, period, restarts: VecDeque::new() }
    }

    /// Counts a restart at `now`. False if it is one too many within the period.
    #[must_use]
    pub(crate) fn record(&mut self, now: Millis) -> bool {
        while self.restarts.front().is_some_and(|&restart| now.since(restart) > self.period) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        self.restarts.len() as u64 <= u64::from(self.max)
    }

    pub(crate) const fn max(&self) -> u32 {
        self.max
    }

    pub(crate) const fn period(&self) -> Duration {
        self.period
    }

    pub(crate) fn period_ms(&self) -> u64 {
        u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intensity(max: u32, period_ms: u64) -> Intensity {
        Intensity::new(max, Duration::from_millis(period_ms))
    }

    fn records(intensity: &mut Intensity, at: &[u64]) -> Vec<bool> {
        at.iter().map(|&ms| intensity.record(Millis::new(ms))).collect()
    }

    /// Goal: "more than MaxR restarts within MaxT": MaxR are fine at the same instant, the next is not.
    #[test]
    fn allows_max_and_no_more() {
        assert_eq!(records(&mut intensity(2, 5000), &[0, 0, 0]), [true, true, false]);
    }

    /// Goal: with an intensity of zero the first restart is one too many.
    #[test]
    fn zero_allows_none() {
        assert_eq!(records(&mut intensity(0, 5000), &[7]), [false]);
    }

    /// Goal: the window includes its edge (`R >= Now - Period`): exactly one period later still counts, one more
    /// millisecond does not.
    #[test]
    fn the_edge_of_the_window_counts() {
        assert_eq!(records(&mut intensity(1, 5000), &[100, 5100]), [true, false]);
        assert_eq!(records(&mut intensity(1, 5000), &[100, 5101]), [true, true]);
    }

    /// Goal: the window slides: it does not reset when it is full of restarts that are allowed.
    #[test]
    fn the_window_slides() {
        let mut window = intensity(2, 1000);
        assert_eq!(records(&mut window, &[0, 900, 1001, 1902, 1903]), [true, true, true, true, false]);
    }

    /// Goal: memory is bounded by the intensity, however many restarts there were.
    #[test]
    fn remembers_the_window_only() {
        let mut window = intensity(3, 10);
        for ms in 0..10_000_u64 {
            assert!(window.record(Millis::new(ms * 4)));
            assert!(window.restarts.len() <= 3);
        }
    }
}
