//! How a node's agents are spread over the machine.

use serde::{Deserialize, Serialize};

/// Which runtimes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// One runtime for each NUMA node, with a worker for each of its CPUs. Its threads stay on the node, where the memory of its
    /// agents is, and move between its CPUs as the kernel sees fit.
    Numa,
    /// One runtime of one worker for each CPU, as the kernel counts them, and on that CPU alone. Nothing is shared and nothing
    /// is stolen: the evenest caches, and the most uneven load if few agents have most of the work.
    Core,
    /// No runtimes for agents: they share the one that the node was started on with everything else.
    #[default]
    None,
}

impl Policy {
    /// The policy's name in topologies and endpoints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numa => "numa",
            Self::Core => "core",
            Self::None => "none",
        }
    }
}

/// How a node's agents are spread over the machine. The default is no spreading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulersConfig {
    /// Which runtimes there are. Default: [`Policy::None`].
    pub policy: Policy,
    /// CPUs kept free of agents, for the system actors and the kernel. `None`, the default, takes none of fewer than four, and
    /// one in sixteen, at least one, of more. One CPU is always left for agents.
    pub reserve: Option<u32>,
    /// Whether threads are pinned. Without, the runtimes are the same and the kernel puts their threads where it likes.
    /// Default: true.
    pub pin: bool,
}

impl Default for SchedulersConfig {
    fn default() -> Self {
        Self { policy: Policy::None, reserve: None, pin: true }
    }
}
