//! `nexus bench` through the real binary: rows in its own process and in children, as a table, JSON and a picture.

use std::time::Duration;

use nexus_tests::nexus_binary;
use nexus_tests::process::{Process, Sandbox};
use serde_json::Value;

/// Enough for a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn figures(measured: &Value) -> &[Value] {
    measured["figures"].as_array().unwrap()
}

/// Goal: whatever a row comes to is whole: figures and baselines are numbers, ratio and verdict follow from them, the picture shows
/// every figure that has a target, and `--strict` fails exactly if one is missed. Method: rows of every kind (messages, the route
/// table, panics, processes of their own), little work.
#[test]
fn figures_are_whole() {
    let sandbox = Sandbox::new();
    let picture = sandbox.path("ratios.svg");
    let mut command = sandbox.command(nexus_binary!());
    command.args([
        "bench", "tell", "lookup", "restart", "dormant", "live", "--quick", "--rounds", "1", "--strict",
    ]);
    command.args(["-o", "json", "--svg"]).arg(&picture);
    let ended = Process::spawn(&mut command).wait(LIMIT);
    let measured: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let mut missed = 0;
    let svg = std::fs::read_to_string(&picture).unwrap();
    for figure in figures(&measured) {
        let value = figure["nexus"].as_f64().unwrap_or_else(|| panic!("{figure}"));
        assert!(value > 0.0, "{figure}");
        let first = &figure["baselines"][0];
        if first["name"] != "erlang" && !first.is_null() {
            let baseline = first["value"].as_f64().unwrap_or_else(|| panic!("{figure}"));
            let ratio = figure["ratio"].as_f64().unwrap();
            assert!((ratio * baseline / value - 1.0).abs() < 1e-9, "{figure}");
        }
        missed += usize::from(figure["met"] == false);
        let title = format!("{}: {}", figure["row"].as_str().unwrap(), figure["what"].as_str().unwrap());
        assert_eq!(svg.contains(&title), !figure["met"].is_null(), "{title}");
    }
    let rows: std::collections::BTreeSet<_> =
        figures(&measured).iter().map(|figure| figure["row"].as_str().unwrap()).collect();
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["dormant", "live", "lookup", "restart", "tell"]);
    assert_eq!(measured["missed"], missed);
    assert_eq!(ended.code, Some(i32::from(missed > 0)), "{}", ended.stderr);
}

/// Goal: growth is measured at every decade, and drawn.
#[test]
fn growth_is_drawn() {
    let sandbox = Sandbox::new();
    let picture = sandbox.path("growth.svg");
    let mut command = sandbox.command(nexus_binary!());
    command.args(["bench", "dormant", "--growth", "--agents", "12000", "--live", "0", "--rounds", "1"]);
    command.args(["-o", "json", "--svg"]).arg(&picture);
    let ended = Process::spawn(&mut command).wait(LIMIT);
    let measured: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let agents: Vec<_> =
        measured["growth"].as_array().unwrap().iter().map(|at| at["agents"].clone()).collect();
    assert_eq!(agents, [10_000, 12_000]);
    assert!(std::fs::read_to_string(&picture).unwrap().contains("Memory of dormant agents"));
}

/// Goal: what cannot be measured is refused before anything is, with what can.
#[test]
fn refusals_come_first() {
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| {
        Process::spawn(sandbox.command(nexus_binary!()).arg("bench").args(arguments)).wait(LIMIT)
    };
    let unknown = run(&["tel"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("`tel`") && unknown.stderr.contains("the rows are tell,"),
        "{}",
        unknown.stderr
    );
    let nowhere = run(&["lookup", "--svg", "no/such/folder.svg"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("no/such/folder.svg"), "{}", nowhere.stderr);
}
