//! Balancing: which agent of a group serves a message that is sent to the group as one name (`group:desks`).
//!
//! A [`Strategy`] is pure: it chooses one of the group's members from what it may know of them. The shell (`roster.rs`) gathers
//! what the strategy asks for, and no more: round robin reads nothing, power of two choices reads two inboxes, the others go
//! through a table that is kept from decision to decision and of which each decision brings a bounded part up to date.
//!
//! | strategy | chooses | a decision costs |
//! |---|---|---|
//! | `round_robin` | each in turn | O(1) |
//! | `least_loaded` | the shortest inbox | O(N) over the table, O(1) while somebody is idle |
//! | `weighted` | by chance, in proportion to the speed of answers | O(N) over the table |
//! | `resource_aware` | the lowest score of CPU, memory and queue | O(N) over the table |
//! | `power_of_two` | the shorter inbox of two drawn by chance (an extension) | O(1) |
//!
//! Adding a strategy is a file and a line in [`all`].

mod least_loaded;
mod meter;
mod power_of_two;
mod resource_aware;
mod roster;
mod round_robin;
mod weighted;

#[cfg(test)]
mod balance_test;
#[cfg(test)]
mod group_test;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngCore;

pub(crate) use meter::{Meter, Timed, smooth};
pub use roster::MemberOverview;
pub(crate) use roster::{Balancer, Offered, Roster};

/// Decides who serves a message.
///
/// Pure: the same members, turn and draws give the same choice.
pub trait Strategy: fmt::Debug + Send + Sync {
    /// Stable name used in topologies and the debug endpoint.
    fn name(&self) -> &'static str;

    /// What it does and when it is right, in a sentence or two for the topology's documentation.
    fn about(&self) -> &'static str;

    /// The index of the member that is to serve the next message; `None` if none [takes](Members::takes) one. `turn` counts the
    /// group's decisions, attempts after a refusal included.
    fn choose(&self, members: &dyn Members, turn: u64, chance: &mut dyn RngCore) -> Option<usize>;
}

/// A group's members as a strategy sees them, by index. What is not looked at is not gathered.
pub trait Members {
    /// How many there are, those that take nothing included.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this one may be chosen: it has not stopped for good, and has not refused this very message before.
    fn takes(&self, at: usize) -> bool;

    /// This member's readings, taken now.
    fn read(&self, at: usize) -> &Gauge;

    /// Everybody's readings. Some are taken now, each member's in turn; the rest are those of earlier decisions, corrected by
    /// what was sent through the group since.
    fn all(&self) -> &[Gauge];
}

/// Readings of one member. They are independent of each other: together they are no picture of one moment.
#[derive(Debug)]
pub struct Gauge {
    queued: AtomicU32,
    limit: AtomicU32,
    /// The others are `f32` as bits; NaN is what nobody knows.
    speed: AtomicU32,
    cpu: AtomicU32,
    memory: AtomicU32,
}

const UNKNOWN: u32 = f32::NAN.to_bits();

impl Default for Gauge {
    /// An empty inbox with room for one; nothing else is known.
    fn default() -> Self {
        Self {
            queued: AtomicU32::new(0),
            limit: AtomicU32::new(1),
            speed: AtomicU32::new(UNKNOWN),
            cpu: AtomicU32::new(UNKNOWN),
            memory: AtomicU32::new(UNKNOWN),
        }
    }
}

impl Gauge {
    /// A gauge that shows `queued` of `limit` messages.
    #[must_use]
    pub fn new(queued: u32, limit: u32) -> Self {
        let gauge = Self::default();
        gauge.set_queue(queued, limit);
        gauge
    }

    /// The same with the mean time an answer takes.
    #[must_use]
    pub fn with_response(self, seconds: f32) -> Self {
        self.set_response(Some(seconds));
        self
    }

    /// The same with shares of CPU and memory.
    #[must_use]
    pub fn with_resources(self, cpu: Option<f32>, memory: Option<f32>) -> Self {
        self.set_cpu(cpu);
        self.set_memory(memory);
        self
    }

