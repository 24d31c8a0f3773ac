//! The node that was asked.

use nexus_actors::agent::AgentId;

use super::{ByRing, Cluster, Placement};
use crate::NodeId;

/// An agent starts where its first message was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Placement for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn about(&self) -> &'static str {
        "The node where the first message was sent: for agents that serve what is near them, a feed or a client."
    }

    fn is_local(&self) -> bool {
        true
    }

    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId> {
        let place = cluster.ring.place(cluster.me);
        let draining = cluster.site(cluster.me).is_some_and(|site| site.draining);
        match place {
            Some(place) if !draining => Some(&cluster.ring.members()[place].node),
            _ => ByRing.place(agent, cluster),
        }
    }
}
