//! What goes wrong in a simulation, and when: all of it from the seed, before anything runs.
//!
//! A fault begins, lasts and ends; several may hold at once. Partitions, crashes and slow networks last up to a quarter of the time in
//! which there are faults, so that some are noticed by membership and some are over before. The end is [quiet](Plan::quiet_from): all
//! faults are over and all nodes run, and what must come true soon after a heal is looked for.

use std::time::Duration;

use nexus_actors::rng::{Rng, Seed};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

/// Time for all nodes to find each other before the first fault.
const WARM_UP: Duration = Duration::from_secs(6);
/// Time without faults at the end.
const QUIET: Duration = Duration::from_secs(20);
/// The shortest simulation that has faults.
pub const SECONDS_MIN: u64 = 30;
/// Nodes at least and at most.
pub const NODES: [usize; 2] = [2, 16];

/// A node by its place, from 0.
pub type Place = usize;

/// One thing that goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing gets from one of the first to one of the second, nor back.
    Partition(Vec<Place>, Vec<Place>),
    /// Nothing gets from one of the first to one of the second; the way back is open.
    OneWay(Vec<Place>, Vec<Place>),
    /// The node loses its power: what was not synced to its disk is lost, the last write torn. It is started again at the end.
    Crash(Place),
    /// The connection of two nodes ends, with all that is on its way; ends at once.
    Cut(Place, Place),
    /// Everything takes between the shortest and the longest of these times.
    Delay(Duration, Duration),
    /// The same, in one direction between two nodes.
    DelayOneWay(Place, Place, Duration),
    /// A frame or message ends its connection this often.
    Loss(f64),
    /// Each commit on the node's disk takes this long.
    SlowDisk(Place, Duration),
}

/// When what goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// When it begins.
    pub from: Duration,
    /// When it is over.
    pub until: Duration,
    /// What it is.
    pub fault: Fault,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many nodes there are.
    pub nodes: usize,
    /// How long it all takes.
    pub length: Duration,
    /// How much later than others each node's clock is, in milliseconds.
    pub skew_ms: Vec<u64>,
    /// In the order in which they begin.
    pub episodes: Vec<Episode>,
}

impl Plan {
    /// The plan of a seed. Without `nodes` their number comes from the seed: three to seven.
    #[must_use]
    pub fn new(seed: Seed, nodes: Option<usize>, length: Duration) -> Self {
        let mut rng = seed.stream("plan");
        let drawn = rng.random_range(3..=7);
        let nodes = nodes.unwrap_or(drawn).clamp(NODES[0], NODES[1]);
        // Clocks of machines that are kept in step differ by less; half an hour is what the directory's epochs are made for.
        let skewed = rng.random_bool(0.5);
        let longest = if skewed { 1_800_000 } else { 200 };
        let skew_ms = (0..nodes).map(|_| rng.random_range(0..=longest)).collect();
        let mut plan = Self { nodes, length, skew_ms, episodes: Vec::new() };
        let window = plan.quiet_from().saturating_sub(WARM_UP);
        if !window.is_zero() {
            let count = rng.random_range(3..=(window.as_secs() / 3).max(3));
            for _ in 0..count {
                let episode = plan.draw(&mut rng, window);
                if plan.fits(&episode) {
                    plan.episodes.push(episode);
                }
            }
        }
        plan.episodes.sort_by_key(|episode| episode.from);
        plan
    }

    /// When the last fault is over at the latest.
    #[must_use]
    pub fn quiet_from(&self) -> Duration {
        self.length.saturating_sub(QUIET)
    }

    fn draw(&self, rng: &mut Rng, window: Duration) -> Episode {
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let from = WARM_UP + Duration::from_millis(rng.random_range(0..millis));
        let lasts = Duration::from_millis(rng.random_range(100..=(millis / 3).max(101)));
        let fault = self.fault(rng);
        let until = match fault {
            Fault::Cut(..) => from,
            _ => (from + lasts).min(self.quiet_from()),
        };
        Episode { from, until, fault }
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        let mut places: Vec<_> = (0..self.nodes).collect();
        places.shuffle(rng);
        let (one, other) = (places[0], places[1]);
        let millis = |rng: &mut Rng, range| Duration::from_millis(rng.random_range(range));
        match rng.random_range(0..100) {
            0..20 => {
                let rest = places.split_off(rng.random_range(1..self.nodes));
                Fault::Partition(sorted(places), sorted(rest))
            }
            20..32 => {
                let rest = places.split_off(rng.random_range(1..self.nodes));
                Fault::OneWay(sorted(places), sorted(rest))
            }
            32..52 => Fault::Crash(one),
            52..64 => Fault::Cut(one, other),
            64..72 => {
                let shortest = millis(rng, 1..=100);
                Fault::Delay(shortest, shortest + millis(rng, 1..=200))
            }
            72..80 => Fault::DelayOneWay(one, other, millis(rng, 20..=400)),
            80..90 => Fault::Loss(rng.random_range(0.0005..=0.02)),
            _ => Fault::SlowDisk(one, millis(rng, 5..=1000)),
        }
    }

    /// A node that is down cannot crash, and one always runs.
    fn fits(&self, new: &Episode) -> bool {
        let Fault::Crash(place) = new.fault else { return true };
        let overlaps = self.episodes.iter().filter(|old| old.from <= new.until && new.from <= old.until);
        let crashed: Vec<_> = overlaps
            .filter_map(|old| match old.fault {
                Fault::Crash(place) => Some(place),
                _ => None,
            })
            .collect();
        !crashed.contains(&place) && crashed.len() + 1 < self.nodes
    }
}

fn sorted(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Goal: a plan is its seed's, keeps its quiet end, never crashes a node that is down, and over many seeds has every kind of fault.
    #[test]
    fn plans_come_from_seeds() {
        let mut kinds = BTreeSet::new();
        for seed in 0..300 {
            let plan = Plan::new(Seed::new(seed), None, Duration::from_secs(60));
            assert_eq!(plan, Plan::new(Seed::new(seed), None, Duration::from_secs(60)));
            assert!((3..=7).contains(&plan.nodes) && plan.skew_ms.len() == plan.nodes);
            let mut down: Vec<&Episode> = Vec::new();
            for episode in &plan.episodes {
                assert!(WARM_UP <= episode.from && episode.from <= episode.until, "{episode:?}");
                assert!(episode.until <= plan.quiet_from(), "{episode:?}");
                let kind: String = format!("{:?}", episode.fault);
                kinds.insert(kind.split('(').next().unwrap_or_default().to_owned());
                if let Fault::Crash(place) = episode.fault {
                    down.retain(|old| old.until >= episode.from);
                    assert!(down.iter().all(|old| old.fault != Fault::Crash(place)), "seed {seed}");
                    down.push(episode);
                    assert!(down.len() < plan.nodes, "seed {seed}: one always runs");
                }
            }
        }
        assert_eq!(kinds.len(), 8, "{kinds:?}");
        assert_ne!(
            Plan::new(Seed::new(1), None, Duration::from_secs(60)),
            Plan::new(Seed::new(2), None, Duration::from_secs(60))
        );
    }
}
