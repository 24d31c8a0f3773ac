//! Nexus: two nodes, their gateways and the carrier of production between them, plain or under mutual TLS. Also what happens to memory and
//! to the control lane while the data lane is flooded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use opentelemetry::global;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::actors::agent::{
    Agent, AgentId, AgentMessage, AgentSpec, AgentTemplate, Behaviors, Level, Payload, Request,
};
use super::actors::clock::Clock;
use super::actors::performance::process::field_bytes;
use super::actors::rng::Seed;
use super::actors::store::Persist;
use super::actors::{AgentError, Node, NodeConfig};
use super::cluster::transport::cluster::{
    CertificateAuthority, ClusterCarrier, ClusterConfig, Cookie, Security, TlsFiles,
};
use super::cluster::transport::{
    Carrier as _, ControlEvent, ControlLane as _, Gateway, LinkConfig, Service, StaticTable,
};
use super::cluster::{NodeId, NodeName};
use super::far::{Far, obey};
use super::load::{BYTES, Contestant, Load, MANY, Measured, Measures, measure};

pub(crate) const FAR: &str = "remote-nexus-far";

pub(crate) const PING_P99: &str = "control lane p99 at rest, ns";
pub(crate) const PING_P99_FLOODED: &str = "control lane p99 in a flood, ns";
/// Growth of the near and the far side, by what has stopped there.
pub(crate) const GROWTH: [(&str, [&str; 2]); 3] = [
    ("agent", ["memory here, an agent stopped", "memory there, an agent stopped"]),
    ("process", ["memory here, the process stopped", "memory there, the process stopped"]),
    ("carrier", ["memory here, the carrier stopped", "memory there, the carrier stopped"]),
];

/// How long a flood against something that has stopped lasts.
const STOPPED: Duration = Duration::from_secs(3);
/// The key of a request that an agent never finishes.
const STOP: &str = "stop";
const INBOX: u32 = 10_000_000;

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
        if let AgentMessage::Request(request, reply) = message {
            if request.key == STOP {
                std::future::pending::<()>().await;
            }
            *count += 1;
            reply.value(count);
        }
        Ok(())
    }
}

