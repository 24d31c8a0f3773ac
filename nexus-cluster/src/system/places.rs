//! Where agents live and are to live: the directory first, then their placement.
//!
//! Whoever does not know where an agent lives asks the owner of its name on the ring, which holds the name's entry and decides by the
//! [placement](crate::migrate::place) of its family where an agent starts that lives nowhere. Whoever is chosen starts it if it would choose
//! itself, else refers back to the owner, until both know the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::agent::{AgentId, NamePattern};
use nexus_actors::telemetry::{ClusterEvent, Event};
use nexus_actors::{AgentError, Node};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::REPORT_KEY;
use super::standing::Standing;
use crate::directory::{Directory, Listener, News, Unavailable, Whereabouts};
use crate::gossip::GossipHandle;
use crate::membership;
use crate::migrate::place::{self, ByRing, Placement, Site};
use crate::migrate::{Migration, Report};
use crate::ring::{Member, Ring};
use crate::transport::Locate;
use crate::{NodeId, NodeName};

/// How often a claim is repeated that nobody answered.
const ATTEMPTS: u32 = 5;

/// Families and where their agents start: the first pattern that a name matches counts; where none does, the ring.
pub type Placements = Vec<(NamePattern, Arc<dyn Placement>)>;

/// See the module.
pub(super) struct Places {
    me: NodeId,
    node: Node,
    placements: Placements,
    ring: ArcSwap<Ring>,
    sites: ArcSwap<Vec<Site>>,
    known: Mutex<Known>,
    directory: OnceLock<Directory>,
    migration: OnceLock<Migration>,
    standing: watch::Receiver<Standing>,
}

/// What sites are made of.
#[derive(Default)]
struct Known {
    members: Vec<membership::Member>,
    reports: BTreeMap<NodeName, Report>,
}

