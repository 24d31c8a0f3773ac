//! Boot: from a checked topology to a running tree.
//!
//! ```text
//! nexus (one_for_one)
//! ├── schedulers   looks at the runtimes that agents live on
//! ├── store        writes the state of agents that are kept, with [store]
//! ├── transport.sup   connections to other nodes, with [cluster]
//! ├── cluster.sup  membership, gossip, directory, with [cluster]
//! ├── agents.sup   what the topology declares
//! ├── hibernator   where agents hibernate
//! ├── performance.monitor   relieves memory, CPU and imbalance
//! ├── ops.sup      debug endpoint, clients' endpoint; with [cluster], what tells others of this node
//! └── feeds.sup    one actor per feed, and their progress
//! ```
//!
//! Started in this order, so that whoever watches sees the feeds begin; stopped in reverse, so that the feeds stop first and
//! the agents last. So feeds keep their places while the agents live, agents write their last state while the store does, and the
//! store closes its file when nobody writes any more.
//!
//! With `[cluster]`, ops.sup comes before agents.sup: agents that start with the tree wait until the node has joined, and the endpoint says
//! what they wait for, and takes `nexus join`.

mod feeds;
mod performance;
mod schedulers;
mod store;
mod tree;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexus_actors::agent::Behaviors;
use nexus_actors::clock::Clock;
use nexus_actors::performance::PerformanceConfigError;
use nexus_actors::rng::Seed;
use nexus_actors::scheduler::SchedulersActor;
use nexus_actors::store::StoreError;
use nexus_actors::supervision::{ChildSpec, ExitReason, Root, RootError, SupervisorEnv, SupervisorSpec};
use nexus_actors::{DeclareError, Node, NodeConfig};

use crate::clients::{Clients, ClientsActor, ClientsArgs};
use crate::cluster::{ClusterStartError, Clustered};
use crate::debug::{BoundAddress, DebugActor, DebugArgs, DebugSources, DebugState, Readiness, RootSlot};
use crate::feed::{FeedSlot, ProgressDisplay};
use crate::telemetry::{Telemetry, TelemetryError};
use crate::topology::{Secret, Topology};

use self::feeds::Feeds;
pub use self::feeds::FeedsEnd;
use self::schedulers::NodeSchedulers;

