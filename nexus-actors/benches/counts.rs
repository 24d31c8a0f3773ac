//! Instruction counts of the hot path, for `.ci/counts`: what a message costs in instructions does not depend on how busy the
//! machine is.
//!
//! `cargo bench -p nexus-actors --bench counts` needs Debian's valgrind and `gungraun-runner` of gungraun's version. Each function
//! does [`TIMES`] operations on a node that its setup has made; neither setup nor teardown is counted. Everything runs on one
//! thread, so that there is one order of things.

#![expect(missing_docs, reason = "gungraun's macros make public items without")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group, main};
use nexus_actors::NodeConfig;
use nexus_actors::agent::{AgentId, AgentTemplate, Behaviors, FamilyRules, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::route::GroupSpec;
use nexus_actors::route::balance;
use nexus_actors::store::Persist;
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

/// Operations in each function: what begins or ends a batch is a small part of them.
const TIMES: usize = 1_000;
const MEMBERS: usize = 1_000;

/// 64 bytes of state in MessagePack; answers what it is sent.
#[derive(Default)]
struct Echo;

#[derive(Serialize, Deserialize)]
struct Readings([u64; 7]);

impl Actor for Echo {
    type Msg = AgentMessage;
    type State = Readings;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<Readings, ActorProcessingErr> {
        Ok(Readings([u64::MAX; 7]))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Readings,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(request, reply) = message {
            state.0[0] -= 1;
            reply.send(Ok(request.payload));
        }
        Ok(())
    }
}

impl Durable for Echo {}

/// A node on a thread of its own, with a family of agents that are started by their first message.
struct Site {
    node: Node,
    /// Kept for its agents.
    _root: Root,
    names: Vec<String>,
    runtime: Runtime,
}

fn template() -> AgentTemplate {
    AgentTemplate {
        behavior: "echo".into(),
        args: Payload::EMPTY,
        inbox: 65_536,
        level: Level::Reactive,
        persist: Persist::None,
    }
}

fn node() -> Node {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Echo>("echo");
    Node::new(NodeConfig::default(), behaviors, Clock::start(), &opentelemetry::global::meter("counts"))
}

/// A node whose agents `agent/0`, `agent/1`, … are awake and idle.
fn awake(agents: usize) -> Site {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (node, root) = runtime.block_on(async {
        let node = node();
        let rules = FamilyRules {
            name: "agent".into(),
            agent: ChildRules::worker("echo"),
            intensity: 1,
            period: Duration::from_secs(1),
            backoff: None,
            eager: false,
            hibernate_after: Some(Duration::from_secs(86_400)),
        };
        let family = node.family_child("agent/*".parse().expect("a family"), template(), rules);
        let spec = SupervisorSpec::new("top").child(family.expect("durable"));
        let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
        let root = Root::start(spec, env).await.expect("it starts");
        (node, root)
    });
    let names = (0..agents).map(|number| format!("agent/{number}")).collect();
    let site = Site { node, _root: root, names, runtime };
    send_all(&site, agents);
    site
}

/// One sleeping agent.
fn asleep() -> Site {
    let site = awake(1);
    hibernate(&site);
    site
}

/// A node with declared agents that have inboxes and no actors, so that whoever sends to them finds them scheduled; all of them serve
/// as a group.
fn declared(balance: &str) -> (Node, Vec<Arc<str>>) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let node = node();
    let members = vec!["agent/*".parse().expect("a family")];
    node.declare_group(GroupSpec { name: "all".into(), members, balance: balance::named(balance) });
    let names: Vec<Arc<str>> = (0..MEMBERS).map(|number| format!("agent/{number}").into()).collect();
    for (index, name) in names.iter().enumerate() {
        node.declare(name.clone(), &template()).expect("a free name");
        for _ in 0..1 + index * 7 % 13 {
            node.send(name, request()).expect("room");
        }
    }
    assert!(node.choose_member("all").is_some(), "the group has members");
    (node, names)
}

fn request() -> Request {
    Request::action("count", Payload::EMPTY)
}

/// Sends `count` messages, to each agent in turn, and lets all be handled.
fn send_all(site: &Site, count: usize) {
    site.runtime.block_on(async {
        for name in site.names.iter().cycle().take(count) {
            site.node.send(name, request()).expect("room");
        }
        while site.node.tally().queued > 0 {
            tokio::task::yield_now().await;
        }
    });
}

fn hibernate(site: &Site) {
    site.runtime.block_on(async {
        site.node.hibernate(&site.names[0]).expect("it is awake");
        while site.node.dormant_count() == 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[library_benchmark(setup = declared)]
#[bench::by_name("round_robin")]
fn route_lookup((node, names): (Node, Vec<Arc<str>>)) -> (Node, Vec<Arc<str>>) {
    for name in names.iter().take(TIMES) {
        black_box(node.has_agent(black_box(name)));
    }
    (node, names)
}

#[library_benchmark(setup = declared)]
#[bench::scheduled("round_robin")]
fn send((node, names): (Node, Vec<Arc<str>>)) -> (Node, Vec<Arc<str>>) {
    let id = AgentId::of(&names[0]);
    for _ in 0..TIMES {
        black_box(node.send(black_box(&id), request()).is_ok());
    }
    (node, names)
}

#[library_benchmark]
#[bench::one_agent(awake(1))]
#[bench::many_agents(awake(100))]
fn push_take_complete(site: Site) -> Site {
    send_all(&site, TIMES);
    site
}

#[library_benchmark]
#[bench::round_trip(awake(1))]
fn ask(site: Site) -> Site {
    site.runtime.block_on(async {
        for _ in 0..TIMES {
            black_box(site.node.ask(&site.names[0], request(), None).await.is_ok());
        }
    });
    site
}

#[library_benchmark(setup = declared)]
#[bench::least_loaded("least_loaded")]
#[bench::power_of_two("power_of_two")]
#[bench::resource_aware("resource_aware")]
#[bench::round_robin("round_robin")]
#[bench::weighted("weighted")]
fn balance_decision((node, names): (Node, Vec<Arc<str>>)) -> (Node, Vec<Arc<str>>) {
    for _ in 0..TIMES {
        black_box(node.choose_member("all"));
    }
    (node, names)
}

#[library_benchmark]
#[bench::record(asleep())]
fn wake_hibernate(site: Site) -> Site {
    for _ in 0..TIMES / 10 {
        send_all(&site, 1);
        hibernate(&site);
    }
    site
}

library_benchmark_group!(
    name = hot_path,
    benchmarks = [route_lookup, send, push_take_complete, ask, balance_decision, wake_hibernate]
);
main!(library_benchmark_groups = hot_path);
