//! What must hold in every simulation: one invariant a file. Each is shown the cluster every 100 ms, and once more at the end.

mod accounting;
mod answered;
mod gossip;
mod kept;
mod membership;
mod once;
mod one_activation;
mod order;
mod registry;
#[cfg(test)]
mod test;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::{AgentId, Request};
use nexus_cluster::NodeId;
use nexus_cluster::gossip::Convergence;
use nexus_cluster::system::Cluster;

use super::chronicle::{self, ActivationId, Chronicle, MessageId};
use super::counter::LIST;
use super::plan::Place;
use super::site::{Site, WRITTEN, agents};

/// How long an agent may take to say what it has, at the end.
const PATIENCE: Duration = Duration::from_secs(5);

pub use registry::SOON as SETTLED;

/// Something that must hold.
pub trait Invariant: fmt::Debug {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// The cluster at one moment.
    ///
    /// # Errors
    /// It does not hold, and why not.
    fn look(&mut self, look: &Look, chronicle: &Chronicle) -> Result<(), String> {
        let _ = (look, chronicle);
        Ok(())
    }

    /// The cluster at the end: quiet for a while, and nothing is under way.
    ///
    /// # Errors
    /// It does not hold, and why not.
    fn end(&mut self, end: &End, chronicle: &Chronicle) -> Result<(), String> {
        let _ = (end, chronicle);
        Ok(())
    }
}

/// All of them.
fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(accounting::Accounting),
        Box::new(answered::Answered),
        Box::new(gossip::Gossip),
        Box::new(kept::Kept),
        Box::new(membership::Membership),
        Box::new(once::Once),
        Box::new(one_activation::OneActivation),
        Box::new(order::Order),
        Box::new(registry::Registry),
    ]
}

/// An invariant did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// When it was noticed.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.1} s: {}", self.invariant, self.at.as_secs_f64(), self.what)
    }
}

/// A node that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Who it is.
    pub id: NodeId,
    /// The other members, as it sees them.
    pub members: BTreeSet<NodeId>,
}

/// Nodes that can talk to each other, and to no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Which.
    pub places: BTreeSet<Place>,
    /// Whether each sees the others as members, and nobody else.
    pub agrees: bool,
    /// Since when that is so, and nothing has disturbed it. Filled in by the judge.
    pub agreed_since: Option<Duration>,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// When.
    pub at: Duration,
    /// The nodes that run.
    pub running: BTreeMap<Place, Running>,
    /// The directions in which nothing gets through.
    pub blocked: BTreeSet<(Place, Place)>,
    /// The sides of the partition, or one if there is none; none where it is not clear who is on which.
    pub sides: Vec<Side>,
    /// Since when nobody has come or gone or been cut off, be it between two looks. `None`: messages are late or connections are lost.
    pub steady_since: Option<Duration>,
    /// What a survey has found that has come to its end since the last look.
    pub survey: Option<Survey>,
}

impl Look {
    /// Looks.
    #[must_use]
    pub fn new(
        at: Duration,
        sites: &[Option<Site>],
        blocked: BTreeSet<(Place, Place)>,
        steady_since: Option<Duration>,
    ) -> Self {
        let running = sites.iter().enumerate().filter_map(|(place, site)| {
            let site = site.as_ref()?;
            let members =
                site.cluster.membership().members().iter().map(|member| member.id().clone()).collect();
            Some((place, Running { id: site.id.clone(), members }))
        });
        let mut look = Self { at, running: running.collect(), blocked, steady_since, ..Self::default() };
        look.sides = look.find_sides();
        look
    }

