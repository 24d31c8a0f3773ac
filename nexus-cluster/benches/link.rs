//! Envelopes a second through a link in memory: encoded, framed, checked, handed to inboxes, handled by agents, acknowledged. No sockets.
//!
//! ```text
//! cargo bench -p nexus-cluster --bench link
//! ```
//!
//! Both nodes and the copying between them share one runtime with as many threads as there are CPUs. `ceiling` is the same number of
//! messages between agents of one node, measured in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_actors::agent::{
    Agent, AgentId, AgentMessage, AgentSpec, AgentTemplate, Behaviors, Level, Payload, Request,
};
use nexus_actors::clock::Clock;
use nexus_actors::store::Persist;
use nexus_actors::{Node, NodeConfig};
use nexus_cluster::transport::{
    CloseReason, Connection, Exchange as _, Gateway, Lane, Line, LinkConfig, Outgoing, StaticTable, envelope,
    frame, reader::Reader,
};
use nexus_cluster::{NodeId, NodeName};
use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};

const TELLS: u64 = 1_000_000;
const ASKS: u64 = 20_000;
const AGENTS: usize = 64;

/// Counts, and says how many.
#[derive(Default)]
struct Counter;

impl Actor for Counter {
    type Msg = AgentMessage;
    type State = u64;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(_, reply) = message {
            *count += 1;
            reply.value(count);
        }
        Ok(())
    }
}

fn name(name: &str) -> NodeName {
    name.parse().expect("a plain name")
}

async fn node(prefix: &str) -> Node {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Counter>("counter");
    let node = Node::new(NodeConfig::default(), behaviors, Clock::start(), &global::meter("bench"));
    for index in 0..AGENTS {
        let template = AgentTemplate {
            behavior: "counter".into(),
            args: Payload::EMPTY,
            inbox: 10_000_000,
            level: Level::Reactive,
            persist: Persist::None,
        };
        let spec = node.declare(format!("{prefix}/{index}").into(), &template).expect("a free name");
        Agent::spawn(None, Agent::new(Counter), spec).await.expect("it starts");
    }
    node
}

/// Copies what one end takes to the other.
async fn pump(from: Arc<dyn Line>, to: Arc<dyn Line>) {
    loop {
        let arrived = match from.take() {
            Some(Outgoing::Control(bytes)) => to.arrived(Lane::Control, bytes),
            Some(Outgoing::Data(pieces)) => to.arrived(Lane::Data, frame::join(&pieces)),
            None => {
                from.work().notified().await;
                continue;
            }
        };
        if let Err(reason) = arrived {
            return from.closed(CloseReason::Closed(reason.to_string()));
        }
        tokio::task::yield_now().await;
    }
}

async fn linked(config: LinkConfig) -> (Node, Arc<Gateway>, Arc<Gateway>) {
    let (a, b) = (node("a").await, node("b").await);
    let places = (0..AGENTS).map(|index| (AgentId::of(&format!("b/{index}")), name("b"))).collect();
    let near = Gateway::new(a.clone(), Arc::new(StaticTable(places)), config.clone());
    let far = Gateway::new(b, Arc::new(StaticTable::default()), config);
    let connection =
        |peer: &str| Connection { peer: NodeId { name: name(peer), incarnation: 1 }, epoch: 1, version: 1 };
    let (at_a, at_b) = (near.connected(connection("b")), far.connected(connection("a")));
    tokio::spawn(pump(at_a.clone(), at_b.clone()));
    tokio::spawn(pump(at_b, at_a));
    (a, near, far)
}

fn request(bytes: usize) -> Request {
    Request::action("add", Payload::from_msgpack(vec![0xc0; bytes].into()))
}

fn targets(prefix: &str, agents: usize) -> Vec<String> {
    (0..agents).map(|index| format!("{prefix}/{index}")).collect()
}

/// Tells, and the asks at their end that show that all have been handled.
async fn tells(node: &Node, prefix: &str, agents: usize, bytes: usize) -> Duration {
    let (targets, request) = (targets(prefix, agents), request(bytes));
    let started = Instant::now();
    for number in 0..TELLS {
        let to = &targets[usize::try_from(number).expect("it fits") % agents];
        node.deliver(to, request.clone()).await.expect("it is delivered");
    }
    for to in &targets {
        node.ask(to, request.clone(), None).await.expect("it answers");
    }
    started.elapsed()
}

async fn asks(node: &Node, askers: usize) -> Duration {
    let started = Instant::now();
    let tasks = targets("b", askers).into_iter().map(|to| {
        let node = node.clone();
        tokio::spawn(async move {
            for _ in 0..ASKS / askers as u64 {
                node.ask(&to, request(100), None).await.expect("it answers");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it ends");
    }
    started.elapsed()
}

fn row(what: &str, count: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("| {what} | {:.2} M/s | {:.3} µs |", count as f64 / seconds / 1e6, seconds / count as f64 * 1e6);
}

/// Encoding and decoding alone, on one thread.
fn codec(lz4_min_bytes: usize) -> Duration {
    let (id, request) = (AgentId::of("b/0"), request(100));
    let mut mentions = envelope::Mentions::default();
    let started = Instant::now();
    let mut left = TELLS;
    while left > 0 {
        let mut body = Vec::with_capacity(66_000);
        mentions.clear();
        while body.len() < 65_536 && left > 0 {
            envelope::encode(&mut body, envelope::Kind::Tell, 0, None, |out| {
                envelope::write_request(out, mentions.mention(id, Some("b/0")), &request);
            });
            left -= 1;
        }
        let pieces = frame::encode(&frame::Header::default(), &body.into(), lz4_min_bytes);
        let frame = frame::decode(&frame::join(&pieces), 1 << 20).expect("it is whole");
        let mut reader = Reader::new(&frame.body);
        for decoded in envelope::decode(&frame.body, Duration::ZERO) {
            let envelope = decoded.expect("it is whole");
            std::hint::black_box(reader.request(envelope.content).expect("it is whole"));
        }
    }
    started.elapsed()
}

fn main() {
    println!("| what | rate | each |\n|---|---|---|");
    row("codec, 100 bytes", TELLS, codec(usize::MAX));
    row("codec, 100 bytes, lz4", TELLS, codec(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for (agents, bytes) in [(1, 100), (AGENTS, 100), (AGENTS, 1000)] {
            let local = node("b").await;
            let took = tokio::spawn(async move { tells(&local, "b", agents, bytes).await });
            let took = took.await.expect("it ends");
            row(&format!("ceiling: tells on one node, {agents} agents, {bytes} bytes"), TELLS, took);
            let (a, _near, _far) = linked(LinkConfig::default()).await;
            let took = tokio::spawn(async move { tells(&a, "b", agents, bytes).await });
            let took = took.await.expect("it ends");
            row(&format!("tells through a link, {agents} agents, {bytes} bytes"), TELLS, took);
        }
        for askers in [1, AGENTS] {
            let (a, _near, _far) = linked(LinkConfig::default()).await;
            row(&format!("asks through a link, {askers} askers"), ASKS, asks(&a, askers).await);
        }
    });
}