    /// Messages that wait or are being handled.
    #[inline]
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// The inbox's limit, at least 1.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether the inbox is full.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued() >= self.limit()
    }

    /// How full the inbox is, 0 to 1.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 23 bits")]
    pub fn fill(&self) -> f32 {
        (self.queued() as f32 / self.limit() as f32).min(1.0)
    }

    /// Answers a second that one asker would get, one after the other: the inverse of the mean response time. `None` until there
    /// was an answer.
    #[inline]
    #[must_use]
    pub fn speed(&self) -> Option<f32> {
        known(&self.speed)
    }

    /// The share of time it is busy with messages, 0 to 1, if that is known.
    #[inline]
    #[must_use]
    pub fn cpu(&self) -> Option<f32> {
        known(&self.cpu)
    }

    /// The share of the memory it may use, 0 to 1, if that is known.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> Option<f32> {
        known(&self.memory)
    }

    fn set_queue(&self, queued: u32, limit: u32) {
        self.queued.store(queued, Ordering::Relaxed);
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    fn add_queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    fn set_response(&self, seconds: Option<f32>) {
        // A response is never faster than a nanosecond, so that speeds stay finite.
        set(&self.speed, seconds.map(|seconds| 1.0 / seconds.max(1e-9)));
    }

    fn set_cpu(&self, share: Option<f32>) {
        set(&self.cpu, share.map(|share| share.clamp(0.0, 1.0)));
    }

    fn set_memory(&self, share: Option<f32>) {
        set(&self.memory, share.map(|share| share.clamp(0.0, 1.0)));
    }
}

#[inline]
fn known(reading: &AtomicU32) -> Option<f32> {
    let value = f32::from_bits(reading.load(Ordering::Relaxed));
    if value.is_nan() { None } else { Some(value) }
}

fn set(reading: &AtomicU32, value: Option<f32>) {
    reading.store(value.map_or(UNKNOWN, f32::to_bits), Ordering::Relaxed);
}

/// Every strategy there is, by name.
#[must_use]
pub fn all() -> [&'static dyn Strategy; 5] {
    [
        &least_loaded::LeastLoaded,
        &power_of_two::PowerOfTwo,
        &resource_aware::ResourceAware,
        &round_robin::RoundRobin,
        &weighted::Weighted,
    ]
}

/// The strategy of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Strategy> {
    all().into_iter().find(|strategy| strategy.name() == name)
}

/// The first member from `turn` on that takes a message.
fn next_in_turn(members: &dyn Members, turn: u64) -> Option<usize> {
    let start = place(turn, members.len())?;
    (start..members.len()).chain(0..start).find(|at| members.takes(*at))
}

/// Where a turn falls among `len` members.
fn place(turn: u64, len: usize) -> Option<usize> {
    let at = turn.checked_rem(u64::try_from(len).ok()?)?;
    usize::try_from(at).ok()
}

/// More than any real cost: what a full inbox adds, so that it is chosen only where all are full.
const FULL: f64 = 1e12;

/// How often a choice is made anew because its reading was out of date.
const LOOKS_MAX: usize = 3;

/// The member of the least cost, which is not negative. Among equals it is the first from `turn` on, so that equals take turns.
///
/// A table's reading may be old. So the winner is read again, and if that shows it to be worse than the second, the choice is made
/// once more from the corrected table: at most [`LOOKS_MAX`] times in all.
fn least(members: &dyn Members, turn: u64, cost: impl Fn(&Gauge) -> f64) -> Option<usize> {
    let cost = |gauge: &Gauge| if gauge.is_full() { cost(gauge) + FULL } else { cost(gauge) };
    let start = place(turn, members.len())?;
    let gauges = members.all();
    for _ in 1..LOOKS_MAX {
        let (at, second) = scan(members, gauges, start, &cost)?;
        if cost(members.read(at)) <= second {
            return Some(at);
        }
    }
    scan(members, gauges, start, &cost).map(|(at, _)| at)
}

/// The index of the least cost, and the least of the others as far as they were looked at.
fn scan(
    members: &dyn Members,
    gauges: &[Gauge],
    start: usize,
    cost: &impl Fn(&Gauge) -> f64,
) -> Option<(usize, f64)> {
    let (mut best, mut least, mut second) = (None, f64::INFINITY, f64::INFINITY);
    let (before, from) = gauges.split_at(start.min(gauges.len()));
    let (from, before) = (from.iter().zip(start..), before.iter().zip(0..));
    for (gauge, at) in from.chain(before) {
        let cost = cost(gauge);
        // Asked only of those that might win: few, even in a long table.
        if cost < least && members.takes(at) {
            (best, second, least) = (Some(at), least, cost);
            if cost <= 0.0 {
                // Nobody can be better.
                return Some((at, 0.0));
            }
        } else if cost < second {
            second = cost;
        }
    }
    best.map(|at| (at, second.max(least)))
}
