//! The clock seam: the only place in the node's crates where time is read.
//!
//! Everything is derived from tokio's clock, so a test that pauses tokio's time pauses Nexus with it (design decision D9).
//! Pure cores never call these functions: they are given a [`Millis`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Milliseconds since the node's clock started. Monotonic; never read by a core, only handed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(u64);

impl Millis {
    /// The instant the clock started.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds after the clock started.
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the clock started.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Millis {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A node's clock: tokio's monotonic time, counted from the node's start, and the wall time of that start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    /// A clock that starts now, at the machine's wall time.
    #[must_use]
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::start_at(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))
    }

    /// A clock that starts now and calls this moment `started_unix_ms`: the form for simulation, where the wall time is an
    /// input like any other.
    #[must_use]
    pub fn start_at(started_unix_ms: u64) -> Self {
        Self { started: Instant::now(), started_unix_ms }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the start, for measuring how long something takes.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The wall time of `at` in milliseconds since 1970 (UTC). A clock that is set while the node runs does not move it.
    #[must_use]
    pub const fn unix_ms(&self, at: Millis) -> u64 {
        self.started_unix_ms.saturating_add(at.0)
    }
}
