//! The demonstration, end to end: its reports and summaries against an independent computation over the same records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_actors::Node;
use nexus_actors::agent::{AgentStatus, Request};
use nexus_tests::flights::{Expected, expected, read, requests, week, year};
use nexus_tests::nexus_binary;
use nexus_tests::process::{Process, Sandbox, config_dir};
use nexus_tests::wait::until;
use serde_json::{Value, json};

use crate::node;

/// The columns of the report in `config/airspace.toml`, as fields of a carrier's summary.
const COLUMNS: [&str; 11] = [
    "carrier",
    "flights",
    "cancelled",
    "dep_delay.mean",
    "dep_delay.p50",
    "dep_delay.p90",
    "dep_delay.p99",
    "arr_delay.mean",
    "arr_delay.p50",
    "arr_delay.p90",
    "arr_delay.p99",
];

/// The report's row for each carrier.
fn rows(expected: &Expected) -> BTreeMap<String, Vec<Value>> {
    let row = |summary: &Value| {
        let field = |path: &&str| summary.pointer(&format!("/{}", path.replace('.', "/"))).cloned();
        COLUMNS.iter().map(|path| field(path).expect("the oracle has every field")).collect()
    };
    expected.carriers.iter().map(|(code, summary)| (code.clone(), row(summary))).collect()
}

/// Runs `topology` to the end of its feeds and compares all it prints with the records at `path`.
fn check_run(topology: &str, path: &std::path::Path, limit: Duration) {
    let records = read(path);
    let (expected, requests) = (expected(&records), requests(&records));
    let sandbox = Sandbox::new();
    let file = sandbox.shipped(topology);
    let mut command = sandbox.command(nexus_binary!());
    command.args(["-o", "json", "run"]).arg(&file).arg("--exit-when-done").env("NEXUS_FLIGHTS", path);
    let started = Instant::now();
    let ended = Process::spawn(&mut command).wait(limit);
    let took = started.elapsed();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();

    let feed = &said["feeds"][0];
    assert_eq!(feed["state"], "completed", "{feed}");
    assert_eq!((&feed["records"], &feed["confirmed"]), (&json!(expected.records), &json!(requests)));
    assert_eq!((&feed["malformed"], &feed["dead_lettered"]), (&json!(0), &json!(0)));
    // The report asks each carrier once.
    let sent = requests + expected.carriers.len() as u64;
    let messages = json!({ "sent": sent, "processed": sent, "rejected": 0, "dead_lettered": 0, "queued": 0 });
    assert_eq!(said["messages"], messages);

    let report = &said["reports"][0];
    assert_eq!(report["silent"], json!([]));
    let shown: Vec<Vec<Value>> = serde_json::from_value(report["rows"].clone()).unwrap();
    let flights: Vec<u64> = shown.iter().map(|row| row[1].as_u64().unwrap()).collect();
    assert!(flights.is_sorted_by(|one, two| one >= two), "sorted by flights: {flights:?}");
    let by_carrier: BTreeMap<String, Vec<Value>> =
        shown.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(by_carrier, rows(&expected));
    println!("{topology}: {} records in {took:.2?}, {requests} requests, none lost", expected.records);
}

/// Goal: the README's first command prints what an independent computation gives, for every carrier exactly, and loses nothing.
/// Method: the real binary on the shipped topology, its endpoint on a free port.
#[test]
fn a_week_equals_the_oracle() {
    check_run("airspace.toml", &week(), Duration::from_secs(60));
}

/// Goal: the same for the full year. A debug build takes a minute or more, so there it runs only if `NEXUS_FLIGHTS` names
/// the archive; an optimized one takes it from beside the workspace by itself.
#[test]
fn a_year_equals_the_oracle() {
    let asked = std::env::var_os("NEXUS_FLIGHTS").is_some();
    match year() {
        Some(path) if asked || !cfg!(debug_assertions) => {
            check_run("airspace-year.toml", &path, Duration::from_secs(600));
        }
        Some(_) => println!("skipped: a debug build does it only with NEXUS_FLIGHTS=…/flights.csv.zip"),
        None => println!("skipped: no ../shared/data/flights/flights.csv.zip and no NEXUS_FLIGHTS"),
    }
}

