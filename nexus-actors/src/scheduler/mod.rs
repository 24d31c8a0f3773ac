//! Pinned schedulers (design decision D11): agents live on runtimes of their own, near their memory and apart from the system
//! actors.
//!
//! ```text
//! /sys, /proc ─ topology.rs ─▶ CpuTopology ─ layout.rs ─▶ Layout ─ runtime.rs, pin.rs ─▶ runtimes with pinned threads
//!                                                                       place.rs ◀─ AgentId
//! ```
//!
//! Supervisors, feeds and the debug endpoint stay on the runtime that the node was started on. The kernel divides the CPUs
//! among all threads, so agents that use every CPU they get delay the system actors by a time slice, not by a queue.
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | policy and reserve |
//! | `cpu_list.rs`, `topology.rs`, `cgroup.rs` | the machine, from files |
//! | `layout.rs` | the runtimes to make of it; pure |
//! | `place.rs` | keys to buckets to runtimes; pure |
//! | `pin.rs` | the kernel's affinity calls |
//! | `runtime.rs` | one runtime |
//! | `requeue.rs` | letting the other tasks of a thread have their turn |
//! | `stats.rs` | what is seen of them |
//! | `actor.rs` | the actor that looks at them every second |

mod actor;
pub(crate) mod cgroup;
mod config;
mod cpu_list;
#[cfg(test)]
pub(crate) mod fixture;
mod layout;
mod pin;
pub(crate) mod place;
mod requeue;
mod runtime;
mod stats;
#[cfg(test)]
mod test;
pub(crate) mod topology;

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};

use crate::agent::AgentId;

pub use actor::{SchedulersActor, SchedulersMsg};
pub use config::{Policy, SchedulersConfig};
pub use cpu_list::{CPU_MAX, CpuList, MalformedCpuList};
pub use layout::{Layout, RuntimeLayout};
pub use pin::allowed;
pub use requeue::requeue;
pub use stats::{RuntimeOverview, SchedulersOverview, WorkerOverview};
pub use topology::{CpuTopology, NumaNode};

use place::Placement;
use runtime::Scheduler;
use stats::Samples;
pub(crate) use stats::{BusyTime, busy_time};

/// A node's runtimes. Cheap to clone; the last clone shuts them down.
#[derive(Clone)]
pub struct Schedulers {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    pin: bool,
    runtimes: Vec<Scheduler>,
    placement: Placement,
    samples: Samples,
    /// Empty once they are shut down.
    owned: Mutex<Vec<Runtime>>,
}

impl fmt::Debug for Schedulers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schedulers").field(&self.inner.layout).finish()
    }
}

impl Schedulers {
    /// Starts the runtimes that `config` makes of `machine`, beside `system`, the one that the node runs on. Waits for their
    /// threads: not for an async thread.
    ///
    /// A thread that cannot be pinned runs unpinned, and one line in the log says why.
    ///
    /// # Errors
    /// The system's, if it has no threads or files left. Nothing runs then.
    pub fn start(config: &SchedulersConfig, machine: &CpuTopology, system: &Handle) -> io::Result<Self> {
        let layout = Layout::new(machine, config);
        let (mut runtimes, mut owned) = (Vec::new(), Owned(Vec::new()));
        for runtime in &layout.runtimes {
            let (scheduler, runtime) = Scheduler::start(runtime.clone(), config.pin, layout.runtimes.len())?;
            runtimes.push(scheduler);
            owned.0.push(runtime);
        }
        if !machine.notes.is_empty() {
            tracing::warn!("the machine is not fully known: {}", machine.notes.join("; "));
        }
        if !runtimes.is_empty() {
            tracing::info!("schedulers: {}", layout.summary());
        }
        if let Some(error) = runtimes.iter().find_map(|runtime| runtime.threads.unpinned()) {
            tracing::warn!("agents' threads are not pinned: {error}");
        }
        let placement = Placement::new(layout.runtimes.iter().map(|runtime| runtime.workers));
        let metrics = std::iter::once(system).chain(runtimes.iter().map(|runtime| &runtime.handle));
        let samples = Samples::new(metrics.map(Handle::metrics).collect());
        let owned = Mutex::new(std::mem::take(&mut owned.0));
        let inner = Inner { layout, pin: config.pin, runtimes, placement, samples, owned };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The layout they follow.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// The runtime that the agent of this key starts on; `None` if agents have none of their own. It lives there, unless its place was
    /// moved after its start.
    #[must_use]
    pub fn place(&self, id: AgentId) -> Option<&Handle> {
        let at = self.inner.placement.of(id)?;
        self.inner.runtimes.get(at).map(|runtime| &runtime.handle)
    }

    /// The runtime that all agents live on, if there is just one: the place for their supervisors too, whose starts are then no hand-over
    /// between threads.
    #[must_use]
    pub fn only(&self) -> Option<&Handle> {
        match &*self.inner.runtimes {
            [runtime] => Some(&runtime.handle),
            _ => None,
        }
    }

    /// Where [`Schedulers::place`] puts it, in the order of [`Layout::runtimes`].
    #[must_use]
    pub fn index_of(&self, id: AgentId) -> Option<usize> {
        self.inner.placement.of(id)
    }

    /// Places the agents of a bucket of keys on another runtime, from their next start on: those that are up stay where they are until
    /// then. Answers the runtime that they were on; `None` if there is no such bucket or runtime, or nothing changes.
    pub(crate) fn move_bucket(&self, bucket: usize, to: usize) -> Option<usize> {
        self.inner.placement.put(bucket, to)
    }

    /// The runtime of a bucket of keys, in the order of [`Layout::runtimes`].
    pub(crate) fn runtime_of_bucket(&self, bucket: usize) -> Option<usize> {
        self.inner.placement.of_bucket(bucket)
    }

    /// Shuts the runtimes down without waiting: what still runs on them ends at its next await point. For the end of the node.
    pub fn shutdown(&self) {
        self.inner.shut_down();
    }
}

impl Inner {
    fn shut_down(&self) {
        drop(Owned(std::mem::take(&mut *self.owned.lock())));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Runtimes that may be dropped anywhere: a plain one may not be by an async thread.
struct Owned(Vec<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Runtime::shutdown_background);
    }
}
