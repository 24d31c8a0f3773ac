//! The airspace on three processes: the same report as one node's, whichever of them is killed, and whenever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_app::cli::runtime_file::{self, RuntimeFile};
use nexus_tests::flights::{read, requests, week};
use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Process, Sandbox, config_dir, kill};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;
use serde_json::Value;

/// How long one step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(120);
const NODES: usize = 3;
/// Runs with a kill at a random moment, unless `NEXUS_TEST_KILLS` says otherwise.
const KILLS: u64 = 3;
const PACE: &str = "replay = { rate = 500.0 }";

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The node that runs the feed.
    Runner,
    /// One that does not.
    Other,
}

/// The shipped topology at a pace of so many records a second, with free ports.
fn topology(sandbox: &Sandbox, rate: u32) -> PathBuf {
    let text = std::fs::read_to_string(config_dir().join("airspace-cluster.toml")).unwrap();
    assert!(text.contains(PACE) && text.contains("preset = \"local\"\n"));
    let text = text.replace(PACE, &format!("replay = {{ rate = {rate}.0 }}"));
    let text = text.replace("preset = \"local\"\n", "preset = \"local\"\nlisten = \"127.0.0.1:0\"\n");
    let data = config_dir().canonicalize().unwrap().join("data");
    std::os::unix::fs::symlink(data, sandbox.path("data")).unwrap();
    sandbox.write("airspace-cluster.toml", text + ENDPOINT)
}

/// What a run printed, as JSON documents.
fn documents(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().map(Result::unwrap).collect()
}

/// The reports of one node alone.
fn alone() -> Value {
    let sandbox = Sandbox::new();
    let file = topology(&sandbox, 1_000_000);
    let mut command = sandbox.command(nexus_binary!());
    command.env("NEXUS_COOKIE", "0123456789abcdef").args(["-o", "json", "run"]);
    let ended = Process::spawn(command.arg(file).arg("--exit-when-done")).wait(STEP_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = documents(&ended.stdout).remove(0);
    assert_eq!(said["feeds"][0]["confirmed"], requests(&read(&week())), "{}", said["feeds"]);
    said["reports"].clone()
}

struct Fleet {
    sandbox: Sandbox,
    process: Process,
}

impl Fleet {
    fn up(rate: u32) -> Self {
        let sandbox = Sandbox::new();
        let file = topology(&sandbox, rate);
        let mut command = sandbox.command(nexus_binary!());
        let count = NODES.to_string();
        command.args(["-o", "json", "cluster", "up", &count]).arg(file).arg("--exit-when-done");
        let process = Process::spawn(&mut command);
        Self { sandbox, process }
    }

    fn nodes(&self) -> Vec<RuntimeFile> {
        let dir = runtime_file::directory(self.sandbox.path("").to_str());
        runtime_file::find(&dir).unwrap_or_default()
    }

    /// The node that runs the feed, and what it says of it.
    fn runner(&self) -> Option<(RuntimeFile, Value)> {
        assert!(!self.process.has_ended(), "it ended too early");
        self.nodes().into_iter().find_map(|node| {
            let feed = endpoint(&node).try_json("/debug/feeds").ok()?["feeds"][0].clone();
            let runs = feed["node"].is_null() && feed["state"] != "waiting";
            runs.then_some((node, feed))
        })
    }

    /// Waits until so many requests were given.
    fn given(&self, requests: u64) -> (RuntimeFile, Value) {
        until("the feed comes so far", STEP_MAX, || {
            self.runner().filter(|(_, feed)| feed["confirmed"].as_u64().unwrap() >= requests)
        })
    }

    /// Kills a node at once.
    fn kill(&self, runner: &RuntimeFile, victim: Victim) {
        let is_victim = |node: &RuntimeFile| (node.node == runner.node) == (victim == Victim::Runner);
        let node = self.nodes().into_iter().find(is_victim).expect("there is one");
        kill(node.pid);
        until("it is gone", STEP_MAX, || self.nodes().iter().all(|left| left.pid != node.pid).then_some(()));
    }

    /// Waits for the end: the reports, and the feed as the node that told of it saw it.
    fn end(self) -> (Value, Value) {
        let ended = self.process.wait(STEP_MAX);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stdout.contains("panicked"), "{ended:?}");
        let lines = documents(&ended.stdout);
        let names: BTreeSet<&str> = lines.iter().filter_map(|line| line["node"].as_str()).collect();
        assert_eq!(names.len(), NODES, "{ended:?}");
        let told = names.iter().flat_map(|name| {
            let printed = lines.iter().filter(|line| line["node"] == *name && line["from"] == "stdout");
            let text: Vec<&str> = printed.filter_map(|line| line["line"].as_str()).collect();
            documents(&text.join("\n"))
        });
        let told: Vec<Value> = told.filter(|said| said["reports"].is_array()).collect();
        assert_eq!(told.len(), 1, "one node tells: {ended:?}");
        (told[0]["reports"].clone(), told[0]["feeds"][0].clone())
    }
}

