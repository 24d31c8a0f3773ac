//! What agents are sent.

use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::level::{Level, LevelGranted};
use super::payload::Payload;
use super::reply::ReplyPort;
use crate::clock::Millis;
use crate::error::AgentError;
use crate::route::travel::Luggage;
use crate::store::Origin;
use crate::telemetry::TraceContext;

/// The message type of every agent: `type Msg = AgentMessage` in a behavior.
///
/// A behavior matches [`Request`](AgentMessage::Request) and, if it wants to be seen, [`Inspect`](AgentMessage::Inspect).
/// [`Host`](AgentMessage::Host) is handled by the agent's host and never reaches a behavior.
#[derive(Debug)]
pub enum AgentMessage {
    /// A request, and the port that answers it. Dropping the port answers [`AgentError::NoReply`](crate::AgentError::NoReply).
    Request(Request, ReplyPort),
    /// Show your state to an operator: answer with any payload, or drop the port to show nothing.
    Inspect(ReplyPort),
    /// For the host.
    Host(HostMessage),
}

impl ractor::Message for AgentMessage {}

/// What the host handles itself, before a behavior sees anything.
#[derive(Debug)]
pub enum HostMessage {
    /// The inbox has messages: drain a batch.
    Wake,
    /// Write your state down and sleep, if you have nothing to do and know how.
    Hibernate,
    /// A checkpoint wants your state written.
    Save,
    /// Another node had an agent of this name too, and has lost: merge its state into yours.
    Absorb(Box<Luggage>, RpcReplyPort<Result<(), AgentError>>),
    /// Serve this agent at a level, or the highest there is below it.
    SetLevel(Level, RpcReplyPort<LevelGranted>),
}

/// What a request wants: the three forms of the reactive level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read `key`; the payload is the default, used when there is no value. Changes nothing.
    Query,
    /// Set `key` to the payload, if the behavior's validation allows it.
    Update,
    /// Do what `key` names, with the payload as arguments. Deterministic in state and arguments.
    Action,
}

impl Operation {
    /// The operation's name in logs and endpoints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Update => "update",
            Self::Action => "action",
        }
    }
}

/// How a request may be routed when its target is more than one agent or far away; the source document's routing modes. On
/// one node all modes take the direct route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// The direct route.
    #[default]
    Basic,
    /// Load-aware.
    Optimized,
    /// Adapts to conditions.
    Adaptive,
    /// Decided by a swarm.
    SwarmOptimized,
}

/// What the sender knows about a request; learned levels read it, the reactive level only the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hints {
    /// Relative work, 1 is ordinary. Default 1.
    pub complexity: f32,
    /// 0 (whenever) to 1 (first). Default 0.5.
    pub priority: f32,
    /// Relative need for memory and CPU, 1 is ordinary. Default 1.
    pub resources: f32,
    /// On the node's clock: a request whose turn comes later is not handled but dead-lettered. Default none.
    pub deadline: Option<Millis>,
    /// Default direct.
    pub routing: Routing,
}

impl Default for Hints {
    fn default() -> Self {
        Self { complexity: 1.0, priority: 0.5, resources: 1.0, deadline: None, routing: Routing::Basic }
    }
}

/// The rare parts of a request, out of the way of the common ones.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Extras {
    hints: Hints,
    trace: Option<TraceContext>,
}

/// A request to an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Query, update or action.
    pub operation: Operation,
    /// The key to read or set, or the action's name. Up to 23 bytes are held in place.
    pub key: SmolStr,
    /// Default, new value or arguments.
    pub payload: Payload,
    /// What most requests carry nothing of.
    extras: Option<Box<Extras>>,
    /// Its place in a feed. Given by the node only: neither clients nor other nodes can claim one.
    #[serde(skip)]
    origin: Option<Origin>,
}

impl Request {
    /// A request without hints.
    #[must_use]
    pub fn new(operation: Operation, key: impl Into<SmolStr>, payload: Payload) -> Self {
        Self { operation, key: key.into(), payload, extras: None, origin: None }
    }

    /// Reads `key`; answered with [`AgentError::NotFound`](crate::AgentError::NotFound) if there is no value.
    #[must_use]
    pub fn query(key: impl Into<SmolStr>) -> Self {
        Self::new(Operation::Query, key, Payload::EMPTY)
    }

    /// Reads `key`, or answers `default`.
    #[must_use]
    pub fn query_or(key: impl Into<SmolStr>, default: Payload) -> Self {
        Self::new(Operation::Query, key, default)
    }

    /// Sets `key` to `value`.
    #[must_use]
    pub fn update(key: impl Into<SmolStr>, value: Payload) -> Self {
        Self::new(Operation::Update, key, value)
    }

    /// Does what `name` says with `arguments`.
    #[must_use]
    pub fn action(name: impl Into<SmolStr>, arguments: Payload) -> Self {
        Self::new(Operation::Action, name, arguments)
    }

    /// The same request with `hints`.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.extras.get_or_insert_default().hints = hints;
        self
    }

    /// The same request, not to be handled after `deadline` on the node's clock.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Millis) -> Self {
        self.extras.get_or_insert_default().hints.deadline = Some(deadline);
        self
    }

    /// The same request, which comes from this place of a feed: a persisted agent that has handled it, or a later one of the feed,
    /// skips it.
    #[must_use]
    pub const fn from_feed(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// The place of a feed that this request comes from, if it does.
    #[must_use]
    pub const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The same request as part of a distributed trace.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.extras.get_or_insert_default().trace = Some(trace);
        self
    }

    /// Makes it part of a distributed trace unless it is part of one already.
    #[cold]
    pub(crate) fn join(&mut self, trace: TraceContext) {
        self.extras.get_or_insert_default().trace.get_or_insert(trace);
    }

    /// What the sender knows about it; the defaults if it said nothing.
    #[must_use]
    pub fn hints(&self) -> Hints {
        self.extras.as_ref().map(|extras| extras.hints).unwrap_or_default()
    }

    /// The deadline, if there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.extras.as_ref().and_then(|extras| extras.hints.deadline)
    }

    /// The distributed trace this request is part of.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.extras.as_ref().and_then(|extras| extras.trace)
    }
}
