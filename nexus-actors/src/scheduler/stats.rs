//! What is seen of the runtimes.
//!
//! Busy time, parks and queues are tokio's own counters, as far as its stable interface has them. Steals and the workers' local
//! queues are counted by tokio only in builds with `--cfg tokio_unstable`, so they are not shown.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::RuntimeMetrics;
use tokio::time::Instant;

use super::Schedulers;
use super::pin;
use super::runtime::{Scheduler, thread_name};

/// A worker and its thread.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerOverview {
    /// The thread's number in the kernel; `None` for the system's runtime, which is not ours to ask.
    pub thread: Option<u32>,
    /// The CPUs it may run on, read back from the kernel in its list format (`0-3`); `None` where the thread is not known.
    pub cpus: Option<String>,
    /// The part of the time it was busy between the last two looks, 0 to 1. A single long poll counts when it is over.
    pub busy: f64,
    /// How often it went to sleep for want of work.
    pub parks: u64,
}

/// A runtime.
#[derive(Clone, Debug, Serialize)]
pub struct RuntimeOverview {
    /// `system`, or the layout's name for it.
    pub name: String,
    /// What its threads are called; `None` for the system's runtime.
    pub thread_name: Option<String>,
    /// Whether agents live on it.
    pub agents: bool,
    /// Its NUMA node, if it is on one.
    pub node: Option<u32>,
    /// The CPUs it was given, in the kernel's list format; `None` if any.
    pub cpus: Option<String>,
    /// Its workers.
    pub workers: Vec<WorkerOverview>,
    /// The mean of its workers' busy parts, 0 to 1.
    pub busy: f64,
    /// Tasks that wait to be taken by any worker. Those that a worker has taken already are not counted.
    pub queued: usize,
    /// Tasks that have not ended: a live agent is one, beside what its behavior spawns.
    pub tasks: usize,
}

/// How long the workers of a runtime have been busy.
#[derive(Clone, Debug)]
pub(crate) struct BusyTime {
    /// `system`, or the layout's name for it.
    pub(crate) name: String,
    /// How many there are.
    pub(crate) workers: usize,
    /// The sum of their busy times since the start.
    pub(crate) busy: Duration,
}

/// All runtimes.
#[derive(Clone, Debug, Serialize)]
pub struct SchedulersOverview {
    /// The policy: `numa`, `core` or `none`.
    pub policy: &'static str,
    /// Whether threads were to be pinned.
    pub pin: bool,
    /// Why threads are not pinned although they were to be.
    pub unpinned: Option<String>,
    /// CPUs kept free of agents, in the kernel's list format.
    pub reserved: String,
    /// Where the layout is less than the policy could be, and why.
    pub notes: Vec<String>,
    /// The time between the last two looks, over which `busy` is meant, in milliseconds.
    pub window_ms: u64,
    /// The system's runtime, then those of the agents in the layout's order.
    pub runtimes: Vec<RuntimeOverview>,
}

/// One look at the workers' busy time, and what it says of the time since the one before.
#[derive(Debug)]
struct Look {
    at: Instant,
    busy: Vec<Vec<Duration>>,
    window: Duration,
    ratios: Vec<Vec<f64>>,
}

/// The runtimes' counters and the last look at them.
#[derive(Debug)]
pub(super) struct Samples {
    metrics: Vec<RuntimeMetrics>,
    last: Mutex<Look>,
}

impl Samples {
    pub(super) fn new(metrics: Vec<RuntimeMetrics>) -> Self {
        let busy = busy(&metrics);
        let ratios = busy.iter().map(|workers| vec![0.0; workers.len()]).collect();
        let last = Look { at: Instant::now(), busy, window: Duration::ZERO, ratios };
        Self { metrics, last: Mutex::new(last) }
    }

    /// Looks again.
    fn look(&self) {
        let mut last = self.last.lock();
        let (now, busy) = (Instant::now(), busy(&self.metrics));
        let window = now.duration_since(last.at);
        if window.is_zero() {
            return;
        }
        let ratio = |(now, before): (&Duration, &Duration)| {
            (now.saturating_sub(*before).as_secs_f64() / window.as_secs_f64()).min(1.0)
        };
        let ratios = busy.iter().zip(&last.busy);
        let ratios = ratios.map(|(now, before)| now.iter().zip(before).map(ratio).collect()).collect();
        *last = Look { at: now, busy, window, ratios };
    }
}

