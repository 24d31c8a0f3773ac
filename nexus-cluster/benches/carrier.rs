//! What the carrier costs: frames of 64 KiB on the data lane and pings on the control lane between two carriers in one process, plain and
//! under TLS, beside a bare framed TCP connection and bare ractor_cluster casts in the same run.
//!
//! `cargo bench -p nexus-cluster --bench carrier [-- FRAMES PINGS]`
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use nexus_cluster::NodeId;
use nexus_cluster::actors::rng::Seed;
use nexus_cluster::transport::cluster::{
    CertificateAuthority, ClusterCarrier, ClusterConfig, Cookie, Security, TlsFiles,
};
use nexus_cluster::transport::{Carrier, CloseReason, Connection, Exchange, Lane, Line, Outgoing};
use parking_lot::Mutex;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage, client_connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const FRAME_BYTES: usize = 65_536;
static FRAME: [u8; FRAME_BYTES] = [7; FRAME_BYTES];

/// Sends as many frames as it is told, echoes pings if it is the far end.
#[derive(Default)]
struct BenchLine {
    echo: bool,
    frames: AtomicU64,
    control: Mutex<VecDeque<Bytes>>,
    work: Notify,
    heard_bytes: AtomicU64,
    heard_pings: AtomicU64,
    heard: Notify,
}

impl Line for BenchLine {
    fn take(&self) -> Option<Outgoing> {
        if let Some(ping) = self.control.lock().pop_front() {
            return Some(Outgoing::Control(ping));
        }
        let left = self.frames.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.ok().map(|_| Outgoing::Data([Bytes::new(), Bytes::from_static(&FRAME)]))
    }

    fn work(&self) -> &Notify {
        &self.work
    }

    fn arrived(&self, lane: Lane, bytes: Bytes) -> Result<(), CloseReason> {
        match lane {
            Lane::Data => _ = self.heard_bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst),
            Lane::Control if self.echo => {
                self.control.lock().push_back(bytes);
                self.work.notify_one();
            }
            Lane::Control => _ = self.heard_pings.fetch_add(1, Ordering::SeqCst),
        }
        self.heard.notify_one();
        Ok(())
    }

    fn closed(&self, _: CloseReason) {}
}

impl BenchLine {
    async fn heard(&self, enough: impl Fn() -> bool) {
        while !enough() {
            self.heard.notified().await;
        }
    }
}

struct BenchExchange {
    line: Arc<BenchLine>,
    connected: Notify,
}

impl Exchange for BenchExchange {
    fn connected(&self, _: Connection) -> Arc<dyn Line> {
        self.connected.notify_one();
        self.line.clone()
    }
}

/// Megabytes a second, and microseconds of a round trip: median, 99th percentile.
struct Row {
    rate: f64,
    p50: f64,
    p99: f64,
}

fn row(bytes: usize, took: Duration, mut trips: Vec<Duration>) -> Row {
    trips.sort();
    let at = |part: usize| trips[(trips.len() * part / 100).min(trips.len() - 1)].as_secs_f64() * 1e6;
    Row { rate: bytes as f64 / took.as_secs_f64() / 1e6, p50: at(50), p99: at(99) }
}

async fn carrier(name: &str, echo: bool, security: Security) -> (ClusterCarrier, Arc<BenchExchange>) {
    let line = Arc::new(BenchLine { echo, ..BenchLine::default() });
    let exchange = Arc::new(BenchExchange { line, connected: Notify::new() });
    let node = NodeId { name: name.parse().unwrap(), incarnation: 1 };
    let config =
        ClusterConfig::new(node, "bench", Cookie::new("0123456789abcdef"), "127.0.0.1:0".parse().unwrap());
    let carrier =
        ClusterCarrier::new(ClusterConfig { security, ..config }, Seed::new(1), exchange.clone()).unwrap();
    carrier.start().await.unwrap();
    (carrier, exchange)
}

