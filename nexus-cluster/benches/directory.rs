//! `cargo bench -p nexus-cluster --bench directory`: a million names over three directories, real actors joined by memory instead of a
//! network: registering, look-ups, memory per name and node, and what it takes to hand over to a fourth node that joins.
//!
//! `NEXUS_BENCH_NAMES` says how many names (default 1,000,000).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_cluster::actors::agent::AgentId;
use nexus_cluster::actors::clock::Clock;
use nexus_cluster::actors::supervision::{Root, SupervisorEnv, SupervisorSpec};
use nexus_cluster::actors::telemetry::Events;
use nexus_cluster::directory::{Directory, DirectoryConfig, Listener, News, Whereabouts};
use nexus_cluster::ring::{Member, Ring};
use nexus_cluster::transport::{ControlError, ControlEvent, ControlLane, Service};
use nexus_cluster::{NodeId, NodeName};
use parking_lot::RwLock;

const NODES: usize = 3;
/// Registrations and look-ups of a node that wait at a time.
const ASKERS: usize = 64;

/// All directories, and the bytes sent to each.
#[derive(Default)]
struct Net(RwLock<BTreeMap<NodeName, (Directory, Arc<AtomicU64>)>>);

struct Lane(NodeId, Arc<Net>);

impl ControlLane for Lane {
    fn send(&self, to: &NodeName, _: Service, bytes: bytes::Bytes) -> Result<(), ControlError> {
        let net = self.1.0.read();
        let (peer, sent) = net.get(to).ok_or_else(|| ControlError::NotConnected { to: to.clone() })?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        peer.control(ControlEvent::Message { from: self.0.clone(), bytes });
        Ok(())
    }

