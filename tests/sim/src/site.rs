//! A node of the simulation, from its start to its crash: the tree of a production node, without what talks to operators.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::{AgentTemplate, Behaviors, FamilyRules, Level, Payload};
use nexus_actors::clock::Clock;
use nexus_actors::rng::{Rng, Seed};
use nexus_actors::store::{Persist, Store, StoreConfig};
use nexus_actors::supervision::{ChildRules, ChildSpec, Root, SupervisorEnv, SupervisorSpec};
use nexus_actors::telemetry::Event;
use nexus_actors::{Node, NodeConfig};
use nexus_cluster::gossip::{GossipConfig, GossipHandle, Urgency};
use nexus_cluster::membership::{MembershipConfig, MembershipEvent};
use nexus_cluster::system::{Cluster, ClusterSetup};
use nexus_cluster::transport::sim::Network;
use nexus_cluster::{NodeId, NodeName};
use opentelemetry::global;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tokio::task::AbortHandle;

use crate::chronicle::{self, Books, LifeId, note};
use crate::counter::{BEHAVIOR, Counter};
use crate::disk::SimDisk;
use crate::load::{load, message_of};
use crate::plan::Place;

/// When the simulation begins, in milliseconds since 1970.
pub const BEGAN_UNIX_MS: u64 = 1_700_000_000_000;
/// Restarts that a supervisor allows: agents are told to crash.
const INTENSITY: u32 = 1_000_000;
/// The gossip key that each node writes now and then.
pub const WRITTEN: &str = "written";

/// The families: their names, how many agents there are of each, what is stored of them, and after how many milliseconds they sleep. Most
/// messages go to agents that are not stored: commits are what an unoptimized build spends most of its time on.
const FAMILIES: [(&str, usize, Persist, Option<u64>); 4] = [
    ("memory", 12, Persist::None, None),
    ("nap", 8, Persist::None, Some(1_500)),
    ("each", 4, Persist::EachUpdate, Some(2_500)),
    ("late", 4, Persist::EveryInterval(Duration::from_millis(500)), None),
];

/// What outlives the lives of a node.
#[derive(Debug)]
pub struct Ground {
    /// Its place.
    pub place: Place,
    /// Its name.
    pub name: NodeName,
    /// Its disk.
    pub disk: SimDisk,
    /// How much later its clock is.
    pub skew_ms: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// The nodes it asks to be taken in.
    pub seeds: Vec<String>,
    /// The seed of the simulation.
    pub seed: Seed,
    /// Its lives so far.
    pub lives: u32,
}

/// A running node.
#[derive(Debug)]
pub struct Site {
    /// Which life.
    pub life: LifeId,
    /// Who it is in the cluster.
    pub id: NodeId,
    /// The node.
    pub node: Node,
    /// Its part in the cluster.
    pub cluster: Cluster,
    root: Root,
    /// Who sends, gossips and moves agents.
    work: [AbortHandle; 3],
}

/// Where `place` listens.
#[must_use]
pub fn address(place: Place) -> String {
    format!("n{place}:1")
}

/// The names of all agents.
#[must_use]
pub fn agents() -> Arc<[Arc<str>]> {
    let names = |(family, keys, ..): &(&'static str, usize, Persist, Option<u64>)| {
        let family = *family;
        (0..*keys).map(move |key| format!("{family}/{key}").into())
    };
    FAMILIES.iter().flat_map(names).collect()
}

impl Ground {
    /// Starts the node's next life. The work on its agents begins with it.
    pub async fn start(&mut self, network: &Network, began: tokio::time::Instant) -> Site {
        self.lives += 1;
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let unix_ms = BEGAN_UNIX_MS + self.skew_ms + elapsed;
        let id = NodeId { name: self.name.clone(), incarnation: unix_ms };
        let life = chronicle::with(|chronicle| chronicle.begins(self.place, id.clone()));
        let life = life.expect("a simulation is written down");
        let name = chronicle::with(|chronicle| chronicle.lives[life].name.clone()).expect("as before");
        let clock = Clock::start_at(unix_ms);
        let store = Store::open_on(Arc::new(self.disk.clone()), StoreConfig::new("simulated"));
        let seed = Seed::new(self.stream("node").random());
        let config = NodeConfig {
            name: name.clone(),
            seed,
            dead_letters: 1_000_000,
            store: Some(store.expect("a disk that has lost its power can be opened")),
            ..NodeConfig::default()
        };
        let mut behaviors = Behaviors::new();
        behaviors.durable::<Counter>(BEHAVIOR);
        let node = Node::new(config, behaviors, clock, &global::meter("simulation"));
        trace_events(&node, name.clone());

        let mut setup = ClusterSetup::new(node.clone(), id.clone(), address(self.place), self.seeds.clone());
        setup.membership = MembershipConfig::local();
        setup.gossip = GossipConfig::local();
        // Small, so that credit, frames that are full and messages in parts are met with little traffic.
        setup.link.window_bytes = 8 << 10;
        setup.link.frame_bytes = 1 << 10;
        setup.link.strained_share = 2 << 10;
        // Those that start together wait for each other; who comes back joins whom it finds.
        setup.expect = if self.lives == 1 { self.nodes } else { 1 };
        let cluster = Cluster::new(setup, |exchange| {
            Ok::<_, Infallible>(network.join(id.clone(), &address(self.place), exchange))
        });
        let cluster = cluster.expect("presets are in range");
        trace_members(&cluster, life);
        let mut top = SupervisorSpec::new("nexus").intensity(INTENSITY, Duration::from_secs(1));
        top = top.child(node.store_child().expect("it has a store"));
        top = top.child(cluster.child());
        top = top.child(agents_sup(&node));
        let restored = node.restore().expect("a disk that has lost its power can be read");
        note(format_args!("{name} restores {restored:?}"));
        top = top.child(node.hibernator_child());
        let env = SupervisorEnv { clock, events: node.events().clone() };
        let root = Root::start(top, env).await.expect("a tree of sound parts starts");
        let load = tokio::spawn(load(node.clone(), life, agents(), self.stream("load"))).abort_handle();
        let moves = tokio::spawn(moves(cluster.clone(), self.stream("moves"))).abort_handle();
        let write = tokio::spawn(write(cluster.gossip().clone(), self.stream("gossip"))).abort_handle();
        Site { life, id, node, cluster, root, work: [load, write, moves] }
    }

