//! How agents get into [halts](Halt) and out of them: every change of the route table that a journey needs, each under the entry's lock, so
//! that no letter is between two tables.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::mapref::entry::Entry;
use tokio::sync::oneshot;

use super::halt::{Halt, Stop};
use super::remote::Way;
use super::table::{Route, RouteTable};
use super::travel::Outcome;
use crate::agent::{AgentCell, AgentId, Leaving, Letter, Record, Tally};

/// What was there of an agent that leaves.
#[derive(Debug)]
pub(super) enum Left {
    /// It is awake: its actor is to end.
    Awake(Arc<AgentCell>),
    /// It sleeps.
    Asleep(Record),
}

/// Where letters wait that are to go another way, and the way that they went before, if that is known.
pub(super) type Turned = (Arc<Halt>, Option<Arc<dyn Way>>);

/// What was there of an agent that is to come.
#[derive(Clone, Debug)]
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// Messages had come for it, and nobody knew yet where it lives.
    Unclaimed,
    /// This node's agents have sent to it that way.
    Way(Arc<dyn Way>),
    /// What this node had of it, once.
    Asleep(Record),
}

impl RouteTable {
    /// Letters that wait for agents between two places.
    pub(crate) fn halted(&self) -> u64 {
        self.halted.load(Ordering::Acquire)
    }

    /// The agents whose letters wait, by their keys, and what for.
    pub(crate) fn describe_halts(&self) -> Vec<(AgentId, String)> {
        let mut halts: Vec<_> =
            self.halts.iter().map(|halt| (AgentId::from_key(*halt.key()), halt.describe())).collect();
        halts.sort();
        halts
    }

    pub(super) fn halt(&self, id: AgentId) -> Option<Arc<Halt>> {
        self.halts.get(&id.get()).map(|halt| halt.clone())
    }

    /// Puts a halt in the place that is locked, or in one of which the route's entry is.
    fn put_halt(&self, id: AgentId, halt: &Arc<Halt>) {
        self.halts_open.fetch_add(1, Ordering::AcqRel);
        self.halts.insert(id.get(), halt.clone());
    }

    fn remove_halt(&self, id: AgentId, gone: impl FnOnce(&u128, &Arc<Halt>) -> bool) -> bool {
        let removed = self.halts.remove_if(&id.get(), gone).is_some();
        if removed {
            self.halts_open.fetch_sub(1, Ordering::AcqRel);
        }
        removed
    }

