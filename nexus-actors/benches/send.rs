//! `cargo bench -p nexus-actors`: `send` and `ask` through the route table, beside a bare ractor `cast` and `call` and a bare
//! tokio channel in the same run.
//!
//! Absolute times vary with the machine, so every figure is printed with its ratio to bare ractor, and with the target that
//! ratio has. Rounds of the contestants alternate; each figure is the median of its rounds.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::NodeConfig;
use nexus_actors::agent::{Agent, AgentTemplate, Behaviors, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::store::Persist;
use smol_str::SmolStr;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

const ROUNDS: usize = 7;
const TELLS: usize = 4_000_000;
const ASKS: usize = 100_000;
const MANY: usize = 1_000;

/// Messages handled so far in this round.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// What every contestant does with a message: count it, answer if asked.
fn handled() {
    // One writer at a time in one-to-one rounds, several in one-to-many: the same cost for all contestants.
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

#[derive(Default)]
struct Counter;

impl Actor for Counter {
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
            handled();
            if reply.is_wanted() {
                reply.send(Ok(request.payload));
            }
        }
        Ok(())
    }
}

/// The same in bare ractor: a message with a kind, a body and perhaps a reply port.
struct Bare;

enum BareMessage {
    Tell(SmolStr, Payload),
    Ask(SmolStr, Payload, ractor::RpcReplyPort<Payload>),
}

impl ractor::Message for BareMessage {}

impl Actor for Bare {
    type Msg = BareMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<BareMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<BareMessage>,
        message: BareMessage,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        handled();
        match message {
            BareMessage::Tell(key, payload) => drop(black_box((key, payload))),
            BareMessage::Ask(key, payload, reply) => {
                black_box(key);
                // The asker waits.
                let _ = reply.send(payload);
            }
        }
        Ok(())
    }
}

enum ChannelMessage {
    Tell(SmolStr, Payload),
    Ask(SmolStr, Payload, oneshot::Sender<Payload>),
}

/// A bare tokio task behind a bounded channel.
fn channel() -> mpsc::Sender<ChannelMessage> {
    let (sender, mut receiver) = mpsc::channel(65_536);
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            handled();
            match message {
                ChannelMessage::Tell(key, payload) => drop(black_box((key, payload))),
                ChannelMessage::Ask(key, payload, reply) => {
                    black_box(key);
                    // The asker waits.
                    let _ = reply.send(payload);
                }
            }
        }
    });
    sender
}

struct Fixture {
    node: Node,
    names: Vec<String>,
    bare: Vec<ActorRef<BareMessage>>,
    channels: Vec<mpsc::Sender<ChannelMessage>>,
    key: SmolStr,
}

