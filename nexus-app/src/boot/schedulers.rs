//! From the topology and the machine to running schedulers.

use std::path::Path;

use nexus_actors::scheduler::{self, CpuTopology, Policy, Schedulers, SchedulersConfig};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::BootError;

/// Runtimes that end with the node, also if it is dropped or does not start: what lives on them holds the node, so that they would
/// never end by themselves.
#[derive(Debug)]
pub(super) struct NodeSchedulers(pub(super) Schedulers);

impl Drop for NodeSchedulers {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// Starts the runtimes that `config` makes of the machine we run on.
///
/// On a single-threaded runtime there are none: its owner wants everything on that thread, with its clock, as simulations do.
///
/// # Errors
/// [`BootError::Schedulers`]; nothing runs then.
pub(super) async fn start(mut config: SchedulersConfig) -> Result<NodeSchedulers, BootError> {
    let system = Handle::current();
    if system.runtime_flavor() == RuntimeFlavor::CurrentThread && config.policy != Policy::None {
        tracing::debug!("the node was started on a single-threaded runtime: its agents stay there");
        config.policy = Policy::None;
    }
    let starting = tokio::task::spawn_blocking(move || {
        let machine = CpuTopology::read(Path::new("/"), scheduler::allowed().as_ref());
        Schedulers::start(&config, &machine, &system)
    });
    let started = starting.await.map_err(std::io::Error::other).and_then(std::convert::identity);
    started.map(NodeSchedulers).map_err(BootError::Schedulers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtimes(schedulers: &NodeSchedulers) -> usize {
        schedulers.0.layout().runtimes.len()
    }

    /// Goal: a single-threaded runtime keeps everything; another gets its agents' runtimes.
    #[test]
    fn one_thread_stays_one_thread() {
        let config = SchedulersConfig { policy: Policy::Numa, ..SchedulersConfig::default() };
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtimes(&single.block_on(start(config)).unwrap()), 0);
        let several = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        assert!(runtimes(&several.block_on(start(config)).unwrap()) > 0);
        let nothing = SchedulersConfig::default();
        assert_eq!(runtimes(&several.block_on(start(nothing)).unwrap()), 0);
    }
}