/// How long the workers of the runtime called `name` have been busy.
pub(crate) fn busy_time(name: &str, metrics: &RuntimeMetrics) -> BusyTime {
    let workers = metrics.num_workers();
    let busy = (0..workers).map(|at| metrics.worker_total_busy_duration(at)).sum();
    BusyTime { name: name.to_owned(), workers, busy }
}

fn busy(metrics: &[RuntimeMetrics]) -> Vec<Vec<Duration>> {
    let of =
        |one: &RuntimeMetrics| (0..one.num_workers()).map(|at| one.worker_total_busy_duration(at)).collect();
    metrics.iter().map(of).collect()
}

impl Schedulers {
    /// Looks at the workers' busy time: what [`Schedulers::overview`] says of it from now on is of the time since the look
    /// before. [`SchedulersActor`](super::SchedulersActor) does so every second.
    pub fn look(&self) {
        self.inner.samples.look();
    }

    /// How long each runtime has been busy, the system's first: for whoever has a window of his own. Asks nobody.
    pub(crate) fn busy_times(&self) -> Vec<BusyTime> {
        let inner = &*self.inner;
        let agents = inner.runtimes.iter().map(|runtime| runtime.layout.name.as_str());
        let names = std::iter::once("system").chain(agents);
        names.zip(&inner.samples.metrics).map(|(name, metrics)| busy_time(name, metrics)).collect()
    }

    /// The runtimes' handles, the agents' ones in the layout's order.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &tokio::runtime::Handle> {
        self.inner.runtimes.iter().map(|runtime| &runtime.handle)
    }

    /// The runtimes as they are. Asks the kernel about each thread.
    #[must_use]
    pub fn overview(&self) -> SchedulersOverview {
        let inner = &*self.inner;
        let last = inner.samples.last.lock();
        let runtimes = std::iter::once(None).chain(inner.runtimes.iter().map(Some));
        let runtimes = runtimes.zip(&inner.samples.metrics).zip(&last.ratios);
        let hosts_agents = |scheduler: Option<&Scheduler>| scheduler.is_some() || inner.runtimes.is_empty();
        SchedulersOverview {
            policy: inner.layout.policy.name(),
            pin: inner.pin,
            unpinned: inner.runtimes.iter().find_map(|runtime| runtime.threads.unpinned()),
            reserved: inner.layout.reserved.to_string(),
            notes: inner.layout.notes.clone(),
            window_ms: u64::try_from(last.window.as_millis()).unwrap_or(u64::MAX),
            runtimes: runtimes
                .map(|((scheduler, metrics), busy)| {
                    overview(scheduler, hosts_agents(scheduler), metrics, busy)
                })
                .collect(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean over workers needs no 53 bits")]
fn overview(
    scheduler: Option<&Scheduler>,
    agents: bool,
    metrics: &RuntimeMetrics,
    busy: &[f64],
) -> RuntimeOverview {
    let worker = |(at, busy): (usize, &f64)| {
        let thread = scheduler.and_then(|scheduler| scheduler.threads.of(at));
        WorkerOverview {
            thread,
            cpus: thread.and_then(pin::cpus_of).map(|cpus| cpus.to_string()),
            busy: *busy,
            parks: metrics.worker_park_count(at),
        }
    };
    let layout = scheduler.map(|scheduler| &scheduler.layout);
    RuntimeOverview {
        name: layout.map_or("system", |layout| &layout.name).to_owned(),
        thread_name: layout.map(|layout| thread_name(&layout.name)),
        agents,
        node: layout.and_then(|layout| layout.node),
        cpus: layout.map(|layout| layout.cpus.to_string()),
        workers: busy.iter().enumerate().map(worker).collect(),
        busy: busy.iter().sum::<f64>() / busy.len().max(1) as f64,
        queued: metrics.global_queue_depth(),
        tasks: metrics.num_alive_tasks(),
    }
}
