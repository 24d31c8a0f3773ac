//! `cargo bench -p nexus-cluster --bench registry`: three whole nodes in one process, joined by TCP and TLS-less ractor_cluster sessions
//! over loopback: names registered through the assembled cluster, and look-ups that are local, cached, and answered by another node.
//!
//! Of three nodes each holds every name, as owner or as one of two successors, so no look-up has to leave its node. The remote ones are
//! taken with no successors, in the same process.
//!
//! `NEXUS_BENCH_NAMES` says how many names (default 1,000,000).

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_cluster::actors::agent::{AgentId, Behaviors};
use nexus_cluster::actors::clock::Clock;
use nexus_cluster::actors::rng::Seed;
use nexus_cluster::actors::supervision::{Root, SupervisorEnv, SupervisorSpec};
use nexus_cluster::actors::{Node, NodeConfig};
use nexus_cluster::directory::{DirectoryConfig, Whereabouts};
use nexus_cluster::membership::MembershipConfig;
use nexus_cluster::system::{Cluster, ClusterSetup, Standing};
use nexus_cluster::transport::cluster::{ClusterCarrier, ClusterConfig, Cookie};
use nexus_cluster::{NodeId, NodeName};
use opentelemetry::global;

const NODES: usize = 3;
/// Registrations of a node that wait at a time.
const ASKERS: usize = 64;
/// Remote look-ups, one after the other.
const REMOTE: usize = 20_000;

struct Site {
    cluster: Cluster,
    root: Root,
}

async fn start(n: usize, addresses: &[String], successors: usize) -> Site {
    let clock = Clock::start();
    let name: NodeName = format!("n{n}").parse().expect("a name");
    let me = NodeId { name, incarnation: clock.unix_ms(clock.now()) };
    let config =
        NodeConfig { name: me.name.as_str().into(), seed: Seed::new(n as u64), ..NodeConfig::default() };
    let node = Node::new(config, Behaviors::new(), clock, &global::meter("bench"));
    let mut setup = ClusterSetup::new(node.clone(), me.clone(), &addresses[n], addresses.to_vec());
    setup.membership = MembershipConfig::local();
    setup.directory = DirectoryConfig { successors, ..DirectoryConfig::default() };
    setup.expect = NODES;
    let cookie = Cookie::new("a cookie of the bench, long enough");
    let listen = addresses[n].parse().expect("an address");
    let mut transport = None;
    let cluster = Cluster::new(setup, |exchange| {
        let config = ClusterConfig::new(me, "bench", cookie, listen);
        let carrier = ClusterCarrier::new(config, Seed::new(n as u64), exchange)?;
        transport = Some(carrier.child());
        Ok::<_, nexus_cluster::transport::cluster::CarrierError>(Arc::new(carrier))
    });
    let cluster = cluster.expect("the defaults fit");
    let transport = transport.expect("made with the cluster");
    let spec = SupervisorSpec::new("top").child(transport).child(cluster.child());
    let root =
        Root::start(spec, SupervisorEnv { clock, events: node.events().clone() }).await.expect("starts");
    Site { cluster, root }
}

/// Free ports of loopback.
fn addresses() -> Vec<String> {
    let taken: Vec<_> =
        (0..NODES).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    taken.iter().map(|socket| socket.local_addr().expect("bound").to_string()).collect()
}

async fn cluster(successors: usize) -> Vec<Site> {
    let addresses = addresses();
    let mut sites = Vec::new();
    for n in 0..NODES {
        sites.push(start(n, &addresses, successors).await);
    }
    for site in &sites {
        let mut standing = site.cluster.watch();
        let ready =
            tokio::time::timeout(Duration::from_secs(60), standing.wait_for(Standing::is_ready)).await;
        assert!(ready.is_ok(), "{}", site.cluster.standing());
    }
    sites
}

/// Registers `names` on `site`, `ASKERS` at a time; nanoseconds for each.
async fn register(site: &Site, names: Arc<Vec<AgentId>>) -> f64 {
    let (started, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = names.len();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        let (names, next, directory) = (names.clone(), next.clone(), site.cluster.directory().clone());
        askers.spawn(async move {
            while let Some(id) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                assert_eq!(directory.register(*id, None).await, Ok(None));
            }
        });
    }
    askers.join_all().await;
    started.elapsed().as_nanos() as f64 / count as f64
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn row(what: &str, value: String) {
    println!("{what:<66} {value:>14}");
}

fn read(site: &Site, names: &[AgentId], expected: &Whereabouts) -> f64 {
    let started = Instant::now();
    for id in names {
        assert_eq!(black_box(site.cluster.directory().lookup(*id)).as_ref(), Some(expected));
    }
    started.elapsed().as_nanos() as f64 / names.len() as f64
}

#[tokio::main]
async fn main() {
    // On a worker, as agents are: the thread that waits for all of it is woken by the system.
    tokio::spawn(measure()).await.expect("measured");
}

async fn measure() {
    let count =
        std::env::var("NEXUS_BENCH_NAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_usize);
    let names: Vec<AgentId> = (0..count).map(|n| AgentId::of(&format!("aircraft/{n}"))).collect();
    let shares: Vec<Arc<Vec<AgentId>>> =
        names.chunks(count.div_ceil(NODES)).map(|share| Arc::new(share.to_vec())).collect();
    println!("{count} names over {NODES} nodes in one process, over TCP on loopback");

    let sites = cluster(DirectoryConfig::default().successors).await;
    let before = resident();
    let mut registering = 0.0;
    for (site, share) in sites.iter().zip(&shares) {
        registering += register(site, share.clone()).await;
    }
    row(
        "registration with two copies, 64 at a time, µs each",
        format!("{:.1}", registering / 1e3 / NODES as f64),
    );
    loop {
        let held: usize = sites.iter().map(|site| site.cluster.directory().overview().held).sum();
        if held == NODES * count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let per = (NODES * count) as f64;
    let tables: usize = sites.iter().map(|site| site.cluster.directory().overview().bytes).sum();
    row("tables, bytes per name and node that holds it", format!("{:.0}", tables as f64 / per));
    row(
        "resident, own agents' view included, bytes",
        format!("{:.0}", resident().saturating_sub(before) as f64 / per),
    );
    row("local look-up, ns", format!("{:.0}", read(&sites[0], &shares[0], &Whereabouts::Here)));
    for Site { root, .. } in sites {
        root.shutdown().await;
    }

    let sites = cluster(0).await;
    let few = Arc::new(shares[1][..REMOTE.min(shares[1].len())].to_vec());
    register(&sites[1], few.clone()).await;
    let ring = sites[0].cluster.ring();
    let asker = &ring.members()[0].node;
    let remote: Vec<AgentId> = few.iter().copied().filter(|id| ring.owner(*id) != Some(asker)).collect();
    let mut took = Vec::with_capacity(remote.len());
    for id in &remote {
        let started = Instant::now();
        let found = sites[0].cluster.directory().find(*id).await;
        took.push(started.elapsed().as_nanos() as f64 / 1e3);
        assert_eq!(found, Ok(Some(ring.members()[1].node.clone())));
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    row("remote look-up, one after the other, p50 in µs", format!("{:.1}", at(0.5)));
    row("  p99", format!("{:.1}", at(0.99)));
    let there = Whereabouts::There(ring.members()[1].node.clone());
    row("cached look-up, ns", format!("{:.0}", read(&sites[0], &remote, &there)));
}
