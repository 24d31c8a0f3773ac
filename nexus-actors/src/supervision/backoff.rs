//! Exponential back-off between restarts: an extension, OTP restarts at once. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SpecError;

/// How long a child waits before each restart: `base · factor^n` after the `n`-th failure in a row (from 0), at most `cap`.
///
/// There is no jitter, so that a replay waits as long as the original. A child that was up for longer than its supervisor's
/// period starts again from `base`. Each attempt counts against the intensity when it is decided, before it waits: with
/// delays longer than the period a supervisor may try for ever without giving up, which is what a back-off is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first delay. Above zero.
    pub base: Duration,
    /// The growth from one delay to the next. At least 1, which makes all delays equal.
    pub factor: u32,
    /// The longest delay. At least `base`.
    pub cap: Duration,
}

impl Backoff {
    /// Doubling delays from `base` to `cap`.
    #[must_use]
    pub const fn doubling(base: Duration, cap: Duration) -> Self {
        Self { base, factor: 2, cap }
    }

    /// The delay after `failures` earlier failures in a row.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let growth = self.factor.checked_pow(failures);
        growth.and_then(|growth| self.base.checked_mul(growth)).map_or(self.cap, |delay| delay.min(self.cap))
    }

    /// Checks the fields' ranges.
    ///
    /// # Errors
    ///
    /// [`SpecError::BadBackoff`] with the values.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.base.is_zero() || self.factor == 0 || self.cap < self.base {
            return Err(SpecError::BadBackoff {
                base_ms: self.base.as_millis(),
                factor: self.factor,
                cap_ms: self.cap.as_millis(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Goal: delays double up to the cap and stay there, however long the row of failures.
    #[test]
    fn doubles_up_to_the_cap() {
        let backoff = Backoff::doubling(ms(100), ms(1000));
        let delays: Vec<_> = (0..6).map(|n| backoff.delay(n).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(u32::MAX), ms(1000));
    }

    /// Goal: a factor of 1 is a constant delay, also after very many failures.
    #[test]
    fn factor_one_is_constant() {
        let backoff = Backoff { base: ms(50), factor: 1, cap: ms(50) };
        assert_eq!((backoff.delay(0), backoff.delay(9999)), (ms(50), ms(50)));
    }

    /// Goal: meaningless values are refused and named.
    #[test]
    fn refuses_nonsense() {
        assert!(Backoff::doubling(ms(1), ms(1)).validate().is_ok());
        for bad in [
            Backoff::doubling(ms(0), ms(10)),
            Backoff { base: ms(1), factor: 0, cap: ms(1) },
            Backoff::doubling(ms(10), ms(9)),
        ] {
            assert!(matches!(bad.validate(), Err(SpecError::BadBackoff { .. })));
        }
    }
}
