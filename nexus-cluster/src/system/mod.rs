//! Nodes become one system: the parts of a node that know of other nodes, put together.
//!
//! ```text
//!   cluster.sup (rest_for_one)
//!   ├── membership     who is there
//!   ├── gossip         what they say of themselves
//!   ├── directory      which agent is where
//!   ├── migration      agents that move
//!   ├── census         what is on the other nodes
//!   └── coordinator    ring, losses, readiness
//! ```
//!
//! **Where a message goes.** A name without a route on this node is looked up: in the directory's view, then on the ring. If another node
//! has the agent or is responsible for it, the message goes there, and further ones go the same way until that node is lost. So the first
//! message for a name goes to the ring's owner at once, which holds the name's entry too: it starts the agent, or knows where it lives.
//!
//! **Before an agent starts** it is [claimed](nexus_actors::route::remote::Remote::claim): the node asks the directory. Whoever is not the
//! ring's owner starts nobody that the directory does not know; whoever is told that the agent lives elsewhere hands over the letters that
//! have come for it. Until the node has joined, claims wait: so a node that starts together with others does not take all names for its own.
//!
//! **Joined** is a node once it sees as many members as [`expect`](ClusterSetup::expect)ed, and anybody at all if it was given seeds.
//! **Ready** it is while the directory is settled, the agents that were here before are claimed, and the node is not in a minority under the
//! policy `quorum`.
//!
//! **Losses.** A member that is down or has left is given up by its link at once, so that whoever waits for it hears it now.

mod actor;
mod places;
mod standing;
#[cfg(test)]
mod test;

use std::fmt;
use std::sync::Arc;

use nexus_actors::Node;
use nexus_actors::supervision::{ChildSpec, Strategy, SupervisorSpec};
use thiserror::Error;
use tokio::sync::watch;

use self::actor::{Coordinator, CoordinatorArgs};
use self::places::Places;
use crate::census::{Census, CensusSetup};
use crate::directory::{Directory, DirectoryConfig, DirectoryConfigError};
use crate::gossip::{GossipConfig, GossipHandle, GossipSetup};
use crate::membership::{
    Member, MembershipConfig, MembershipError, MembershipHandle, MembershipSetup, Metadata,
};
use crate::migrate::{self, Migration, MigrationConfig, MoveError, Progress};
use crate::ring::Ring;
use crate::transport::{
    Carrier, ControlError, ControlEvent, ControlLane as _, Exchange, Gateway, LinkConfig, Service,
};
use crate::{NodeId, NodeName, OutOfRange};

pub use self::places::Placements;
pub use self::standing::Standing;

/// The key under which nodes tell of themselves.
const REPORT_KEY: &str = "placement";

/// What a node needs to be one of several.
#[derive(Clone, Debug)]
pub struct ClusterSetup {
    /// The node.
    pub node: Node,
    /// This life of it. Its incarnation is the wall time at which the node's clock began.
    pub me: NodeId,
    /// What it tells of itself. Its address is where others reach it.
    pub metadata: Metadata,
    /// `host:port` of some members each, or `dns:host:port`. None, for the first node of a cluster.
    pub seeds: Vec<String>,
    /// Members, this one included, that must be there before agents are started. Default 1.
    pub expect: usize,
    /// Parameters of the parts.
    pub membership: MembershipConfig,
    /// See `membership`.
    pub gossip: GossipConfig,
    /// See `membership`.
    pub directory: DirectoryConfig,
    /// See `membership`.
    pub migration: MigrationConfig,
    /// Where agents start.
    pub placement: Placements,
    /// The release of what runs here, for [`Label`](crate::migrate::place::Label); empty where nothing asks for it.
    pub release: String,
    /// See `membership`.
    pub link: LinkConfig,
}

impl ClusterSetup {
    /// `node` as `me`, reached at `address`, with the default parameters.
    #[must_use]
    pub fn new(node: Node, me: NodeId, address: impl Into<String>, seeds: Vec<String>) -> Self {
        let metadata =
            Metadata { address: address.into(), versions: (1, 1), weight: 100, ..Metadata::default() };
        Self {
            node,
            me,
            metadata,
            seeds,
            expect: 1,
            membership: MembershipConfig::default(),
            gossip: GossipConfig::default(),
            directory: DirectoryConfig::default(),
            migration: MigrationConfig::default(),
            placement: Placements::new(),
            release: String::new(),
            link: LinkConfig::default(),
        }
    }
}

