//! Claims by key, packed: 24 bytes each and at most an eighth more of room. Sorted within 4,096 buckets of the key space, which are
//! also the ranges that repair compares.

use nexus_actors::agent::AgentId;

/// Ranges of the key space that are compared as a whole.
pub(crate) const BUCKETS: usize = 1 << BUCKET_BITS;
/// Entries of a bucket at most. Keys are hashes, so only somebody who chooses keys gets there.
pub(crate) const BUCKET_MAX: usize = 16_384;

const BUCKET_BITS: u32 = 12;
const PLACE_BITS: u32 = 16;
/// The highest epoch that a stamp has room for: in milliseconds since 1970 the year 10889.
pub(crate) const EPOCH_MAX: u64 = (1 << (64 - PLACE_BITS)) - 1;

/// A claim's epoch, and its host by its place in the ring. Members are in the order of their names, so comparing stamps compares
/// claims by (epoch, node).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) const fn new(epoch: u64, place: u16) -> Self {
        Self(epoch << PLACE_BITS | place as u64)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn epoch(self) -> u64 {
        self.0 >> PLACE_BITS
    }

    pub(crate) const fn place(self) -> u16 {
        (self.0 & ((1 << PLACE_BITS) - 1)) as u16
    }
}

/// A key in halves, since a `u128` would be padded to 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: [u64; 2],
    stamp: Stamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    buckets: Vec<Vec<Entry>>,
    len: usize,
}

/// In which bucket a key is.
pub(crate) const fn bucket_of(id: AgentId) -> usize {
    (id.get() >> (128 - BUCKET_BITS)) as usize
}

const fn halves(id: AgentId) -> [u64; 2] {
    [(id.get() >> 64) as u64, id.get() as u64]
}

impl Entry {
    const fn id(&self) -> AgentId {
        AgentId::from_key((self.key[0] as u128) << 64 | self.key[1] as u128)
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: AgentId) -> Option<Stamp> {
        let bucket = &self.buckets[bucket_of(id)];
        let at = bucket.binary_search_by_key(&halves(id), |entry| entry.key).ok()?;
        Some(bucket[at].stamp)
    }

    /// Takes `stamp` in place of what was there.
    pub(crate) fn insert(&mut self, id: AgentId, stamp: Stamp) {
        let (bucket, key) = (&mut self.buckets[bucket_of(id)], halves(id));
        match bucket.binary_search_by_key(&key, |entry| entry.key) {
            Ok(at) => bucket[at].stamp = stamp,
            Err(at) => {
                if bucket.len() == bucket.capacity() {
                    bucket.reserve_exact((bucket.len() / 8).max(4));
                }
                bucket.insert(at, Entry { key, stamp });
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: AgentId) -> Option<Stamp> {
        let bucket = &mut self.buckets[bucket_of(id)];
        let at = bucket.binary_search_by_key(&halves(id), |entry| entry.key).ok()?;
        self.len -= 1;
        let stamp = bucket.remove(at).stamp;
        if bucket.len() < bucket.capacity() / 2 {
            bucket.shrink_to(bucket.len() + bucket.len() / 8);
        }
        Some(stamp)
    }

    /// Whether the bucket of `id` has room.
    pub(crate) fn has_room(&self, id: AgentId) -> bool {
        self.buckets[bucket_of(id)].len() < BUCKET_MAX
    }

    /// The entries of a bucket, by key.
    pub(crate) fn bucket(&self, bucket: usize) -> impl Iterator<Item = (AgentId, Stamp)> {
        self.buckets[bucket].iter().map(|entry| (entry.id(), entry.stamp))
    }

    /// All entries, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AgentId, Stamp)> {
        self.buckets.iter().flatten().map(|entry| (entry.id(), entry.stamp))
    }

    /// Gives every entry the stamp that `keep` returns, or removes it.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(AgentId, Stamp) -> Option<Stamp>) {
        self.len = 0;
        for bucket in &mut self.buckets {
            bucket.retain_mut(|entry| match keep(entry.id(), entry.stamp) {
                Some(stamp) => {
                    entry.stamp = stamp;
                    true
                }
                None => false,
            });
            if bucket.len() < bucket.capacity() / 2 {
                bucket.shrink_to(bucket.len() + bucket.len() / 8);
            }
            self.len += bucket.len();
        }
    }

    /// Bytes that the table takes.
    pub(crate) fn bytes(&self) -> usize {
        let entries: usize = self.buckets.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry>() + BUCKETS * size_of::<Vec<Entry>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexus_actors::rng::Seed;
    use rand::Rng as _;

    use super::*;

    /// Goal: it is a map. Method: random steps beside an ordered map, with keys that share buckets.
    #[test]
    fn seeded_a_table_is_a_map() {
        let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
        println!("NEXUS_TEST_SEED={seed}");
        let mut rng = Seed::new(seed).stream("table");
        let (mut table, mut map) = (Table::new(), BTreeMap::new());
        for _ in 0..4000 {
            let id = AgentId::from_key(rng.random_range(0_u128..3) << 120 | rng.random_range(0_u128..150));
            let stamp = Stamp::new(rng.random_range(0..EPOCH_MAX), rng.random());
            if rng.random_bool(0.6) {
                table.insert(id, stamp);
                map.insert(id, stamp);
            } else {
                assert_eq!(table.remove(id), map.remove(&id));
            }
            if rng.random_bool(0.01) {
                table.retain(|_, stamp| (stamp.place() % 3 > 0).then_some(Stamp::new(stamp.epoch(), 7)));
                map.retain(|_, stamp| stamp.place() % 3 > 0);
                map.values_mut().for_each(|stamp| *stamp = Stamp::new(stamp.epoch(), 7));
            }
            assert_eq!((table.get(id), table.len()), (map.get(&id).copied(), map.len()));
        }
        assert!(table.iter().eq(map.into_iter()));
    }

    /// Goal: the promise of the memory. Method: what a million entries take.
    #[test]
    fn an_entry_takes_24_bytes_and_a_little() {
        let mut table = Table::new();
        for n in 0..100_000 {
            table.insert(AgentId::of(&format!("a/{n}")), Stamp::new(1, 1));
        }
        assert_eq!(size_of::<Entry>(), 24);
        assert!(table.bytes() < 100_000 * 36, "{} bytes an entry", table.bytes() / 100_000);
    }
}
