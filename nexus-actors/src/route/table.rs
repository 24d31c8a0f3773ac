//! The route table: one concurrent map per node from an agent's key to its route (design decision D3).

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;

use super::halt::Halt;
use super::live::Live;
use super::remote::Way;
use crate::agent::{AgentCell, AgentId, Letter, Record, Tally};

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

/// Every agent known to this node.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    pub(super) routes: DashMap<u128, Route, BuildHasherDefault<KeyHasher>>,
    pub(super) dormant: AtomicUsize,
    /// Routes to other nodes. Apart, so that they cost those of this node nothing.
    pub(super) ways: DashMap<u128, Arc<dyn Way>, BuildHasherDefault<KeyHasher>>,
    /// The nodes whose letters have gone along one of these ways too, with this node's own. Hardly ever are there any.
    pub(super) relayed: DashMap<u128, BTreeSet<Arc<str>>, BuildHasherDefault<KeyHasher>>,
    /// Where letters wait for agents that are between two places. Of the three tables one is locked after the other: routes, halts, ways.
    pub(super) halts: DashMap<u128, Arc<Halt>, BuildHasherDefault<KeyHasher>>,
    /// How many there are: looked at before the table is.
    pub(super) halts_open: AtomicUsize,
    /// Letters in these.
    pub(super) halted: Arc<AtomicU64>,
    /// The agents that have come and are to take over what this node had of them: they do not leave again before they have.
    pub(super) merging: Mutex<BTreeSet<AgentId>>,
    /// The local ones, for looks at all of them: sleepers cost such a look nothing.
    pub(super) live: Live,
}

impl RouteTable {
    /// The agent's cell under its entry's read lock: one map read, no reference counting. Whoever holds it must not touch the
    /// table. `None` if it is dormant.
    #[inline]
    pub(crate) fn read(&self, id: AgentId) -> Option<impl Deref<Target = Arc<AgentCell>> + '_> {
        self.routes.get(&id.get())?.try_map(Route::local).ok()
    }

    pub(crate) fn get(&self, id: AgentId) -> Option<Arc<AgentCell>> {
        self.read(id).map(|cell| cell.clone())
    }

    /// What lies there of a dormant agent.
    pub(crate) fn dormant(&self, id: AgentId) -> Option<Record> {
        match &*self.routes.get(&id.get())? {
            Route::Dormant(record) => Some(record.clone()),
            Route::Local(_) => None,
        }
    }

    /// Whether the agent is here, awake or asleep.
    pub(crate) fn contains(&self, id: AgentId) -> bool {
        self.routes.contains_key(&id.get())
    }

    /// The way to the agent's node, under its entry's read lock. Whoever holds it must not touch the table.
    pub(crate) fn read_way(&self, id: AgentId) -> Option<impl Deref<Target = Arc<dyn Way>> + '_> {
        self.ways.get(&id.get())
    }

    pub(crate) fn way(&self, id: AgentId) -> Option<Arc<dyn Way>> {
        self.read_way(id).map(|way| way.clone())
    }

    /// Routes to other nodes.
    pub(crate) fn ways(&self) -> usize {
        self.ways.len()
    }

    /// From now on messages go this way, unless they go another one already.
    pub(crate) fn lead_away(&self, id: AgentId, way: &Arc<dyn Way>) {
        self.ways.entry(id.get()).or_insert_with(|| way.clone());
    }

    /// The node `from` has sent to an agent that is here and not claimed yet: if that lives elsewhere, what comes from `from` later must not
    /// overtake this.
    pub(super) fn note_sender(&self, id: AgentId, from: &str) {
        let mut senders = self.relayed.entry(id.get()).or_default();
        if !senders.contains(from) {
            senders.insert(from.into());
        }
    }

    /// The agent lives here.
    pub(crate) fn forget_senders(&self, id: AgentId) {
        self.relayed.remove(&id.get());
    }

    /// From now on the cluster is asked for the way, if it is this one.
    pub(crate) fn forget_way(&self, id: AgentId, way: &Arc<dyn Way>) {
        if self.ways.remove_if(&id.get(), |_, present| Arc::ptr_eq(present, way)).is_some() {
            self.relayed.remove(&id.get());
        }
    }

    /// The same for all ways that are to be `forgotten`; each is asked while nobody sends on it.
    pub(crate) fn forget_ways(&self, forgotten: impl Fn(&Arc<dyn Way>) -> bool) {
        self.ways.retain(|_, way| !forgotten(way));
        self.relayed.retain(|id, _| self.ways.contains_key(id));
    }

    /// From now on the route leads `way`; each letter that waits in `cell` is handed to `forward` before anything is sent that way. Answers
    /// the counters of what was handled here; `None` if the route does not lead to `cell`.
    pub(crate) fn turn_away(
        &self,
        cell: &AgentCell,
        way: &Arc<dyn Way>,
        forward: impl FnMut(Letter),
    ) -> Option<Tally> {
        let Entry::Occupied(entry) = self.routes.entry(cell.id.get()) else { return None };
        if !entry.get().leads_to(cell) {
            return None;
        }
        // Under the lock of its entry: whoever sends next finds the way.
        let tally = cell.vacate(forward);
        self.ways.insert(cell.id.get(), way.clone());
        entry.remove();
        self.live.remove(cell);
        Some(tally)
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
            // Nobody is made of an agent that is between two places: whoever asks finds no route.
            Entry::Vacant(_) if self.halts.contains_key(&id.get()) => (Arc::new(make(None)), false),
            Entry::Vacant(entry) => {
                let cell = Arc::new(make(None));
                self.live.insert(cell.clone());
                entry.insert(Route::Local(cell.clone()));
                // It comes here, or whoever thinks so is told otherwise when it is claimed.
                self.ways.remove(&id.get());
                self.relayed.remove(&id.get());
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

    /// The cell is to be seen by whoever looks at all.
    pub(super) fn note_live(&self, cell: &Arc<AgentCell>) {
        self.live.insert(cell.clone());
    }

    /// The cell is not to be seen any more.
    pub(super) fn forget_live(&self, cell: &AgentCell) {
        self.live.remove(cell);
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

    pub(super) fn leads_to(&self, cell: &AgentCell) -> bool {
        self.local().is_some_and(|present| std::ptr::eq(&raw const **present, cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an entry is a key and two words: there is one for every agent, awake or asleep.
    #[test]
    fn routes_are_small() {
        assert_eq!(size_of::<(u128, Route)>(), 32);
    }
}
