//! What README.md promises of its own text.

use std::fs;
use std::path::Path;

use nexus_actors::agent::Behaviors;
use nexus_app::topology::{BehaviorNames, Topology};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above")
}

/// The fenced block after `heading`.
fn block(text: &str, heading: &str) -> String {
    let after = text.split(heading).nth(1).expect("the heading is there");
    let code = after.split("```toml\n").nth(1).expect("a block follows");
    code.split("```").next().unwrap_or_default().to_owned()
}

/// Goal: the topology that README prints is valid for the example's binary, with the file it speaks of beside it.
#[test]
fn the_printed_topology_is_valid() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let topology = block(&text, "## Topology");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("readings.csv"), "room,celsius\nkitchen,18\n").unwrap();
    let mut behaviors = Behaviors::new();
    behaviors.durable::<nexus_app::behaviors::Kv>("thermostat");
    let behaviors = BehaviorNames::of(&behaviors);
    let parsed = Topology::parse(&topology, "README.md", folder.path(), &behaviors, &|_| None);
    let parsed = parsed.unwrap_or_else(|report| panic!("{}", report.render(false)));
    assert_eq!((parsed.supervisor.len(), parsed.feed.len()), (1, 1));
}

/// Goal: the topology that README prints for the store is valid for the shipped binary.
#[test]
fn the_printed_store_is_valid() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let behaviors = BehaviorNames::of(&crate::node::built_in());
    let store = block(&text, "## State that is kept");
    let parsed = Topology::parse(&store, "README.md", Path::new(""), &behaviors, &|_| None);
    let parsed = parsed.unwrap_or_else(|report| panic!("{}", report.render(false)));
    assert!(parsed.store.is_some() && parsed.agent.len() == 1);
}

/// Goal: the topology that README prints for a cluster is valid, its certificates being there.
#[test]
fn the_printed_cluster_is_valid() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let behaviors = BehaviorNames::of(&crate::node::built_in());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("certs")).unwrap();
    for file in ["fleet-1.pem", "fleet-1.key", "ca.pem"] {
        fs::write(folder.path().join("certs").join(file), "").unwrap();
    }
    let cluster = block(&text, "## Cluster");
    let parsed = Topology::parse(&cluster, "README.md", folder.path(), &behaviors, &|_| None);
    let parsed = parsed.unwrap_or_else(|report| panic!("{}", report.render(false)));
    assert!(parsed.cluster.is_some_and(|cluster| cluster.seeds.len() == 2));
}

/// Goal: the example stays small enough to copy.
#[test]
fn the_example_is_small() {
    let example = fs::read_to_string(root().join("nexus-app/examples/thermostat.rs")).unwrap();
    assert!(example.lines().count() < 60, "under 60 lines, as README says");
}

/// Goal: the files that README and ARCHITECTURE point to exist.
#[test]
fn links_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(root().join(link).exists(), "{page}: {link}");
        }
    }
}
