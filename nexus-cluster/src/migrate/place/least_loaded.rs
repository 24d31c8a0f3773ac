//! The node with the least agents for its capacity.

use nexus_actors::agent::AgentId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Cluster, Placement, Site};
use crate::NodeId;

/// Loads within one of so many steps of the capacity count as equal: gossip is a second old, and in that second all new agents
/// would go to the one node that is ahead by one.
const STEPS: u128 = 16;

/// Compares agents against capacity, in sixteenths. Of equals the agent's key decides, by rendezvous hashing (Thaler and Ravishankar,
/// 1998): deterministic, and another one for each agent. A node that tells no capacity comes last.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Placement for LeastLoaded {
    fn name(&self) -> &'static str {
        "least_loaded"
    }

    fn about(&self) -> &'static str {
        "The node with the least agents for its capacity, by gossip: for nodes of different size, or agents that live long."
    }

    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId> {
        let rank = |node: &NodeId| {
            let high = (agent.get() >> 64) as u64;
            let low = agent.get() as u64;
            xxh3_64_with_seed(node.name.as_str().as_bytes(), high ^ low.rotate_left(32))
        };
        let nodes = cluster.ring.members().iter().map(|member| &member.node);
        let open = nodes.filter(|node| !cluster.site(&node.name).is_some_and(|site| site.draining));
        open.min_by_key(|node| (load(cluster.site(&node.name)), rank(node)))
    }
}

/// In sixteenths of the capacity; above everything if that is not known.
fn load(site: Option<&Site>) -> u128 {
    let Some(site) = site.filter(|site| site.metadata.capacity > 0) else { return u128::MAX };
    u128::from(site.agents) * STEPS / u128::from(site.metadata.capacity)
}