fn node_name(name: &str) -> NodeName {
    name.parse().expect("a plain name")
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

/// One of the two nodes.
struct Side {
    node: Node,
    gateway: Arc<Gateway>,
    carrier: ClusterCarrier,
}

impl Side {
    /// With a folder of certificates, under TLS.
    async fn start(name: &str, table: StaticTable, certificates: Option<&Path>) -> Measured<Self> {
        let mut behaviors = Behaviors::new();
        behaviors.register::<Counter>("counter");
        let node = Node::new(NodeConfig::default(), behaviors, Clock::start(), &global::meter("bench"));
        let gateway = Gateway::new(node.clone(), Arc::new(table), LinkConfig::default());
        let id = NodeId { name: node_name(name), incarnation: 1 };
        let listen = "127.0.0.1:0".parse().map_err(said)?;
        let mut config = ClusterConfig::new(id, "bench", Cookie::new("0123456789abcdef"), listen);
        if let Some(folder) = certificates {
            config.security = Security::Tls(TlsFiles {
                certificate: folder.join(format!("{name}.pem")),
                key: folder.join(format!("{name}.key")),
                ca: folder.join("ca.pem"),
            });
        }
        let carrier = ClusterCarrier::new(config, Seed::new(1), gateway.clone()).map_err(said)?;
        carrier.start().await.map_err(said)?;
        Ok(Self { node, gateway, carrier })
    }

    async fn populate(&self) -> Measured<()> {
        for to in 0..MANY {
            let template = AgentTemplate {
                behavior: "counter".into(),
                args: Payload::EMPTY,
                inbox: INBOX,
                level: Level::Reactive,
                persist: Persist::None,
            };
            let spec = self.node.declare(name_of(to).into(), &template).map_err(said)?;
            Agent::spawn(None, Agent::new(Counter), spec).await.map_err(said)?;
        }
        Ok(())
    }
}

fn name_of(to: usize) -> String {
    format!("far/{to}")
}

/// The near side, connected.
struct Pair {
    far: Far,
    side: Side,
    pongs: mpsc::UnboundedReceiver<()>,
    _certificates: Option<tempfile::TempDir>,
}

impl Pair {
    async fn start(tls: bool) -> Measured<Self> {
        let certificates = if tls { Some(certificates()?) } else { None };
        let mut far = Far::start(FAR)?;
        let folder = certificates.as_ref().map(tempfile::TempDir::path);
        let address = far.order(&format!(
            "start {}",
            folder.map_or_else(String::new, |path| path.display().to_string())
        ))?;
        let places = (0..MANY).map(|to| (AgentId::of(&name_of(to)), node_name("far"))).collect();
        let side = Side::start("near", StaticTable(places), folder).await?;
        let (events, mut heard) = mpsc::unbounded_channel();
        let (pong, pongs) = mpsc::unbounded_channel();
        let listener = move |event: ControlEvent| match event {
            // Whoever waited may have ended.
            ControlEvent::Message { .. } => drop(pong.send(())),
            ControlEvent::Connected(_) => drop(events.send(())),
            ControlEvent::Disconnected(..) => {}
        };
        side.gateway.register(Service::Gossip, Arc::new(listener));
        side.carrier.keep(&address);
        heard.recv().await.ok_or("no connection")?;
        // A node keeps the way to agents of its families, which the nodes of a cluster have in common, and to those that are named by
        // their keys. This one has no families.
        for to in 0..MANY {
            side.node.ask(&AgentId::of(&name_of(to)), request(), None).await.map_err(said)?;
        }
        Ok(Self { far, side, pongs, _certificates: certificates })
    }

    fn near(&self) -> Near {
        Near { node: self.side.node.clone(), names: (0..MANY).map(name_of).collect::<Vec<_>>().into() }
    }

    /// The 99th percentile of round trips on the control lane, in nanoseconds.
    async fn pings(&mut self, count: usize) -> Measured<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            self.side
                .gateway
                .send(&node_name("far"), Service::Gossip, bytes::Bytes::from_static(&[1; 64]))
                .map_err(said)?;
            self.pongs.recv().await.ok_or("no answer")?;
            times.push(started.elapsed());
            // Membership pings now and then, not as fast as it can.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.sort_unstable();
        Ok(times[count * 99 / 100].as_secs_f64() * 1e9)
    }
}

/// Certificates of both nodes.
fn certificates() -> Measured<tempfile::TempDir> {
    let folder = tempfile::tempdir().map_err(said)?;
    let (now, day) = (UNIX_EPOCH.elapsed().map_err(said)?, Duration::from_secs(86_400));
    let authority = CertificateAuthority::create(folder.path(), now, day).map_err(said)?;
    for name in ["near", "far"] {
        authority.issue(&node_name(name), &["127.0.0.1".into()], now, day).map_err(said)?;
    }
    Ok(folder)
}

#[derive(Clone)]
struct Near {
    node: Node,
    names: Arc<[String]>,
}

fn request() -> Request {
    static FILL: [u8; BYTES] = [0xc0; BYTES];
    Request::action("count", Payload::from_msgpack(bytes::Bytes::from_static(&FILL)))
}

