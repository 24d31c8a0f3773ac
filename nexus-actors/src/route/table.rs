//! The route table: one concurrent map per node from an agent's key to its route (design decision D3).

use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::agent::{AgentCell, AgentId};

/// Keys are already hashes: their low 64 bits serve as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u128` keys are hashed; anything else still spreads.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        // The two halves are both uniform; taking one is enough.
        self.0 = u64::try_from(key >> 64).unwrap_or_default();
    }
}

/// Every agent known to this node. Today all are local; dormant and remote routes will join the entry.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: DashMap<u128, Arc<AgentCell>, BuildHasherDefault<KeyHasher>>,
}

impl RouteTable {
    /// The agent's cell under its entry's read lock: one map read, no reference counting. Whoever holds it must not touch the
    /// table.
    #[inline]
    pub(crate) fn read(&self, id: AgentId) -> Option<impl Deref<Target = Arc<AgentCell>> + '_> {
        self.routes.get(&id.get())
    }

    pub(crate) fn get(&self, id: AgentId) -> Option<Arc<AgentCell>> {
        self.routes.get(&id.get()).map(|cell| cell.clone())
    }

    /// The cell of this key, and whether `make` made it just now.
    pub(crate) fn get_or_insert(
        &self,
        id: AgentId,
        make: impl FnOnce() -> AgentCell,
    ) -> (Arc<AgentCell>, bool) {
        match self.routes.entry(id.get()) {
            Entry::Occupied(entry) => (entry.get().clone(), false),
            Entry::Vacant(entry) => (entry.insert(Arc::new(make())).clone(), true),
        }
    }

    /// Removes the route if it still leads to `cell`.
    pub(crate) fn remove(&self, cell: &AgentCell) -> bool {
        self.routes.remove_if(&cell.id.get(), |_, present| std::ptr::eq(&raw const **present, cell)).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Looks at every cell, in no order that may be seen: for sums.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&AgentCell)) {
        self.routes.iter().for_each(|entry| look(entry.value()));
    }

    /// All cells, sorted by name, so that no hash order is ever seen.
    pub(crate) fn cells(&self) -> Vec<Arc<AgentCell>> {
        let mut cells: Vec<_> = self.routes.iter().map(|entry| entry.value().clone()).collect();
        cells.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        cells
    }
}
