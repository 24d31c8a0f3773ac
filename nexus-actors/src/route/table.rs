//! The route table: one concurrent map per node from an agent's key to its route (design decision D3).

use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::MappedRef;

use super::live::Live;
use crate::agent::{AgentCell, AgentId, Record};

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

/// Where an agent is.
#[derive(Debug)]
pub(super) enum Route {
    /// It has an inbox here.
    Local(Arc<AgentCell>),
    /// Its state lies here; a message wakes it.
    Dormant(Record),
}

/// What a look for a route finds. A live agent's cell is under its entry's read lock: whoever holds it must not touch the table.
pub(super) enum Found<'a> {
    Live(MappedRef<'a, u128, Route, Arc<AgentCell>>),
    Dormant,
    Nothing,
}

/// Every agent of this node.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: DashMap<u128, Route, BuildHasherDefault<KeyHasher>>,
    dormant: AtomicUsize,
    /// The local ones, for looks at all of them: sleepers cost such a look nothing.
    live: Live,
}

impl RouteTable {
    /// The agent's cell under its entry's read lock: one map read, no reference counting. Whoever holds it must not touch the
    /// table. `None` if it is dormant.
    #[inline]
    pub(crate) fn read(&self, id: AgentId) -> Option<impl Deref<Target = Arc<AgentCell>> + '_> {
        self.routes.get(&id.get())?.try_map(Route::local).ok()
    }

    /// The same, and what there is instead.
    #[inline]
    pub(super) fn find(&self, id: AgentId) -> Found<'_> {
        match self.routes.get(&id.get()).map(|route| route.try_map(Route::local)) {
            Some(Ok(cell)) => Found::Live(cell),
            Some(Err(_)) => Found::Dormant,
            None => Found::Nothing,
        }
    }

    pub(crate) fn get(&self, id: AgentId) -> Option<Arc<AgentCell>> {
        self.read(id).map(|cell| cell.clone())
    }

    /// What lies there of a dormant agent.
    pub(crate) fn dormant(&self, id: AgentId) -> Option<Record> {
        match &*self.routes.get(&id.get())? {
            Route::Local(_) => None,
            Route::Dormant(record) => Some(record.clone()),
        }
    }

    pub(crate) fn contains(&self, id: AgentId) -> bool {
        self.routes.contains_key(&id.get())
    }

    /// The cell of this key, and whether it was made now: by `make`, from what lies there of a dormant agent.
    pub(crate) fn get_or_insert(
        &self,
        id: AgentId,
        make: impl FnOnce(Option<&Record>) -> AgentCell,
    ) -> (Arc<AgentCell>, bool) {
        match self.routes.entry(id.get()) {
            Entry::Occupied(mut entry) => match entry.get() {
                Route::Local(cell) => (cell.clone(), false),
                Route::Dormant(record) => {
                    let cell = Arc::new(make(Some(record)));
                    self.live.insert(cell.clone());
                    entry.insert(Route::Local(cell.clone()));
                    self.dormant.fetch_sub(1, Ordering::Relaxed);
                    (cell, true)
                }
            },
            Entry::Vacant(entry) => {
                let cell = Arc::new(make(None));
                self.live.insert(cell.clone());
                entry.insert(Route::Local(cell.clone()));
                (cell, true)
            }
        }
    }

    /// Leaves `record` in the place of `cell`, whose inbox is closed, unless letters wait in it: then `false`. `None` if the route does
    /// not lead to `cell`.
    pub(crate) fn lay_down(&self, cell: &AgentCell, record: Record) -> Option<bool> {
        let Entry::Occupied(mut entry) = self.routes.entry(cell.id.get()) else { return None };
        if !entry.get().leads_to(cell) {
            return None;
        }
        let idle = cell.inbox().close_if_idle();
        if idle {
            entry.insert(Route::Dormant(record));
            self.live.remove(cell);
            self.dormant.fetch_add(1, Ordering::Relaxed);
        }
        Some(idle)
    }

    /// Leaves `record` where nothing was.
    pub(crate) fn lay_out(&self, id: AgentId, record: Record) {
        if let Entry::Vacant(entry) = self.routes.entry(id.get()) {
            entry.insert(Route::Dormant(record));
            self.dormant.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes the route if it still leads to `cell`.
    pub(crate) fn remove(&self, cell: &AgentCell) -> bool {
        let removed = self.routes.remove_if(&cell.id.get(), |_, route| route.leads_to(cell)).is_some();
        if removed {
            self.live.remove(cell);
        }
        removed
    }

    /// Agents, dormant ones included.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn dormant_len(&self) -> usize {
        self.dormant.load(Ordering::Relaxed)
    }

    /// Looks at every cell, in no order that may be seen: for sums and selections. `look` must not touch the table.
    pub(crate) fn for_each(&self, look: impl FnMut(&Arc<AgentCell>)) {
        self.live.for_each(look);
    }

    /// Looks at what lies of every dormant agent, in no order that may be seen.
    pub(crate) fn for_each_dormant(&self, mut look: impl FnMut(&Record)) {
        for entry in &self.routes {
            if let Route::Dormant(record) = &*entry {
                look(record);
            }
        }
    }

    /// All cells, sorted by name, so that no hash order is ever seen.
    pub(crate) fn cells(&self) -> Vec<Arc<AgentCell>> {
        let mut cells = Vec::new();
        self.for_each(|cell| cells.push(cell.clone()));
        cells.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        cells
    }
}

impl Route {
    const fn local(&self) -> Option<&Arc<AgentCell>> {
        match self {
            Self::Local(cell) => Some(cell),
            Self::Dormant(_) => None,
        }
    }

    fn leads_to(&self, cell: &AgentCell) -> bool {
        self.local().is_some_and(|present| std::ptr::eq(&raw const **present, cell))
    }
}