impl Contestant for Near {
    async fn tell(&self, to: usize) {
        match self.node.send(&self.names[to], request()) {
            Ok(()) => {}
            // Only whoever finds no room waits for it.
            Err(AgentError::Overloaded { .. }) => {
                self.node.deliver(&self.names[to], request()).await.expect("it is delivered");
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn ask(&self, to: usize) {
        self.node.ask(&self.names[to], request(), None).await.expect("it answers");
    }
}

/// Measures it, plain or under TLS.
pub(crate) async fn near(load: Load, tls: bool) -> Measured<Measures> {
    let pair = Pair::start(tls).await?;
    measure(pair.near(), load).await
}

/// Measures the control lane, at rest and while the data lane is as full as it can be.
pub(crate) async fn control(pings: usize) -> Measured<Measures> {
    let mut pair = Pair::start(false).await?;
    let near = pair.near();
    pair.pings(pings / 10).await?;
    let rest = pair.pings(pings).await?;
    let flood = tokio::spawn(async move {
        loop {
            for to in 0..MANY {
                near.tell(to).await;
            }
            tokio::task::yield_now().await;
        }
    });
    let flooded = pair.pings(pings).await?;
    flood.abort();
    Ok([(PING_P99, rest), (PING_P99_FLOODED, flooded)].map(|(name, value)| (name.to_owned(), value)).into())
}

fn resident(pid: u32) -> Measured<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(said)?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory, far below 2^52")]
    let bytes = field_bytes(&status, "VmRSS").ok_or("no memory (VmRSS)")? as f64;
    Ok(bytes)
}

/// What both sides grow by while everything is sent that can be, and something at the far one has stopped.
pub(crate) async fn memory() -> Measured<Measures> {
    let mut measures = Measures::new();
    for (stopped, names) in GROWTH {
        let mut pair = Pair::start(false).await?;
        // Pages and buffers that a flood takes anyway.
        super::load::flood(pair.near(), MANY, 200_000).await?;
        let pids = [std::process::id(), pair.far.pid()];
        let before = [resident(pids[0])?, resident(pids[1])?];
        stop(&mut pair, stopped).await?;
        let mut most = before;
        let (near, until) = (pair.near(), Instant::now() + STOPPED);
        while Instant::now() < until {
            for _ in 0..100_000 {
                match near.node.send(&near.names[0], request()) {
                    Ok(()) | Err(AgentError::Overloaded { .. } | AgentError::NodeLost { .. }) => {}
                    Err(error) => return Err(said(error)),
                }
            }
            for (most, pid) in most.iter_mut().zip(pids) {
                *most = most.max(resident(pid)?);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for ((name, most), before) in names.into_iter().zip(most).zip(before) {
            measures.insert(name.to_owned(), most - before);
        }
    }
    Ok(measures)
}

async fn stop(pair: &mut Pair, what: &str) -> Measured<()> {
    match what {
        "agent" => pair.side.node.send("far/0", Request::action(STOP, Payload::EMPTY)).map_err(said),
        "process" => signal(pair.far.pid(), "STOP"),
        _ => pair.far.order("stop").map(drop),
    }
}

fn signal(pid: u32, name: &str) -> Measured<()> {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    match sent {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("kill -{name}: {other:?}")),
    }
}

/// The other end.
pub(crate) fn far() -> Measured<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(said)?;
    let site: Mutex<Option<Side>> = Mutex::default();
    obey(|order| {
        if let Some(folder) = order.strip_prefix("start") {
            let folder = Some(folder.trim()).filter(|folder| !folder.is_empty()).map(Path::new);
            let side = runtime.block_on(async {
                let side = Side::start("far", StaticTable(BTreeMap::new()), folder).await?;
                side.populate().await?;
                let echo = Arc::downgrade(&side.gateway);
                let listener = move |event: ControlEvent| {
                    if let (ControlEvent::Message { from, bytes }, Some(gateway)) = (event, echo.upgrade()) {
                        // The lane is at most once; whoever measures it notices.
                        let _ = gateway.send(&from.name, Service::Gossip, bytes);
                    }
                };
                side.gateway.register(Service::Gossip, Arc::new(listener));
                Ok::<_, String>(side)
            })?;
            let address = side.carrier.listening().ok_or("it does not listen")?;
            *site.lock() = Some(side);
            return Ok(address.to_string());
        }
        match &*site.lock() {
            Some(side) if order == "stop" => side.carrier.stop(),
            _ => return Err(format!("unknown order `{order}`")),
        }
        Ok("stopped".into())
    })
}
