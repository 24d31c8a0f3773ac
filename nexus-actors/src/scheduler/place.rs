//! Which runtime an agent lives on: its key has a bucket, and a table says where each bucket is. The same after every start of the
//! node, until a bucket is moved. Pure.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::agent::AgentId;

/// Groups that keys are placed and moved in: enough that a move is a small part of a runtime's load, and a table of 2 KiB that
/// stays in the cache. A power of two.
pub(crate) const BUCKETS: usize = 1024;

/// Keys to runtimes, at first in proportion to their workers.
#[derive(Debug)]
pub(super) struct Placement {
    /// The runtime of each bucket.
    runtimes: Box<[AtomicU16]>,
    /// How many runtimes there are.
    count: usize,
}

impl Placement {
    /// For runtimes with so many workers each.
    pub(super) fn new(workers: impl IntoIterator<Item = usize>) -> Self {
        let mut ends = Vec::new();
        let mut total = 0;
        for workers in workers {
            total += workers;
            ends.push(total);
        }
        // A bucket's fraction of all buckets, times the number of workers, is a worker. Source: Lemire, Fast random integer
        // generation in an interval, 2019.
        let of = |bucket: usize| ends.partition_point(|end| *end <= bucket * total / BUCKETS);
        let runtime = |bucket| AtomicU16::new(u16::try_from(of(bucket)).expect("there are fewer runtimes"));
        let runtimes = if total == 0 { Box::default() } else { (0..BUCKETS).map(runtime).collect() };
        Self { runtimes, count: ends.len() }
    }

    /// The runtime of this key; `None` if there are none.
    pub(super) fn of(&self, id: AgentId) -> Option<usize> {
        self.of_bucket(bucket_of(id))
    }

    /// The runtime of this bucket.
    pub(super) fn of_bucket(&self, bucket: usize) -> Option<usize> {
        Some(usize::from(self.runtimes.get(bucket)?.load(Ordering::Relaxed)))
    }

    /// Places the bucket's agents on runtime `to` from now on, and says where they were before. `None` if there is no such bucket
    /// or runtime, or it is there already.
    pub(super) fn put(&self, bucket: usize, to: usize) -> Option<usize> {
        let runtime = self.runtimes.get(bucket).filter(|_| to < self.count)?;
        let before = usize::from(runtime.swap(u16::try_from(to).ok()?, Ordering::Relaxed));
        (before != to).then_some(before)
    }
}

/// The bucket of a key: the ten highest bits of its low half, which is uniform. The high half chooses the place in the route table.
pub(crate) fn bucket_of(id: AgentId) -> usize {
    let low = id.get() & u128::from(u64::MAX);
    usize::try_from((low * BUCKETS as u128) >> 64).expect("less than BUCKETS")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each runtime gets its share of the keys, and always the same ones. Method: 100,000 names; an even spread is off by
    /// far less than 2 % of them.
    #[test]
    fn keys_spread_by_workers() {
        let placement = Placement::new([4, 1, 3]);
        let mut counts = [0_i32; 3];
        for number in 0..100_000 {
            let id = AgentId::of(&format!("sensor/{number}"));
            let runtime = placement.of(id).unwrap();
            assert_eq!(Placement::new([4, 1, 3]).of(id), Some(runtime));
            counts[runtime] += 1;
        }
        for (count, expected) in counts.into_iter().zip([50_000, 12_500, 37_500]) {
            assert!((count - expected).abs() < 1_000, "{counts:?}");
        }
        assert_eq!(Placement::new([]).of(AgentId::of("a")), None);
        assert_eq!(Placement::new([1]).of(AgentId::of("a")), Some(0));
        let odd = Placement::new([1; 7]);
        let mut buckets = [0; 7];
        (0..BUCKETS).for_each(|bucket| buckets[odd.of_bucket(bucket).unwrap()] += 1);
        assert!(buckets.iter().all(|count| (146..=147).contains(count)), "{buckets:?}");
    }

    /// Goal: a bucket that is moved takes its keys with it, and only those; nonsense moves nothing.
    #[test]
    fn buckets_move() {
        let placement = Placement::new([1, 1]);
        let id = AgentId::of("sensor/1");
        let from = placement.of(id).unwrap();
        let to = 1 - from;
        assert_eq!(placement.put(bucket_of(id), to), Some(from));
        assert_eq!(placement.of(id), Some(to));
        assert_eq!(placement.put(bucket_of(id), to), None, "it is there");
        assert_eq!((placement.put(0, 2), placement.put(BUCKETS, 0)), (None, None));
        let other = (bucket_of(id) + 1) % BUCKETS;
        assert_eq!(placement.of_bucket(other), Placement::new([1, 1]).of_bucket(other));
        assert_eq!(Placement::new([]).put(0, 0), None);
    }
}
