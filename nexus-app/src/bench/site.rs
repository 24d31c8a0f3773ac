//! A node to measure, started from a topology as any other.

use std::path::Path;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::agent::{AgentId, Behaviors};
use tokio::runtime::{Handle, Runtime};

use super::BenchError;
use super::contestant;
use crate::boot::{self, RunningNode};
use crate::feed::ProgressDisplay;
use crate::topology::{BehaviorNames, Topology};

/// How long a node may take to stop, and a row to see what it waits for.
const PATIENCE: Duration = Duration::from_secs(300);

/// A node and the runtimes it lives on.
pub(crate) struct Site {
    /// `None` once it is stopped.
    running: Option<RunningNode>,
    system: Runtime,
    home: Handle,
}

impl Site {
    /// Starts the node that `topology` describes, without an endpoint. It knows the built-in behaviors and the
    /// [contestants](contestant).
    pub(crate) fn start(topology: &str) -> Result<Self, BenchError> {
        let mut behaviors = Behaviors::new();
        crate::behaviors::register_all(&mut behaviors);
        contestant::register(&mut behaviors);
        let text = format!("node.name = \"bench\"\ndebug.enabled = false\n{topology}");
        let names = BehaviorNames::of(&behaviors);
        let topology = Topology::parse(&text, "bench", Path::new(""), &names, &|_| None)
            .map_err(|report| BenchError::Node(report.render(false)))?;
        let system = runtime()?;
        let starting = boot::start(topology, behaviors, ProgressDisplay::Lines);
        let running = system.block_on(starting).map_err(|error| BenchError::Node(error.to_string()))?;
        let home = match running.node().schedulers() {
            Some(schedulers) => schedulers.place(AgentId::of("bench")).cloned(),
            None => None,
        };
        let home = home.unwrap_or_else(|| system.handle().clone());
        Ok(Self { running: Some(running), system, home })
    }

    /// The node.
    pub(crate) fn node(&self) -> Node {
        self.running.as_ref().expect("it runs until it is dropped").node().clone()
    }

    /// Runs `work` where agents run, as one agent that sends to others would, and waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BenchError> {
        let task = self.home.spawn(work);
        self.system.block_on(task).map_err(|error| BenchError::Contestant(error.to_string()))
    }

    /// Runs `work` on the runtime of the system actors, as a feed or an endpoint would, and waits for it.
    pub(crate) fn run_outside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BenchError> {
        let task = self.system.spawn(work);
        self.system.block_on(task).map_err(|error| BenchError::Contestant(error.to_string()))
    }

    /// The runtime of the system actors.
    pub(crate) const fn system(&self) -> &Runtime {
        &self.system
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.system.block_on(running.shutdown(PATIENCE));
        }
    }
}

/// A runtime like the one that `nexus run` makes.
pub(crate) fn runtime() -> Result<Runtime, BenchError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(BenchError::System)
}

/// Waits, with others taking their turns, until `seen`. Panics after five minutes: `what` did not happen.
pub(crate) async fn until(what: &str, seen: impl Fn() -> bool) {
    let started = tokio::time::Instant::now();
    while !seen() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::task::yield_now().await;
    }
}
