//! `cargo bench -p nexus-actors --bench store`: updates acknowledged a second under each-update, on a real file, beside bare redb commits
//! of one record in the same directory, measured anew before each row: a shared disk is ten times slower at one moment than at another.
//!
//! `NEXUS_BENCH_DIR` says where the files lie (default: the target directory; a tmpfs measures nothing), `NEXUS_BENCH_SECONDS` how long
//! each row runs (default 5).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::NodeConfig;
use nexus_actors::agent::{AgentTemplate, Behaviors, FamilyRules, Level};
use nexus_actors::clock::Clock;
use nexus_actors::prelude::*;
use nexus_actors::store::{Persist, Store, StoreConfig};
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use redb::{Database, TableDefinition};
use serde::{Deserialize, Serialize};

const BARE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bare");

/// 64 bytes of state: seven numbers that take nine bytes each in MessagePack, and the array's head.
#[derive(Default)]
struct Account;

#[derive(Serialize, Deserialize)]
struct Balances([u64; 7]);

impl Actor for Account {
    type Msg = AgentMessage;
    type State = Balances;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<Balances, ActorProcessingErr> {
        Ok(Balances([u64::MAX; 7]))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Balances,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(_, reply) = message {
            state.0[0] -= 1;
            reply.done();
        }
        Ok(())
    }
}

impl Durable for Account {}

fn directory() -> PathBuf {
    std::env::var_os("NEXUS_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

fn period() -> Duration {
    let seconds = std::env::var("NEXUS_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Commits a second of one record of 110 bytes each.
fn bare(directory: &Path) -> f64 {
    let database = Database::create(directory.join("bare.redb")).expect("it opens");
    let (started, mut commits) = (Instant::now(), 0_u32);
    while started.elapsed() < period() {
        let transaction = database.begin_write().expect("alone");
        transaction.open_table(BARE).expect("made").insert("account/0", [7; 110].as_slice()).expect("room");
        transaction.commit().expect("room");
        commits += 1;
    }
    f64::from(commits) / started.elapsed().as_secs_f64()
}

async fn start(directory: &Path) -> (Node, Root) {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Account>("account");
    let store = Store::open(StoreConfig::new(directory)).expect("it opens");
    let config = NodeConfig { store: Some(store), ..NodeConfig::default() };
    let node = Node::new(config, behaviors, Clock::start(), &opentelemetry::global::meter("bench"));
    let template = AgentTemplate {
        behavior: "account".into(),
        args: Payload::EMPTY,
        inbox: 1024,
        level: Level::Reactive,
        persist: Persist::EachUpdate,
    };
    let rules = FamilyRules {
        name: "account".into(),
        agent: ChildRules::worker("account"),
        intensity: 10,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    };
    let family = node.family_child("account/*".parse().expect("a family"), template, rules).expect("durable");
    let spec = SupervisorSpec::new("top").child(node.store_child().expect("a store")).child(family);
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.expect("starts");
    (node, root)
}

/// Acknowledged updates and commits a second: `askers` ask `agents`, each again as soon as it is answered.
async fn acknowledged(node: &Node, agents: usize, askers: usize) -> (f64, f64) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let commits = node.store().expect("a store").status().commits;
    let started = Instant::now();
    let asking: Vec<_> = (0..askers)
        .map(|asker| {
            let (node, stop, done) = (node.clone(), stop.clone(), done.clone());
            let agent = format!("account/{}", asker % agents);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    node.ask(&agent, Request::action("draw", Payload::EMPTY), None).await.expect("room");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(period()).await;
    let (seconds, done) = (started.elapsed().as_secs_f64(), done.load(Ordering::Relaxed) as f64);
    let commits = (node.store().expect("a store").status().commits - commits) as f64;
    stop.store(true, Ordering::Relaxed);
    for asking in asking {
        asking.await.expect("it ends");
    }
    (done / seconds, commits / seconds)
}

async fn bench() {
    let directory = tempfile::tempdir_in(directory()).expect("a directory");
    println!("{:<26}{:>12}{:>12}{:>12}{:>12}", "", "acks/s", "commits/s", "bare/s", "acks/bare");
    let (node, root) = start(directory.path()).await;
    for (agents, askers) in [(1, 1), (1, 100), (1_000, 1_000)] {
        let bare = bare(directory.path());
        let (acks, commits) = acknowledged(&node, agents, askers).await;
        let row = format!("{agents} agents, {askers} askers");
        println!("{row:<26}{acks:>12.0}{commits:>12.0}{bare:>12.0}{:>12.2}", acks / bare);
    }
    root.shutdown().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench());
}
