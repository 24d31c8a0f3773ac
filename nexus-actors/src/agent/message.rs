//! What agents are sent.

use std::sync::Arc;

use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::id::RequestId;
use super::level::{Level, LevelGranted};
use super::payload::Payload;
use super::reply::ReplyPort;
use crate::clock::Millis;
use crate::error::AgentError;
use crate::route::travel::Luggage;
use crate::store::{Follows, Origin};
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
    #[serde(default)]
    at_least_once: bool,
    /// Given by the asking node.
    #[serde(skip)]
    id: Option<RequestId>,
    /// Its place in a feed. Given by the cluster's nodes only: no client can claim one.
    #[serde(skip)]
    origin: Option<Origin>,
    /// What it follows in its feed.
    #[serde(skip)]
    follows: Option<Follows>,
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
    /// What most requests carry nothing of. Shared with the copy that the behavior is given.
    extras: Option<Arc<Extras>>,
}

impl Request {
    fn extras(&mut self) -> &mut Extras {
        Arc::make_mut(self.extras.get_or_insert_default())
    }

    /// A request without hints.
    #[must_use]
    pub fn new(operation: Operation, key: impl Into<SmolStr>, payload: Payload) -> Self {
        Self { operation, key: key.into(), payload, extras: None }
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
        self.extras().hints = hints;
        self
    }

    /// The same request, not to be handled after `deadline` on the node's clock.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Millis) -> Self {
        self.extras().hints.deadline = Some(deadline);
        self
    }

    /// The same request, which comes from this place of a feed: a persisted agent that has handled it, or a later one of the feed,
    /// skips it.
    #[must_use]
    pub fn from_feed(mut self, origin: Origin) -> Self {
        self.extras().origin = Some(origin);
        self
    }

    /// The same request, which comes from this place of a feed that delivers again what is lost: any agent that has handled it skips it,
    /// and one that has not handled what it follows does not handle it either, but has it [reported](crate::route::FeedLosses).
    #[must_use]
    pub fn from_feed_after(mut self, origin: Origin, follows: Follows) -> Self {
        let extras = self.extras();
        // No request follows a later place: peers say what they like.
        let seq = follows.seq.min(Origin::SEQ_MAX - 1);
        (extras.origin, extras.follows) = (Some(origin), Some(Follows { seq, ..follows }));
        self
    }

    /// The place of a feed that this request comes from, if it does.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.extras.as_ref()?.origin
    }

    /// What the request follows in its feed, if that matters.
    #[must_use]
    pub fn follows(&self) -> Option<Follows> {
        self.extras.as_ref()?.follows
    }

    /// Its place in a feed that delivers again what is lost.
    #[inline]
    pub(crate) fn chained(&self) -> Option<(Origin, Follows)> {
        let extras = self.extras.as_deref()?;
        Some((extras.origin?, extras.follows?))
    }

    /// The same request as part of a distributed trace.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.extras().trace = Some(trace);
        self
    }

    /// Makes it part of a distributed trace unless it is part of one already.
    #[cold]
    pub(crate) fn join(&mut self, trace: TraceContext) {
        self.extras().trace.get_or_insert(trace);
    }

    /// The same request, marked as one that may be handled more than once without harm. An [ask](crate::Node::ask) of it is tried again
    /// when the way to the agent's node is lost, until it is answered or its time is over: at least once, not at most once. Tries have
    /// an id in common, by which the agent's node knows them: as long as it remembers, the agent handles one of them and
    /// all are answered alike. It does not if it was started anew between two tries, if the agent has moved between them, or if the answer
    /// is more than minutes old or too many have followed. A try that comes late comes after what was sent meanwhile. It takes some seconds
    /// until a way is known to be lost (15 s without a connection, by default): an ask whose time is shorter times out before. Requests that
    /// are sent or published are not tried again, marked or not.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.extras().at_least_once = true;
        self
    }

    /// Whether it is [marked](Self::at_least_once) as one that may be tried again.
    #[inline]
    #[must_use]
    pub fn is_at_least_once(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.at_least_once)
    }

    /// The same request as a try of the ask with this id. An ask gets its own, whatever its request says: this is for those who carry
    /// requests between nodes.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        let extras = self.extras();
        (extras.at_least_once, extras.id) = (true, Some(id));
        self
    }

    /// Which ask this is a try of, if it is one that may be tried again.
    #[must_use]
    pub fn request_id(&self) -> Option<RequestId> {
        self.extras.as_ref().and_then(|extras| extras.id)
    }

    /// Whether it carries neither hints nor a trace, is not marked as one that may be tried again, and comes from no feed.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.extras.is_none()
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
