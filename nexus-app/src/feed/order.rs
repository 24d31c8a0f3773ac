//! Puts requests in the order of their times, within a bound.
//!
//! Pure. Requests are held until the latest time seen is `bound` past theirs; then nothing that is not late can come before
//! them. Ties keep the order of arrival: by record, then by emit. A request without a time takes the place of the latest time
//! seen. Source of the scheme: bounded out-of-orderness watermarks, Akidau et al., "The Dataflow Model", VLDB 2015, §2.3.
//!
//! What is held has a bound in bytes as well: past it, the earliest requests leave early, and later ones that belonged before
//! them count as late. A source whose clock stands still thus costs order, never memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::mapping::Emission;

/// Requests that wait for their turn.
pub(crate) struct Order {
    mode: Mode,
    late: u64,
    hurried: u64,
}

enum Mode {
    /// As they come.
    Arrival(VecDeque<Emission>),
    /// By their times.
    Time(Held),
}

struct Held {
    bound_ms: i64,
    bytes_max: usize,
    /// Time, order of arrival, place in `slab`: small, since a heap moves its entries often.
    heap: BinaryHeap<Reverse<(i64, u64, usize)>>,
    slab: Vec<Option<Emission>>,
    free: Vec<usize>,
    arrivals: u64,
    bytes: usize,
    /// The latest time seen.
    latest: i64,
    /// Requests with times up to this one may leave; what comes with an earlier time is late.
    floor: i64,
    finished: bool,
}

impl Order {
    /// Keeps the order of arrival if `bound` is `None`. Holds about `bytes_max` bytes at most.
    pub(crate) fn new(bound: Option<Duration>, bytes_max: usize) -> Self {
        let mode = match bound {
            None => Mode::Arrival(VecDeque::new()),
            Some(bound) => Mode::Time(Held {
                bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX),
                bytes_max,
                heap: BinaryHeap::new(),
                slab: Vec::new(),
                free: Vec::new(),
                arrivals: 0,
                bytes: 0,
                latest: i64::MIN,
                floor: i64::MIN,
                finished: false,
            }),
        };
        Self { mode, late: 0, hurried: 0 }
    }

    /// Takes a request in.
    pub(crate) fn push(&mut self, emission: Emission) {
        match &mut self.mode {
            Mode::Arrival(queue) => queue.push_back(emission),
            Mode::Time(held) => self.late += u64::from(held.push(emission)),
        }
    }

    /// The next request whose turn has come.
    pub(crate) fn pop(&mut self) -> Option<Emission> {
        match &mut self.mode {
            Mode::Arrival(queue) => queue.pop_front(),
            Mode::Time(held) => {
                let (emission, hurried) = held.pop()?;
                self.hurried += u64::from(hurried);
                Some(emission)
            }
        }
    }

    /// Nothing more comes: everything held may leave.
    pub(crate) fn finish(&mut self) {
        if let Mode::Time(held) = &mut self.mode {
            held.finished = true;
        }
    }

    /// Requests that came too late to be put in their place.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }

    /// Requests that left early because too many were held.
    pub(crate) const fn hurried(&self) -> u64 {
        self.hurried
    }
}

