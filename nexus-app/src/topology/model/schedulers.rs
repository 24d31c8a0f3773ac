//! How agents are spread over the machine.

use garde::Validate;
use nexus_actors::scheduler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which runtimes agents live on. The debug endpoint, feeds and supervisors have one of their own unless `policy` is `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerPolicy {
    /// One runtime for each NUMA node, with a worker for each of its CPUs; threads stay on the node.
    #[default]
    Numa,
    /// One runtime of one worker for each CPU, on that CPU alone.
    Core,
    /// None: agents share the runtime of everything else.
    None,
}

/// The runtimes that agents live on. Agents are placed by their names, and stay unless the performance monitor evens the
/// runtimes' load out. A node that is started on a single-threaded
/// runtime (a simulation) has none, whatever stands here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulersConfig {
    /// `numa`, `core` or `none`. Default `numa`: on a machine with one NUMA node that is one runtime for all agents, so that a
    /// flood of agent work waits for the CPU and not in front of the debug endpoint. `core` gives the evenest latency while no
    /// few agents have most of the work: nothing is stolen. `none` saves a hand-over between threads for each message to a
    /// sleeping agent, and lets agents delay the endpoint and the feeds.
    #[garde(skip)]
    pub policy: SchedulerPolicy,
    /// CPUs kept free of agents, 0 to 1024. Default: none of fewer than four CPUs, one in sixteen (at least one) of more. More
    /// keeps feeds and the endpoint quick while agents take all they get, and leaves agents less. One CPU is always left for
    /// agents.
    #[garde(range(min = 0, max = 1024))]
    pub reserve: Option<u32>,
    /// Whether threads are pinned to their runtime's CPUs. Default true. Turn it off where several nodes share a machine and
    /// `policy` is `core`. Where the system does not permit it, they run unpinned and one line in the log says why.
    #[garde(skip)]
    pub pin: bool,
}

impl Default for SchedulersConfig {
    fn default() -> Self {
        Self { policy: SchedulerPolicy::default(), reserve: None, pin: true }
    }
}

impl SchedulersConfig {
    /// The same in the words of the schedulers.
    #[must_use]
    pub const fn config(&self) -> scheduler::SchedulersConfig {
        let policy = match self.policy {
            SchedulerPolicy::Numa => scheduler::Policy::Numa,
            SchedulerPolicy::Core => scheduler::Policy::Core,
            SchedulerPolicy::None => scheduler::Policy::None,
        };
        scheduler::SchedulersConfig { policy, reserve: self.reserve, pin: self.pin }
    }
}
