//! How often members are looked after, and how patient the cluster is with them.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;
use thiserror::Error;

use crate::range::{OutOfRange, check_numbers, check_times};

use super::quorum::PartitionPolicy;

/// The smallest datagram that has room for a header with three identities of the longest texts.
pub const DATAGRAM_BYTES_MIN: usize = 4096;

/// The largest datagram: far below what the control lane takes in one message.
pub const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// Members a cluster may have at most.
pub const MEMBERS_MAX: usize = 65_536;

/// Membership's parameters. All nodes of a cluster should have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct MembershipConfig {
    /// How often one member is probed. Default (`lan`) 1 s. Shorter finds the dead sooner, and costs two messages each time.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to probe. Default 500 ms; at most half of `probe_period`, so that
    /// the indirect probe has as long.
    pub probe_timeout: Duration,
    /// How many others are asked. Default 3, 1 to 16.
    pub indirect_probes: usize,
    /// How long a suspect may defend itself, in probe periods for each factor of ten of the cluster's size. Default 4, 1 to 60.
    /// More forgives longer pauses, and finds the dead later.
    pub suspicion_mult: u32,
    /// How often each piece of news is passed on, for each factor of ten of the cluster's size. Default 4, 1 to 60.
    pub retransmit_mult: u32,
    /// How often news are spread beside the probes, and to how many. Default 200 ms, 3 members. Costs nothing while there are none.
    pub gossip: (Duration, usize),
    /// How often a random member is asked for all members it knows. Default 30 s.
    pub announce_interval: Duration,
    /// How often two members that are down are spoken to, so that a healed partition is noticed. Default 20 s.
    pub announce_down_interval: Duration,
    /// How often connected nodes that are no members yet are spoken to. Default 1 s.
    pub introduce_interval: Duration,
    /// How long a member that is down is remembered and dialed. Default 24 h; longer than any partition that is to heal by itself.
    pub forget_after: Duration,
    /// Bytes of a datagram at most, [`DATAGRAM_BYTES_MIN`] to [`DATAGRAM_BYTES_MAX`]. Default 8 KiB: the control lane is a stream, so
    /// there is no packet to fit into.
    pub datagram_bytes: usize,
    /// Members that are remembered at most, down ones included, 1 to [`MEMBERS_MAX`]. Default 10,000. News of more are refused.
    pub members_max: usize,
    /// What a node does that sees fewer than most. Default [`PartitionPolicy::Available`].
    pub partition: PartitionPolicy,
    /// How long a view must be unchanged before the majority takes it for the agreed one. Default 30 s; longer than a failure takes
    /// to be known everywhere.
    pub agree_after: Duration,
}

/// A parameter is out of range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembershipConfigError {
    /// A time-out that leaves no time for the indirect probe.
    #[error("probe_timeout ({timeout:?}) must be above zero and at most half of probe_period ({period:?})")]
    ProbeTimeout {
        /// The time-out.
        timeout: Duration,
        /// The period.
        period: Duration,
    },
    /// Another one.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self::lan()
    }
}

