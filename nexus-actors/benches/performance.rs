//! `cargo bench -p nexus-actors --bench performance`: what one look of the performance monitor costs, with agents awake and asleep.
//!
//! `NEXUS_BENCH_LIVE` sets how many agents are awake at most (default 100,000), `NEXUS_BENCH_AGENTS` how many sleep beside them in the
//! last row (default 400,000). Each figure is the median of 21 looks, each with sensors of its own, so that none is spared the agents'
//! inboxes. The target is 1 % of a core: 50 ms of a look every 5 s, with 100,000 agents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::NodeConfig;
use nexus_actors::agent::{AgentTemplate, Behaviors, FamilyRules, Level};
use nexus_actors::clock::Clock;
use nexus_actors::performance::Sensors;
use nexus_actors::prelude::*;
use nexus_actors::scheduler::{self, CpuTopology, Policy, Schedulers, SchedulersConfig};
use nexus_actors::store::Persist;
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use serde::{Deserialize, Serialize};

/// Agents that are told at once.
const CHUNK: usize = 10_000;
const LOOKS: usize = 21;
/// The monitor's default interval.
const INTERVAL: Duration = Duration::from_secs(5);

/// Messages handled so far.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Sensor;

#[derive(Serialize, Deserialize)]
struct Reading(u64);

impl Actor for Sensor {
    type Msg = AgentMessage;
    type State = Reading;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<Reading, ActorProcessingErr> {
        Ok(Reading(0))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Reading,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(_, reply) = message {
            state.0 += 1;
            HANDLED.fetch_add(1, Ordering::Relaxed);
            reply.done();
        }
        Ok(())
    }
}

impl Durable for Sensor {}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < Duration::from_secs(300), "{what}");
        tokio::task::yield_now().await;
    }
}

/// A node with the family `sensor/*` and a runtime for each CPU, so that the work of groups is counted as well.
async fn start() -> (Node, Root) {
    let machine = CpuTopology::read(std::path::Path::new("/"), scheduler::allowed().as_ref());
    let config = SchedulersConfig { policy: Policy::Core, ..SchedulersConfig::default() };
    let schedulers =
        Schedulers::start(&config, &machine, &tokio::runtime::Handle::current()).expect("threads");
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Sensor>("sensor");
    let config = NodeConfig {
        agents_max: 100_000_000,
        events: 1024,
        schedulers: Some(schedulers),
        ..NodeConfig::default()
    };
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
        hibernate_after: None,
    };
    let pattern = "sensor/{0..99999999}".parse().expect("a range");
    let family = node.family_child(pattern, template, rules).expect("durable");
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(SupervisorSpec::new("top").child(family), env).await.expect("starts");
    (node, root)
}

/// Has each agent of `range` handle a message, a chunk at a time.
async fn touch(node: &Node, range: std::ops::Range<usize>) {
    for from in range.clone().step_by(CHUNK) {
        let chunk = from..(from + CHUNK).min(range.end);
        let handled = HANDLED.load(Ordering::Relaxed) + chunk.len();
        for agent in chunk {
            node.send(&format!("sensor/{agent}"), Request::query("read")).expect("room");
        }
        until("all are handled", || HANDLED.load(Ordering::Relaxed) == handled).await;
    }
}

async fn lay_down(node: &Node, range: std::ops::Range<usize>) {
    for from in range.clone().step_by(CHUNK) {
        let chunk = from..(from + CHUNK).min(range.end);
        let asleep = node.dormant_count() + chunk.len();
        touch(node, chunk.clone()).await;
        until("all are at rest", || node.tally().queued == 0).await;
        for agent in chunk {
            node.hibernate(&format!("sensor/{agent}")).expect("awake");
        }
        until("all sleep", || node.dormant_count() == asleep).await;
    }
}

/// Milliseconds of a look.
fn look(node: &Node) -> f64 {
    let mut took: Vec<u64> = (0..LOOKS).map(|_| Sensors::new(node, "/", None).read().took_us).collect();
    took.sort_unstable();
    took[LOOKS / 2] as f64 / 1000.0
}

fn row(node: &Node) {
    let awake = node.agent_count() - node.dormant_count();
    let ms = look(node);
    let core = ms / INTERVAL.as_millis() as f64 * 100.0;
    println!("{awake:>12}{:>12}{ms:>12.2}{core:>12.3} %", node.dormant_count());
}

async fn bench() {
    let (live, dormant) = (number("NEXUS_BENCH_LIVE", 100_000), number("NEXUS_BENCH_AGENTS", 400_000));
    let (node, root) = start().await;
    println!("{:>12}{:>12}{:>12}{:>14}  target < 1 %", "awake", "asleep", "ms a look", "of a core");
    row(&node);
    for awake in [live / 100, live / 10, live] {
        touch(&node, 0..awake).await;
        row(&node);
    }
    lay_down(&node, live..live + dormant).await;
    row(&node);
    drop(root);
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { tokio::spawn(bench()).await.expect("no panic") });
    // A hundred thousand actors take long to end one by one.
    std::process::exit(0);
}