async fn carriers(frames: usize, pings: usize, files: Option<[TlsFiles; 2]>) -> [Row; 2] {
    let [one, other] = match files {
        Some(files) => files.map(Security::Tls),
        None => [Security::Plain, Security::Plain],
    };
    let (a, near) = carrier("a", false, one).await;
    let (b, far) = carrier("b", true, other).await;
    a.keep(&b.listening().unwrap().to_string());
    near.connected.notified().await;
    far.connected.notified().await;
    let ping = async |count: usize| {
        let mut trips = Vec::with_capacity(count);
        for _ in 0..count {
            let (start, before) = (Instant::now(), near.line.heard_pings.load(Ordering::SeqCst));
            near.line.control.lock().push_back(Bytes::from_static(&[1; 8]));
            near.line.work.notify_one();
            near.line.heard(|| near.line.heard_pings.load(Ordering::SeqCst) > before).await;
            trips.push(start.elapsed());
        }
        trips
    };
    ping(100).await;
    let quiet = ping(pings).await;
    let bytes = frames * FRAME_BYTES;
    let (start, goal) = (Instant::now(), bytes as u64);
    near.line.frames.store(frames as u64, Ordering::SeqCst);
    near.line.work.notify_one();
    far.line.heard(|| far.line.heard_bytes.load(Ordering::SeqCst) >= goal).await;
    let alone = start.elapsed();

    near.line.frames.store(u64::MAX, Ordering::SeqCst);
    near.line.work.notify_one();
    let (start, before) = (Instant::now(), far.line.heard_bytes.load(Ordering::SeqCst));
    let flooded = ping(pings / 10 + 1).await;
    let meanwhile = (far.line.heard_bytes.load(Ordering::SeqCst) - before) as usize;
    let took = start.elapsed();
    a.stop();
    b.stop();
    [row(bytes, alone, quiet), row(meanwhile, took, flooded)]
}

async fn bare_tcp(frames: usize, pings: usize) -> Row {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        stream.set_nodelay(true).unwrap();
        let mut buffer = vec![0; FRAME_BYTES];
        while let Ok(length) = stream.read_u32().await {
            let frame = &mut buffer[..length as usize];
            stream.read_exact(frame).await.unwrap();
            if length == 8 {
                stream.write_all(frame).await.unwrap();
            }
        }
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let ping = async |stream: &mut TcpStream| {
        let start = Instant::now();
        stream.write_all(&[0, 0, 0, 8, 1, 1, 1, 1, 1, 1, 1, 1]).await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        start.elapsed()
    };
    let mut trips = Vec::new();
    for _ in 0..pings {
        trips.push(ping(&mut stream).await);
    }
    let start = Instant::now();
    for _ in 0..frames {
        stream.write_u32(FRAME_BYTES as u32).await.unwrap();
        stream.write_all(&FRAME).await.unwrap();
    }
    ping(&mut stream).await;
    row(frames * FRAME_BYTES, start.elapsed(), trips)
}

struct Raw(Vec<u8>);

impl Message for Raw {
    fn serializable() -> bool {
        true
    }
    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(SerializedMessage::Cast { variant: String::new(), args: self.0, metadata: None })
    }
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { args, .. } => Ok(Self(args)),
            _ => Err(BoxedDowncastErr),
        }
    }
}

/// Counts what it hears; answers pings to `back`, once that is known.
#[derive(Default)]
struct Heard {
    bytes: AtomicU64,
    pings: AtomicU64,
    changed: Notify,
    back: Mutex<Option<ActorRef<Raw>>>,
}

struct Ear(Arc<Heard>);

impl Actor for Ear {
    type Msg = Raw;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Raw>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle(&self, _: ActorRef<Raw>, raw: Raw, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.0.bytes.fetch_add(raw.0.len() as u64, Ordering::SeqCst);
        if raw.0.len() == 8 {
            self.0.pings.fetch_add(1, Ordering::SeqCst);
            if let Some(back) = &*self.0.back.lock() {
                back.cast(raw)?;
            }
        }
        self.0.changed.notify_one();
        Ok(())
    }
}

struct Ready(mpsc::Sender<ActorCell>, u64);

impl NodeEventSubscription for Ready {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}
    fn node_session_disconnected(&self, _: NodeServerSessionInformation) {}
    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}
    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let ours = |cell: &ActorCell| matches!(cell.get_id(), ActorId::Remote { pid, .. } if pid == self.1);
        if let Some(cell) = session.actor.get_cell().get_children().into_iter().find(ours) {
            _ = self.0.send(cell);
        }
    }
}