fn endpoint(node: &RuntimeFile) -> Endpoint {
    let address = node.url.strip_prefix("http://").unwrap().parse().unwrap();
    Endpoint { address, token: node.token.as_ref().map(|token| token.expose().to_owned()) }
}

/// Kills one node after the other, each when so much of the feed was given, and compares with the reports of one node.
fn survives(expected: &Value, kills: &[(u64, Victim)]) {
    let fleet = Fleet::up(1000);
    if kills.is_empty() {
        fleet.given(requests(&read(&week())) / 2);
        let spread = agents(&fleet);
        assert_eq!(spread.len(), NODES);
        assert!(spread.iter().all(|count| *count > 0), "{spread:?}: agents live on all of them");
    }
    for (given, victim) in kills {
        let (runner, feed) = fleet.given(*given);
        println!("{victim:?} is killed at {}", feed["confirmed"]);
        fleet.kill(&runner, *victim);
    }
    let (reports, feed) = fleet.end();
    assert_eq!((&feed["state"], &feed["behind"]), (&"completed".into(), &0.into()), "{feed}");
    assert_eq!(feed["confirmed"], requests(&read(&week())), "{feed}");
    assert_eq!(reports.to_string(), expected.to_string(), "after {kills:?}");
}

/// How many agents each node has.
fn agents(fleet: &Fleet) -> Vec<u64> {
    let nodes = fleet.nodes();
    nodes.iter().map(|node| endpoint(node).json("/debug/agents?limit=1")["total"].as_u64().unwrap()).collect()
}

/// Goal: three processes tell what one does, byte for byte; agents live on all of them; also when a node is killed in the middle: one that
/// does not run the feed, the one that does, and two in turn.
#[test]
fn three_processes_tell_what_one_does() {
    let expected = alone();
    assert_eq!(expected[0]["rows"].as_array().map(Vec::len), Some(15), "{expected}");
    let total = requests(&read(&week()));
    survives(&expected, &[]);
    survives(&expected, &[(total / 2, Victim::Other)]);
    survives(&expected, &[(total / 2, Victim::Runner)]);
    survives(&expected, &[(total / 3, Victim::Runner), (total / 2, Victim::Runner)]);
}

/// Goal: the same whenever a node is killed. Method: random moments and victims.
#[test]
fn seeded_nodes_are_lost_at_any_moment() {
    let mut rng = seed::of("seeded_nodes_are_lost_at_any_moment").stream("kills");
    let kills =
        std::env::var("NEXUS_TEST_KILLS").map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let expected = alone();
    let total = requests(&read(&week()));
    for _ in 0..kills {
        let victim = if rng.random_bool(0.5) { Victim::Runner } else { Victim::Other };
        survives(&expected, &[(rng.random_range(1..total), victim)]);
    }
}

/// The shipped topology is what the test runs, but for its pace and its ports.
#[test]
fn the_cluster_is_the_airspace() {
    let read = |name: &str| std::fs::read_to_string(Path::new(&config_dir()).join(name)).unwrap();
    let emits =
        |text: &str| text[text.find("[[feed.emit]]").unwrap()..text.find("[[report]]").unwrap()].to_owned();
    assert_eq!(emits(&read("airspace-cluster.toml")), emits(&read("airspace.toml")));
}
