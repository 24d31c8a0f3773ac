//! Where agents are, for those who send: a map that anybody reads, without asking the actor.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;
use nexus_actors::agent::AgentId;
use parking_lot::Mutex;

use super::core::Whereabouts;
use crate::NodeId;

/// See the module. Read by all, written under the lock of the core; never iterated.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// `None` is here.
    agents: DashMap<AgentId, Option<Arc<NodeId>>>,
    /// Each node once, as long as an agent is there.
    nodes: Mutex<BTreeMap<NodeId, Arc<NodeId>>>,
}

impl View {
    pub(crate) fn get(&self, id: AgentId) -> Option<Whereabouts> {
        let at = self.agents.get(&id)?;
        Some(at.as_deref().map_or(Whereabouts::Here, |node| Whereabouts::There(node.clone())))
    }

    pub(crate) fn publish(&self, id: AgentId, at: Whereabouts) {
        let at = match at {
            Whereabouts::Here => None,
            Whereabouts::There(node) => Some(self.interned(node)),
        };
        self.agents.insert(id, at);
    }

    pub(crate) fn retract(&self, id: AgentId) {
        self.agents.remove(&id);
    }

    /// Forgets the names of nodes where no agent is.
    pub(crate) fn tidy(&self) {
        self.nodes.lock().retain(|_, node| Arc::strong_count(node) > 1);
    }

    fn interned(&self, node: NodeId) -> Arc<NodeId> {
        self.nodes.lock().entry(node).or_insert_with_key(|node| Arc::new(node.clone())).clone()
    }
}