/// What a node does with an agent that lives nowhere.
enum Home {
    /// Starts it.
    Here,
    /// Sends its letters there.
    There(NodeName),
    /// Nothing: no node may have it.
    Nowhere(&'static str),
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Places {
    pub(super) fn new(
        me: NodeId,
        node: Node,
        placements: Placements,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        let ring = ArcSwap::from_pointee(Ring::new([Member::new(me.clone())]));
        let (sites, known) = (ArcSwap::default(), Mutex::default());
        let (directory, migration) = (OnceLock::new(), OnceLock::new());
        Self { me, node, placements, ring, sites, known, directory, migration, standing }
    }

    /// The agent, of which this node has a state, lives on `node`: its state is to go there.
    pub(super) fn give_up(&self, agent: AgentId, node: NodeId) {
        if let Some(migration) = self.migration.get() {
            migration.yield_to(agent, node);
        }
    }

    /// Must come before anything is located.
    pub(super) fn bind(self: &Arc<Self>, directory: Directory, migration: Migration, gossip: &GossipHandle) {
        let (choosing, hearing) = (self.clone(), self.clone());
        migration.set_place(move |agent, name| choosing.choose(agent, Some(name)));
        gossip.subscribe(move |change| {
            if change.key == REPORT_KEY {
                hearing.heard(&change.owner, change.value.as_ref());
            }
        });
        let _ = self.directory.set(directory);
        let _ = self.migration.set(migration);
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    pub(super) fn set_ring(&self, ring: Arc<Ring>) {
        self.ring.store(ring);
    }

    /// These are the members now, this node among them.
    pub(super) fn set_members(&self, members: Vec<membership::Member>) {
        let mut known = self.known.lock();
        known.reports.retain(|name, _| members.iter().any(|member| member.name() == name));
        known.members = members;
        self.draw_sites(&known);
    }

    /// A member has told something of itself.
    pub(super) fn heard(&self, owner: &NodeName, value: Option<&Bytes>) {
        let report = value.and_then(|value| rmp_serde::from_slice(value).ok());
        let mut known = self.known.lock();
        match report {
            Some(report) => known.reports.insert(owner.clone(), report),
            None => known.reports.remove(owner),
        };
        self.draw_sites(&known);
    }

    /// What a member has told of itself.
    pub(super) fn report(&self, node: &NodeName) -> Option<Report> {
        self.known.lock().reports.get(node).cloned()
    }

    fn draw_sites(&self, known: &Known) {
        let mut sites: Vec<Site> = known
            .members
            .iter()
            .map(|member| {
                let report = known.reports.get(member.name());
                Site {
                    node: member.id().clone(),
                    metadata: member.metadata().clone(),
                    agents: report.map_or(0, |report| report.agents),
                    release: report.map(|report| report.release.clone()).unwrap_or_default(),
                    draining: report.is_some_and(|report| report.drain.draining),
                }
            })
            .collect();
        sites.sort_by(|a, b| a.node.cmp(&b.node));
        self.sites.store(Arc::new(sites));
    }

    fn placement(&self, name: Option<&str>) -> &dyn Placement {
        let matches = |(pattern, _): &&(NamePattern, _)| name.is_some_and(|name| pattern.matches(name));
        self.placements.iter().find(matches).map_or(&ByRing, |(_, placement)| &**placement)
    }

    /// Where the agent is to start, as this node sees it.
    pub(super) fn choose(&self, agent: AgentId, name: Option<&str>) -> Option<NodeId> {
        let (ring, mut sites) = (self.ring.load(), self.sites.load_full());
        if self.migration.get().is_some_and(Migration::is_draining) {
            // Known here before it is told.
            for site in Arc::make_mut(&mut sites).iter_mut().filter(|site| site.node == self.me) {
                site.draining = true;
            }
        }
        let cluster = place::Cluster { me: &self.me.name, ring: &ring, sites: &sites };
        self.placement(name).place(agent, &cluster).cloned()
    }

    /// What this node does with the agent if it lives nowhere.
    fn home(&self, agent: AgentId, name: &str) -> Home {
        let Some(chosen) = self.choose(agent, Some(name)) else {
            return Home::Nowhere(self.placement(Some(name)).name());
        };
        let owner = self.ring.load().owner(agent).map(|owner| owner.name.clone());
        match owner {
            _ if chosen.name == self.me.name => Home::Here,
            Some(owner) if owner != self.me.name => Home::There(owner),
            _ => Home::There(chosen.name),
        }
    }

    fn directory(&self) -> Option<&Directory> {
        self.directory.get()
    }

    fn name_of(&self, id: AgentId) -> Arc<str> {
        self.node.agent_name(id).unwrap_or_else(|| id.to_string().into())
    }
}

/// One claim: waits until the node has joined, asks the directory, and says where the agent lives if that is not here. An agent that has a
/// past here and lives elsewhere by now starts all the same, and yields: what it was goes there to be merged, and its letters after it.
async fn claim(
    places: Arc<Places>,
    directory: Directory,
    agent: AgentId,
    name: Arc<str>,
) -> Result<Option<NodeName>, AgentError> {
    if directory.lookup(agent) == Some(Whereabouts::Here) {
        return Ok(None);
    }
    // Fails only when the node ends.
    let _ = places.standing.clone().wait_for(Standing::has_joined).await;
    // What it was before this node was lost and came back must not be forgotten for a new one elsewhere.
    let has_past = places.node.holds_state(agent);
    let mut attempt = 1;
    loop {
        let asked = match places.home(agent, &name) {
            Home::Here => directory.register(agent, None).await,
            // It goes on here, wherever a new one would begin.
            _ if has_past => directory.register(agent, None).await,
            elsewhere => match directory.find(agent).await {
                // Told of itself: it lives here.
                Ok(Some(node)) => Ok(Some(node)),
                Ok(None) => match elsewhere {
                    Home::There(node) => return Ok(Some(node)),
                    Home::Nowhere(placement) => {
                        let reason = format!("no node may have `{name}` by its placement `{placement}`");
                        return Err(AgentError::Failed { reason });
                    }
                    Home::Here => continue,
                },
                Err(error) => Err(error),
            },
        };
        match asked {
            Ok(Some(node)) if has_past && node.name != places.me.name => {
                places.give_up(agent, node);
                return Ok(None);
            }
            Ok(node) => return Ok(node.map(|node| node.name).filter(|name| *name != places.me.name)),
            // A ring that changes answers late.
            Err(Unavailable::TimedOut | Unavailable::Overloaded) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => {
                let reason = format!("it cannot be claimed: {error}");
                return Err(AgentError::Failed { reason });
            }
        }
    }
}

impl Locate for Arc<Places> {
    fn locate(&self, agent: AgentId, name: Option<&str>) -> Option<NodeName> {
        match self.directory()?.lookup(agent) {
            Some(Whereabouts::Here) => None,
            Some(Whereabouts::There(node)) => Some(node.name),
            None => {
                let ring = self.ring.load();
                let owner = &ring.owner(agent)?.name;
                // Only here is it known where the message was sent.
                let local = self.placement(name).is_local()
                    && self.choose(agent, name).is_some_and(|node| node.name == self.me.name);
                (*owner != self.me.name && !local).then(|| owner.clone())
            }
        }
    }

    fn claim(
        &self,
        agent: AgentId,
        name: &Arc<str>,
    ) -> BoxFuture<'static, Result<Option<NodeName>, AgentError>> {
        let Some(directory) = self.directory().cloned() else { return async { Ok(None) }.boxed() };
        claim(self.clone(), directory, agent, name.clone()).boxed()
    }

    fn release(&self, agent: AgentId) {
        if let Some(directory) = self.directory() {
            directory.unregister(agent);
        }
    }

    fn redirect(&self, sender: &NodeName, agent: &Arc<str>, home: &NodeName) {
        if let Some(migration) = self.migration.get() {
            migration.redirect(sender.clone(), agent.clone(), home.clone());
        }
    }
}

impl Listener for Places {
    fn tell(&self, directory: &Directory, news: News) {
        match news {
            News::Merge { id, .. } => directory.judged(id, None),
            News::Duplicate { id, winner, loser } => {
                let agent = self.name_of(id);
                let [winner, loser] = [winner, loser].map(|node| node.name.to_string().into());
                self.node.events().emit(Event::Cluster(ClusterEvent::DuplicateResolved {
                    agent,
                    winner,
                    loser,
                }));
            }
            News::Yield { id, to } => {
                if let Some(migration) = self.migration.get() {
                    migration.yield_to(id, to);
                }
            }
            News::Prevailed { id, over } => {
                let (agent, winner) = (self.name_of(id), self.me.name.to_string().into());
                let loser = over.name.to_string().into();
                self.node.events().emit(Event::Cluster(ClusterEvent::DuplicateResolved {
                    agent,
                    winner,
                    loser,
                }));
            }
            News::Orphaned { ids } => {
                let (node, ids) = (self.node.clone(), ids.into_iter().collect());
                tokio::spawn(async move { node.revive(ids).await });
            }
        }
    }
}
