//! What happens between nodes, as far as this one sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a log filter calls these: they are about what `nexus_cluster` does, whoever tells them.
const TARGET: &str = "nexus_cluster";

/// See the module. Nodes are named; a node's incarnation tells one of its lives from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum ClusterEvent {
    /// A node is a member now, for the first time or again.
    #[serde(rename = "cluster.member_up")]
    MemberUp {
        /// Its name.
        node: Arc<str>,
        /// Which life of it.
        incarnation: u64,
        /// Where it is reached, `host:port`.
        address: Arc<str>,
        /// Where it stands; empty if it does not say.
        zone: Arc<str>,
    },
    /// A member tells something else of itself.
    #[serde(rename = "cluster.member_changed")]
    MemberChanged {
        /// Its name.
        node: Arc<str>,
        /// Where it is reached, `host:port`.
        address: Arc<str>,
        /// Where it stands; empty if it does not say.
        zone: Arc<str>,
    },
    /// A member did not answer, neither this node nor those that were asked to ask it. It may defend itself for a while.
    #[serde(rename = "cluster.member_suspect")]
    MemberSuspect {
        /// Its name.
        node: Arc<str>,
    },
    /// A member was declared down, or a newer life of it has come.
    #[serde(rename = "cluster.member_down")]
    MemberDown {
        /// Its name.
        node: Arc<str>,
        /// Which life of it.
        incarnation: u64,
    },
    /// A member went on purpose.
    #[serde(rename = "cluster.member_left")]
    MemberLeft {
        /// Its name.
        node: Arc<str>,
    },
    /// The others had declared this node down, and it is back.
    #[serde(rename = "cluster.rejoined")]
    Rejoined {
        /// How often that happened in this life of it.
        renewal: u32,
    },
    /// This node is on another side of a partition now.
    #[serde(rename = "cluster.partition_changed")]
    PartitionChanged {
        /// Whether it is on the side without a majority.
        minority: bool,
        /// Members that it sees, itself included; 0 where that does not count.
        reachable: u64,
        /// Members that were last agreed on; 0 where that does not count.
        agreed: u64,
    },
    /// This node is ready to work in the cluster from now on, or is not.
    #[serde(rename = "cluster.standing_changed")]
    StandingChanged {
        /// Whether it has joined and is synchronized.
        ready: bool,
        /// The same in words.
        detail: Arc<str>,
    },
    /// An agent was on two nodes, as may be after a partition: it is decided who goes on.
    #[serde(rename = "cluster.duplicate_resolved")]
    DuplicateResolved {
        /// The agent's name, or its key where the name is not known.
        agent: Arc<str>,
        /// The node that goes on with it.
        winner: Arc<str>,
        /// The node that stops it.
        loser: Arc<str>,
    },
    /// A connection between nodes was refused. At most one such event is kept per reason and second; the counters have them all.
    #[serde(rename = "cluster.handshake_refused")]
    HandshakeRefused {
        /// Who is at the other end: its address, with its name once it is known.
        peer: Arc<str>,
        /// Whether this node refused; else the other did.
        by_us: bool,
        /// A stable short name, such as `wrong_cookie`.
        reason: Arc<str>,
        /// The values behind it and the remedy.
        detail: Arc<str>,
    },
}

impl ClusterEvent {
    /// As [`Event::name`](super::event::Event::name).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MemberUp { .. } => "cluster.member_up",
            Self::MemberChanged { .. } => "cluster.member_changed",
            Self::MemberSuspect { .. } => "cluster.member_suspect",
            Self::MemberDown { .. } => "cluster.member_down",
            Self::MemberLeft { .. } => "cluster.member_left",
            Self::Rejoined { .. } => "cluster.rejoined",
            Self::PartitionChanged { .. } => "cluster.partition_changed",
            Self::StandingChanged { .. } => "cluster.standing_changed",
            Self::DuplicateResolved { .. } => "cluster.duplicate_resolved",
            Self::HandshakeRefused { .. } => "cluster.handshake_refused",
        }
    }

    /// Writes it into the log: nodes come and go rarely, and whoever reads a log later wants to know.
    pub(super) fn log(&self) {
        match self {
            Self::MemberUp { node, address, zone, .. } => {
                tracing::info!(target: TARGET, %node, %address, %zone, "member up")
            }
            Self::MemberChanged { node, address, zone } => {
                tracing::info!(target: TARGET, %node, %address, %zone, "member changed");
            }
            Self::MemberSuspect { node } => {
                tracing::warn!(target: TARGET, %node, "member suspected: it does not answer")
            }
            Self::MemberDown { node, .. } => tracing::warn!(target: TARGET, %node, "member down"),
            Self::MemberLeft { node } => tracing::info!(target: TARGET, %node, "member left"),
            Self::Rejoined { renewal } => {
                tracing::warn!(target: TARGET, renewal, "the others had declared this node down; it is back");
            }
            Self::PartitionChanged { minority: true, reachable, agreed } => {
                tracing::error!(target: TARGET, reachable, agreed, "in a minority: this node stops serving");
            }
            Self::PartitionChanged { .. } => tracing::info!(target: TARGET, "not in a minority any more"),
            Self::StandingChanged { detail, .. } => tracing::info!(target: TARGET, "{detail}"),
            Self::DuplicateResolved { agent, winner, loser } => {
                tracing::warn!(target: TARGET, %agent, %winner, %loser, "an agent was on two nodes");
            }
            Self::HandshakeRefused { peer, by_us: true, reason, detail } => {
                tracing::warn!(target: TARGET, %peer, %reason, "refused a connection: {detail}");
            }
            Self::HandshakeRefused { peer, reason, detail, .. } => {
                tracing::warn!(target: TARGET, %peer, %reason, "the other node refused the connection: {detail}");
            }
        }
    }
}