impl Held {
    /// Whether the request is late.
    fn push(&mut self, emission: Emission) -> bool {
        let time = emission.at.map_or(self.latest, |at| at.get());
        let is_late = time < self.floor;
        self.latest = self.latest.max(time);
        self.floor = self.floor.max(self.latest.saturating_sub(self.bound_ms));
        self.bytes += emission.weight_bytes();
        let place = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.slab.len() - 1
        });
        self.slab[place] = Some(emission);
        self.heap.push(Reverse((time, self.arrivals, place)));
        self.arrivals += 1;
        is_late
    }

    /// The earliest request if its turn has come, and whether it leaves only because too much is held.
    fn pop(&mut self) -> Option<(Emission, bool)> {
        let &Reverse((time, _, place)) = self.heap.peek()?;
        let is_due = self.finished || time <= self.floor;
        if !is_due && self.bytes <= self.bytes_max {
            return None;
        }
        self.heap.pop();
        self.floor = self.floor.max(time);
        self.free.push(place);
        let emission = self.slab[place].take().expect("a place in the heap is taken in the slab");
        self.bytes -= emission.weight_bytes();
        Some((emission, !is_due))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_actors::agent::{Operation, Payload};
    use proptest::prelude::*;

    use super::*;
    use crate::feed::time::EventTime;

    fn emission(record: u64, at: Option<i64>) -> Emission {
        Emission {
            record,
            at: at.map(EventTime::new),
            operation: Operation::Action,
            key: Arc::from("k"),
            payload: Payload::EMPTY,
            targets: vec![Arc::from("a")],
        }
    }

    /// All of `times` through an order that is drained after each, as the feed does it.
    fn run(order: &mut Order, times: &[Option<i64>]) -> Vec<(Option<i64>, u64)> {
        let mut out = Vec::new();
        let mut drain = |order: &mut Order| {
            while let Some(emission) = order.pop() {
                out.push((emission.at.map(EventTime::get), emission.record));
            }
        };
        for (record, at) in (0..).zip(times) {
            order.push(emission(record, *at));
            drain(order);
        }
        order.finish();
        drain(order);
        out
    }

    fn bounded(ms: u64) -> Order {
        Order::new(Some(Duration::from_millis(ms)), usize::MAX)
    }

    #[test]
    fn arrival_order_without_a_bound() {
        let mut order = Order::new(None, 0);
        let out = run(&mut order, &[Some(5), None, Some(1)]);
        assert_eq!(out, [(Some(5), 0), (None, 1), (Some(1), 2)]);
        assert_eq!((order.late(), order.hurried()), (0, 0));
    }

    /// Goal: late requests leave at once and are counted; one without a time stays behind the latest time before it.
    #[test]
    fn late_and_timeless_requests() {
        let mut order = bounded(10);
        let out = run(&mut order, &[Some(100), Some(105), None, Some(95), Some(120), Some(100), Some(110)]);
        let records: Vec<u64> = out.iter().map(|(_, record)| *record).collect();
        assert_eq!(records, [3, 0, 1, 2, 5, 6, 4]);
        assert_eq!(order.late(), 1, "only the second 100, after 110 became certain");
        assert_eq!(run(&mut bounded(10), &[None, Some(1)]), [(None, 0), (Some(1), 1)]);
    }

    /// Goal: too many held requests leave early, earliest first, and are counted.
    #[test]
    fn a_standing_clock_is_bounded() {
        let weight = emission(0, Some(0)).weight_bytes();
        let mut order = Order::new(Some(Duration::from_secs(1_000_000)), 3 * weight);
        let out = run(&mut order, &[Some(4), Some(3), Some(2), Some(1), Some(0), Some(9)]);
        assert_eq!(out.iter().map(|(at, _)| at.unwrap()).collect::<Vec<_>>(), [1, 0, 2, 3, 4, 9]);
        assert_eq!((order.late(), order.hurried()), (1, 2), "1 and 2 left early, so 0 was late");
    }

    proptest! {
        /// Goal: the output is a permutation of the input; without late requests it is the stable sort by time.
        #[test]
        fn a_stable_sort_within_the_bound(times in prop::collection::vec(0_i64..200, 0..80), bound in 0_u64..220) {
            let mut order = bounded(bound);
            let input: Vec<Option<i64>> = times.iter().copied().map(Some).collect();
            let out = run(&mut order, &input);
            let mut records: Vec<u64> = out.iter().map(|(_, record)| *record).collect();
            records.sort_unstable();
            prop_assert!(records.into_iter().eq(0..times.len() as u64));

            // The definition of late, without the heap.
            let mut latest = i64::MIN;
            let mut is_late = Vec::new();
            for time in &times {
                is_late.push(latest != i64::MIN && *time < latest - i64::try_from(bound).unwrap());
                latest = latest.max(*time);
            }
            prop_assert_eq!(order.late(), is_late.iter().filter(|late| **late).count() as u64);
            let in_time = out.iter().filter(|(_, record)| !is_late[usize::try_from(*record).unwrap()]);
            let found: Vec<(Option<i64>, u64)> = in_time.copied().collect();
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(found, sorted);
        }
    }
}