impl MembershipConfig {
    /// For machines in one network (memberlist's `DefaultLANConfig`).
    #[must_use]
    pub fn lan() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_probes: 3,
            suspicion_mult: 4,
            retransmit_mult: 4,
            gossip: (Duration::from_millis(200), 3),
            announce_interval: Duration::from_secs(30),
            announce_down_interval: Duration::from_secs(20),
            introduce_interval: Duration::from_secs(1),
            forget_after: Duration::from_secs(24 * 60 * 60),
            datagram_bytes: 8 * 1024,
            members_max: 10_000,
            partition: PartitionPolicy::Available,
            agree_after: Duration::from_secs(30),
        }
    }

    /// For machines far apart (memberlist's `DefaultWANConfig`, with a shorter time-out so that the indirect probe has its half).
    #[must_use]
    pub fn wan() -> Self {
        Self {
            probe_period: Duration::from_secs(5),
            probe_timeout: Duration::from_millis(2500),
            suspicion_mult: 6,
            gossip: (Duration::from_millis(500), 4),
            announce_interval: Duration::from_secs(60),
            announce_down_interval: Duration::from_secs(60),
            introduce_interval: Duration::from_secs(5),
            agree_after: Duration::from_secs(120),
            ..Self::lan()
        }
    }

    /// For processes on one machine (memberlist's `DefaultLocalConfig`, with faster probes).
    #[must_use]
    pub fn local() -> Self {
        Self {
            probe_period: Duration::from_millis(500),
            probe_timeout: Duration::from_millis(200),
            suspicion_mult: 3,
            gossip: (Duration::from_millis(100), 3),
            announce_interval: Duration::from_secs(15),
            announce_down_interval: Duration::from_secs(5),
            introduce_interval: Duration::from_millis(250),
            agree_after: Duration::from_secs(10),
            ..Self::lan()
        }
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Which is not.
    pub fn validate(&self) -> Result<(), MembershipConfigError> {
        let (period, timeout) = (self.probe_period, self.probe_timeout);
        if timeout.is_zero() || timeout * 2 > period {
            return Err(MembershipConfigError::ProbeTimeout { timeout, period });
        }
        check_times(&[
            ("gossip interval", self.gossip.0),
            ("announce_interval", self.announce_interval),
            ("announce_down_interval", self.announce_down_interval),
            ("introduce_interval", self.introduce_interval),
            ("forget_after", self.forget_after),
            ("agree_after", self.agree_after),
        ])?;
        check_numbers(&[
            ("indirect_probes", self.indirect_probes, 1, 16),
            ("suspicion_mult", self.suspicion_mult as usize, 1, 60),
            ("retransmit_mult", self.retransmit_mult as usize, 1, 60),
            ("gossip members", self.gossip.1, 1, 16),
            ("datagram_bytes", self.datagram_bytes, DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX),
            ("members_max", self.members_max, 1, MEMBERS_MAX),
        ])?;
        Ok(())
    }

    /// How long a suspect may defend itself in a cluster of `members`: as memberlist, and foca, reckon it.
    #[must_use]
    pub fn suspicion(&self, members: usize) -> Duration {
        self.probe_period.mul_f64(f64::from(self.suspicion_mult) * tens(members).max(1.0))
    }

    /// How often each piece of news is passed on in a cluster of `members`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to 255")]
    fn transmissions(&self, members: usize) -> u8 {
        (f64::from(self.retransmit_mult) * tens(members + 1)).ceil().clamp(1.0, 255.0) as u8
    }

    /// The same in foca's terms, for a cluster of `members`. Numbers are clamped: a config that was not validated harms nobody.
    pub(super) fn foca(&self, members: usize) -> foca::Config {
        let at_least_one = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        let every = |frequency, n| Some(PeriodicParams { frequency, num_members: at_least_one(n) });
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: at_least_one(self.indirect_probes),
            max_transmissions: NonZeroU8::new(self.transmissions(members)).unwrap_or(NonZeroU8::MIN),
            suspect_to_down_after: self.suspicion(members),
            remove_down_after: Some(self.forget_after),
            max_packet_size: at_least_one(self.datagram_bytes),
            notify_down_members: true,
            periodic_announce: every(self.announce_interval, 1),
            periodic_announce_to_down_members: every(self.announce_down_interval, 2),
            periodic_gossip: every(self.gossip.0, self.gossip.1),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "clusters are far below 2^52")]
fn tens(members: usize) -> f64 {
    (members.max(1) as f64).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: presets are valid, and each nonsense is named with its value.
    #[test]
    fn presets_are_valid_and_nonsense_is_not() {
        for preset in [MembershipConfig::lan(), MembershipConfig::wan(), MembershipConfig::local()] {
            preset.validate().unwrap();
        }
        let lan = MembershipConfig::lan();
        let timeout = MembershipConfig { probe_timeout: Duration::from_millis(501), ..lan.clone() };
        assert!(timeout.validate().unwrap_err().to_string().contains("501ms"));
        let small = MembershipConfig { datagram_bytes: 1400, ..lan.clone() };
        assert_eq!(
            small.validate().unwrap_err().to_string(),
            "datagram_bytes is 1400, must be 4096 to 65536"
        );
        let never = MembershipConfig { agree_after: Duration::ZERO, ..lan };
        assert_eq!(never.validate(), Err(OutOfRange::Zero { field: "agree_after" }.into()));
    }

    /// Goal: patience grows with the logarithm of the cluster, and is never below that of ten members.
    #[test]
    fn patience_grows_slowly() {
        let lan = MembershipConfig::lan();
        assert_eq!([1, 10, 100, 1000].map(|n| lan.suspicion(n).as_secs()), [4, 4, 8, 12]);
        assert_eq!([0, 9, 99, 999].map(|n| lan.transmissions(n)), [1, 4, 8, 12]);
    }
}
