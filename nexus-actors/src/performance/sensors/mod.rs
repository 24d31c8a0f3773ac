//! What the monitor reads, one file for each thing. Files are read below a root that is given, so tests bring their own machines;
//! what is missing is absent from the readings, and what makes no sense leaves a note.
//!
//! Allocator statistics are not read: glibc's `mallinfo2` needs `unsafe`, which this workspace denies, and what it would tell (free
//! blocks that the heap keeps) nothing here could give back.

mod busy;
mod cpu;
mod group;
mod inboxes;
mod lag;
mod latency;
mod memory;
pub mod process;

use std::path::PathBuf;

use serde::Serialize;

use super::core::{GroupLoad, RuntimeLoad, Snapshot};
use crate::clock::Millis;
use crate::node::Node;
use crate::scheduler::topology::Notes;

use busy::BusySensor;
use cpu::CpuSensor;
use inboxes::InboxSensor;
use lag::LagSensor;
use latency::LatencySensor;

pub use busy::RuntimeReading;
pub use cpu::CpuReading;
pub use inboxes::InboxReading;
pub use latency::LatencyReading;
pub use memory::{LimitedBy, MemoryReading};

/// What was read in one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Readings {
    /// When, on the node's clock.
    pub at: Millis,
    /// How long the look took, in microseconds.
    pub took_us: u64,
    /// Memory; `None` where the system does not tell.
    pub memory: Option<MemoryReading>,
    /// CPU since the look before; `None` at the first one.
    pub cpu: Option<CpuReading>,
    /// The runtimes: the system's, then those of the agents.
    pub runtimes: Vec<RuntimeReading>,
    /// The agents' inboxes, of this look or of one before: see [`InboxReading::at`].
    pub inboxes: InboxReading,
    /// What handling a message took since the look before; `None` if none was timed.
    pub latency: Option<LatencyReading>,
    /// What could not be read or made no sense.
    pub notes: Vec<String>,
}

/// The monitor's eyes.
pub struct Sensors {
    node: Node,
    root: PathBuf,
    limit_bytes: Option<u64>,
    cpu: CpuSensor,
    busy: BusySensor,
    lag: LagSensor,
    inboxes: InboxSensor,
    latency: LatencySensor,
}

impl std::fmt::Debug for Sensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensors").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Sensors {
    /// Sensors for `node`, with the system's files below `root` (`/` for the machine we run on) and the memory that the process is to
    /// live in, if that is not the system's to say.
    ///
    /// # Panics
    /// Outside a tokio runtime: timers on each of the node's runtimes measure how late they fire.
    #[must_use]
    pub fn new(node: &Node, root: impl Into<PathBuf>, limit_bytes: Option<u64>) -> Self {
        Self {
            root: root.into(),
            limit_bytes,
            cpu: CpuSensor::new(),
            busy: BusySensor::new(node),
            lag: LagSensor::start(node),
            inboxes: InboxSensor::default(),
            latency: LatencySensor::default(),
            node: node.clone(),
        }
    }

    /// Reads everything. Looks at every agent that is awake, and at files: not for an async thread.
    pub fn read(&mut self) -> Readings {
        self.read_all().0
    }

    /// What people see of a look, and what the core decides by.
    pub(super) fn read_all(&mut self) -> (Readings, Snapshot) {
        let (at, began) = (self.node.clock().now(), self.node.clock().nanos());
        let mut notes = Notes::default();
        let memory = memory::read(&self.root, self.limit_bytes, &mut notes);
        let cpu = self.cpu.read(&self.root, began, &mut notes);
        let runtimes = self.busy.read(began, &self.lag.read());
        let agents: Vec<&RuntimeReading> = runtimes.iter().filter(|runtime| runtime.agents).collect();
        let groups = self.inboxes.read(&self.node, agents.len() > 1);
        let snapshot = Snapshot {
            memory: memory.as_ref().map(|memory| memory.share),
            cpu: pressed_share(cpu.as_ref(), &agents),
            runtimes: agents.iter().map(|runtime| load(runtime)).collect(),
            groups,
        };
        let readings = Readings {
            at,
            took_us: self.node.clock().nanos().saturating_sub(began) / 1000,
            memory,
            cpu,
            runtimes,
            inboxes: self.inboxes.last().clone(),
            latency: self.latency.read(self.node.metrics()),
            notes: notes.into_inner(),
        };
        (readings, snapshot)
    }
}

fn load(runtime: &RuntimeReading) -> RuntimeLoad {
    RuntimeLoad { workers: runtime.workers, busy: runtime.busy }
}

/// The share of CPU that counts: what the process or its group uses of what it may, or how busy the agents' workers are, whichever is
/// more. Workers are also busy while others have their CPUs, and then too agents get less than they want.
fn pressed_share(cpu: Option<&CpuReading>, agents: &[&RuntimeReading]) -> Option<f64> {
    let workers: usize = agents.iter().map(|runtime| runtime.workers).sum();
    #[expect(clippy::cast_precision_loss, reason = "workers are few")]
    let busy = agents.iter().map(|runtime| runtime.busy * runtime.workers as f64).sum::<f64>()
        / workers.max(1) as f64;
    cpu.map(|cpu| cpu.share.max(busy))
}

/// What groups of agents did, for the core.
type Groups = Vec<GroupLoad>;