async fn bare_ractor(frames: usize, pings: usize) -> Row {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [port(), port()];
    let (heard, mut ears, mut servers, mut proxies) =
        ([Arc::new(Heard::default()), Arc::new(Heard::default())], Vec::new(), Vec::new(), Vec::new());
    for heard in &heard {
        ears.push(Actor::spawn(None, Ear(heard.clone()), ()).await.unwrap().0);
    }
    for (end, name) in ["x", "y"].into_iter().enumerate() {
        let server =
            NodeServer::new(ports[end], "cookie".into(), name.into(), format!("host-{name}"), None, None)
                .with_listen_addr("127.0.0.1".parse().unwrap());
        let (server, _) = Actor::spawn(None, server, ()).await.unwrap();
        let (ready, proxy) = mpsc::channel();
        let subscription = Box::new(Ready(ready, ears[1 - end].get_id().pid()));
        server.cast(NodeServerMessage::SubscribeToEvents { id: "bench".into(), subscription }).unwrap();
        servers.push(server);
        proxies.push(proxy);
    }
    client_connect(&servers[0], ("127.0.0.1", ports[1])).await.unwrap();
    let mut remote = Vec::new();
    for proxy in proxies {
        let cell = tokio::task::spawn_blocking(move || proxy.recv().unwrap()).await.unwrap();
        remote.push(ActorRef::<Raw>::from(cell));
    }
    *heard[1].back.lock() = Some(remote[1].clone());
    let mut trips = Vec::new();
    for count in 1..=pings as u64 {
        let start = Instant::now();
        remote[0].cast(Raw(vec![1; 8])).unwrap();
        while heard[0].pings.load(Ordering::SeqCst) < count {
            heard[0].changed.notified().await;
        }
        trips.push(start.elapsed());
    }
    let goal = heard[1].bytes.load(Ordering::SeqCst) + (frames * FRAME_BYTES) as u64;
    let start = Instant::now();
    for _ in 0..frames {
        remote[0].cast(Raw(FRAME.to_vec())).unwrap();
        tokio::task::yield_now().await;
    }
    while heard[1].bytes.load(Ordering::SeqCst) < goal {
        heard[1].changed.notified().await;
    }
    let took = start.elapsed();
    servers.into_iter().for_each(|server| server.stop(None));
    row(frames * FRAME_BYTES, took, trips)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (frames, pings) =
        (numbers.first().copied().unwrap_or(16_384), numbers.get(1).copied().unwrap_or(5_000));
    let directory = tempfile::tempdir().unwrap();
    let (now, day) = (UNIX_EPOCH.elapsed().unwrap(), Duration::from_secs(86_400));
    let authority = CertificateAuthority::create(directory.path(), now, day).unwrap();
    let files = ["a", "b"]
        .map(|name| authority.issue(&name.parse().unwrap(), &["127.0.0.1".into()], now, day).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Each on its own: a session of ractor_cluster announces every remotable actor of the process.
    let tcp = runtime.block_on(bare_tcp(frames, pings));
    let ractor = runtime.block_on(bare_ractor(frames / 8 + 1, pings));
    let [plain, plain_flood] = runtime.block_on(carriers(frames, pings, None));
    let [tls, tls_flood] = runtime.block_on(carriers(frames, pings, Some(files)));
    println!("{frames} frames of 64 KiB, {pings} pings; ratios to the bare framed TCP connection");
    println!("{:<34}{:>10}{:>8}{:>12}{:>8}{:>12}", "", "MB/s", "ratio", "ping p50 µs", "ratio", "p99 µs");
    let base = (tcp.rate, tcp.p50);
    for (name, row) in [
        ("bare framed TCP", tcp),
        ("bare ractor_cluster casts", ractor),
        ("carrier, plain", plain),
        ("carrier, plain, pings in a flood", plain_flood),
        ("carrier, TLS", tls),
        ("carrier, TLS, pings in a flood", tls_flood),
    ] {
        let (rate, trip) = (row.rate / base.0, row.p50 / base.1);
        println!("{name:<34}{:>10.0}{rate:>8.2}{:>12.1}{trip:>8.2}{:>12.1}", row.rate, row.p50, row.p99);
    }
}
