//! Nodes within the test's own process.

use std::path::Path;
use std::time::Duration;

use nexus_actors::agent::Behaviors;
use nexus_app::boot::{self, RunningNode};
use nexus_app::feed::ProgressDisplay;
use nexus_app::topology::{BehaviorNames, Topology};

/// The built-in behaviors.
pub(crate) fn built_in() -> Behaviors {
    let mut behaviors = Behaviors::new();
    nexus_app::behaviors::register_all(&mut behaviors);
    behaviors
}

/// Reads and checks a topology; its paths start from `base_dir`.
pub(crate) fn topology(text: &str, base_dir: &Path, behaviors: &Behaviors) -> Topology {
    let names = BehaviorNames::of(behaviors);
    let text = format!("{text}\n[debug]\nenabled = false\n");
    Topology::parse(&text, "test.toml", base_dir, &names, &|_| None)
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// Starts a node without endpoint.
pub(crate) async fn start(text: &str, base_dir: &Path, behaviors: Behaviors) -> RunningNode {
    let topology = topology(text, base_dir, &behaviors);
    boot::start(topology, behaviors, ProgressDisplay::Lines).await.unwrap()
}

/// Stops a node in order, which must take no longer than `limit`.
pub(crate) async fn stop(node: RunningNode, limit: Duration) {
    let reason = node.shutdown(limit).await;
    assert!(reason.is_some(), "the tree did not stop within {limit:?}");
}
