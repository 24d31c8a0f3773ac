//! The errors an agent's client can meet. Plain data: they cross node boundaries and are shown as JSON.

use serde::{Deserialize, Serialize};

/// Why a request got no value.
///
/// Every `ask` ends with a value or one of these; a `send` that fails ends with `Overloaded`, `UnknownAgent` or `Stopped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum AgentError {
    /// A query's key has no value and the query brought no default. The agent is unchanged.
    #[error("no value for `{key}`")]
    NotFound {
        /// The key that was asked for.
        key: String,
    },
    /// An update or action was refused by the behavior's validation. The agent is unchanged.
    #[error("refused: {reason}")]
    Invalid {
        /// What rule it breaks, with the values.
        reason: String,
    },
    /// The behavior does not know this operation or key. The agent is unchanged; fix the caller.
    #[error("unsupported: {what}")]
    Unsupported {
        /// The operation that is not known, with the known ones.
        what: String,
    },
    /// The payload did not decode. The agent is unchanged; fix the caller.
    #[error("malformed payload: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: String,
    },
    /// The behavior tried and failed; its own words.
    #[error("{reason}")]
    Failed {
        /// What went wrong.
        reason: String,
    },
    /// No reply came in time. The request may still be handled; ask again only if that is harmless.
    #[error("no reply within {after_ms} ms")]
    TimedOut {
        /// How long the asker waited.
        after_ms: u64,
    },
    /// The request's deadline had passed when its turn came. It was not handled.
    #[error("the deadline passed before the request was handled")]
    DeadlineExceeded,
    /// The agent failed or was killed while it handled the request. Its supervisor decides what follows; the request is in
    /// the dead letters and part of its effect may be lost.
    #[error("the agent crashed: {reason}")]
    Crashed {
        /// The failure, as far as it is known at that moment.
        reason: String,
    },
    /// The behavior dropped the request without answering, and did not crash.
    #[error("the agent handled the request without answering")]
    NoReply,
    /// The inbox is full, or the node is short of CPU and refuses requests of this priority. Nothing was enqueued: slow down and
    /// try again.
    #[error("{}", overloaded(*.queued, *.limit, *.shed_below_percent))]
    Overloaded {
        /// Messages waiting.
        queued: u64,
        /// The inbox's limit.
        limit: u64,
        /// Set if the priority was too low, to the priority in hundredths below which requests are refused at the moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shed_below_percent: Option<u8>,
    },
    /// No agent has this name and no family makes one of it. The request is in the dead letters.
    #[error("unknown agent `{name}`")]
    UnknownAgent {
        /// The name, or the key when only that was known.
        name: String,
    },
    /// The agent has been stopped and will not be restarted, or its start failed. The request is in the dead letters.
    #[error("agent `{name}` is stopped: {reason}")]
    Stopped {
        /// The agent's name.
        name: String,
        /// Why it is not running.
        reason: String,
    },
    /// No group has this name.
    #[error("unknown group `{name}`")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// The group has no strategy, so nobody is chosen to serve a message that is sent to it. The request is in the dead letters.
    #[error("group `{name}` has no strategy to send by: give it `balance`, or publish to all its agents")]
    NotBalanced {
        /// The group's name.
        name: String,
    },
    /// Nobody in the group can take the request: it has no agent now, or all that were tried have stopped for good. The request
    /// is in the dead letters.
    #[error(
        "nobody serves group `{name}`: {agents} agents are in it now, and none of those tried takes messages"
    )]
    NoMember {
        /// The group's name.
        name: String,
        /// Its agents now, stopped ones included.
        agents: u64,
    },
    /// The agent answers only what it has stored, and the store does not write. The agent is as it was stored before; try again once
    /// the store is well.
    #[error("not stored, so not done: {reason}")]
    NotStored {
        /// What is wrong with the store.
        reason: String,
    },
    /// The node that has the agent is lost, or its connection for too long. Whether the request was handled is not known; it is in the
    /// dead letters unless that node had confirmed it. An ask that is marked `at_least_once` is tried again instead, also if an agent
    /// answers this because it has asked another one.
    #[error("node `{node}` is lost: {reason}")]
    NodeLost {
        /// The node.
        node: String,
        /// How it was lost.
        reason: String,
    },
    /// The node holds as many agents as its limit allows, so the family made no new one. The request is in the dead letters.
    #[error("agent `{name}` was not created: the node's limit of {limit} agents is reached (limits.agents)")]
    TooManyAgents {
        /// The agent that was to be created.
        name: String,
        /// The node's limit.
        limit: u64,
    },
}

fn overloaded(queued: u64, limit: u64, shed_below_percent: Option<u8>) -> String {
    match shed_below_percent {
        None => format!("inbox full: {queued} of {limit} messages waiting"),
        Some(percent) => format!(
            "requests of a priority below {:.2} are refused while the node is short of CPU",
            f64::from(percent) / 100.0
        ),
    }
}