/// The parts do not go together.
#[derive(Debug, Error)]
pub enum ClusterError<E> {
    /// The carrier cannot be made.
    #[error("transport: {0}")]
    Carrier(E),
    /// A parameter of membership.
    #[error("membership: {0}")]
    Membership(#[from] MembershipError),
    /// A parameter of gossip.
    #[error("gossip: {0}")]
    Gossip(#[from] OutOfRange),
    /// A parameter of migration.
    #[error("migration: {0}")]
    Migration(OutOfRange),
    /// A parameter of the directory.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryConfigError),
}

/// A node's part in its cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    node: Node,
    gateway: Arc<Gateway>,
    carrier: Arc<dyn Carrier>,
    membership: MembershipHandle,
    gossip: GossipHandle,
    directory: Directory,
    migration: Migration,
    census: Census,
    places: Arc<Places>,
    standing: watch::Receiver<Standing>,
    child: ChildSpec,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = &*self.inner.standing.borrow();
        f.debug_struct("Cluster")
            .field("node", &self.inner.node)
            .field("standing", standing)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The node's part in its cluster over the carrier that `carrier` makes; it works while its [child](Self::child) runs. To be called on
    /// a runtime, once for a node, before its tree starts.
    ///
    /// # Errors
    /// A parameter is out of range, or the carrier cannot be made.
    pub fn new<C: Carrier, E>(
        setup: ClusterSetup,
        carrier: impl FnOnce(Arc<dyn Exchange>) -> Result<Arc<C>, E>,
    ) -> Result<Self, ClusterError<E>> {
        let ClusterSetup {
            node,
            me,
            metadata,
            seeds,
            expect,
            membership,
            gossip,
            directory,
            migration,
            placement,
            release,
            link,
        } = setup;
        let (clock, seed) = (*node.clock(), node.seed());
        let own = metadata.address.clone();
        let alone = seeds.iter().all(|seed| *seed == own);
        let (told, standing) = watch::channel(Standing::Joining { members: 1, expected: expect.max(1) });

        let places = Arc::new(Places::new(me.clone(), node.clone(), placement, standing.clone()));
        let gateway = Gateway::new(node.clone(), Arc::new(places.clone()), link);
        let carrier: Arc<dyn Carrier> = carrier(gateway.clone()).map_err(ClusterError::Carrier)?;
        let handle = MembershipHandle::new(Member::new(me.clone(), metadata));
        let gossip_handle = GossipHandle::default();
        let directory = Directory::new(me.clone(), directory, clock, gateway.clone(), places.clone())?;
        let migration =
            Migration::new(me.clone(), migration, node.clone(), directory.clone(), gateway.clone(), &handle)
                .map_err(ClusterError::Migration)?;
        places.bind(directory.clone(), migration.clone(), &gossip_handle);
        register(&gateway, &handle, &gossip_handle, &directory, &migration);

        let members = MembershipSetup {
            handle: handle.clone(),
            config: membership,
            seeds,
            seed,
            clock,
            lane: gateway.clone(),
            carrier: carrier.clone(),
        };
        let gossips = GossipSetup {
            handle: gossip_handle.clone(),
            membership: handle.clone(),
            config: gossip,
            seed,
            clock,
            lane: gateway.clone(),
        };
        let args = CoordinatorArgs {
            node: node.clone(),
            gateway: gateway.clone(),
            carrier: carrier.clone(),
            membership: handle.clone(),
            directory: directory.clone(),
            places: places.clone(),
            gossip: gossip_handle.clone(),
            migration: migration.clone(),
            release,
            needed: expect.max(if alone { 1 } else { 2 }),
            standing: Arc::new(told),
            actor: Arc::default(),
        };
        let (membership, links) = (handle.clone(), gateway.clone());
        let census = Census::new(CensusSetup { node: node.clone(), membership, gateway: links });
        let spec = SupervisorSpec::new("cluster.sup")
            .strategy(Strategy::RestForOne)
            .child(members.child()?)
            .child(gossips.child()?)
            .child(directory.child())
            .child(migration.child())
            .child(census.child())
            .child(Coordinator::child(args));
        let child = ChildSpec::supervisor(spec);
        let membership = handle;
        let gossip = gossip_handle;
        let inner = Inner {
            me,
            node,
            gateway,
            carrier,
            membership,
            gossip,
            directory,
            migration,
            census,
            places,
            standing,
            child,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `cluster.sup`, to be started after the carrier and before agents.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        self.inner.child.clone()
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// The links.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.inner.gateway
    }

    /// Who keeps connections.
    #[must_use]
    pub fn carrier(&self) -> &Arc<dyn Carrier> {
        &self.inner.carrier
    }

    /// Who is there.
    #[must_use]
    pub fn membership(&self) -> &MembershipHandle {
        &self.inner.membership
    }

    /// What nodes say of themselves.
    #[must_use]
    pub fn gossip(&self) -> &GossipHandle {
        &self.inner.gossip
    }

    /// Which agent is where.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Moves an agent of this node to the node called `to`. Answers the bytes of its state, once it lives there and nothing is on its way to
    /// it by way of this node any more.
    ///
    /// # Errors
    /// As [`Migration::migrate`].
    pub async fn migrate(&self, agent: &str, to: &NodeName) -> Result<u64, MoveError> {
        let ring = self.ring();
        let node = ring.place(to).map(|place| ring.members()[place].node.clone());
        let node = node.ok_or_else(|| MoveError::NoMember { node: to.clone() })?;
        self.inner.migration.migrate(agent, node).await
    }

    /// Asks the node called `node` to move everything off and to take no agents until that is called off with `on: false`. It begins
    /// at once; [`drained`](Self::drained) says how far it is. To ask again does no harm.
    ///
    /// # Errors
    /// It is not connected: nothing was asked.
    pub fn drain(&self, node: &NodeName, on: bool) -> Result<(), ControlError> {
        let migration = &self.inner.migration;
        match (*node == self.inner.me.name, on) {
            (true, true) => migration.begin_drain(),
            (true, false) => migration.undrain(),
            (false, _) => {
                let message = migrate::Message::Drain { on };
                self.inner.gateway.send(node, Service::Migration, message.encode())?;
            }
        }
        Ok(())
    }

    /// How far the drain of `node` is, as it last said: of this one at any time, of others by gossip, without the reasons. `None` if it
    /// has said nothing.
    #[must_use]
    pub fn drained(&self, node: &NodeName) -> Option<Progress> {
        if *node == self.inner.me.name {
            return Some(self.inner.migration.progress().borrow().clone());
        }
        self.inner.places.report(node).map(|report| report.drain)
    }

    /// Agents that move.
    #[must_use]
    pub fn migration(&self) -> &Migration {
        &self.inner.migration
    }

    /// What is on the other nodes.
    #[must_use]
    pub fn census(&self) -> &Census {
        &self.inner.census
    }

    /// Who is responsible for what, as this node sees it now.
    #[must_use]
    pub fn ring(&self) -> Arc<Ring> {
        self.inner.places.ring()
    }

    /// Whether this node has joined and is synchronized, or why not.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.inner.standing.borrow()
    }

    /// The same, for whoever waits for it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.inner.standing.clone()
    }
}

/// Hands what comes on the control lane to the actors.
fn register(
    gateway: &Gateway,
    membership: &MembershipHandle,
    gossip: &GossipHandle,
    directory: &Directory,
    migration: &Migration,
) {
    let (membership, gossip, directory) = (membership.clone(), gossip.clone(), directory.clone());
    let migration = migration.clone();
    gateway.register(Service::Membership, Arc::new(move |event: ControlEvent| membership.control(event)));
    gateway.register(Service::Gossip, Arc::new(move |event: ControlEvent| gossip.control(event)));
    gateway.register(Service::Directory, Arc::new(move |event: ControlEvent| directory.control(event)));
    gateway.register(Service::Migration, Arc::new(move |event: ControlEvent| migration.control(event)));
}
