//! How fast news spread, and what that may cost.

use std::time::Duration;

use crate::range::{OutOfRange, check_numbers, check_times};

/// The smallest byte budget of a round.
pub const BUDGET_BYTES_MIN: usize = 8 * 1024;

/// The largest byte budget of a round: one message of it still fits the control lane.
pub const BUDGET_BYTES_MAX: usize = 1024 * 1024;

/// Gossip's parameters. All nodes of a cluster should have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct GossipConfig {
    /// The time between two rounds. Default 1 s (source document, "Gossip"). Shorter spreads news sooner and costs more.
    pub interval: Duration,
    /// The most peers of one round, 1 to 64. Default 16; below it the fan-out is ⌈log₂ N⌉ of N members.
    pub fanout_max: usize,
    /// The share of a round's peers that stand in other zones, in hundredths, 0 to 100. Default 25; at least one peer does, so that
    /// zones stay connected.
    pub across_percent: usize,
    /// Bytes that a node sends between two of its rounds, answers included, [`BUDGET_BYTES_MIN`] to [`BUDGET_BYTES_MAX`]. Default
    /// 64 KiB. What does not fit is sent in a later round.
    pub budget_bytes: usize,
    /// Bytes of one node's keys and values at most, up to a quarter of `budget_bytes`: a node's whole state always fits one message.
    /// Default 16 KiB.
    pub node_bytes: usize,
    /// How often news are pushed at most, beyond the ⌈log₂ N⌉ times. Default 1.
    pub extra_pushes: u32,
    /// Rounds between two of its own for important news, at most. Default 4, 0 to 16. With 0 nothing is important.
    pub urgent_rounds: u32,
    /// How long a tombstone waits for members that do not acknowledge it. Default 1 h.
    pub tombstone_after: Duration,
    /// How long the state of a node is kept that is no member any more, at least as long as a partition may last that is to heal
    /// without anything old being seen again. Default 24 h.
    pub forget_after: Duration,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self::lan()
    }
}

impl GossipConfig {
    /// For machines in one network.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            interval: Duration::from_secs(1),
            fanout_max: 16,
            across_percent: 25,
            budget_bytes: 64 * 1024,
            node_bytes: 16 * 1024,
            extra_pushes: 1,
            urgent_rounds: 4,
            tombstone_after: Duration::from_secs(60 * 60),
            forget_after: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// For machines far apart: rarer rounds, and fewer peers in other zones.
    #[must_use]
    pub fn wan() -> Self {
        Self { interval: Duration::from_secs(3), across_percent: 10, ..Self::lan() }
    }

    /// For processes on one machine: rounds five times as often.
    #[must_use]
    pub fn local() -> Self {
        Self { interval: Duration::from_millis(200), ..Self::lan() }
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Which is not.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        check_times(&[
            ("interval", self.interval),
            ("tombstone_after", self.tombstone_after),
            ("forget_after", self.forget_after),
        ])?;
        check_numbers(&[
            ("fanout_max", self.fanout_max, 1, 64),
            ("across_percent", self.across_percent, 0, 100),
            ("budget_bytes", self.budget_bytes, BUDGET_BYTES_MIN, BUDGET_BYTES_MAX),
            ("node_bytes", self.node_bytes, 1, self.budget_bytes / 4),
            ("extra_pushes", self.extra_pushes as usize, 0, 16),
            ("urgent_rounds", self.urgent_rounds as usize, 0, 16),
        ])
    }

    /// Peers of one round in a cluster of `members`, this node included: ⌈log₂ N⌉, at least one.
    #[must_use]
    pub fn fanout(&self, members: usize) -> usize {
        rounds(members).clamp(1, self.fanout_max)
    }
}

/// ⌈log₂ N⌉: the rounds that news need to reach `members` if each tells one other.
#[must_use]
pub fn rounds(members: usize) -> usize {
    members.max(1).next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: presets are valid, nonsense is named with its value, and the fan-out is the logarithm, rounded up and bounded.
    #[test]
    fn presets_and_fanout() {
        for preset in [GossipConfig::lan(), GossipConfig::wan(), GossipConfig::local()] {
            preset.validate().unwrap();
        }
        let lan = GossipConfig::lan();
        let big = GossipConfig { node_bytes: 16 * 1024 + 1, ..lan.clone() };
        assert_eq!(big.validate().unwrap_err().to_string(), "node_bytes is 16385, must be 1 to 16384");
        let never = GossipConfig { interval: Duration::ZERO, ..lan.clone() };
        assert_eq!(never.validate(), Err(OutOfRange::Zero { field: "interval" }));
        let fanouts = [1, 2, 3, 16, 17, 4096, 1 << 20].map(|members| lan.fanout(members));
        assert_eq!(fanouts, [1, 1, 2, 4, 5, 12, 16]);
    }
}