/// Goal: every carrier, airport and aircraft knows what the oracle says, and there are no others. Method: the shipped topology in
/// this process; every agent is asked for its summary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_agent_equals_the_oracle() {
    let expected = expected(&read(&week()));
    let text = std::fs::read_to_string(config_dir().join("airspace.toml")).unwrap();
    let running = node::start(&text, &config_dir(), node::built_in()).await;
    let end = tokio::time::timeout(Duration::from_secs(60), running.feeds_over()).await.unwrap();
    assert_eq!(end.failed, []);
    let node = running.node();
    compare_agents(node, expected).await;
    tokio::time::timeout(Duration::from_secs(10), running.at_rest()).await.unwrap();
    let tally = node.tally();
    assert_eq!((tally.processed, tally.queued), (tally.sent, 0));
    assert_eq!((tally.rejected, tally.dead_lettered, node.dead_letters().total()), (0, 0, 0));
    node::stop(running, Duration::from_secs(20)).await;
}

/// Goal: agents that sleep lose nothing of what they know. Method: the shipped topology with families that hibernate; the replay,
/// then sleep until nobody is awake, then every agent is asked for its summary, which wakes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_agent_wakes_as_it_slept() {
    let expected = expected(&read(&week()));
    let text = std::fs::read_to_string(config_dir().join("airspace.toml")).unwrap();
    let families = ["aircraft", "airport", "carrier"];
    let mut hibernating = text;
    for behavior in families {
        let line = format!("behavior = \"{behavior}\"\n");
        assert!(hibernating.contains(&line), "{behavior}");
        hibernating = hibernating.replace(&line, &format!("{line}hibernate_after = \"100ms\"\n"));
    }
    let running = node::start(&hibernating, &config_dir(), node::built_in()).await;
    let end = tokio::time::timeout(Duration::from_secs(60), running.feeds_over()).await.unwrap();
    assert_eq!(end.failed, []);
    let node = running.node();
    let agents = node.agent_count();
    until("everybody sleeps", Duration::from_secs(60), || {
        (node.dormant_count() == agents && node.agents().is_empty()).then_some(())
    });
    let tally = node.tally();
    assert_eq!((tally.processed, tally.queued, tally.dead_lettered), (tally.sent, 0, 0));
    for (family, code) in expected.carriers.keys().map(|code| ("carrier", code)).take(3) {
        let slept = node.agent(&format!("{family}/{code}")).unwrap();
        assert_eq!(slept.status, AgentStatus::Dormant, "{slept:?}");
    }
    let names = expected.carriers.keys().map(|code| format!("carrier/{code}"));
    let names = names.chain(expected.airports.keys().map(|code| format!("airport/{code}")));
    let names: Vec<String> =
        names.chain(expected.aircraft.keys().map(|code| format!("aircraft/{code}"))).collect();
    assert_eq!(names.len(), agents);
    for name in names {
        let summary = node.ask(&name, Request::query("summary"), Duration::from_secs(10)).await;
        let (family, code) = name.split_once('/').unwrap();
        let known = match family {
            "carrier" => &expected.carriers[code],
            "airport" => &expected.airports[code],
            _ => &expected.aircraft[code],
        };
        assert_eq!(&summary.unwrap().to_json().unwrap(), known, "{name}");
    }
    node::stop(running, Duration::from_secs(20)).await;
}

async fn compare_agents(node: &Node, expected: Expected) {
    let mut found: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for agent in node.agents() {
        let summary = node.ask(&agent.name, Request::query("summary"), Duration::from_secs(10)).await;
        let (family, code) = agent.name.split_once('/').unwrap();
        let summaries = found.entry(family.to_owned()).or_default();
        summaries.insert(code.to_owned(), summary.unwrap().to_json().unwrap());
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), ["aircraft", "airport", "carrier"]);
    let families =
        [("carrier", expected.carriers), ("airport", expected.airports), ("aircraft", expected.aircraft)];
    for (family, expected) in families {
        let found = &found[family];
        assert_eq!(found.len(), expected.len(), "{family}");
        for (code, summary) in expected {
            assert_eq!(found.get(&code), Some(&summary), "{family}/{code}");
        }
    }
}

/// Goal: every shipped topology passes its own check.
#[test]
fn shipped_topologies_are_valid() {
    let sandbox = Sandbox::new();
    for entry in std::fs::read_dir(config_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let mut command = sandbox.command(nexus_binary!());
            command.arg("check").arg(&path).env("NEXUS_FLIGHTS", week().canonicalize().unwrap());
            let ended = Process::spawn(&mut command).wait(Duration::from_secs(20));
            assert_eq!(ended.code, Some(0), "{}: {ended:?}", path.display());
        }
    }
}
