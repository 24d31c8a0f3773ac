//! `cargo bench -p nexus-actors --bench schedulers`: what runtimes of their own cost agents, and what they spare everybody else,
//! by policy, on the machine it runs on.
//!
//! Rounds of the policies alternate; each figure is the median of its rounds. The last two columns are the answer time of a
//! small TCP server on the system's runtime, asked from outside, while a thousand agents always have work.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::agent::{AgentTemplate, Behaviors, FamilyRules, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::scheduler::{CpuTopology, Policy, Schedulers, SchedulersConfig, allowed};
use nexus_actors::store::Persist;
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use nexus_actors::{Node, NodeConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;

const ROUNDS: usize = 3;
const AGENTS: usize = 1_000;
const STARTS: usize = 20_000;
const TELLS: usize = 500_000;
const ASKS: usize = 20_000;
const PROBES: usize = 100;
/// Work in one message of the flood.
const WORK: Duration = Duration::from_micros(50);

static HANDLED: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Worker;

impl Actor for Worker {
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
            HANDLED.fetch_add(1, Ordering::Relaxed);
            if &*request.key == "work" {
                let until = Instant::now() + WORK;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            reply.done();
        }
        Ok(())
    }
}

/// What a policy did in one round.
#[derive(Default)]
struct Figures {
    starts_per_s: Vec<f64>,
    tells_per_s: Vec<f64>,
    ask_us: Vec<f64>,
    probe_p50_us: Vec<f64>,
    probe_p99_us: Vec<f64>,
}

struct Site {
    node: Node,
    root: Root,
    schedulers: Schedulers,
}

async fn site(policy: Policy) -> Site {
    let system = Handle::current();
    let starting = tokio::task::spawn_blocking(move || {
        let machine = CpuTopology::read(Path::new("/"), allowed().as_ref());
        let config = SchedulersConfig { policy, ..SchedulersConfig::default() };
        Schedulers::start(&config, &machine, &system)
    });
    let schedulers = starting.await.expect("it does not panic").expect("threads for it");
    let mut behaviors = Behaviors::new();
    behaviors.register::<Worker>("worker");
    let config = NodeConfig { schedulers: Some(schedulers.clone()), ..NodeConfig::default() };
    let node = Node::new(config, behaviors, Clock::start(), &opentelemetry::global::meter("bench"));
    let template = AgentTemplate {
        behavior: "worker".into(),
        args: Payload::EMPTY,
        inbox: 1 << 16,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let family = FamilyRules {
        name: "w".into(),
        agent: ChildRules::worker("worker"),
        intensity: 1,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    };
    let family = node.family_child("w/*".parse().expect("a family"), template, family).expect("known");
    let spec = SupervisorSpec::new("bench").child(family);
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.expect("starts");
    Site { node, root, schedulers }
}

async fn handled(count: u64) {
    while HANDLED.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
fn per_second(count: usize, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

async fn round(policy: Policy, figures: &mut Figures) {
    let Site { node, root, schedulers } = site(policy).await;
    let names: Vec<String> = (0..STARTS).map(|number| format!("w/{number}")).collect();

    HANDLED.store(0, Ordering::Relaxed);
    let started = Instant::now();
    for name in &names {
        node.send(name, Request::action("first", Payload::EMPTY)).expect("room");
    }
    handled(STARTS as u64).await;
    figures.starts_per_s.push(per_second(STARTS, started));

    HANDLED.store(0, Ordering::Relaxed);
    let started = Instant::now();
    for number in 0..TELLS {
        let request = Request::action("note", Payload::EMPTY);
        node.deliver(&names[number % AGENTS], request).await.expect("it runs");
    }
    handled(TELLS as u64).await;
    figures.tells_per_s.push(per_second(TELLS, started));

    let mut took = Vec::with_capacity(ASKS);
    for number in 0..ASKS {
        let started = Instant::now();
        let ask = node.ask(&names[number % AGENTS], Request::query("x"), Duration::from_secs(5));
        ask.await.expect("answered");
        took.push(started.elapsed());
    }
    figures.ask_us.push(quantile(&mut took, 0.5));

    let mut took = probe_under_flood(&node, &names).await;
    figures.probe_p50_us.push(quantile(&mut took, 0.5));
    figures.probe_p99_us.push(quantile(&mut took, 0.99));
    root.shutdown().await;
    schedulers.shutdown();
}

/// How long a TCP server on the system's runtime takes to answer while agents always have work.
async fn probe_under_flood(node: &Node, names: &[String]) -> Vec<Duration> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut byte = [0; 1];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            });
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let (node, names, ended) = (node.clone(), names[..AGENTS].to_vec(), over.clone());
    let flood = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            for name in &names {
                // What is refused is refused because there is more work than can be done.
                if node.agent(name).is_none_or(|agent| agent.queued < 16) {
                    let _ = node.send(name, Request::action("work", Payload::EMPTY));
                }
            }
            tokio::task::yield_now().await;
        }
    });
    let probing = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut took = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            let started = Instant::now();
            stream.write_all(b"x").expect("open");
            stream.read_exact(&mut [0; 1]).expect("open");
            took.push(started.elapsed());
            std::thread::sleep(Duration::from_millis(2));
        }
        took
    });
    let took = probing.await.expect("it does not panic");
    over.store(true, Ordering::Relaxed);
    flood.await.expect("it does not panic");
    server.abort();
    took
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures to look at"
)]
fn quantile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let policies = [Policy::None, Policy::Numa, Policy::Core];
    let mut all: Vec<Figures> = policies.iter().map(|_| Figures::default()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for _ in 0..ROUNDS {
        for (policy, figures) in policies.iter().zip(&mut all) {
            runtime
                .block_on(async { tokio::spawn(one(*policy)).await.expect("it does not panic") })
                .join(figures);
        }
    }
    println!("policy   starts/s      tells/s   ask p50 µs   probe p50 µs   probe p99 µs");
    for (policy, figures) in policies.iter().zip(&mut all) {
        println!(
            "{:6} {:10.0} {:12.0} {:12.2} {:14.0} {:14.0}",
            policy.name(),
            median(&mut figures.starts_per_s),
            median(&mut figures.tells_per_s),
            median(&mut figures.ask_us),
            median(&mut figures.probe_p50_us),
            median(&mut figures.probe_p99_us),
        );
    }
}

async fn one(policy: Policy) -> Figures {
    let mut figures = Figures::default();
    round(policy, &mut figures).await;
    figures
}

impl Figures {
    fn join(self, all: &mut Self) {
        all.starts_per_s.extend(self.starts_per_s);
        all.tells_per_s.extend(self.tells_per_s);
        all.ask_us.extend(self.ask_us);
        all.probe_p50_us.extend(self.probe_p50_us);
        all.probe_p99_us.extend(self.probe_p99_us);
    }
}