/// Id of the actor that shows the feeds' progress, beside the feeds.
pub(crate) const PROGRESS: &str = "progress";
/// How often empty inboxes are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Why a node did not start. Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The exporters could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The system has no threads or files left for the runtimes that agents live on.
    #[error("schedulers: {0}")]
    Schedulers(std::io::Error),
    /// The performance monitor's settings contradict each other.
    #[error(transparent)]
    Performance(#[from] PerformanceConfigError),
    /// The store cannot be used. Nothing in it is changed.
    #[error("the store {} cannot be used{}{remedy}", path.display(), if remedy.is_empty() { "" } else { ": " })]
    Store {
        /// Its file.
        path: PathBuf,
        /// What to do, where the reason does not say it.
        remedy: &'static str,
        /// Why.
        source: StoreError,
    },
    /// The topology asks for something this binary or its limits do not have.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// The node cannot be one of a cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterStartError),
    /// The debug endpoint could not be prepared.
    #[error("debug endpoint: {0}")]
    Debug(String),
    /// A part of the tree did not start; what had been started was stopped again.
    #[error(transparent)]
    Tree(#[from] RootError),
}

/// A running node.
#[derive(Debug)]
pub struct RunningNode {
    node: Node,
    root: Root,
    feeds: Feeds,
    schedulers: NodeSchedulers,
    telemetry: Telemetry,
    address: BoundAddress,
    clients: Option<Clients>,
    cluster: Option<Clustered>,
    token: Option<Secret>,
    readiness: Arc<Readiness>,
}

/// Starts the node that `topology` describes. Returns when the whole tree is up; feeds run on.
///
/// # Errors
/// [`BootError`]; nothing runs then.
pub async fn start(
    topology: Topology,
    behaviors: Behaviors,
    progress: ProgressDisplay,
) -> Result<RunningNode, BootError> {
    let node = prepare(topology, behaviors, progress).await?;
    node.come_up().await?;
    Ok(node)
}

/// Prepares the node that `topology` describes; [`RunningNode::come_up`] starts what is in its tree. It can be shut down meanwhile.
///
/// # Errors
/// [`BootError`]; nothing runs then.
pub(crate) async fn prepare(
    topology: Topology,
    behaviors: Behaviors,
    progress: ProgressDisplay,
) -> Result<RunningNode, BootError> {
    let clock = Clock::start();
    let telemetry = Telemetry::start(&topology.telemetry, topology.node_name())?;
    let schedulers = schedulers::start(topology.schedulers.config()).await?;
    let store = store::open(&topology).await?;
    let config = NodeConfig {
        name: topology.node_name().into(),
        seed: Seed::new(topology.node.seed),
        batch: topology.limits.batch,
        agents_max: topology.limits.agents as usize,
        dead_letters: topology.limits.dead_letters as usize,
        events: topology.limits.events as usize,
        schedulers: Some(schedulers.0.clone()),
        store,
    };
    let node = Node::new(config, behaviors, clock, &telemetry.meter());
    let cluster = Clustered::new(&topology, &node)?;
    let readiness = Readiness::awaiting(["tree"]).watching(node.store().cloned()).clustered(cluster.clone());
    let readiness = Arc::new(readiness);
    let slots = store::feeds(&topology, node.store(), cluster.is_some(), clock).await?;
    let feeds = Feeds::new(slots, cluster.as_ref());
    let root_slot: RootSlot = Arc::new(OnceLock::new());

    let own = |name| SupervisorSpec::new(name).intensity(topology.node.intensity, topology.node.period);
    let look = ChildSpec::actor("schedulers", || SchedulersActor, schedulers.0.clone());
    let look = look.label(topology.schedulers.config().policy.name());
    let mut spec = own("nexus").child(look);
    if let Some(child) = node.store_child() {
        spec = spec.child(child);
    }
    if let Some(cluster) = &cluster {
        spec = spec.child(cluster.transport_child()).child(cluster.cluster_child());
    }
    let agents = tree::agents_sup(&node, &topology)?;
    let restored = store::restore(&node).await?;
    let performance = performance::monitor(&node, &topology)?;
    telemetry.observe_performance(&performance);
    let address = BoundAddress::default();
    let clients = topology
        .clients
        .clone()
        .map(|config| Clients::new(config, node.clone(), topology.limits.payload_bytes));
    let mut ops = own("ops.sup");
    let mut token = None;
    if topology.debug.enabled {
        let sources = DebugSources {
            node: node.clone(),
            telemetry: telemetry.clone(),
            root: root_slot.clone(),
            feeds: feeds.slots.clone(),
            readiness: readiness.clone(),
            payload_bytes_max: topology.limits.payload_bytes as usize,
            clients: clients.clone(),
            performance: Some(performance.clone()),
            restored,
            cluster: cluster.clone(),
        };
        let state = DebugState::new(topology.debug.clone(), sources).map_err(BootError::Debug)?;
        token = state.token().cloned();
        let args = DebugArgs { state, bound: address.clone() };
        ops = ops.child(ChildSpec::actor("debug", || DebugActor, args));
    }
    if let Some(cluster) = &cluster {
        telemetry.observe_cluster(cluster);
        ops = ops.child(cluster.herald_child(&address));
    }
    if let Some(clients) = &clients {
        telemetry.observe_clients(clients);
        let args = ClientsArgs { clients: clients.clone() };
        ops = ops.child(ChildSpec::actor("clients", || ClientsActor, args));
    }
    let is_watched = topology.debug.enabled || clients.is_some() || cluster.is_some();
    let (early, late) = match is_watched.then(|| ChildSpec::supervisor(ops)) {
        ops if cluster.is_some() => (ops, None),
        ops => (None, ops),
    };
    let hibernates = topology.agents().iter().any(|(_, agent)| agent.hibernate_after.is_some());
    let hibernator = hibernates.then(|| node.hibernator_child());
    let children = [early, Some(agents), hibernator, performance.child(), late];
    for child in children.into_iter().flatten() {
        spec = spec.child(child);
    }
    if !feeds.slots.is_empty() {
        spec = spec.child(feeds.child(own("feeds.sup"), &node, progress));
    }
    telemetry.observe(&node, &feeds.slots);

    let env = SupervisorEnv { clock, events: node.events().clone() };
    let root = Root::spawn(spec, env).await?;
    // The endpoint shows the tree while it comes up.
    let _ = root_slot.set(root.clone());
    Ok(RunningNode { node, root, feeds, schedulers, telemetry, address, clients, cluster, token, readiness })
}

impl RunningNode {
    /// Starts the tree, and waits until all of it is up.
    ///
    /// # Errors
    /// [`BootError::Tree`]; what had been started is stopped again.
    pub(crate) async fn come_up(&self) -> Result<(), BootError> {
        self.root.boot().await?;
        self.readiness.set("tree", true, "started");
        Ok(())
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The tree.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The feeds, in the topology's order.
    #[must_use]
    pub fn feeds(&self) -> &[Arc<FeedSlot>] {
        &self.feeds.slots
    }

    /// Where the debug endpoint listens; `None` without one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get()
    }

    /// Where the clients' endpoint listens; `None` without one.
    #[must_use]
    pub fn clients_address(&self) -> Option<SocketAddr> {
        self.clients.as_ref().and_then(Clients::address)
    }

    /// The node's part in its cluster, if it is one of one.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Clustered> {
        self.cluster.as_ref()
    }

    /// The token the debug endpoint asks for; `None` without endpoint or authentication.
    #[must_use]
    pub const fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Waits until no message is queued or being handled. An agent answers before it has finished with a message, so whoever has
    /// his answer and wants the counters waits for this.
    pub async fn at_rest(&self) {
        while self.node.tally().queued > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for the tree to end by itself: with the chain of reasons if it gave up.
    pub async fn exited(&self) -> ExitReason {
        self.root.exited().await
    }

    /// Waits until somebody wants the node to leave its cluster, which is also its end. Never returns without a cluster.
    pub async fn asked_to_leave(&self) {
        match &self.cluster {
            Some(cluster) => cluster.asked_to_leave().await,
            None => std::future::pending().await,
        }
    }

    /// Stops the tree in order and waits for its end, at most `limit`; what has not ended by then is killed.
    /// `None` if that happened.
    pub async fn shutdown(self, limit: Duration) -> Option<ExitReason> {
        self.readiness.set("tree", false, "stopping");
        self.feeds.close();
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
        let stopped = tokio::time::timeout(limit, self.root.shutdown()).await.ok();
        if stopped.is_none() {
            self.root.supervisor().cell().kill();
        }
        drop(self.schedulers);
        let telemetry = self.telemetry;
        // The last spans and metrics; exporters block.
        let _ = tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(2))).await;
        stopped
    }
}
