//! `cargo bench -p nexus-actors --bench hibernate`: memory of dormant and of live agents, and wakes a second, beside bare linked
//! ractor actors in the same run.
//!
//! `NEXUS_BENCH_AGENTS` sets how many agents sleep (default 1,000,000), `NEXUS_BENCH_LIVE` how many are woken and kept alive (default
//! 100,000). Memory is the process's resident set; what is measured is its growth.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::NodeConfig;
use nexus_actors::agent::{AgentTemplate, Behaviors, FamilyRules, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::store::Persist;
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use serde::{Deserialize, Serialize};

/// Agents that are awake at a time while the others are laid down.
const CHUNK: usize = 20_000;

/// Messages handled so far.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// 64 bytes of state: seven numbers that take nine bytes each in MessagePack, and the array's head.
#[derive(Default)]
struct Sensor;

#[derive(Serialize, Deserialize)]
struct Readings([u64; 7]);

impl Actor for Sensor {
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
        if let AgentMessage::Request(_, reply) = message {
            state.0[0] -= 1;
            HANDLED.fetch_add(1, Ordering::Relaxed);
            reply.done();
        }
        Ok(())
    }
}

impl Durable for Sensor {}

/// A bare linked actor with the same state.
struct Bare;

impl Actor for Bare {
    type Msg = BareMessage;
    type State = Readings;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<BareMessage>, (): ()) -> Result<Readings, ActorProcessingErr> {
        Ok(Readings([u64::MAX; 7]))
    }

    async fn handle(
        &self,
        _: ActorRef<BareMessage>,
        _: BareMessage,
        state: &mut Readings,
    ) -> Result<(), ActorProcessingErr> {
        state.0[0] -= 1;
        Ok(())
    }
}

struct BareMessage;

impl ractor::Message for BareMessage {}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The process's resident memory in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("has a VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("kibibytes") * 1024.0
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        tokio::task::yield_now().await;
    }
}

async fn start() -> (Node, Root) {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Sensor>("sensor");
    let config = NodeConfig { agents_max: 100_000_000, events: 1024, ..NodeConfig::default() };
    let meter = opentelemetry::global::meter("bench");
    let node = Node::new(config, behaviors, Clock::start(), &meter);
    let template = AgentTemplate {
        behavior: "sensor".into(),
        args: Payload::EMPTY,
        inbox: 64,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let rules = FamilyRules {
        name: "sensor".into(),
        agent: ChildRules::worker("sensor"),
        intensity: 10,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: Some(Duration::from_secs(86_400)),
    };
    let pattern = "sensor/{0..99999999}".parse().expect("a range");
    let family = node.family_child(pattern, template, rules).expect("durable");
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(SupervisorSpec::new("top").child(family), env).await.expect("starts");
    (node, root)
}

fn update(node: &Node, agent: usize) {
    node.send(&format!("sensor/{agent}"), Request::action("read", Payload::EMPTY)).expect("room");
}

/// Wakes agents `range`, all at once, and waits until each has handled its message.
async fn wake(node: &Node, range: std::ops::Range<usize>) {
    let handled = HANDLED.load(Ordering::Relaxed) + range.len();
    for (count, agent) in range.enumerate() {
        update(node, agent);
        if count % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    until("all are handled", || HANDLED.load(Ordering::Relaxed) == handled).await;
}

async fn lay_down(node: &Node, range: std::ops::Range<usize>) {
    let asleep = node.dormant_count() + range.len();
    for agent in range {
        node.hibernate(&format!("sensor/{agent}")).expect("awake");
    }
    until("all sleep", || node.dormant_count() == asleep).await;
}

async fn bench() {
    let (dormant, live) = (number("NEXUS_BENCH_AGENTS", 1_000_000), number("NEXUS_BENCH_LIVE", 100_000));
    let (node, root) = start().await;
    // What the first agents grow once.
    wake(&node, 0..CHUNK).await;
    lay_down(&node, 0..CHUNK).await;
    let before = resident();
    println!("{:>12}{:>16}{:>14}", "dormant", "bytes/agent", "laid down/s");
    let (mut laid, mut started, mut next) = (CHUNK, Instant::now(), CHUNK * 5);
    while laid < dormant {
        let to = (laid + CHUNK).min(dormant);
        wake(&node, laid..to).await;
        lay_down(&node, laid..to).await;
        laid = to;
        if laid >= next || laid == dormant {
            let agents = (laid - CHUNK) as f64;
            let rate = agents / started.elapsed().as_secs_f64();
            println!("{laid:>12}{:>16.0}{rate:>14.0}", (resident() - before) / agents);
            next *= 10;
        }
    }

    let before = resident();
    started = Instant::now();
    let woken = live.min(dormant);
    for from in (0..woken).step_by(CHUNK) {
        wake(&node, from..(from + CHUNK).min(woken)).await;
    }
    let ours = woken as f64 / started.elapsed().as_secs_f64();
    let our_bytes = (resident() - before) / woken as f64;
    until("all is counted", || node.tally().queued == 0).await;
    let tally = node.tally();
    assert_eq!((tally.sent, tally.dead_lettered), (tally.processed, 0), "nothing is lost");

    let before = resident();
    started = Instant::now();
    let (parent, _) = Bare::spawn(None, Bare, ()).await.expect("starts");
    let mut bare = Vec::with_capacity(woken);
    for _ in 0..woken {
        let (actor, _) = Bare::spawn_linked(None, Bare, (), parent.get_cell()).await.expect("starts");
        actor.cast(BareMessage).expect("alive");
        bare.push(actor);
    }
    let theirs = woken as f64 / started.elapsed().as_secs_f64();
    let their_bytes = (resident() - before) / woken as f64;
    println!("\n{:<26}{:>12}{:>12}{:>8}  target", "", "nexus", "ractor", "n/r");
    println!("{:<26}{ours:>12.0}{theirs:>12.0}{:>8.2}  >= 0.8", "wakes a second", ours / theirs);
    let ratio = our_bytes / their_bytes;
    println!("{:<26}{our_bytes:>12.0}{their_bytes:>12.0}{ratio:>8.2}  <= 1.1", "bytes of a live agent");
    drop(root);
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { tokio::spawn(bench()).await.expect("no panic") });
    // A million actors take long to end one by one.
    std::process::exit(0);
}
