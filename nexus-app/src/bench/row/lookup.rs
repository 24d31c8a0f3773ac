//! Looking an agent up, by name and by key, in random order from two threads, beside the bare map with the same keys.

use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;
use nexus_actors::agent::{AgentId, Target as _};
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::nanos;
use crate::bench::site::Site;
use crate::bench::{BenchError, Row, Run};

use super::register::declare;

pub(super) const ROW: Row = Row {
    name: "lookup",
    about: "finding one of a million agents, by name and by key, from two threads",
    measure,
    parts: &[],
};

const AGENTS: usize = 1_000_000;
const THREADS: usize = 2;
/// Keys are drawn in the same order every time.
const SEED: u64 = 1;

/// A bare map with a hash as fast as Nexus's: of names the xxh3, of keys, which are hashes themselves, one half.
pub(super) type Map<K> = DashMap<K, usize, BuildHasherDefault<FastHasher>>;

#[derive(Clone, Copy, Default)]
pub(super) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    /// The end of a text, which has nothing to add.
    fn write_u8(&mut self, _: u8) {}

    fn write_u128(&mut self, key: u128) {
        self.0 = u64::try_from(key >> 64).unwrap_or_default();
    }
}

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    run.doing("declaring agents");
    let count = run.plan.of(AGENTS);
    let site = Site::start(&format!("limits.agents = {}", count + 1))?;
    let mut names: Vec<Arc<str>> = (0..count).map(|number| format!("sensor/{number}").into()).collect();
    let (by_name, by_key) = (Map::default(), Map::default());
    for (number, name) in names.iter().enumerate() {
        declare(&site.node(), name.clone());
        by_name.insert(name.clone(), number);
        by_key.insert(name.id(), number);
    }
    names.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
    let keys: Vec<AgentId> = names.iter().map(|name| name.id()).collect();
    let node = site.node();
    let samples = run.rounds(|samples| {
        samples.add("nexus", "by name", look(&names, |name| node.has_agent(name)));
        samples.add("dashmap", "by name", look(&names, |name| by_name.contains_key(name)));
        samples.add("nexus", "by key", look(&keys, |key| node.has_agent(key)));
        samples.add("dashmap", "by key", look(&keys, |key| by_key.contains_key(key)));
        Ok(())
    })?;
    let figure = |what| {
        let figure = samples.figure(what, Unit::Nanoseconds, &["dashmap"]);
        figure.target(Target::AtMostTimes(1.3, "dashmap")).target(Target::Below(1_000.0))
    };
    Ok(vec![figure("by name"), figure("by key")])
}

/// Nanoseconds of a look at one of `keys`, each thread beginning elsewhere.
fn look<K: Sync>(keys: &[K], find: impl Fn(&K) -> bool + Sync) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (before, after) = keys.split_at(thread * keys.len() / THREADS);
            let find = &find;
            scope.spawn(move || {
                let found = after.iter().chain(before).filter(|key| black_box(find(black_box(key)))).count();
                assert_eq!(found, keys.len(), "every key is found");
            });
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "counts of keys, far below 2^52")]
    let looks = keys.len() as f64;
    nanos(started.elapsed()) / looks
}
