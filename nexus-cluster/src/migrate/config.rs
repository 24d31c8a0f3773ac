//! How patient a move is, and how much of it there may be at a time.

use std::time::Duration;

use crate::OutOfRange;
use crate::range::{check_numbers, check_times};

/// See each field. The defaults suit one data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationConfig {
    /// After how long without an answer something is said again. Default 200 ms; above the usual round trip.
    pub retry: Duration,
    /// How long an agent may take to finish the message at hand before it stays where it is. Default 30 s.
    pub depart: Duration,
    /// Bytes of a part of a state, 1 KiB to 1 MiB. Default 256 KiB: a control message, of which at most 4 MiB may wait.
    pub part_bytes: usize,
    /// The longest state that moves, in bytes. Default 16 MiB. Longer ones stay where they are.
    pub state_bytes_max: usize,
    /// Agents that may be on their way to this node at a time, 1 to 4,096. Default 64. More are refused, and come later.
    pub arrivals_max: usize,
    /// Agents that a drain has on their way at a time, 1 to 4,096. Default 32.
    pub batch: usize,
}

impl Default for MigrationConfig {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(200),
            depart: Duration::from_secs(30),
            part_bytes: 256 << 10,
            state_bytes_max: 16 << 20,
            arrivals_max: 64,
            batch: 32,
        }
    }
}

impl MigrationConfig {
    /// Whether the values are in range.
    ///
    /// # Errors
    /// Which is not.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        check_times(&[("retry", self.retry), ("depart", self.depart)])?;
        check_numbers(&[
            ("part_bytes", self.part_bytes, 1 << 10, 1 << 20),
            ("state_bytes_max", self.state_bytes_max, 1, 1 << 30),
            ("arrivals_max", self.arrivals_max, 1, 4096),
            ("batch", self.batch, 1, 4096),
        ])
    }
}