    /// Where letters for the agent wait, under the entry's read lock. Whoever holds it must not touch the table.
    pub(super) fn read_halt(&self, id: AgentId) -> Option<impl Deref<Target = Arc<Halt>> + '_> {
        // Hardly ever are there any.
        if self.halts_open.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.halts.get(&id.get())
    }

    fn new_halt(&self, stop: Stop, limit: u64) -> Arc<Halt> {
        Arc::new(Halt::new(stop, limit, self.halted.clone()))
    }

    /// The agent, if it is here and awake, or has come and still waits for what went to its old place.
    pub(crate) fn present(&self, id: AgentId) -> Option<Arc<AgentCell>> {
        self.get(id).or_else(|| self.halt(id)?.arrival())
    }

    /// Whether messages go to `cell`: no more, and not only once it has wholly come.
    pub(crate) fn leads_to(&self, cell: &AgentCell) -> bool {
        self.routes.get(&cell.id.get()).is_some_and(|route| route.leads_to(cell))
    }

    /// Whether messages go to `cell`, or will.
    pub(crate) fn belongs_to(&self, cell: &AgentCell) -> bool {
        let key = cell.id.get();
        self.routes.get(&key).is_some_and(|route| route.leads_to(cell))
            || self.halts.get(&key).is_some_and(|halt| halt.leads_to(cell))
    }

    /// Whether the agent is between two places, or has come and is not whole yet.
    pub(super) fn is_on_its_way(&self, id: AgentId) -> bool {
        self.halts.contains_key(&id.get()) || self.merging.lock().contains(&id)
    }

    /// What is sent to the agent waits from now on. `None` if it is not here, or not whole yet.
    pub(super) fn halt_leaving(
        &self,
        id: AgentId,
        limit: u64,
        ended: oneshot::Sender<Outcome>,
    ) -> Option<(Arc<Halt>, Left)> {
        let Entry::Occupied(entry) = self.routes.entry(id.get()) else { return None };
        let left = match entry.get() {
            _ if self.merging.lock().contains(&id) => return None,
            // One that is not up for the first time yet may turn out to live elsewhere.
            Route::Local(cell) if cell.is_retired() || is_unclaimed(cell) => return None,
            Route::Local(cell) => {
                cell.set_leaving(Leaving::No, Leaving::Asked);
                Left::Awake(cell.clone())
            }
            Route::Dormant(record) => Left::Asleep(record.clone()),
        };
        let stop = match &left {
            Left::Awake(cell) => Stop::Leaving(cell.clone()),
            Left::Asleep(_) => {
                self.dormant.fetch_sub(1, Ordering::Relaxed);
                Stop::Left
            }
        };
        let halt = self.new_halt(stop, limit);
        halt.on_left(ended);
        self.put_halt(id, &halt);
        entry.remove();
        Some((halt, left))
    }

    /// What waits at `halt` goes into the inbox of `cell`, which has the route from now on.
    pub(super) fn resume(&self, halt: &Arc<Halt>, cell: &Arc<AgentCell>) -> bool {
        let Entry::Vacant(entry) = self.routes.entry(cell.id.get()) else { return false };
        let gone = self.remove_halt(cell.id, |_, present| Arc::ptr_eq(present, halt));
        if gone {
            halt.empty_into(cell);
            self.ways.remove(&cell.id.get());
            self.relayed.remove(&cell.id.get());
            entry.insert(Route::Local(cell.clone()));
        }
        gone
    }

    /// The agent sleeps here as before, unless letters wait: then `false`.
    pub(super) fn resume_asleep(&self, halt: &Arc<Halt>, id: AgentId, record: Record) -> bool {
        let Entry::Vacant(entry) = self.routes.entry(id.get()) else { return false };
        let idle = |_: &u128, present: &Arc<Halt>| Arc::ptr_eq(present, halt) && halt.is_empty();
        let gone = self.remove_halt(id, idle);
        if gone {
            entry.insert(Route::Dormant(record));
            self.dormant.fetch_add(1, Ordering::Relaxed);
        }
        gone
    }

    /// If nothing waits any more, the route leads that way, or nowhere.
    pub(super) fn turn(&self, halt: &Arc<Halt>, id: AgentId, way: Option<&Arc<dyn Way>>) -> bool {
        let idle = |_: &u128, present: &Arc<Halt>| {
            let done = Arc::ptr_eq(present, halt) && halt.is_empty();
            if let Some(way) = way.filter(|_| done) {
                let senders = halt.senders();
                if !senders.is_empty() {
                    self.relayed.insert(id.get(), senders);
                }
                // Before the halt goes: whoever looks finds one or the other.
                self.ways.insert(id.get(), way.clone());
            }
            done
        };
        self.remove_halt(id, idle)
    }

    /// What is sent to the agent by way of `from` waits from now on; nothing is sent that way any more. `None` if nothing was. Letters
    /// of a cell that is not claimed yet wait too; `retire` is told its counters.
    pub(super) fn halt_turning(
        &self,
        id: AgentId,
        from: &str,
        limit: u64,
        retire: impl FnOnce(&AgentCell, Tally),
    ) -> Option<Turned> {
        match self.routes.entry(id.get()) {
            Entry::Occupied(entry) => {
                let cell = unclaimed(entry.get())?;
                let halt = self.new_halt(Stop::Turning, limit);
                self.vacate_into(&cell, &halt, retire);
                self.put_halt(id, &halt);
                entry.remove();
                Some((halt, None))
            }
            Entry::Vacant(_) => {
                let Entry::Vacant(place) = self.halts.entry(id.get()) else { return None };
                let (_, way) = self.ways.remove_if(&id.get(), |_, way| way.node() == from)?;
                let halt = self.new_halt(Stop::Turning, limit);
                self.halts_open.fetch_add(1, Ordering::AcqRel);
                place.insert(halt.clone());
                Some((halt, Some(way)))
            }
        }
    }

    /// An agent is to come, from the node `source` if that is known: what is sent to it waits from now on. `None` if it is here, or between two places already.
    pub(super) fn halt_arriving(
        &self,
        id: AgentId,
        source: Option<&str>,
        limit: u64,
        retire: impl FnOnce(&AgentCell, Tally),
    ) -> Option<(Arc<Halt>, Before)> {
        let halt = self.new_halt(Stop::Arriving(None), limit);
        match self.routes.entry(id.get()) {
            Entry::Occupied(entry) => {
                let before = match entry.get() {
                    Route::Dormant(record) => {
                        self.dormant.fetch_sub(1, Ordering::Relaxed);
                        Before::Asleep(record.clone())
                    }
                    route => {
                        self.vacate_into(&unclaimed(route)?, &halt, retire);
                        Before::Unclaimed
                    }
                };
                self.put_halt(id, &halt);
                entry.remove();
                Some((halt, before))
            }
            Entry::Vacant(_) => {
                let Entry::Vacant(place) = self.halts.entry(id.get()) else { return None };
                let before = self.ways.remove(&id.get()).map_or(Before::Nothing, |(_, way)| Before::Way(way));
                if let (Before::Way(way), Some((_, mut relayed))) = (&before, self.relayed.remove(&id.get()))
                {
                    // What these send comes by way of the old place.
                    relayed.remove(way.node());
                    if let Some(source) = source {
                        relayed.remove(source);
                    }
                    halt.hold_late(relayed);
                }
                self.halts_open.fetch_add(1, Ordering::AcqRel);
                place.insert(halt.clone());
                Some((halt, before))
            }
        }
    }

    fn vacate_into(&self, cell: &Arc<AgentCell>, halt: &Halt, retire: impl FnOnce(&AgentCell, Tally)) {
        let mut letters: Vec<Letter> = Vec::new();
        let tally = cell.vacate(|letter| letters.push(letter));
        halt.put_before(letters);
        self.live.remove(cell);
        retire(cell, tally);
    }
}

/// The cell of a message that has come for an agent of which nobody knows yet where it lives.
fn unclaimed(route: &Route) -> Option<Arc<AgentCell>> {
    match route {
        Route::Local(cell) if is_unclaimed(cell) => Some(cell.clone()),
        _ => None,
    }
}

/// Whether the agent has never been up here.
pub(super) fn is_unclaimed(cell: &AgentCell) -> bool {
    cell.incarnation() == 0 && cell.actor().is_none()
}
