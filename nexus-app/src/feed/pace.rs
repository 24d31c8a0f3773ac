//! When the next request is due.
//!
//! Pure: the time arrives as an argument.

use std::time::Duration;

use nexus_actors::clock::Millis;

use super::config::Replay;
use super::time::EventTime;

/// How far a feed at a rate may fall behind and still catch up; beyond, the lost time is not made up in one burst.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The pace of one feed. It starts with the first request it is asked about, which is due at once.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    replay: Replay,
    start: Option<Start>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    /// When the first request was due.
    at: Millis,
    /// The record it came from.
    record: u64,
    /// The latest record asked about. Requests in the order of their times come from records back and forth; an earlier
    /// record must not look like a feed that has fallen behind.
    reached: u64,
    /// The first time seen, and when a request of that time is due.
    time: Option<(EventTime, Millis)>,
}

impl Pace {
    pub(crate) const fn new(replay: Replay) -> Self {
        Self { replay, start: None }
    }

    /// When the request of `record` with time `at` is due; `now` or earlier means at once.
    ///
    /// At a rate, what counts are records of the source, so that a record that becomes nothing leaves a gap. At a speed, a
    /// request without a time is due at once, and so is one from before the first.
    pub(crate) fn due(&mut self, now: Millis, record: u64, at: Option<EventTime>) -> Millis {
        let start = self.start.get_or_insert(Start { at: now, record, reached: record, time: None });
        match self.replay {
            Replay::Fast => now,
            Replay::Rate(per_second) => {
                start.reached = start.reached.max(record);
                let due = start.at + scaled(start.reached - start.record, 1000.0 / per_second);
                let behind = now.since(due + CATCH_UP_MAX);
                start.at = start.at + behind;
                due + behind
            }
            Replay::Speed(factor) => {
                let Some(at) = at else {
                    return now;
                };
                let (first, first_due) = *start.time.get_or_insert((at, now));
                let ahead = u64::try_from(at.get().saturating_sub(first.get())).unwrap_or(0);
                first_due + scaled(ahead, 1.0 / factor)
            }
        }
    }

    /// It starts anew with the next request.
    pub(crate) const fn restart(&mut self) {
        self.start = None;
    }

    /// The feed stood still for `span`: everything that follows is due that much later.
    pub(crate) fn shift(&mut self, span: Duration) {
        if let Some(start) = &mut self.start {
            start.at = start.at + span;
            if let Some((_, due)) = &mut start.time {
                *due = *due + span;
            }
        }
    }
}

/// `count` × `ms` milliseconds, rounded up, so that nothing is early.
fn scaled(count: u64, ms: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "half a millisecond in 100,000 years")]
    let total = (count as f64 * ms).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; casts saturate")]
    Duration::from_millis(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Option<EventTime> {
        Some(EventTime::new(ms))
    }

    #[test]
    fn fast_is_always_due() {
        let mut pace = Pace::new(Replay::Fast);
        assert_eq!(pace.due(Millis::new(7), 1, None), Millis::new(7));
        assert_eq!(pace.due(Millis::new(9), 900, at(9_000_000)), Millis::new(9));
    }

    /// Goal: a rate counts from the first record asked about, does not depend on when it is asked, and makes up for one second
    /// of standstill, not for more.
    #[test]
    fn rate_counts_records() {
        let mut pace = Pace::new(Replay::Rate(250.0));
        assert_eq!(pace.due(Millis::new(1000), 41, None), Millis::new(1000));
        assert_eq!(pace.due(Millis::new(1000), 42, None), Millis::new(1004));
        assert_eq!(pace.due(Millis::new(1500), 291, None), Millis::new(2000));
        assert_eq!(pace.due(Millis::new(2500), 291, None), Millis::new(2000), "half a second is made up for");
        assert_eq!(pace.due(Millis::new(9000), 291, None), Millis::new(8000), "six seconds are not");
        assert_eq!(pace.due(Millis::new(9000), 541, None), Millis::new(9000));
        assert_eq!(pace.due(Millis::new(9000), 40, None), Millis::new(9000), "goes with the latest");
    }

    #[test]
    fn speed_scales_the_times() {
        let mut pace = Pace::new(Replay::Speed(3600.0));
        assert_eq!(pace.due(Millis::new(10), 1, None), Millis::new(10));
        let hour = 3_600_000;
        assert_eq!(
            pace.due(Millis::new(500), 1, at(5 * hour)),
            Millis::new(500),
            "the first time starts the clock"
        );
        assert_eq!(pace.due(Millis::new(500), 2, at(6 * hour)), Millis::new(1500));
        assert_eq!(pace.due(Millis::new(900), 3, at(4 * hour)), Millis::new(500), "late: due already");
        assert_eq!(pace.due(Millis::new(900), 3, at(6 * hour + 1)), Millis::new(1501), "never early");
        pace.shift(Duration::from_secs(60));
        assert_eq!(pace.due(Millis::new(61_000), 4, at(7 * hour)), Millis::new(62_500));
    }
}
