//! From the wire's types to the node's, and back.

use bytes::Bytes;
use nexus_actors::AgentError;
use nexus_actors::agent::{self, NamePattern, Reply, Request};
use nexus_client::protocol::{Encoding, Operation, Payload, ServerMessage, encode};

use crate::debug::error_code;

/// A message on its way to a client, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) encoding: Encoding,
    pub(super) bytes: Bytes,
}

impl Frame {
    /// Encodes `message`; one that the encoding cannot hold becomes an error that says so.
    pub(super) fn of(encoding: Encoding, message: &ServerMessage) -> Self {
        let bytes = encode(encoding, message).unwrap_or_else(|error| {
            let id = match message {
                ServerMessage::Answer { id, .. } | ServerMessage::Done { id } => Some(*id),
                _ => None,
            };
            let text = format!("the answer cannot be written as JSON: {error}; ask in MessagePack");
            encode(encoding, &failure(id, "unrepresentable", text)).unwrap_or_default()
        });
        Self { encoding, bytes }
    }
}

/// An error message.
pub(super) fn failure(id: Option<u64>, code: &str, message: impl Into<String>) -> ServerMessage {
    ServerMessage::Error { id, code: code.to_owned(), message: message.into(), retry_after_ms: None }
}

/// An agent's error, for its asker.
pub(super) fn refusal(id: Option<u64>, error: &AgentError) -> ServerMessage {
    failure(id, error_code(error), error.to_string())
}

/// An agent's reply, for its asker.
pub(super) fn answer(id: u64, reply: Reply) -> ServerMessage {
    match reply {
        Ok(value) => ServerMessage::Answer { id, value: Payload::from_msgpack(value.bytes().clone()) },
        Err(error) => refusal(Some(id), &error),
    }
}

/// What is published, for those who listen.
pub(super) fn published(group: &str, request: &Request) -> ServerMessage {
    ServerMessage::Published {
        group: group.to_owned(),
        operation: match request.operation {
            agent::Operation::Query => Operation::Query,
            agent::Operation::Update => Operation::Update,
            agent::Operation::Action => Operation::Action,
        },
        key: request.key.to_string(),
        payload: Payload::from_msgpack(request.payload.bytes().clone()),
    }
}

/// The request a client means.
pub(super) fn request(operation: Operation, key: &str, payload: &Payload) -> Request {
    let operation = match operation {
        Operation::Query => agent::Operation::Query,
        Operation::Update => agent::Operation::Update,
        Operation::Action => agent::Operation::Action,
    };
    Request::new(operation, key, agent::Payload::from_msgpack(payload.bytes().clone()))
}

/// What clients may reach.
#[derive(Clone, Debug, Default)]
pub(super) struct Allow {
    agents: Vec<NamePattern>,
    groups: Vec<String>,
}

impl Allow {
    /// Reads the topology's list, which has been checked: what is malformed allows nothing.
    pub(super) fn new(list: &[String]) -> Self {
        let mut allow = Self::default();
        for entry in list {
            match entry.strip_prefix("group:") {
                Some(group) => allow.groups.push(group.to_owned()),
                None => allow.agents.extend(entry.parse::<NamePattern>()),
            }
        }
        allow
    }

    pub(super) fn agent(&self, name: &str) -> bool {
        self.agents.iter().any(|pattern| pattern.matches(name))
    }

    pub(super) fn group(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group == name)
    }
}
