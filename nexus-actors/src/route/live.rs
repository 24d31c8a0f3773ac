//! Agents that have an inbox, beside the route table: whoever looks at all of them pays nothing for those that sleep.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::agent::{AgentCell, AgentId};

/// Parts with a lock each, so that a look at all of them holds up the comings and goings in one part at a time.
const SHARDS: usize = 64;

/// See the module. Kept by the route table, which tells of every cell that comes and goes.
#[derive(Debug)]
pub(super) struct Live {
    shards: Box<[Mutex<Vec<Arc<AgentCell>>>]>,
}

impl Default for Live {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Live {
    /// By the key's lowest bits: the highest choose the place in the route table, those in the middle the runtime.
    fn shard(&self, id: AgentId) -> &Mutex<Vec<Arc<AgentCell>>> {
        let at = usize::try_from(id.get() % SHARDS as u128).expect("less than SHARDS");
        &self.shards[at]
    }

    pub(super) fn insert(&self, cell: Arc<AgentCell>) {
        let mut shard = self.shard(cell.id).lock();
        cell.set_live_at(shard.len());
        shard.push(cell);
    }

    /// The last of its part takes its place.
    pub(super) fn remove(&self, cell: &AgentCell) {
        let mut shard = self.shard(cell.id).lock();
        let at = cell.live_at();
        if shard.get(at).is_some_and(|present| std::ptr::eq(&raw const **present, cell)) {
            shard.swap_remove(at);
            if let Some(moved) = shard.get(at) {
                moved.set_live_at(at);
            }
        }
    }

    /// Looks at every cell, in no order that may be seen: for sums and selections. `look` must not touch the route table.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Arc<AgentCell>)) {
        for shard in &self.shards {
            shard.lock().iter().for_each(&mut look);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::Rng as _;

    use super::*;
    use crate::agent::{AgentTemplate, Level, Payload};
    use crate::rng::Seed;
    use crate::store::Persist;

    fn names(live: &Live) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        live.for_each(|cell| assert!(names.insert(cell.name.clone()), "{} is there twice", cell.name));
        names
    }

    /// Goal: the index holds exactly the cells that came and have not gone, also if one goes twice. Method: random comings and
    /// goings against a set; a seed from the environment replays them.
    #[test]
    fn seeded_comings_and_goings() {
        let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        println!("NEXUS_TEST_SEED={seed}");
        let mut chance = Seed::new(seed).stream("live");
        let live = Live::default();
        let template = AgentTemplate {
            behavior: "b".into(),
            args: Payload::EMPTY,
            inbox: 1,
            level: Level::Reactive,
            persist: Persist::None,
        };
        let cells: Vec<_> = (0..300)
            .map(|number| Arc::new(AgentCell::new(format!("a/{number}").into(), &template)))
            .collect();
        let mut expected = BTreeSet::new();
        for _ in 0..5_000 {
            let cell = &cells[chance.random_range(0..cells.len())];
            if expected.insert(cell.name.clone()) {
                live.insert(cell.clone());
            } else {
                expected.remove(&cell.name);
                live.remove(cell);
                live.remove(cell);
            }
        }
        assert_eq!(names(&live), expected);
    }
}