    /// Whether they can talk to each other.
    fn joined(&self, a: Place, b: Place) -> bool {
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    fn find_sides(&self) -> Vec<Side> {
        let mut left: BTreeSet<Place> = self.running.keys().copied().collect();
        let mut sides = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut places = BTreeSet::from([first]);
            places.extend(left.iter().filter(|other| self.joined(first, **other)));
            left = &left - &places;
            let whole = places.iter().all(|a| {
                places.iter().all(|b| self.joined(*a, *b))
                    && left.iter().all(|other| !self.joined(*a, *other))
            });
            if !whole {
                return Vec::new();
            }
            let agrees =
                places.iter().all(|place| self.running[place].members == self.others(*place, &places));
            sides.push(Side { places, agrees, agreed_since: None });
        }
        sides
    }

    /// The members that a running node should see if it is on this side.
    #[must_use]
    pub fn others(&self, place: Place, side: &BTreeSet<Place>) -> BTreeSet<NodeId> {
        let others = side.iter().filter(|other| **other != place);
        others.filter_map(|other| Some(self.running.get(other)?.id.clone())).collect()
    }

    /// For how long nothing has changed.
    #[must_use]
    pub fn steady_for(&self) -> Duration {
        self.steady_since.map_or(Duration::ZERO, |since| self.at.saturating_sub(since))
    }

    /// For how long the nodes of a side have agreed on who is there.
    #[must_use]
    pub fn agreed_for(&self, side: &Side) -> Duration {
        side.agreed_since.map_or(Duration::ZERO, |since| self.at.saturating_sub(since))
    }

    /// Whether all nodes that run have been one cluster for this long.
    #[must_use]
    pub fn is_one_for(&self, time: Duration) -> bool {
        matches!(&self.sides[..], [side] if self.agreed_for(side) >= time && self.steady_for() >= time)
    }
}

/// What a node says to whoever looks for an agent.
pub type Found = Result<Option<NodeId>, String>;

/// Where all nodes find all agents, asked one after the other.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// When it began.
    pub at: Duration,
    /// [`Look::steady_since`] then.
    pub steady_since: Option<Duration>,
    /// Who owns the agents' names on the ring.
    pub owners: BTreeMap<Arc<str>, Place>,
    /// The agents that ran then, on one node each, and where.
    pub running: BTreeMap<Arc<str>, ActivationId>,
    /// What was found, by agent and by who was asked.
    pub found: BTreeMap<Arc<str>, BTreeMap<Place, Found>>,
}

impl Survey {
    /// Asks.
    pub async fn new(steady_since: Option<Duration>, clusters: Vec<(Place, Cluster)>) -> Self {
        let single = |(agent, activations): (&Arc<str>, &[ActivationId])| match activations {
            [one] => Some((agent.clone(), *one)),
            _ => None,
        };
        let running = chronicle::with(|chronicle| chronicle.running().filter_map(single).collect());
        let running: BTreeMap<Arc<str>, ActivationId> = running.unwrap_or_default();
        let at = chronicle::with(|chronicle| chronicle.now()).unwrap_or_default();
        let owner = |agent: &Arc<str>| {
            let ring = clusters.first()?.1.ring();
            let owner = ring.owner(AgentId::of(agent))?.clone();
            let owns = |(_, cluster): &&(Place, Cluster)| *cluster.membership().me().id() == owner;
            clusters.iter().find(owns).map(|(place, _)| *place)
        };
        let owners = running.keys().filter_map(|agent| Some((agent.clone(), owner(agent)?))).collect();
        let mut found: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for agent in running.keys() {
            for (place, cluster) in &clusters {
                let at = cluster.directory().find(AgentId::of(agent)).await;
                found.entry(agent.clone()).or_default().insert(*place, at.map_err(|error| error.to_string()));
            }
        }
        Self { at, steady_since, owners, running, found }
    }
}

/// What a running node says at the end.
#[derive(Clone, Debug)]
pub struct Last {
    /// Whether its gossip has converged.
    pub convergence: Option<Convergence>,
    /// What each running node has written last, as this one knows it.
    pub heard: BTreeMap<Place, Option<String>>,
    /// What each agent says that it has, when this one asks.
    pub lists: BTreeMap<Arc<str>, Result<Vec<MessageId>, String>>,
}

