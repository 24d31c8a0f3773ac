//! What may be changed of the cluster's parts. What is left out is the preset's or the part's own default, so that each stands in one
//! place only.

use std::time::Duration;

use garde::Validate;
use nexus_cluster::transport::cluster::{Limits, Timing};
use nexus_cluster::{directory, gossip, membership, transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::{ClusterConfig, Preset};
use super::format::{self, between_ms};

const HOUR_MS: u64 = 3_600_000;
const MONTH_MS: u64 = 30 * 24 * HOUR_MS;

/// How members look after each other (SWIM). All nodes of a cluster should have the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct MembershipConfig {
    /// How often one member is probed, 10 ms to 1 h. Default `1s` (`lan`), `5s` (`wan`), `500ms` (`local`). Shorter finds the dead
    /// sooner and costs two messages each time.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(10, HOUR_MS))))]
    pub probe_period: Option<Duration>,
    /// How long a direct answer may take before others are asked to probe, 1 ms to half of `probe_period`. Default `500ms`, `2500ms`,
    /// `200ms`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(1, HOUR_MS))))]
    pub probe_timeout: Option<Duration>,
    /// How many others are asked to probe, 1 to 16. Default 3.
    #[garde(range(min = 1, max = 16))]
    pub indirect_probes: Option<u32>,
    /// How long a suspect may defend itself, in probe periods for each factor of ten of the cluster's size, 1 to 60. Default 4, 6, 3.
    /// More forgives longer pauses, and finds the dead later.
    #[garde(range(min = 1, max = 60))]
    pub suspicion_mult: Option<u32>,
    /// How long a member that is down is remembered and dialed, 1 s to 30 d. Default `24h`; longer than any partition that is to heal
    /// by itself.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(1000, MONTH_MS))))]
    pub forget_after: Option<Duration>,
    /// How long a view must be unchanged before the majority takes it for the agreed one (`partition = "quorum"`), 100 ms to 1 h.
    /// Default `30s`, `2m`, `10s`; longer than a failure takes to be known everywhere.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(100, HOUR_MS))))]
    pub agree_after: Option<Duration>,
}

/// How fast news spread. All nodes of a cluster should have the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct GossipConfig {
    /// The time between two rounds, 10 ms to 1 h. Default `1s` (`lan`), `3s` (`wan`), `200ms` (`local`). Shorter spreads news sooner
    /// and costs more.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(10, HOUR_MS))))]
    pub interval: Option<Duration>,
    /// Bytes that a node sends between two of its rounds, 64 KiB to 1 MiB. Default 64 KiB.
    #[garde(range(min = 65_536, max = 1_048_576))]
    pub budget_bytes: Option<u32>,
}

/// How agents are found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Nodes that have a copy of an agent's entry beside the one that owns it, 0 to 8. Default 2. More survive more losses at once.
    #[garde(range(min = 0, max = 8))]
    pub successors: Option<u32>,
    /// How long finding or registering an agent may take, 1 ms to 1 min; more than 200 ms. Default `2s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(201, 60_000))))]
    pub timeout: Option<Duration>,
    /// Answers of other nodes that are remembered, 1 to 100,000,000. Default 1,000,000, some 60 MB when full.
    #[garde(range(min = 1, max = 100_000_000))]
    pub cache: Option<u32>,
}

/// What may wait for another node. Each bound is for one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Messages that wait to be sent, 1 to 16,777,216. Default 65,536. With more, senders meet `overloaded`.
    #[garde(range(min = 1, max = 16_777_216))]
    pub queue_messages: Option<u32>,
    /// Bytes of them, 64 KiB to 1 GiB. Default 4 MiB.
    #[garde(range(min = 65_536, max = 1_073_741_824))]
    pub queue_bytes: Option<u32>,
    /// Bytes that a node may have sent and agents here have not handled, 64 KiB to 256 MiB. Default 1 MiB; at least what the network
    /// carries in a round trip.
    #[garde(range(min = 65_536, max = 268_435_456))]
    pub window_bytes: Option<u32>,
    /// Frames at least this long are compressed, 256 B to 1 MiB. Default: none are. It pays on networks slower than some 400 MB/s.
    #[garde(range(min = 256, max = 1_048_576))]
    pub lz4_min_bytes: Option<u32>,
    /// How long a node may be without a connection before what waits for it is given up, 100 ms to 1 h. Default `15s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(100, HOUR_MS))))]
    pub reconnect_timeout: Option<Duration>,
}

