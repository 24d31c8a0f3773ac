//! What clients and nodes say to each other.

use serde::{Deserialize, Serialize};

use super::Payload;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read `key`; the payload is the default, used when there is no value.
    Query,
    /// Set `key` to the payload, if the agent allows it.
    Update,
    /// Do what `key` names, with the payload as arguments.
    Action,
}

/// What a client says. `id` is the client's own number for a message; whatever answers it carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// A request to an agent; answered by [`ServerMessage::Answer`] or [`ServerMessage::Error`].
    Ask {
        /// The client's number.
        id: u64,
        /// The agent's name.
        to: String,
        /// Query, update or action.
        operation: Operation,
        /// The key to read or set, or the action's name; at most 1,024 bytes.
        key: String,
        /// Default, new value or arguments. Default none.
        #[serde(default, skip_serializing_if = "Payload::is_empty")]
        payload: Payload,
        /// How long the answer may take, 1 ms to the node's `ask_timeout`, which is also the default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// The request may be handled more than once without harm: when the way to the agent's node is lost it is tried again until the
        /// answer may take no longer. Default false.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        at_least_once: bool,
    },
    /// A request that nobody waits for. With an `id` it is answered by [`ServerMessage::Done`] once it is in the agent's inbox;
    /// without one only by an error, if there is one.
    Tell {
        /// The client's number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// The agent's name.
        to: String,
        /// Query, update or action.
        operation: Operation,
        /// The key to read or set, or the action's name; at most 1,024 bytes.
        key: String,
        /// Default, new value or arguments. Default none.
        #[serde(default, skip_serializing_if = "Payload::is_empty")]
        payload: Payload,
    },
    /// From now on every request that is published to `group` is sent here too. Answered by [`ServerMessage::Done`].
    Subscribe {
        /// The client's number.
        id: u64,
        /// The group's name.
        group: String,
    },
    /// No longer. Answered by [`ServerMessage::Done`].
    Unsubscribe {
        /// The client's number.
        id: u64,
        /// The group's name.
        group: String,
    },
}

impl ClientMessage {
    /// The client's number for it.
    #[must_use]
    pub const fn id(&self) -> Option<u64> {
        match self {
            Self::Ask { id, .. } | Self::Subscribe { id, .. } | Self::Unsubscribe { id, .. } => Some(*id),
            Self::Tell { id, .. } => *id,
        }
    }
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// An agent's answer.
    Answer {
        /// The number of the question.
        id: u64,
        /// The value; `null` where there is none.
        value: Payload,
    },
    /// A tell is in its inbox, or a subscription begins or has ended.
    Done {
        /// The number of the message.
        id: u64,
    },
    /// What was asked for did not happen.
    Error {
        /// The number of the message; absent if it had none, or could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// For programs; `docs/protocol.md` lists the codes.
        code: String,
        /// For people: what, the value, and the remedy.
        message: String,
        /// With `rate_limited`: the time after which a message is welcome again, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// A copy of a request that was published to a group.
    Published {
        /// The group.
        group: String,
        /// Query, update or action.
        operation: Operation,
        /// The request's key.
        key: String,
        /// Its payload.
        payload: Payload,
    },
    /// Publications that this client did not get because it was too slow, or because its encoding cannot show them.
    Missed {
        /// The group.
        group: String,
        /// How many.
        count: u64,
    },
}