/// The cluster at the end.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// At that moment.
    pub look: Look,
    /// What the nodes say.
    pub nodes: BTreeMap<Place, Last>,
}

impl End {
    /// Asks all nodes.
    pub async fn new(look: Look, sites: &[Option<Site>]) -> Self {
        let mut nodes = BTreeMap::new();
        let running: Vec<(Place, &Site)> =
            sites.iter().enumerate().filter_map(|(place, site)| Some((place, site.as_ref()?))).collect();
        for (place, site) in &running {
            let convergence = site.cluster.gossip().convergence().await.ok();
            let mut heard = BTreeMap::new();
            for (other, its) in &running {
                let value = site.cluster.gossip().get(&its.id.name, WRITTEN).await.ok().flatten();
                heard.insert(*other, value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
            }
            nodes.insert(*place, Last { convergence, heard, lists: BTreeMap::new() });
        }
        // Afterwards: whoever does not answer is waited for.
        let agents = agents();
        for (place, site) in &running {
            let asks = agents.iter().map(|agent| {
                let asked = site.node.ask(agent, Request::query(LIST), PATIENCE);
                (agent.clone(), tokio::spawn(asked))
            });
            for (agent, said) in asks.collect::<Vec<_>>() {
                let said = said.await.expect("an ask does not panic");
                let said = said.and_then(|list| list.decode()).map_err(|error| error.to_string());
                nodes.entry(*place).and_modify(|last: &mut Last| drop(last.lists.insert(agent, said)));
            }
        }
        Self { look, nodes }
    }
}

/// Shows the cluster to all invariants, and keeps the first violation of each.
#[derive(Debug)]
pub struct Judge {
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    before: Look,
}

impl Default for Judge {
    fn default() -> Self {
        Self { invariants: all(), violations: Vec::new(), before: Look::default() }
    }
}

impl Judge {
    /// Fills in what needs the time before.
    fn complete(&mut self, mut look: Look) -> Look {
        for side in look.sides.iter_mut().filter(|side| side.agrees && look.steady_since.is_some()) {
            let was = self.before.sides.iter().find(|was| was.places == side.places);
            let since = was.and_then(|was| was.agreed_since).max(look.steady_since);
            side.agreed_since =
                since.filter(|_| was.is_some_and(|was| was.agreed_since.is_some())).or(Some(look.at));
        }
        self.before = look.clone();
        look
    }

    /// The cluster at one moment, later than the one before.
    pub fn look(&mut self, look: Look, chronicle: &mut Chronicle) -> Look {
        let look = self.complete(look);
        self.each(look.at, chronicle, |invariant, chronicle| invariant.look(&look, chronicle));
        look
    }

    /// The cluster at the end.
    pub fn end(&mut self, end: End, chronicle: &mut Chronicle) {
        let end = End { look: self.complete(end.look), ..end };
        self.each(end.look.at, chronicle, |invariant, chronicle| invariant.end(&end, chronicle));
    }

    fn each(
        &mut self,
        at: Duration,
        chronicle: &mut Chronicle,
        mut judge: impl FnMut(&mut dyn Invariant, &Chronicle) -> Result<(), String>,
    ) {
        for invariant in &mut self.invariants {
            let name = invariant.name();
            if self.violations.iter().any(|violation| violation.invariant == name) {
                continue;
            }
            if let Err(what) = judge(&mut **invariant, chronicle) {
                let violation = Violation { invariant: name, at, what };
                chronicle.note(format_args!("violated: {violation}"));
                self.violations.push(violation);
            }
        }
    }

    /// What did not hold.
    #[must_use]
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

/// At most so many cases are named.
const NAMED_MAX: usize = 5;

/// The first cases, and how many there are.
fn named(cases: &[String]) -> Result<(), String> {
    match cases.len() {
        0 => Ok(()),
        count => Err(format!("{count} of them: {}", cases[..count.min(NAMED_MAX)].join("; "))),
    }
}
