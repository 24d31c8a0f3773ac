//! What must hold in every simulation: one invariant a file. Each is shown the cluster every 100 ms, and once more at the end.

mod accounting;
mod answered;
mod gossip;
mod kept;
mod membership;
mod once;
mod one_activation;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use nexus_cluster::NodeId;
use nexus_cluster::gossip::Convergence;

use super::chronicle::{Chronicle, LifeId};
use super::plan::Place;
use super::site::{Site, WRITTEN};

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
        Box::new(one_activation::OneActivation::default()),
        Box::new(order::Order),
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
    /// Which life.
    pub life: LifeId,
    /// Who it is.
    pub id: NodeId,
    /// The other members, as it sees them.
    pub members: BTreeSet<NodeId>,
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
    /// Whether a fault of the network or of a node holds.
    pub troubled: bool,
    /// Since when none has held and the same nodes have run. `None`: not now.
    pub calm_since: Option<Duration>,
    /// Since when the members that each node sees have been the ones that run, all of them. `None`: they are not.
    pub agreed_since: Option<Duration>,
}

impl Look {
    /// Looks. What needs the time before is filled in by the judge.
    #[must_use]
    pub fn new(
        at: Duration,
        sites: &[Option<Site>],
        blocked: BTreeSet<(Place, Place)>,
        troubled: bool,
    ) -> Self {
        let running = sites.iter().enumerate().filter_map(|(place, site)| {
            let site = site.as_ref()?;
            let members =
                site.cluster.membership().members().iter().map(|member| member.id().clone()).collect();
            Some((place, Running { life: site.life, id: site.id.clone(), members }))
        });
        Self { at, running: running.collect(), blocked, troubled, calm_since: None, agreed_since: None }
    }

    /// For how long it has been calm.
    #[must_use]
    pub fn calm_for(&self) -> Duration {
        self.calm_since.map_or(Duration::ZERO, |since| self.at.saturating_sub(since))
    }

    /// For how long all have agreed on who is there.
    #[must_use]
    pub fn agreed_for(&self) -> Duration {
        self.agreed_since.map_or(Duration::ZERO, |since| self.at.saturating_sub(since))
    }

    /// The members that a running node should see.
    #[must_use]
    pub fn others(&self, place: Place) -> BTreeSet<NodeId> {
        self.running.iter().filter(|(other, _)| **other != place).map(|(_, node)| node.id.clone()).collect()
    }
}

/// What a running node says at the end.
#[derive(Clone, Debug)]
pub struct Last {
    /// Whether its gossip has converged.
    pub convergence: Option<Convergence>,
    /// What each running node has written last, as this one knows it.
    pub heard: BTreeMap<Place, Option<String>>,
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
            nodes.insert(*place, Last { convergence, heard });
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
    fn complete(&mut self, look: &Look) -> Look {
        let lives = |look: &Look| look.running.values().map(|node| node.life).collect::<Vec<_>>();
        let mut look = look.clone();
        if !look.troubled {
            let goes_on = lives(&look) == lives(&self.before);
            look.calm_since = self.before.calm_since.filter(|_| goes_on).or(Some(look.at));
        }
        if look.running.iter().all(|(place, node)| node.members == look.others(*place)) {
            look.agreed_since = self.before.agreed_since.or(Some(look.at));
        }
        self.before = look.clone();
        look
    }

    /// The cluster at one moment, later than the one before.
    pub fn look(&mut self, look: &Look, chronicle: &mut Chronicle) {
        let look = self.complete(look);
        self.each(look.at, chronicle, |invariant, chronicle| invariant.look(&look, chronicle));
    }

    /// The cluster at the end.
    pub fn end(&mut self, end: &End, chronicle: &mut Chronicle) {
        let end = End { look: self.complete(&end.look), ..end.clone() };
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
