//! The node as one of a cluster.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use garde::Validate;
use nexus_cluster::membership;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_tuning::{ConnectionConfig, DirectoryConfig, GossipConfig, LinkConfig, MembershipConfig};
use super::{Secret, format};

/// The port of the carrier where the topology names none.
const CLUSTER_PORT: u16 = 7072;

/// This node is one of several that run the same topology as one system: agents are found and reached wherever they live. There is a
/// cluster only if the table is there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// The cluster's name, 1 to 255 characters; nodes of another are refused. Default `nexus`.
    #[garde(length(min = 1, max = 255))]
    pub name: String,
    /// IP address and port for the other nodes; port 0 takes a free one. Default `127.0.0.1:7072`, reachable from this machine only.
    #[schemars(schema_with = "format::socket_address")]
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Where the others reach this node, `host:port`. Default: `listen`. Needed where that is no address to connect to, such as
    /// `0.0.0.0:7072`, or where the way here is through a proxy.
    #[schemars(schema_with = "format::host_port")]
    #[garde(length(max = 255))]
    pub advertise: Option<String>,
    /// Nodes to join, `host:port`, or `dns:host:port` for all addresses that the name has, at most 256. One that answers is enough; this
    /// node itself may be among them. Default: none; this node waits for others to join it.
    #[schemars(schema_with = "format::seeds")]
    #[garde(length(max = 256))]
    pub seeds: Vec<String>,
    /// Nodes that must have found each other, this one included, before agents are started, 1 to 65,536. Default 1, or 2 where there are
    /// `seeds`. More than half of the nodes keeps those that are cut off from starting agents that live with the others.
    #[garde(range(min = 1, max = 65_536))]
    pub expect: u32,
    /// The environment variable with the cluster's secret, at least 16 bytes that nobody guesses (`openssl rand -hex 32`). It never
    /// stands in the file. Default `NEXUS_COOKIE`.
    #[garde(length(min = 1, max = 255))]
    pub cookie_env: String,
    /// What that variable held when the topology was read.
    #[serde(skip)]
    #[garde(skip)]
    pub cookie: Option<Secret>,
    /// Certificates for TLS on both sides. Default: none; what goes between the nodes can then be read and changed by whoever is on
    /// the network.
    #[garde(skip)]
    pub tls: Option<TlsConfig>,
    /// Whether nodes may talk without TLS beyond this machine: over a network that is yours alone. Default false.
    #[garde(skip)]
    pub plaintext: bool,
    /// How patient nodes are with each other: `lan`, `wan` or `local`. Default `lan`. What stands under `membership` and `gossip` counts
    /// instead.
    #[garde(skip)]
    pub preset: Preset,
    /// What a node does that sees fewer than most of the others: `available` or `quorum`. Default `available`.
    #[garde(skip)]
    pub partition: Partition,
    /// Where the node stands: nodes of one zone fail together and are near to each other; at most 64 bytes. Default: nowhere.
    #[garde(length(max = 64))]
    pub zone: String,
    /// The release of what runs here, for `place = { label = { version = "…" } }`; at most 64 bytes. Default: none.
    #[garde(length(max = 64))]
    pub version: String,
    /// The node's share of the agents in relation to the others', 1 to 16. Default 1; a machine twice as large gets 2.
    #[garde(range(min = 1, max = 16))]
    pub weight: u16,
    /// Agents that the node has room for, 1 to 100,000,000. Default: `limits.agents`.
    #[garde(range(min = 1, max = 100_000_000))]
    pub capacity: Option<u32>,
    /// How members look after each other.
    #[garde(dive)]
    pub membership: MembershipConfig,
    /// How fast news spread.
    #[garde(dive)]
    pub gossip: GossipConfig,
    /// How agents are found.
    #[garde(dive)]
    pub directory: DirectoryConfig,
    /// What may wait for another node.
    #[garde(dive)]
    pub link: LinkConfig,
    /// Connections between nodes, and what strangers may make this one keep.
    #[garde(dive)]
    pub connection: ConnectionConfig,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: "nexus".to_owned(),
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, CLUSTER_PORT)),
            advertise: None,
            seeds: Vec::new(),
            cookie_env: "NEXUS_COOKIE".to_owned(),
            cookie: None,
            expect: 1,
            tls: None,
            plaintext: false,
            preset: Preset::default(),
            partition: Partition::default(),
            zone: String::new(),
            version: String::new(),
            weight: 1,
            capacity: None,
            membership: MembershipConfig::default(),
            gossip: GossipConfig::default(),
            directory: DirectoryConfig::default(),
            link: LinkConfig::default(),
            connection: ConnectionConfig::default(),
        }
    }
}

/// PEM files of mutual TLS, relative to the topology file. They are read again when they change; `nexus cluster cert` makes some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The node's certificate, then those between it and the authority. It must name the node (`node.name`) and the host or IP address
    /// of `advertise`.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the authorities whom we trust to name nodes.
    pub ca: PathBuf,
}

/// How patient nodes are with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// For machines in one network: a dead node is known to all after some five seconds.
    #[default]
    Lan,
    /// For machines far apart: after some half a minute.
    Wan,
    /// For processes on one machine: after some two seconds.
    Local,
}

/// What a node does that sees fewer than most of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// Both sides go on; when they meet again, agents that lived on both are made one.
    #[default]
    Available,
    /// The side without a majority says so in `/readyz`, and starts no agents.
    Quorum,
}

impl Partition {
    /// The same in the words of membership.
    #[must_use]
    pub const fn policy(self) -> membership::PartitionPolicy {
        match self {
            Self::Available => membership::PartitionPolicy::Available,
            Self::Quorum => membership::PartitionPolicy::Quorum,
        }
    }
}

/// On which node an agent comes to life that lives nowhere yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the node that the hash ring has for its name: spread evenly, by weight.
    #[default]
    Ring,
    /// On the node that sends its first message.
    Local,
    /// On the node with the most room left.
    LeastLoaded,
    /// On one of the nodes with these labels.
    Label(LabelConfig),
}

impl Place {
    /// Whether it is what holds without a word.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Ring
    }
}

/// Labels that a node must have; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelConfig {
    /// The node's `cluster.zone`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node's `cluster.version`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A node to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed<'a> {
    /// At this `host:port`.
    Address(&'a str),
    /// At each address that the host of this `host:port` has.
    Dns(&'a str),
}

impl<'a> Seed<'a> {
    /// The seed that `text` of a checked topology names.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        text.strip_prefix("dns:").map_or(Self::Address(text), Self::Dns)
    }
}
