//! This node as one of a cluster: from the topology to carrier and assembly, and what operators hear of them.
//!
//! ```text
//! transport.sup   the carrier: listener, connections       ┐ nexus-cluster
//! cluster.sup     membership, gossip, directory, …         ┘
//! ops.sup/cluster the herald: tells the others about this node, measures delays and rates
//! ```

mod error;
mod herald;
mod meter;
mod tell;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::clock::Millis;
use nexus_actors::supervision::{ChildSpec, SupervisorSpec};
use nexus_cluster::membership::Metadata;
use nexus_cluster::system::{Cluster, ClusterError, ClusterSetup, Placements, Standing};
use nexus_cluster::transport::cluster::{
    CarrierError, ClusterCarrier, ClusterConfig as CarrierConfig, ClusterConfigError, Cookie, Security,
    TlsFiles, VERSIONS,
};
use nexus_cluster::transport::{Carrier as _, Delays};
use nexus_cluster::{NodeId, NodeName};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::error::ClusterStartError;
pub(crate) use self::herald::Herald;
pub use self::herald::{LinkNews, NodeNews};
use self::meter::Meter;
pub(crate) use self::meter::Rates;
use crate::debug::BoundAddress;
use crate::topology::{ClusterConfig, Topology};

/// The usual share of a node, as membership counts.
const USUAL_WEIGHT: u32 = 100;
/// How long the others get to hear that this node leaves.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// This node's part in its cluster, for the tree and for the endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clustered {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClusterConfig,
    cluster: Cluster,
    carrier: ClusterCarrier,
    delays: Delays,
    meter: Mutex<Meter>,
    /// The last stream that did not become a connection, in words.
    trouble: Arc<Mutex<Option<String>>>,
    /// Cancelled when somebody wants the node to leave.
    leaving: CancellationToken,
}

impl Clustered {
    /// The part of `node` that `topology` asks for, if it asks for one. Reads certificates, so it blocks for a moment; to be called on a
    /// runtime, before the tree starts.
    ///
    /// # Errors
    /// [`ClusterStartError`]: no cookie, certificates that cannot be used.
    pub fn new(topology: &Topology, node: &Node) -> Result<Option<Self>, ClusterStartError> {
        let Some(config) = topology.cluster.clone() else { return Ok(None) };
        let cookie = cookie(&config)?;
        let name: NodeName = topology.node_name().parse().map_err(ClusterStartError::Name)?;
        // A life is told from an earlier one by when it began.
        let me = NodeId { name, incarnation: node.clock().unix_ms(Millis::ZERO) };
        let setup = ClusterSetup {
            metadata: metadata(&config, topology.limits.agents),
            release: config.version.clone(),
            expect: config.expect as usize,
            membership: config.membership(),
            gossip: config.gossip(),
            directory: config.directory(),
            link: config.link(),
            placement: placements(topology),
            ..ClusterSetup::new(node.clone(), me.clone(), "", config.seeds.clone())
        };
        let carrier = CarrierConfig {
            security: security(&config, &topology.base_dir),
            limits: config.limits(),
            timing: config.timing(),
            ..CarrierConfig::new(me, config.name.clone(), cookie, config.listen)
        };
        let mut made = None;
        let cluster = Cluster::new(setup, |exchange| {
            let carrier = ClusterCarrier::new(carrier, node.seed(), exchange)?;
            made = Some(carrier.clone());
            Ok(Arc::new(carrier))
        });
        let cluster = cluster.map_err(|error| match error {
            ClusterError::Carrier(CarrierError::Config(error @ ClusterConfigError::CookieShort { .. })) => {
                ClusterStartError::Cookie { variable: config.cookie_env.clone(), error }
            }
            error => ClusterStartError::Parts(error),
        })?;
        let carrier = made.expect("a cluster has asked for its carrier");
        let delays = Delays::new(cluster.gateway());
        let trouble = Arc::default();
        tell::membership(&cluster);
        tell::refusals(node, &carrier, &config.cookie_env, Arc::clone(&trouble));
        let (meter, leaving) = (Mutex::default(), CancellationToken::new());
        let inner = Inner { config, cluster, carrier, delays, meter, trouble, leaving };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// `transport.sup`, to be started before [`Clustered::cluster_child`].
    #[must_use]
    pub fn transport_child(&self) -> ChildSpec {
        ChildSpec::supervisor(SupervisorSpec::new("transport.sup").child(self.inner.carrier.child()))
    }

    /// `cluster.sup`, to be started before agents.
    #[must_use]
    pub fn cluster_child(&self) -> ChildSpec {
        self.inner.cluster.child()
    }

    /// What tells the others about this node, whose debug endpoint is at `debug`.
    pub(crate) fn herald_child(&self, debug: &BoundAddress) -> ChildSpec {
        Herald::child(self.clone(), debug.clone())
    }

    /// The assembly.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// What carries it.
    #[must_use]
    pub fn carrier(&self) -> &ClusterCarrier {
        &self.inner.carrier
    }

    /// As the topology has it.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.inner.config
    }

