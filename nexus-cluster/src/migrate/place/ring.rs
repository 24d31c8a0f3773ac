//! The name's owner on the ring.

use nexus_actors::agent::AgentId;

use super::{Cluster, Placement};
use crate::NodeId;

/// Everybody finds the same node without asking anybody, and agents spread by the nodes' weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRing;

impl Placement for ByRing {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn about(&self) -> &'static str {
        "The owner of the agent's name by consistent hashing: an even spread by weight, found by all without asking."
    }

    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId> {
        cluster.first(agent, |_| true)
    }
}