/// Connections between nodes, and what strangers may make this one keep.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// The time from the first byte to a proven connection, 10 ms to 1 h. Default `5s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(10, HOUR_MS))))]
    pub handshake_timeout: Option<Duration>,
    /// After so long without a byte sent, an empty frame is, 10 ms to 1 h. Default `1s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(10, HOUR_MS))))]
    pub heartbeat: Option<Duration>,
    /// After so long without a byte heard, a connection is lost, 30 ms to 3 h, at least three times the heartbeat. Default `5s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(30, 3 * HOUR_MS))))]
    pub idle_timeout: Option<Duration>,
    /// The longest wait before dialing again, 100 ms to 1 h. Default `10s`. The first is 100 ms; each is twice as long.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::maybe_duration")]
    #[garde(inner(custom(between_ms(100, HOUR_MS))))]
    pub redial_max: Option<Duration>,
    /// Authenticated connections at one time, 1 to 65,536. Default 1,024.
    #[garde(range(min = 1, max = 65_536))]
    pub connections: Option<u32>,
    /// Handshakes at one time that others began, 1 to 65,536. Default 256; one more ends the oldest.
    #[garde(range(min = 1, max = 65_536))]
    pub handshakes: Option<u32>,
    /// Connections a second that one address may open, 1 to 1,048,576. Default 50.
    #[garde(range(min = 1, max = 1_048_576))]
    pub rate: Option<u32>,
    /// Connections that one address may open at once after a pause, 1 to 1,048,576. Default 200.
    #[garde(range(min = 1, max = 1_048_576))]
    pub burst: Option<u32>,
}

/// `to` becomes what is given, if anything is.
fn set<T, U: TryInto<T>>(to: &mut T, given: Option<U>) {
    // A number of 32 bits fits every field there is.
    if let Some(Ok(value)) = given.map(TryInto::try_into) {
        *to = value;
    }
}

impl ClusterConfig {
    /// Membership's parameters: the preset's, changed.
    #[must_use]
    pub fn membership(&self) -> membership::MembershipConfig {
        let mut config = match self.preset {
            Preset::Lan => membership::MembershipConfig::lan(),
            Preset::Wan => membership::MembershipConfig::wan(),
            Preset::Local => membership::MembershipConfig::local(),
        };
        let MembershipConfig {
            probe_period,
            probe_timeout,
            indirect_probes,
            suspicion_mult,
            forget_after,
            agree_after,
        } = self.membership;
        set(&mut config.probe_period, probe_period);
        set(&mut config.probe_timeout, probe_timeout);
        set(&mut config.indirect_probes, indirect_probes);
        set(&mut config.suspicion_mult, suspicion_mult);
        set(&mut config.forget_after, forget_after);
        set(&mut config.agree_after, agree_after);
        config.partition = self.partition.policy();
        config
    }

    /// Gossip's parameters: the preset's, changed.
    #[must_use]
    pub fn gossip(&self) -> gossip::GossipConfig {
        let mut config = match self.preset {
            Preset::Lan => gossip::GossipConfig::lan(),
            Preset::Wan => gossip::GossipConfig::wan(),
            Preset::Local => gossip::GossipConfig::local(),
        };
        set(&mut config.interval, self.gossip.interval);
        set(&mut config.budget_bytes, self.gossip.budget_bytes);
        config
    }

    /// The directory's parameters.
    #[must_use]
    pub fn directory(&self) -> directory::DirectoryConfig {
        let mut config = directory::DirectoryConfig::default();
        set(&mut config.successors, self.directory.successors);
        set(&mut config.timeout, self.directory.timeout);
        set(&mut config.cache_max, self.directory.cache);
        config
    }

    /// The links' limits.
    #[must_use]
    pub fn link(&self) -> transport::LinkConfig {
        let mut config = transport::LinkConfig::default();
        let LinkConfig { queue_messages, queue_bytes, window_bytes, lz4_min_bytes, reconnect_timeout } =
            self.link;
        set(&mut config.queue_messages, queue_messages);
        set(&mut config.queue_bytes, queue_bytes);
        set(&mut config.window_bytes, window_bytes);
        set(&mut config.lz4_min_bytes, lz4_min_bytes);
        set(&mut config.reconnect_timeout, reconnect_timeout);
        config
    }

    /// The carrier's bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let ConnectionConfig { connections, handshakes, rate, burst, .. } = self.connection;
        set(&mut limits.connections_max, connections);
        set(&mut limits.handshakes_max, handshakes);
        set(&mut limits.accepts_per_second, rate);
        set(&mut limits.accepts_burst, burst);
        limits
    }

    /// The carrier's times.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        let ConnectionConfig { handshake_timeout, heartbeat, idle_timeout, redial_max, .. } = self.connection;
        set(&mut timing.handshake, handshake_timeout);
        set(&mut timing.heartbeat, heartbeat);
        set(&mut timing.idle, idle_timeout);
        set(&mut timing.redial_max, redial_max);
        timing
    }
}
