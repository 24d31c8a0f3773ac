//! What nodes say to each other about agents that move: MessagePack, with limits.

use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::{AgentId, Level, NAME_BYTES_MAX, check_name};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::Refusal;
use crate::NodeId;

/// Bytes of a message at most: the longest part and its frame.
pub const MESSAGE_BYTES_MAX: usize = (1 << 20) + 4096;
/// Feeds whose marks an agent brings along, at most.
const MARKS_MAX: usize = 4096;

/// Why a state is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The agent moves.
    Move,
    /// The agent lives at the receiver, who is to merge what the sender had of it.
    Merge,
}

/// What an agent brings along, without its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passport {
    /// Its name.
    pub name: Arc<str>,
    /// Why its state is sent.
    pub purpose: Purpose,
    /// Registered name of its behavior.
    pub behavior: Arc<str>,
    /// The level that serves it.
    pub level: Level,
    /// Starts so far.
    pub incarnation: u32,
    /// The version of its state's form.
    pub version: u32,
    /// How far it has handled each feed.
    pub marks: Vec<(u16, u64)>,
    /// The length of its state.
    pub bytes: u64,
}

impl Passport {
    /// Its key.
    #[must_use]
    pub fn id(&self) -> AgentId {
        AgentId::of(&self.name)
    }
}

/// One message. Moves are numbered by their source, in each of its lives from 1 on. To say a thing again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// To the target: take this agent.
    Offer {
        /// Which move.
        number: u64,
        /// All moves with a lower number are over: the target may forget them.
        floor: u64,
        /// What comes.
        passport: Passport,
    },
    /// To the target: a part of the state.
    Part {
        /// Which move.
        number: u64,
        /// Where it begins.
        offset: u64,
        /// Its bytes; none only if the state has none.
        bytes: Bytes,
    },
    /// To the target: nothing more comes of this move.
    Over {
        /// Which.
        number: u64,
        /// As with an offer.
        floor: u64,
    },
    /// To the source: the part from here on is wanted. At the end of the state: it is all here and being taken.
    Want {
        /// Which move.
        number: u64,
        /// Bytes that are here.
        offset: u64,
    },
    /// To the source: the agent lives here, or its state is merged.
    Taken {
        /// Which move.
        number: u64,
    },
    /// To the source: it does not and will not.
    Refused {
        /// Which move.
        number: u64,
        /// Why.
        why: Refusal,
    },
    /// To all members: from now on send to this node.
    Moved {
        /// Which move.
        number: u64,
        /// Which agent.
        name: Arc<str>,
        /// Where it lives.
        to: NodeId,
    },
    /// To a node: move everything off, or take agents again.
    Drain {
        /// Whether to begin or to call it off.
        on: bool,
    },
    /// To the source: nothing for the agent will come from here by way of the source any more.
    Switched {
        /// Which move.
        number: u64,
    },
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// There are too many.
    #[error("{bytes} bytes, {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They cannot be decoded.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A name is no agent's, or there are too many marks.
    #[error("the {0} is out of range")]
    Range(&'static str),
}

impl Message {
    /// The message in MessagePack.
    ///
    /// # Panics
    /// Never: there is nothing in it that could not be encoded.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        rmp_serde::to_vec(self).expect("texts, numbers and bytes").into()
    }

    /// The message in `bytes`.
    ///
    /// # Errors
    /// There is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { bytes: bytes.len() });
        }
        let message: Self =
            rmp_serde::from_slice(bytes).map_err(|error| MessageError::Malformed(error.to_string()))?;
        match &message {
            Self::Offer { passport, .. } => {
                check_text(&passport.name, "name")?;
                if passport.behavior.len() > NAME_BYTES_MAX {
                    return Err(MessageError::Range("behavior"));
                }
                if passport.marks.len() > MARKS_MAX {
                    return Err(MessageError::Range("number of marks"));
                }
            }
            Self::Moved { name, .. } => check_text(name, "name")?,
            _ => {}
        }
        Ok(message)
    }
}

fn check_text(name: &str, what: &'static str) -> Result<(), MessageError> {
    check_name(name).map_err(|_| MessageError::Range(what))
}
