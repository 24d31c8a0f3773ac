//! What a machine can check of ARCHITECTURE.md's invariants, and of the habits of the house.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}

/// Every Rust file of the product with its text.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for name in ["nexus-actors", "nexus-cluster", "nexus-intel", "nexus-client", "nexus-app"] {
        collect(&root().join(name).join("src"), &mut files);
    }
    assert!(files.len() > 100, "found the sources: {}", files.len());
    files
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            files.push((name, fs::read_to_string(&path).expect("text")));
        }
    }
}

fn is_test(name: &str) -> bool {
    name.contains("test")
}

/// The text before a file's own tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// Goal: decisions stay pure. Method: the files that hold them import nothing that waits, reads a clock or draws lots.
#[test]
fn cores_are_pure() {
    let cores = [
        "supervision/core.rs",
        "supervision/core/",
        "supervision/strategy.rs",
        "supervision/intensity.rs",
        "supervision/backoff.rs",
        "feed/mapping.rs",
        "feed/order.rs",
        "feed/pace.rs",
        "feed/time.rs",
        "feed/checkpoint.rs",
        "feed/chain.rs",
        "feed/redelivery.rs",
        "store/marks.rs",
        "feed/template.rs",
        "cli/cluster/up/core.rs",
        "cluster/meter.rs",
        "topology/reach.rs",
        "agent/name_pattern.rs",
        "agent/hibernate/lifecycle.rs",
        "agent/hibernate/idle.rs",
        "agent/hibernate/record.rs",
        "scheduler/layout.rs",
        "scheduler/place.rs",
        "scheduler/cpu_list.rs",
        "performance/core.rs",
        "performance/core/",
        "performance/config.rs",
        "clients/core.rs",
        "transport/frame.rs",
        "transport/envelope.rs",
        "transport/link/core.rs",
        "transport/link/dedup.rs",
        "transport/link/parts.rs",
        "transport/link/strain.rs",
        "transport/cluster/core.rs",
        "membership/core.rs",
        "membership/quorum.rs",
        "gossip/core.rs",
        "gossip/exchange.rs",
        "gossip/state.rs",
        "ring/mod.rs",
        "ring/moved.rs",
        "directory/core.rs",
        "directory/client.rs",
        "directory/holder.rs",
        "directory/repair.rs",
        "directory/heal.rs",
        "migrate/core.rs",
        "migrate/source.rs",
        "migrate/target.rs",
        "migrate/message.rs",
        "migrate/place/",
    ];
    let mut seen = 0;
    for (name, text) in sources() {
        if !cores.iter().any(|core| name.contains(core)) || is_test(&name) {
            continue;
        }
        seen += 1;
        for forbidden in
            ["tokio", "ractor::", "Instant", "SystemTime", "std::fs", "std::net", ".await", "thread_rng"]
        {
            let found = product(&text)
                .lines()
                .find(|line| !line.trim_start().starts_with("//") && line.contains(forbidden));
            assert_eq!(found, None, "{name} is a core and must not know `{forbidden}`");
        }
    }
    assert!(seen >= cores.len(), "every core was looked at: {seen}");
}

/// Goal: time and chance have one door each below `nexus-app`.
#[test]
fn time_and_chance_have_one_door() {
    for (name, text) in sources() {
        if name.starts_with("nexus-app") || is_test(&name) || name.ends_with("clock.rs") {
            continue;
        }
        for forbidden in ["SystemTime", "std::time::Instant", "rand::rng()", "thread_rng", "OsRng"] {
            assert!(!product(&text).contains(forbidden), "{name} must not use `{forbidden}`");
        }
    }
}

/// Goal: no hidden randomness in the order of branches.
#[test]
fn selects_are_biased() {
    for (name, text) in sources() {
        let mut lines = product(&text).lines();
        while let Some(line) = lines.next() {
            if line.contains("select! {") && !line.trim_start().starts_with("//") && !is_test(&name) {
                let next = lines.next().unwrap_or_default().trim();
                assert_eq!(next, "biased;", "{name}: the first line of `select!`");
            }
        }
    }
}

/// Goal: nothing blocks a thread that others share, and nothing apologises.
#[test]
fn no_sleeping_threads_and_no_apologies() {
    let words = ["todo!", "unimplemented!", "TODO", "FIXME", "for now,"];
    for (name, text) in sources() {
        for word in words {
            assert!(!text.contains(word), "{name} contains `{word}`");
        }
        // A command has its thread to itself.
        let may_sleep = name.contains("/cli/");
        assert!(may_sleep || !text.contains("thread::sleep"), "{name} puts a thread to sleep");
    }
}

/// Goal: files stay readable in one sitting.
#[test]
fn files_are_short() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 620, "{name} has {lines} lines: look for a seam");
    }
}

/// Goal: dependencies point one way.
#[test]
fn arrows_do_not_turn_back() {
    let order = ["nexus-actors", "nexus-cluster", "nexus-intel", "nexus-app"];
    for (at, name) in order.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        for above in &order[at + 1..] {
            assert!(!manifest.contains(above), "{name} must not know {above}");
        }
    }
    let manifest = fs::read_to_string(root().join("nexus-client/Cargo.toml")).expect("a manifest");
    for other in order {
        assert!(!manifest.contains(other), "a client must not pull {other} in");
    }
}

/// Goal: the bugs that simulations must find can still be planted: code that changes takes its bugs along.
#[test]
fn planted_bugs_apply() {
    let folder = fs::read_dir(root().join("tests/bugs")).expect("a folder of the project");
    let paths = folder.map(|entry| entry.expect("readable").path());
    let patches: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    assert_eq!(patches.len(), 12);
    for patch in patches {
        let text = fs::read_to_string(&patch).expect("text");
        for change in text.split("\ndiff --git a/").skip(1) {
            let name = change.split_whitespace().next().expect("a file's name");
            let code = fs::read_to_string(root().join(name)).unwrap_or_default();
            for hunk in change.split("\n@@ ").skip(1) {
                let before = hunk.lines().skip(1).filter(|line| line.starts_with([' ', '-']));
                let before: String = before.map(|line| format!("{}\n", &line[1..])).collect();
                assert!(code.contains(&before), "{patch:?} does not fit {name}:\n{before}");
            }
        }
    }
}