    /// Where the carrier listens; `None` while it does not.
    #[must_use]
    pub fn listening(&self) -> Option<SocketAddr> {
        self.inner.carrier.listening()
    }

    /// Whether the node is ready for work in the cluster, and the same in words; while it joins, also what stands in its way.
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        let standing = self.inner.cluster.standing();
        let words = match (standing, self.trouble()) {
            (Standing::Joining { .. }, Some(trouble)) => format!("{standing}; {trouble}"),
            _ => standing.to_string(),
        };
        (standing.is_ready(), words)
    }

    /// Why the last stream that did not become a connection did not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.inner.trouble.lock().clone()
    }

    /// Bytes a second to and from each connected peer.
    pub(crate) fn rates(&self, peer: &NodeName) -> Option<Rates> {
        self.inner.meter.lock().rates(peer)
    }

    /// How long the way to a connected peer and back takes.
    #[must_use]
    pub fn delay(&self, peer: &NodeName) -> Option<Duration> {
        self.inner.delays.get(peer)
    }

    /// Keeps a connection to whoever is at `address` (`host:port`); it becomes a member if it is of the same cluster.
    pub fn join(&self, address: &str) {
        self.inner.carrier.keep(address);
    }

    /// Asks whoever runs the node to let it leave, which is also its end.
    pub fn ask_to_leave(&self) {
        self.inner.leaving.cancel();
    }

    /// Waits until somebody has asked for that.
    pub async fn asked_to_leave(&self) {
        self.inner.leaving.cancelled().await;
    }

    /// Leaves the cluster, so that the others neither wait for this node nor dial it. Returns when they had time to hear it.
    pub async fn leave(&self) {
        let left = tokio::time::timeout(LEAVE_MAX, self.inner.cluster.membership().leave()).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("the other nodes may not have heard that this one leaves");
        }
    }
}

/// The secret that the topology's environment had when it was read.
fn cookie(config: &ClusterConfig) -> Result<Cookie, ClusterStartError> {
    let variable = config.cookie_env.clone();
    match config.cookie.as_ref().map(crate::topology::Secret::expose) {
        None | Some("") => Err(ClusterStartError::NoCookie { variable }),
        Some(cookie) => Ok(Cookie::new(cookie)),
    }
}

/// Where the agents of each declaration start that does not leave it to the ring.
fn placements(topology: &Topology) -> Placements {
    let agents = topology.agents().into_iter().map(|(_, agent)| agent);
    agents
        .filter(|agent| !agent.place.is_default())
        .map(|agent| (agent.name.clone(), agent.place.placement()))
        .collect()
}

fn metadata(config: &ClusterConfig, agents_max: u32) -> Metadata {
    // A free port is told once it is known.
    let own = || if config.listen.port() == 0 { String::new() } else { config.listen.to_string() };
    Metadata {
        address: config.advertise.clone().unwrap_or_else(own),
        zone: config.zone.clone(),
        versions: (*VERSIONS.start(), *VERSIONS.end()),
        weight: u32::from(config.weight) * USUAL_WEIGHT,
        capacity: config.capacity.unwrap_or(agents_max).into(),
    }
}

fn security(config: &ClusterConfig, base_dir: &Path) -> Security {
    match &config.tls {
        None => Security::Plain,
        Some(tls) => Security::Tls(TlsFiles {
            certificate: base_dir.join(&tls.cert),
            key: base_dir.join(&tls.key),
            ca: base_dir.join(&tls.ca),
        }),
    }
}
