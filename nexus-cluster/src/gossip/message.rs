//! What nodes say to each other, and what the core hears and wants done.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::state::Update;
use crate::{NodeId, NodeName};

/// Owners are spread over so many buckets, whose sums are compared before anything finer is.
pub(super) const BUCKETS: usize = 64;

/// Where an owner's state stands: its name, its incarnation and its version.
pub(super) type Position = (NodeName, u64, u64);

/// Between two nodes, in the order in which they follow each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The sum over all that the sender knows, and what is new.
    Push { sum: u64, urgent: bool, updates: Vec<Update> },
    /// The answer to another sum: the sum of each bucket.
    Sums(Vec<u64>),
    /// The answer to other sums of buckets: where the owners stand in those that differ.
    Digest { buckets: Vec<u8>, positions: Vec<Position> },
    /// What the receiver lacks, and where the sender stands with what it lacks itself.
    Delta { updates: Vec<Update>, wants: Vec<Position> },
}

/// What a node's gossip hears of.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first of all: rounds begin.
    Start,
    /// Time for a round: what [`Effect::Arm`] asked for.
    Round,
    /// Something came from the node at the other end of a connection.
    Message {
        /// That node.
        from: NodeId,
        /// What it sent.
        bytes: Bytes,
    },
    /// A node is a member now, or stands in another zone.
    MemberUp {
        /// Which.
        node: NodeId,
        /// Where it stands.
        zone: String,
    },
    /// A node is no member any more.
    MemberDown(NodeName),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send it. It may be lost.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        bytes: Bytes,
    },
    /// Give [`Input::Round`] after this time.
    Arm(Duration),
    /// Tell those who subscribe: a key of a node has another value.
    Changed(Change),
}

/// A key has another value. Of one key never an older one comes after a newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose key.
    pub owner: NodeName,
    /// The life of the owner that wrote it.
    pub incarnation: u64,
    /// The owner's version with this value in it.
    pub version: u64,
    /// Which key.
    pub key: String,
    /// Its value; `None`: it is no more.
    pub value: Option<Bytes>,
}

/// Whether news may wait for the next round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Urgency {
    /// They may.
    #[default]
    Routine,
    /// They go at once, and those who hear them pass them on at once.
    Urgent,
}

/// A write was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The key is empty or too long.
    #[error("a key has 1 to {limit} bytes, not {bytes}")]
    Key {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The node's keys and values would be too large together; delete some.
    #[error("the node's state would have {bytes} bytes, {limit} are allowed")]
    Full {
        /// How large they would be.
        bytes: usize,
        /// How large they may be.
        limit: usize,
    },
}
