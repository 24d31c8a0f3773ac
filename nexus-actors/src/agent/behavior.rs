//! From names to behaviors: what a topology writes as `behavior = "kv"`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, SpawnErr};
use serde::de::DeserializeOwned;

use super::cell::AgentCell;
use super::durable::Durable;
use super::family::Family;
use super::host::Agent;
use super::level::Level;
use super::message::AgentMessage;
use super::payload::Payload;
use crate::error::AgentError;
use crate::node::Node;

/// What an agent starts with: the `Arguments` of every behavior.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// The agent's name.
    pub name: Arc<str>,
    /// The arguments its topology entry gives, empty if it gives none.
    pub args: Payload,
    /// The level its topology entry asks for; the one granted is the host's business.
    pub level: Level,
    /// The node it lives on: how a behavior sends to other agents.
    pub node: Node,
    pub(crate) cell: Arc<AgentCell>,
    /// The family it belongs to, if it does.
    pub(crate) family: Option<Arc<Family>>,
}

impl AgentSpec {
    /// The arguments as `T`; without arguments `T` is decoded from nil, so use `Option<T>` or `#[serde(default)]` types
    /// where they may be left out.
    ///
    /// # Errors
    /// [`AgentError::Malformed`] if they do not fit, with the key that does not: return it from `pre_start`, and the start fails
    /// with that reason.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        let malformed =
            |reason: String| AgentError::Malformed { reason: format!("args of `{}`: {reason}", self.name) };
        let value: serde_json::Value = self.args.decode()?;
        serde_path_to_error::deserialize(value).map_err(|error| malformed(error.to_string()))
    }

    /// The part of the name after the last slash: `N14228` of `aircraft/N14228`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

pub(crate) type Spawn =
    dyn Fn(AgentSpec, ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync;

/// The behaviors a binary knows, by name.
#[derive(Clone, Default)]
pub struct Behaviors {
    by_name: BTreeMap<Arc<str>, Registered>,
}

/// How to start an agent of a behavior.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) spawn: Arc<Spawn>,
    /// Whether its agents can hibernate.
    pub(crate) durable: bool,
}

impl fmt::Debug for Behaviors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Behaviors {
    /// No behaviors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `A` as `name`, replacing what had that name before. Every agent gets an `A` of its own.
    pub fn register<A>(&mut self, name: &str)
    where
        A: Actor<Msg = AgentMessage, Arguments = AgentSpec> + Default,
    {
        self.insert(name, false, || Agent::new(A::default()));
    }

    /// Registers a behavior whose agents can hibernate. Otherwise as [`Behaviors::register`].
    pub fn durable<A: Durable + Default>(&mut self, name: &str) {
        self.insert(name, true, || Agent::durable(A::default()));
    }

    fn insert<A>(&mut self, name: &str, durable: bool, host: fn() -> Agent<A>)
    where
        A: Actor<Msg = AgentMessage, Arguments = AgentSpec>,
    {
        let spawn = move |spec: AgentSpec,
                          supervisor: ActorCell|
              -> BoxFuture<'static, Result<ActorCell, SpawnErr>> {
            Box::pin(async move {
                let (actor, _) = Agent::spawn_linked(None, host(), spec, supervisor).await?;
                Ok(actor.get_cell())
            })
        };
        self.by_name.insert(name.into(), Registered { spawn: Arc::new(spawn), durable });
    }

    /// The registered names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// Whether agents of this behavior can hibernate.
    #[must_use]
    pub fn is_durable(&self, name: &str) -> bool {
        self.get(name).is_some_and(|registered| registered.durable)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Registered> {
        self.by_name.get(name)
    }
}
