//! Placement: on which node an agent starts that lives nowhere yet.
//!
//! A [`Placement`] is pure: it chooses a node from the ring, what the members tell of themselves and their gossiped load. Nodes whose
//! views differ for a moment may choose differently: the directory admits one of them, and the others' letters follow. An agent that
//! lives somewhere stays there whatever its placement would say by now: a node that joins takes over names, not agents.
//!
//! | strategy | chooses |
//! |---|---|
//! | `ring` | the name's owner on the ring; while that is drained, the next node clockwise |
//! | `local` | the node that was asked; while that is drained, as `ring` |
//! | `least_loaded` | the node with the least agents for its capacity |
//! | `label` | as `ring`, among the nodes of a zone or a protocol version |
//!
//! Adding a strategy is a file and a line in [`all`].

mod label;
mod least_loaded;
mod local;
mod ring;

use std::fmt;

use nexus_actors::agent::AgentId;

pub use self::label::{Label, LabelError};
pub use self::least_loaded::LeastLoaded;
pub use self::local::Local;
pub use self::ring::ByRing;
use crate::membership::Metadata;
use crate::ring::Ring;
use crate::{NodeId, NodeName};

/// Decides where an agent starts. Pure: the same cluster gives the same choice.
pub trait Placement: fmt::Debug + Send + Sync + 'static {
    /// Stable name used in topologies and endpoints.
    fn name(&self) -> &'static str;

    /// What it does and when it is right, in a sentence or two for the topology's documentation.
    fn about(&self) -> &'static str;

    /// Whether it depends on which node is asked: then the others cannot decide it.
    fn is_local(&self) -> bool {
        false
    }

    /// Where the agent starts; `None` if no node may have it.
    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId>;
}

/// The strategies that need no parameters, by name; `label` has some: see [`Label::parse`].
#[must_use]
pub fn all() -> Vec<Box<dyn Placement>> {
    vec![Box::new(ByRing), Box::new(Local), Box::new(LeastLoaded)]
}

/// A cluster as a strategy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Who decides.
    pub me: &'a NodeName,
    /// The members' ring.
    pub ring: &'a Ring,
    /// The members, by name; those that are not here are taken for members that tell nothing.
    pub sites: &'a [Site],
}

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The member.
    pub node: NodeId,
    /// What it tells of itself.
    pub metadata: Metadata,
    /// Agents that it has, as it last said by gossip; 0 while it has said nothing.
    pub agents: u64,
    /// Whether it is being drained: it takes no new agents.
    pub draining: bool,
}

impl<'a> Cluster<'a> {
    /// What is known of the member called `name`.
    #[must_use]
    pub fn site(&self, name: &NodeName) -> Option<&'a Site> {
        let at = self.sites.binary_search_by(|site| site.node.name.cmp(name)).ok()?;
        Some(&self.sites[at])
    }

    /// The first node on the agent's way around the ring that is not drained and `fits`.
    fn first(&self, agent: AgentId, fits: impl Fn(Option<&Site>) -> bool) -> Option<&'a NodeId> {
        let may = |node: &NodeId| {
            let site = self.site(&node.name);
            !site.is_some_and(|site| site.draining) && fits(site)
        };
        // Nearly always the owner: the list of all is made only where it is not.
        let owner = self.ring.owner(agent)?;
        if may(owner) {
            return Some(owner);
        }
        self.ring.preference_list(agent, self.ring.members().len()).into_iter().find(|node| may(node))
    }
}

#[cfg(test)]
#[path = "place_test.rs"]
mod tests;
