//! How patient a directory is, and how much it keeps.

use std::time::Duration;

use thiserror::Error;

/// See each field. The defaults suit one data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// Copies of an entry beside its owner's: R. Default 2. More survive more losses at once and cost as much memory and traffic each.
    pub successors: usize,
    /// How long a registration or a look-up may take before it is answered `TimedOut`. Default 2 s; more than `retry`.
    pub timeout: Duration,
    /// After how long without an answer it is asked again. Default 200 ms; above the usual round trip.
    pub retry: Duration,
    /// How often what is shared with others is compared with theirs, [`repair_peers`](Self::repair_peers) at a time. Default 1 s.
    pub repair: Duration,
    /// With how many others at a time. Default 8: a lost update is repaired within N/8 seconds in a cluster of N.
    pub repair_peers: usize,
    /// How many others are compared with at once after the ring has changed, each [`retry`](Self::retry). Default 64.
    pub handoff_peers: usize,
    /// How long after a change of the ring an owner that has not heard from all others may not say that a name is unknown. Default
    /// 5 s: a member that answers nobody holds up the registration of new names for as long.
    pub settle: Duration,
    /// How long the shell may take to judge a duplicate before the higher claim wins. Default 500 ms.
    pub merge: Duration,
    /// How long a cached answer is used. Default 30 s: the bound for answers that nobody corrects.
    pub cache_ttl: Duration,
    /// Cached answers at most; the oldest goes. Default 1,000,000.
    pub cache_max: usize,
    /// Entries held for others at most. Default 16,000,000. Further names are refused.
    pub held_max: usize,
    /// Registrations and look-ups under way at most. Default 65,536. Further ones are answered `Overloaded`.
    pub pending_max: usize,
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        Self {
            successors: 2,
            timeout: Duration::from_secs(2),
            retry: Duration::from_millis(200),
            repair: Duration::from_secs(1),
            repair_peers: 8,
            handoff_peers: 64,
            settle: Duration::from_secs(5),
            merge: Duration::from_millis(500),
            cache_ttl: Duration::from_secs(30),
            cache_max: 1_000_000,
            held_max: 16_000_000,
            pending_max: 65_536,
        }
    }
}

/// The values do not fit together. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectoryConfigError {
    /// Nothing would ever be asked twice.
    #[error("timeout ({timeout:?}) must be longer than retry ({retry:?})")]
    Impatient {
        /// As configured.
        timeout: Duration,
        /// As configured.
        retry: Duration,
    },
    /// A value that must be more than zero is zero.
    #[error("{name} must be more than 0")]
    Zero {
        /// Which.
        name: &'static str,
    },
}

impl DirectoryConfig {
    /// Whether the values fit together.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), DirectoryConfigError> {
        let zero = [
            ("retry", self.retry.is_zero()),
            ("repair", self.repair.is_zero()),
            ("repair_peers", self.repair_peers == 0),
            ("handoff_peers", self.handoff_peers == 0),
            ("cache_max", self.cache_max == 0),
            ("held_max", self.held_max == 0),
            ("pending_max", self.pending_max == 0),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(DirectoryConfigError::Zero { name });
        }
        if self.timeout <= self.retry {
            return Err(DirectoryConfigError::Impatient { timeout: self.timeout, retry: self.retry });
        }
        Ok(())
    }
}
