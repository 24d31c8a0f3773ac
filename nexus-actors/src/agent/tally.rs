//! Message counters.

use serde::{Deserialize, Serialize};

/// Message counters; sums of them obey `sent = processed + rejected + dead_lettered + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Every attempt to send.
    pub sent: u64,
    /// Handled to the end.
    pub processed: u64,
    /// Refused: inbox full.
    pub rejected: u64,
    /// Accepted or addressed to nobody, and not handled to the end.
    pub dead_lettered: u64,
    /// Waiting or being handled.
    pub queued: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.processed += other.processed;
        self.rejected += other.rejected;
        self.dead_lettered += other.dead_lettered;
        self.queued += other.queued;
    }
}
