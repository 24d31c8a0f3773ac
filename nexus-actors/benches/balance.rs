//! `cargo bench -p nexus-actors --bench balance`: what a balancing decision costs for 10, 100 and 1,000 members, with power of two
//! choices beside the strategies that compare everybody.
//!
//! A decision is all of it: looking the group up, gathering what the strategy asks for, choosing. `idle`: every inbox is empty,
//! and stays so. `busy`: every inbox has messages that nobody handles, some more than others, so that no scan ends early. Members
//! have real routes and inboxes and no actors, so that nothing moves while the time is taken. `send` is a whole message through
//! the group to running agents.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_actors::NodeConfig;
use nexus_actors::agent::{Agent, AgentTemplate, Behaviors, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::route::GroupSpec;
use nexus_actors::route::balance::{self, Strategy};
use nexus_actors::store::Persist;

const ROUNDS: usize = 7;
/// Decisions timed together: one alone is shorter than the clock's own cost allows.
const BATCH: u32 = 100;
const TARGET: Duration = Duration::from_micros(10);

#[derive(Default)]
struct Desk;

impl Actor for Desk {
    type Msg = AgentMessage;
    type State = ();
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(request, reply) = message {
            reply.send(Ok(request.payload));
        }
        Ok(())
    }
}

fn node(strategy: &'static dyn Strategy) -> Node {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Desk>("desk");
    let node =
        Node::new(NodeConfig::default(), behaviors, Clock::start(), &opentelemetry::global::meter("bench"));
    let members = vec!["desk/*".parse().expect("a family")];
    node.declare_group(GroupSpec { name: "desks".into(), members, balance: Some(strategy) });
    node
}

fn declare(node: &Node, members: usize) -> Vec<AgentSpec> {
    let template = AgentTemplate {
        behavior: "desk".into(),
        args: Payload::EMPTY,
        inbox: 65_536,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let name = |index| Arc::from(format!("desk/{index}"));
    (0..members).map(|index| node.declare(name(index), &template).expect("a free name")).collect()
}

fn request() -> Request {
    Request::action("x", Payload::EMPTY)
}

/// Nanoseconds a decision takes: the median of the batches, and the 99th percentile.
fn decisions(node: &Node, batches: usize) -> (f64, f64) {
    let mut times: Vec<f64> = (0..batches)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..BATCH {
                black_box(node.choose_member(black_box("desks")));
            }
            started.elapsed().as_nanos() as f64 / f64::from(BATCH)
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Nanoseconds a message to the group takes its sender.
async fn sends(node: &Node, messages: u32) -> f64 {
    let mut waiting = Duration::ZERO;
    let started = Instant::now();
    for index in 0..messages {
        while node.send("group:desks", request()).is_err() {
            let since = Instant::now();
            tokio::task::yield_now().await;
            waiting += since.elapsed();
        }
        if index % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    (started.elapsed() - waiting).as_nanos() as f64 / f64::from(messages)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo bench` and `cargo test --benches` pass their own flags; there is nothing to select here.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("a decision in ns, median of {ROUNDS} rounds; target < {TARGET:?} for 1,000 members");
    println!(
        "{:<16}{:>8}{:>10}{:>10}{:>12}{:>10}{:>10}{:>12}",
        "strategy", "members", "idle", "busy", "busy p99", "busy/p2c", "send", ""
    );
    for members in [10, 100, 1_000] {
        let mut two_choices = f64::NAN;
        // Power of two choices first: it is what the others are compared with.
        let mut strategies = balance::all();
        strategies.sort_by_key(|strategy| strategy.name() != "power_of_two");
        for strategy in strategies {
            let (mut idle, mut busy, mut busy_p99) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let node_idle = node(strategy);
                declare(&node_idle, members);
                idle.push(decisions(&node_idle, 50).0);
                let node_busy = node(strategy);
                for (index, spec) in declare(&node_busy, members).iter().enumerate() {
                    for _ in 0..1 + index * 7 % 13 {
                        node_busy.send(&spec.name, request()).expect("room");
                    }
                }
                let (p50, p99) = decisions(&node_busy, 50);
                busy.push(p50);
                busy_p99.push(p99);
            }
            let send = runtime.block_on(async {
                let node = node(strategy);
                for spec in declare(&node, members) {
                    Agent::spawn(None, Agent::new(Desk), spec).await.expect("starts");
                }
                tokio::spawn(async move { sends(&node, 200_000).await }).await.expect("no panic")
            });
            let (idle, busy, busy_p99) = (median(idle), median(busy), median(busy_p99));
            if strategy.name() == "power_of_two" {
                two_choices = busy;
            }
            let verdict = if busy < TARGET.as_nanos() as f64 { "ok" } else { "above target" };
            println!(
                "{:<16}{members:>8}{idle:>10.0}{busy:>10.0}{busy_p99:>12.0}{:>10.1}{send:>10.0}{verdict:>14}",
                strategy.name(),
                busy / two_choices,
            );
        }
    }
}