    fn peers(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

struct Deaf;

impl Listener for Deaf {
    fn tell(&self, _: &Directory, _: News) {}
}

struct Node {
    id: NodeId,
    directory: Directory,
    received: Arc<AtomicU64>,
    _root: Root,
}

async fn start(net: &Arc<Net>, n: usize) -> Node {
    let clock = Clock::start();
    let id =
        NodeId { name: format!("n{n}").parse().expect("a name"), incarnation: clock.unix_ms(clock.now()) };
    let lane = Arc::new(Lane(id.clone(), net.clone()));
    let directory = Directory::new(id.clone(), DirectoryConfig::default(), clock, lane, Arc::new(Deaf));
    let directory = directory.expect("the defaults fit");
    let received = Arc::new(AtomicU64::new(0));
    net.0.write().insert(id.name.clone(), (directory.clone(), received.clone()));
    let spec = SupervisorSpec::new("top").child(directory.child());
    let root =
        Root::start(spec, SupervisorEnv { clock, events: Events::new(clock, 100) }).await.expect("starts");
    Node { id, directory, received, _root: root }
}

/// Everybody learns of all `nodes`; returns when all have heard from each other, or the time for that is over.
async fn join(nodes: &[Node]) {
    let ring = Arc::new(Ring::new(nodes.iter().map(|node| Member::new(node.id.clone()))));
    nodes.iter().for_each(|node| node.directory.ring_changed(ring.clone()));
    for node in nodes {
        loop {
            let overview = node.directory.overview();
            if overview.ring == ring.epoch() && overview.settled {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// What each of `names` takes when `ASKERS` ask at a time, in nanoseconds.
async fn asked<F: Future<Output = ()> + Send>(
    names: Arc<Vec<AgentId>>,
    each: impl Fn(AgentId) -> F + Clone + Send + Sync + 'static,
) -> f64 {
    let (started, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = names.len();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        let (names, next, each) = (names.clone(), next.clone(), each.clone());
        askers.spawn(async move {
            while let Some(id) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                each(*id).await;
            }
        });
    }
    askers.join_all().await;
    started.elapsed().as_nanos() as f64 / count as f64
}

/// The longest time that somebody had to wait for a look at the directory while `work` went on: its steps are not longer.
async fn longest_step<T>(directory: &Directory, work: impl Future<Output = T>) -> (T, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let (watched, stopped) = (directory.clone(), stop.clone());
    let watch = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !stopped.load(Ordering::Relaxed) {
            let before = Instant::now();
            black_box(watched.overview());
            longest = longest.max(before.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    });
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    (done, watch.join().unwrap_or_default())
}

fn row(what: &str, value: String) {
    println!("{what:<58} {value:>16}");
}

#[tokio::main]
async fn main() {
    let count =
        std::env::var("NEXUS_BENCH_NAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_usize);
    let net = Arc::new(Net::default());
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(start(&net, n).await);
    }
    join(&nodes).await;
    let names: Vec<AgentId> = (0..count).map(|n| AgentId::of(&format!("aircraft/{n}"))).collect();
    let shares: Vec<Arc<Vec<AgentId>>> =
        names.chunks(count.div_ceil(NODES)).map(|share| Arc::new(share.to_vec())).collect();
    println!(
        "{count} names over {NODES} nodes in one process, two copies beside the owner's, {ASKERS} askers"
    );

    let before = resident();
    let mut registering = 0.0;
    for (node, share) in nodes.iter().zip(&shares) {
        let directory = node.directory.clone();
        registering += asked(share.clone(), move |id| {
            let directory = directory.clone();
            async move { assert_eq!(directory.register(id, None).await, Ok(None)) }
        })
        .await;
    }
    row("registration, µs each", format!("{:.1}", registering / 1e3 / NODES as f64));
    let held: usize = nodes.iter().map(|node| node.directory.overview().held).sum();
    assert_eq!(held, NODES * count, "each of three holds every name");
    let tables: usize = nodes.iter().map(|node| node.directory.overview().bytes).sum();
    row("tables, bytes per name and node that holds it", format!("{:.0}", tables as f64 / held as f64));
    let all = resident().saturating_sub(before) as f64 / held as f64;
    row("resident, own agents' view included, bytes", format!("{all:.0}"));

    let read = |directory: &Directory, share: &[AgentId], expected: &Whereabouts| {
        let started = Instant::now();
        for id in share {
            assert_eq!(black_box(directory.lookup(*id)).as_ref(), Some(expected));
        }
        started.elapsed().as_nanos() as f64 / share.len() as f64
    };
    row("local lookup, ns", format!("{:.0}", read(&nodes[0].directory, &shares[0], &Whereabouts::Here)));

    let (joins, fourth_started) = (start(&net, NODES).await, Instant::now());
    nodes.push(joins);
    let (_, longest) = longest_step(&nodes[0].directory, join(&nodes)).await;
    let took = fourth_started.elapsed();
    let fourth = &nodes[NODES];
    let ring = Ring::new(nodes.iter().map(|node| Member::new(node.id.clone())));
    let owned = names.iter().filter(|id| ring.owner(**id) == Some(&fourth.id)).count();
    let holds = fourth.directory.overview().held;
    row("a fourth joins: names it owns", owned.to_string());
    row("  names it holds", holds.to_string());
    row("  until all have compared, ms", took.as_millis().to_string());
    row("  MB it received", format!("{:.1}", fourth.received.load(Ordering::Relaxed) as f64 / 1e6));
    let bytes = fourth.received.load(Ordering::Relaxed) as f64 / holds.max(1) as f64;
    row("  bytes received per name it holds", format!("{bytes:.0}"));
    row("  longest step of another node, ms", longest.as_millis().to_string());

    let directory = fourth.directory.clone();
    let asking = asked(shares[0].clone(), move |id| {
        let directory = directory.clone();
        async move { assert!(directory.find(id).await.expect("settled").is_some()) }
    })
    .await;
    row("lookup through the actor, a quarter of them remote, µs", format!("{:.1}", asking / 1e3));
    let there = Whereabouts::There(nodes[0].id.clone());
    row("cached lookup, ns", format!("{:.0}", read(&fourth.directory, &shares[0], &there)));
}
