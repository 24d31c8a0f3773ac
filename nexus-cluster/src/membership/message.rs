//! What the core hears and wants done.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::member::{Member, Metadata};
use super::quorum::PartitionState;
use crate::{NodeId, NodeName};

/// What a member hears of.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first of all: the addresses of some members of the cluster. None, for the first node of a cluster.
    Join {
        /// `host:port` each; this node's own is passed over.
        seeds: Vec<String>,
    },
    /// A datagram from the node at the other end of a connection.
    Datagram {
        /// That node.
        from: NodeId,
        /// What it sent.
        bytes: Bytes,
    },
    /// The time of an [`Effect::Arm`] has come.
    Timer(Timer),
    /// What this node tells of itself is another now.
    SetMetadata(Metadata),
    /// A node is connected.
    Connected(NodeId),
    /// A node is not connected any more.
    Disconnected(NodeId),
    /// Members that were known before, as after a restart of the shell. They are not news for anyone else.
    Restore(Vec<Member>),
    /// Go. Nothing is done after it.
    Leave,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a datagram. It may be lost.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        bytes: Bytes,
    },
    /// Give the timer back after a time. Never lost, may be late.
    Arm {
        /// Which.
        timer: Timer,
        /// When.
        after: Duration,
    },
    /// Keep a connection to whoever is at the address. May come again.
    Connect {
        /// `host:port`.
        address: String,
    },
    /// Keep none any more.
    Disconnect {
        /// `host:port`.
        address: String,
    },
    /// Tell those who subscribe.
    Event(MembershipEvent),
}

/// A timer of the core: to be given back, not to be understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Timer(pub(super) Due);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Due {
    Foca(foca::Timer<Member>),
    Introduce,
}

/// What has changed in the cluster, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembershipEvent {
    /// A node is a member now, for the first time or again.
    MemberUp(Member),
    /// A member answered neither us nor those that we asked. It stays a member unless it is declared down. foca tells this of its
    /// own probes only, not of others' suspicion.
    MemberSuspect(Member),
    /// A member was declared down, or a newer life of it has come.
    MemberDown(Member),
    /// A member went on purpose.
    MemberLeft(Member),
    /// A member tells something else of itself.
    MetadataChanged(Member),
    /// The cluster had declared this node down; it is back with this identity.
    Rejoined(Member),
    /// The side of a partition that this node is on has changed.
    Partition(PartitionState),
}
