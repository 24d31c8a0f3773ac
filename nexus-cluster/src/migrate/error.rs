//! Why an agent did not move.

use nexus_actors::AgentError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{NodeId, NodeName};

/// The agent has not moved. Except for [`MoveError::Lost`] it lives where it did.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum MoveError {
    /// It cannot leave: it is not here, not durable, or does not finish the message at hand.
    #[error("`{agent}` stays: {why}")]
    Stays {
        /// Which.
        agent: String,
        /// What is in the way, and what to do.
        why: String,
    },
    /// It has come a moment ago, or is on its way already: try again.
    #[error("`{agent}` is on its way, or has come a moment ago: try again")]
    NotYet {
        /// Which.
        agent: String,
    },
    /// The target is this node.
    #[error("`{agent}` lives on `{node}` already")]
    Already {
        /// Which.
        agent: String,
        /// Where.
        node: NodeName,
    },
    /// The target is no member of the cluster.
    #[error("`{node}` is no member of the cluster")]
    NoMember {
        /// Which.
        node: NodeName,
    },
    /// The target did not take it.
    #[error("`{node}` did not take `{agent}`: {why}")]
    Refused {
        /// Which agent.
        agent: String,
        /// Who.
        node: NodeName,
        /// Why.
        why: Refusal,
    },
    /// The target was lost before it had said that it took the agent, which goes on here.
    #[error("`{node}` was lost before `{agent}` was there")]
    TargetLost {
        /// Which agent.
        agent: String,
        /// Who.
        node: NodeId,
    },
    /// The target has taken the agent, and was lost after that.
    #[error("`{node}` was lost after it had taken `{agent}`")]
    Lost {
        /// Which agent.
        agent: String,
        /// Who.
        node: NodeId,
    },
    /// The agent lives on a third node by now, which was given its state to be merged.
    #[error("`{agent}` lives on `{node}` by now, which was given its state to be merged")]
    Merged {
        /// Which agent.
        agent: String,
        /// Where it lives.
        node: NodeId,
    },
    /// No other node may have it.
    #[error("no other node may have `{agent}`: its placement finds none, or all others are being drained")]
    Nowhere {
        /// Which agent.
        agent: String,
    },
    /// Migration does not run on this node.
    #[error("migration is stopped on this node")]
    Stopped,
}

/// Why a node does not take an agent.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// As many as allowed are on their way to it.
    #[error("{limit} agents are on their way to it already")]
    Busy {
        /// How many it allows.
        limit: u64,
    },
    /// It is being drained.
    #[error("it is being drained")]
    Draining,
    /// The state is longer than it takes.
    #[error("the state has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// What its own node says: no such family, another behavior, an agent of that name, no room.
    #[error("{0}")]
    Node(String),
    /// The directory says that the agent is not the source's to give away, or does not answer.
    #[error("the directory: {0}")]
    Directory(String),
    /// It knows nothing of such a move, or not any more.
    #[error("it knows of no such move")]
    Unknown,
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Self::Node(error.to_string())
    }
}
