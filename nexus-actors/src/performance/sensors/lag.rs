//! Event-loop lag: how late a timer on each runtime fires. A runtime whose workers are all in long polls fires none, and what is due
//! counts too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::node::Node;

/// The time between two timers of a runtime: ten a look, and nothing to speak of with a hundred runtimes.
const PERIOD: Duration = Duration::from_millis(500);

/// A timer on each runtime, the system's first. They end with the sensor.
pub(super) struct LagSensor {
    clock: Clock,
    probes: Vec<Probe>,
}

struct Probe {
    task: JoinHandle<()>,
    timer: Arc<Timer>,
}

#[derive(Default)]
struct Timer {
    /// When it is to fire, in the clock's nanoseconds.
    due_ns: AtomicU64,
    /// The worst since the last look.
    worst_ns: AtomicU64,
}

impl LagSensor {
    pub(super) fn start(node: &Node) -> Self {
        let clock = *node.clock();
        let system = Handle::current();
        let agents = node.schedulers().into_iter().flat_map(|schedulers| schedulers.handles());
        let probes = std::iter::once(&system).chain(agents).map(|runtime| Probe::start(runtime, clock));
        Self { clock, probes: probes.collect() }
    }

    /// The worst lag of each runtime since the last call, in microseconds.
    pub(super) fn read(&self) -> Vec<u64> {
        let now = self.clock.nanos();
        self.probes.iter().map(|probe| probe.timer.worst(now) / 1000).collect()
    }
}

impl Probe {
    fn start(runtime: &Handle, clock: Clock) -> Self {
        let timer = Arc::new(Timer::default());
        timer.arm(clock.nanos());
        let this = timer.clone();
        let task = runtime.spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                let now = clock.nanos();
                this.worst_ns.fetch_max(this.late(now), Ordering::Relaxed);
                this.arm(now);
            }
        });
        Self { task, timer }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Timer {
    fn arm(&self, now_ns: u64) {
        let period = u64::try_from(PERIOD.as_nanos()).unwrap_or(u64::MAX);
        self.due_ns.store(now_ns.saturating_add(period), Ordering::Relaxed);
    }

    fn late(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.due_ns.load(Ordering::Relaxed))
    }

    fn worst(&self, now_ns: u64) -> u64 {
        self.worst_ns.swap(0, Ordering::Relaxed).max(self.late(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the worst of all timers since the last look is told, once; one that is due and does not fire counts.
    #[test]
    fn the_worst_is_told_once() {
        let timer = Timer::default();
        timer.arm(0);
        let due = 500_000_000;
        assert_eq!(timer.worst(due - 1), 0);
        assert_eq!(timer.worst(due + 70), 70, "it has not fired");
        timer.worst_ns.fetch_max(timer.late(due + 90), Ordering::Relaxed);
        timer.arm(due + 90);
        assert_eq!(timer.worst(due + 100), 90);
        assert_eq!(timer.worst(due + 100), 0);
    }
}
