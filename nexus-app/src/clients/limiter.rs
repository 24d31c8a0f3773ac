//! How often a client may speak: the generic cell rate algorithm of `governor`, with time passed in.
//!
//! Source: ITU-T I.371, Annex A.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use nexus_actors::clock::Millis;

/// The time that the limiter was last told.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Clock for Told {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One client's rate. Some 60 bytes.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Duration>>,
}

impl Limiter {
    /// `rate` messages a second, `burst` at once after a pause; both at least 1.
    pub(super) fn new(rate: u32, burst: u32, now: Millis) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst));
        Self { rate: RateLimiter::direct_with_clock(quota, Told(AtomicU64::new(now.get()))) }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// The time until one is welcome, at least 1 ms; then it was not counted.
    pub(super) fn check(&self, now: Millis) -> Result<(), Duration> {
        let clock = self.rate.clock();
        clock.0.store(now.get(), Ordering::Relaxed);
        self.rate.check().map_err(|until| until.wait_time_from(clock.now()).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a burst passes, then one message in each interval.
    #[test]
    fn bursts_and_then_the_rate() {
        let limiter = Limiter::new(10, 3, Millis::new(1_000_000));
        let at = |ms: u64| limiter.check(Millis::new(1_000_000 + ms)).is_ok();
        assert_eq!([at(0), at(0), at(0), at(0), at(50)], [true, true, true, false, false]);
        assert_eq!([at(100), at(101), at(200)], [true, false, true]);
        let wait = limiter.check(Millis::new(1_000_201)).unwrap_err();
        assert!((1..=100).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!([at(10_000), at(10_000), at(10_000), at(10_000)], [true, true, true, false]);
    }
}
