//! A node with a store on a disk that fails on request, and agents that add up what they are sent.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use super::fault::FaultDisk;
use super::{Follows, Origin, Persist, Restored, Store, StoreConfig, StoreError};
use crate::agent::{
    AgentMessage, AgentSpec, AgentTemplate, Behaviors, Durable, FamilyRules, Level, Operation, Payload,
    Reply, Request,
};
use crate::clock::Clock;
use crate::error::AgentError;
use crate::node::{Node, NodeConfig};
use crate::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};

pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Adds numbers; `crash` crashes it.
#[derive(Default)]
pub(super) struct Adder;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) sum: u64,
    pub(super) count: u64,
}

impl Actor for Adder {
    type Msg = AgentMessage;
    type State = Sums;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<Sums, ActorProcessingErr> {
        Ok(Sums::default())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Sums,
    ) -> Result<(), ActorProcessingErr> {
        let AgentMessage::Request(request, reply) = message else { return Ok(()) };
        match (request.operation, &*request.key) {
            (Operation::Query, _) => {}
            (_, "crash") => return Err("crash".into()),
            _ => {
                state.sum += request.payload.decode::<u64>()?;
                state.count += 1;
            }
        }
        reply.value(&*state);
        Ok(())
    }
}

impl Durable for Adder {}

/// The policies that store something, by the name of their family.
pub(super) fn policies() -> [(&'static str, Persist); 4] {
    [
        ("each", Persist::EachUpdate),
        ("many", Persist::EveryMessages(NonZeroU32::new(5).unwrap())),
        ("late", Persist::EveryInterval(Duration::from_millis(500))),
        ("naps", Persist::OnHibernate),
    ]
}

/// A running node.
pub(super) struct Site {
    pub(super) node: Node,
    pub(super) store: Store,
    pub(super) root: Root,
    pub(super) restored: Restored,
}

pub(super) fn open(disk: &FaultDisk) -> Result<Store, StoreError> {
    Store::open_on(Arc::new(disk.clone()), StoreConfig::new("unused"))
}

pub(super) fn behaviors() -> Behaviors {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Adder>("adder");
    behaviors.durable::<Adder>("other");
    behaviors
}

pub(super) fn template(persist: Persist) -> AgentTemplate {
    AgentTemplate {
        behavior: "adder".into(),
        args: Payload::EMPTY,
        inbox: 1024,
        level: Level::Reactive,
        persist,
    }
}

pub(super) fn family(name: &str) -> FamilyRules {
    FamilyRules {
        name: name.into(),
        agent: ChildRules::worker("adder"),
        intensity: 1_000_000,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    }
}

/// A node with a family for each policy, and the single agent `one`, which writes each update.
pub(super) async fn start(store: Store) -> Site {
    let config = NodeConfig { store: Some(store.clone()), ..NodeConfig::default() };
    let node = Node::new(config, behaviors(), Clock::start_at(0), &global::meter("test"));
    let mut top = SupervisorSpec::new("top")
        .intensity(1_000_000, Duration::from_secs(1))
        .child(node.store_child().expect("it has a store"));
    let one = node.agent_child("one", &template(Persist::EachUpdate), ChildRules::worker("adder"));
    top = top.child(one.expect("declared"));
    for (name, persist) in policies() {
        let pattern = format!("{name}/*").parse().expect("a family");
        top = top.child(node.family_child(pattern, template(persist), family(name)).expect("declared"));
    }
    let restored = node.restore().expect("it can be read");
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(top, env).await.expect("starts");
    Site { node, store, root, restored }
}

pub(super) fn add(number: u64) -> Request {
    Request::action("add", Payload::encode(&number).expect("a number"))
}

pub(super) fn fed(feed: u16, seq: u64, number: u64) -> Request {
    add(number).from_feed(Origin::new(feed, seq).expect("in range"))
}

/// The same of a feed that delivers again what is lost, after its request `after` for the same agent.
pub(super) fn chained(feed: u16, after: u64, seq: u64, number: u64) -> Request {
    add(number).from_feed_after(Origin::new(feed, seq).expect("in range"), Follows { seq: after, pass: 0 })
}

pub(super) fn sums(reply: Reply) -> Result<Sums, AgentError> {
    reply.and_then(|payload| payload.decode())
}

impl Site {
    pub(super) async fn new(disk: &FaultDisk) -> Self {
        start(open(disk).expect("it opens")).await
    }

    pub(super) async fn add(&self, agent: &str, number: u64) -> Result<Sums, AgentError> {
        sums(self.node.ask(agent, add(number), LIMIT).await)
    }

    pub(super) async fn sum(&self, agent: &str) -> Result<Sums, AgentError> {
        sums(self.node.ask(agent, Request::query("sums"), LIMIT).await)
    }

    pub(super) async fn crash(&self, agent: &str) {
        let crashed = self.node.ask(agent, Request::action("crash", Payload::EMPTY), LIMIT).await;
        assert!(
            matches!(crashed, Err(AgentError::Crashed { .. } | AgentError::NotStored { .. })),
            "{crashed:?}"
        );
    }

    /// Waits on the node's clock.
    pub(super) async fn until(&self, what: &str, mut seen: impl FnMut(&Self) -> bool) {
        let seen = async {
            while !seen(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"));
    }

    /// How often the event was emitted.
    pub(super) fn told(&self, event: &str) -> u64 {
        let counts = self.node.events().counts();
        counts.iter().find(|(name, _)| *name == event).map_or(0, |(_, count)| *count)
    }

    /// As a killed process leaves it: no last words.
    pub(super) async fn kill(self) {
        self.root.supervisor().cell().kill();
        self.root.exited().await;
    }
}