async fn fixture() -> Fixture {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Counter>("counter");
    let meter = opentelemetry::global::meter("bench");
    let node = Node::new(NodeConfig::default(), behaviors, Clock::start(), &meter);
    let template = AgentTemplate {
        behavior: "counter".into(),
        args: Payload::EMPTY,
        inbox: 65_536,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let (mut names, mut bare, mut channels) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..MANY {
        let name = format!("counter/{index}");
        let spec = node.declare(name.as_str().into(), &template).expect("a free name");
        Agent::spawn(None, Agent::new(Counter), spec).await.expect("starts");
        names.push(name);
        bare.push(Bare::spawn(None, Bare, ()).await.expect("starts").0);
        channels.push(channel());
    }
    Fixture { node, names, bare, channels, key: "count".into() }
}

/// Tells a second: `senders` senders, each for `targets` receivers in turn.
async fn tells<F, W>(senders: usize, targets: usize, tell: F) -> f64
where
    F: Fn(usize) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send,
{
    HANDLED.store(0, Ordering::Relaxed);
    let started = Instant::now();
    let sending = (0..senders).map(|sender| {
        let tell = tell.clone();
        tokio::spawn(async move {
            for index in 0..TELLS / senders {
                tell((index + sender * targets / senders) % targets).await;
                if index % 256 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for sender in sending.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    while HANDLED.load(Ordering::Relaxed) < TELLS as u64 {
        tokio::task::yield_now().await;
    }
    1e9 / (started.elapsed().as_nanos() as f64 / TELLS as f64)
}

/// Nanoseconds of each of many sequential asks, sorted.
async fn asks<F, W>(ask: F) -> Vec<u64>
where
    F: Fn() -> W,
    W: Future<Output = ()>,
{
    let mut times = Vec::with_capacity(ASKS);
    for _ in 0..ASKS {
        let started = Instant::now();
        ask().await;
        times.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    times
}

impl Fixture {
    async fn send(&self, target: usize) {
        loop {
            let request = Request::action(self.key.clone(), Payload::EMPTY);
            match self.node.send(self.names[target].as_str(), request) {
                Ok(()) => return,
                Err(AgentError::Overloaded { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn cast(&self, target: usize) {
        self.bare[target].cast(BareMessage::Tell(self.key.clone(), Payload::EMPTY)).expect("alive");
    }

    async fn channel_send(&self, target: usize) {
        let message = ChannelMessage::Tell(self.key.clone(), Payload::EMPTY);
        self.channels[target].send(message).await.expect("alive");
    }

    async fn ask(&self, timeout: Option<Duration>) {
        let request = Request::action(self.key.clone(), Payload::EMPTY);
        self.node.ask(self.names[7].as_str(), request, timeout).await.expect("answered");
    }

    async fn call(&self, timeout: Option<Duration>) {
        let message = |reply| BareMessage::Ask(self.key.clone(), Payload::EMPTY, reply);
        self.bare[7].call(message, timeout).await.expect("sent").expect("answered");
    }

    async fn channel_ask(&self) {
        let (reply, answer) = oneshot::channel();
        let message = ChannelMessage::Ask(self.key.clone(), Payload::EMPTY, reply);
        self.channels[7].send(message).await.expect("alive");
        answer.await.expect("answered");
    }
}

#[derive(Default)]
struct Figures {
    nexus: Vec<f64>,
    ractor: Vec<f64>,
    tokio: Vec<f64>,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figures {
    fn row(&mut self, what: &str, unit: &str, target: &str) {
        let (nexus, ractor) = (median(&mut self.nexus), median(&mut self.ractor));
        let tokio =
            if self.tokio.is_empty() { "-".into() } else { format!("{:.0}", median(&mut self.tokio)) };
        println!(
            "{what:<34}{nexus:>12.0}{ractor:>12.0}{tokio:>12} {unit:<7}{:>8.2}  {target}",
            nexus / ractor
        );
    }
}

fn main() {
    // `cargo bench` and `cargo test --benches` pass their own flags; there is nothing to select here.
    let runtime = Runtime::new().expect("a runtime");
    // As long as the process, so that no sender counts references.
    let f: &'static Fixture = Box::leak(Box::new(runtime.block_on(fixture())));
    let on_worker = |work: std::pin::Pin<Box<dyn Future<Output = f64> + Send>>| {
        runtime.block_on(async move { tokio::spawn(work).await.expect("no panic") })
    };
    let percentile = |times: &[u64], share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64;

    let mut one = Figures::default();
    let (mut many, mut two) = (Figures::default(), Figures::default());
    let (mut p50, mut p99, mut p50_timed) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        for (senders, targets, figures) in [(1, 1, &mut one), (1, MANY, &mut many), (2, MANY, &mut two)] {
            figures.nexus.push(on_worker(Box::pin(tells(senders, targets, move |t| f.send(t)))));
            figures.ractor.push(on_worker(Box::pin(tells(senders, targets, move |t| f.cast(t)))));
            figures.tokio.push(on_worker(Box::pin(tells(senders, targets, move |t| f.channel_send(t)))));
        }
        let nexus =
            runtime.block_on(async move { tokio::spawn(async move { asks(|| f.ask(None)).await }).await });
        let ractor =
            runtime.block_on(async move { tokio::spawn(async move { asks(|| f.call(None)).await }).await });
        let tokio = runtime
            .block_on(async move { tokio::spawn(async move { asks(|| f.channel_ask()).await }).await });
        for (times, p50, p99) in [
            (nexus, &mut p50.nexus, &mut p99.nexus),
            (ractor, &mut p50.ractor, &mut p99.ractor),
            (tokio, &mut p50.tokio, &mut p99.tokio),
        ] {
            let times = times.expect("no panic");
            p50.push(percentile(&times, 0.5));
            p99.push(percentile(&times, 0.99));
        }
        let timeout = Some(Duration::from_secs(5));
        let nexus =
            runtime.block_on(async move { tokio::spawn(async move { asks(|| f.ask(timeout)).await }).await });
        let ractor = runtime
            .block_on(async move { tokio::spawn(async move { asks(|| f.call(timeout)).await }).await });
        p50_timed.nexus.push(percentile(&nexus.expect("no panic"), 0.5));
        p50_timed.ractor.push(percentile(&ractor.expect("no panic"), 0.5));
    }

    println!("median of {ROUNDS} rounds");
    println!("{:<34}{:>12}{:>12}{:>12} {:<7}{:>8}  target", "", "nexus", "ractor", "tokio", "", "n/r");
    one.row("send, one sender, one agent", "msg/s", ">= 2.5");
    many.row("send, one sender, 1,000 agents", "msg/s", "");
    two.row("send, two senders, 1,000 agents", "msg/s", ">= 1.3");
    p50.row("ask p50", "ns", "<= 1.3");
    p99.row("ask p99", "ns", "");
    p50_timed.row("ask p50, with a 5 s time-out", "ns", "<= 1.3");
}