    /// A generator for this life.
    fn stream(&self, what: &str) -> Rng {
        self.seed.stream(&format!("{what} {} {}", self.name, self.lives))
    }
}

impl Site {
    /// From one moment to the next it is no more.
    pub fn crash(&self, network: &Network, disk: &SimDisk, rng: &mut Rng) {
        let books = self.books();
        chronicle::with(|chronicle| chronicle.ends(self.life, books));
        network.crash(&self.id.name);
        disk.power_loss(rng);
        self.root.supervisor().cell().kill();
        self.hush();
    }

    /// Nothing more is sent.
    pub fn hush(&self) {
        self.work.iter().for_each(AbortHandle::abort);
    }

    /// What the node knows of messages now.
    #[must_use]
    pub fn books(&self) -> Books {
        let dead_letters = self.node.dead_letters();
        let (letters, _) = dead_letters.page(0, usize::MAX);
        let given_up =
            letters.iter().filter(|letter| letter.reason == nexus_actors::route::DeadLetterReason::NodeLost);
        let links = self.cluster.gateway().links();
        Books {
            tally: self.node.tally(),
            in_links: links.iter().map(|(_, link)| link.queued + link.unacknowledged).sum(),
            given_up: given_up.count() as u64,
            dead: letters.iter().filter_map(|letter| message_of(&letter.key, &letter.payload)).collect(),
        }
    }
}

/// The supervisor of all families.
fn agents_sup(node: &Node) -> ChildSpec {
    let mut spec = SupervisorSpec::new("agents.sup").intensity(INTENSITY, Duration::from_secs(1));
    for (name, _, persist, sleeps_after) in FAMILIES {
        let template = AgentTemplate {
            behavior: BEHAVIOR.into(),
            args: Payload::EMPTY,
            inbox: 64,
            level: Level::Reactive,
            persist,
        };
        let rules = FamilyRules {
            name: name.into(),
            agent: ChildRules::worker(BEHAVIOR),
            intensity: INTENSITY,
            period: Duration::from_secs(1),
            backoff: None,
            eager: false,
            hibernate_after: sleeps_after.map(Duration::from_millis),
        };
        let pattern = format!("{name}/*").parse().expect("a pattern");
        spec = spec.child(node.family_child(pattern, template, rules).expect("declared once"));
    }
    ChildSpec::supervisor(spec)
}

/// Writes the node's events down as they come.
fn trace_events(node: &Node, name: Arc<str>) {
    let mut events = node.events().listen();
    tokio::spawn(async move {
        while let Ok(record) = events.recv().await {
            note(format_args!("{name} tells {:?}", record.event));
            if let Event::AgentMoved { agent, .. } = &record.event {
                chronicle::with(|chronicle| chronicle.moves(&name, agent));
            }
        }
    });
}

/// Writes down what the node hears of others, and when it gives them up as lost.
fn trace_members(cluster: &Cluster, life: LifeId) {
    let me = cluster.membership().me().id().clone();
    cluster.membership().subscribe(move |event| {
        note(format_args!("{me} hears {event:?}"));
        if let MembershipEvent::MemberDown(member) = event {
            chronicle::with(|chronicle| chronicle.loses(life, member.id()));
        }
    });
}

/// Gossips a new value now and then.
async fn write(gossip: GossipHandle, mut rng: Rng) {
    for number in 0_u32.. {
        let urgency = if rng.random_bool(0.3) { Urgency::Urgent } else { Urgency::Routine };
        let value = Some(number.to_string().into());
        // Fails only while the actor is being restarted.
        let _ = gossip.write(WRITTEN, value, urgency).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..5_000))).await;
    }
}

/// Moves one of the node's agents to another node now and then.
async fn moves(cluster: Cluster, mut rng: Rng) {
    let (agents, own) = (agents(), cluster.membership().me());
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(500..6_000))).await;
        let here: Vec<_> = agents.iter().filter(|agent| cluster.node().has_agent(&***agent)).collect();
        let members = cluster.membership().members();
        let (Some(agent), Some(to)) = (here.choose(&mut rng), members.choose(&mut rng)) else { continue };
        note(format_args!("{} moves {agent} to {}", own.id(), to.id()));
        let moved = cluster.migrate(agent, to.name()).await;
        note(format_args!("{} has moved {agent}: {moved:?}", own.id()));
    }
}
