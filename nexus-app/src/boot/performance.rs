//! From the topology to the performance monitor.

use nexus_actors::Node;
use nexus_actors::performance::{Performance, PerformanceConfigError};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::topology::Topology;

/// The monitor that `topology` asks for, of the machine we run on.
///
/// On a single-threaded runtime it is off: its owner wants what happens to depend on the clock and the seed alone, as simulations do,
/// and not on how much memory the machine has left.
///
/// # Errors
/// None for a checked topology.
pub(super) fn monitor(node: &Node, topology: &Topology) -> Result<Performance, PerformanceConfigError> {
    let mut config = topology.performance.config();
    if config.enabled && Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        tracing::debug!("the node was started on a single-threaded runtime: it has no performance monitor");
        config.enabled = false;
    }
    Performance::new(node, config, "/")
}
