//! State that survives `kill -9`: of agents by their policies, and of the feeds that reach them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::agent::Request;
use nexus_actors::rng::Rng;
use nexus_tests::flights::{Expected, expected, read, requests, week};
use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Ended, Process, Sandbox, Signal, config_dir};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::{boxes, node};

/// How long one step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(60);
/// Kills of the replay, unless [`KILLS_VARIABLE`] says otherwise.
const KILLS: u64 = 8;
/// `NEXUS_TEST_KILLS=200 .ci/test seeded_kills_of_the_process` is the full run.
const KILLS_VARIABLE: &str = "NEXUS_TEST_KILLS";
/// A process lives at most so long before it is killed, its start included.
const LIFE_MAX: Duration = Duration::from_millis(1200);

const POLICIES: [&str; 5] =
    ["\"each-update\"", "\"on-hibernate\"", "{ every = 20 }", "{ every = \"30ms\" }", "{ every = 1 }"];

/// The shipped airspace with a store, in which each family is kept by a policy that `rng` chooses and may hibernate, and with a pace.
fn durable_airspace(rng: &mut Rng, pace: &str) -> String {
    let mut text = std::fs::read_to_string(config_dir().join("airspace.toml")).unwrap();
    for behavior in ["aircraft", "airport", "carrier"] {
        let line = format!("behavior = \"{behavior}\"\n");
        assert!(text.contains(&line), "{behavior}");
        let persist = POLICIES[rng.random_range(0..POLICIES.len())];
        let hibernate = if rng.random_bool(0.5) { "hibernate_after = \"100ms\"\n" } else { "" };
        println!("{behavior}: {persist} {hibernate}");
        text = text.replace(&line, &format!("{line}persist = {persist}\n{hibernate}"));
    }
    assert!(text.contains(PACE));
    format!("{}\n[store]\npath = \"state\"\ncheckpoint = \"50ms\"\n", text.replace(PACE, pace))
}

const PACE: &str = "replay = \"fast\"";

/// Links the shipped data into the sandbox.
fn link_data(sandbox: &Sandbox) {
    let data = config_dir().canonicalize().unwrap().join("data");
    std::os::unix::fs::symlink(data, sandbox.path("data")).unwrap();
}

fn kills() -> u64 {
    std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"))
}

/// Kills the process at once, and waits until it has gone.
pub(crate) fn kill(process: Process) -> Ended {
    process.signal(Signal::KILL);
    let ended = process.wait(STEP_MAX);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

fn wait_until(at: Instant) {
    until("its moment", STEP_MAX, || (Instant::now() >= at).then_some(()));
}

fn run_to_its_end(sandbox: &Sandbox, file: &Path) -> Value {
    let mut command = sandbox.command(nexus_binary!());
    command.args(["-o", "json", "run"]).arg(file).arg("--exit-when-done");
    let ended = Process::spawn(&mut command).wait(2 * STEP_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Goal: an airspace that is killed again and again during its replay, at any moment, and started again, ends with what an
/// uninterrupted run gives: every carrier, airport and aircraft.
///
/// Method: the real binary, with policies that the seed chooses, killed after random times and so also while it starts. The last
/// run is at full speed. Then once more: what is complete stays so, with the same report. At last every agent is asked.
#[test]
fn seeded_kills_of_the_process() {
    let mut rng = seed::of("seeded_kills_of_the_process").stream("kills");
    let (kills, rows) = (kills(), read(&week()));
    let (expected, total) = (expected(&rows), requests(&rows));
    let sandbox = Sandbox::new();
    link_data(&sandbox);
    // Slow enough that the last kill falls before its end: each life is shorter than this on average.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = rows.len() as f64 / (kills as f64 * LIFE_MAX.as_secs_f64());
    let slow = durable_airspace(&mut rng, &format!("replay = {{ rate = {rate:.3} }}"));
    let file = sandbox.write("airspace.toml", slow.clone() + ENDPOINT);
    for _ in 0..kills {
        let killed_at = Instant::now() + LIFE_MAX.mul_f64(rng.random_range(0.0..1.0));
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        wait_until(killed_at);
        assert!(!process.has_ended(), "{}", process.stderr());
        kill(process);
    }

    let fast = slow.replace(&format!("replay = {{ rate = {rate:.3} }}"), PACE);
    let file = sandbox.write("airspace.toml", fast.clone() + ENDPOINT);
    let first = run_to_its_end(&sandbox, &file);
    let second = run_to_its_end(&sandbox, &file);
    for said in [&first, &second] {
        let feed = &said["feeds"][0];
        assert_eq!(feed["state"], "completed", "{feed}");
        assert_eq!((&feed["records"], &feed["confirmed"]), (&json!(rows.len()), &json!(total)), "{feed}");
        assert_eq!(feed["checkpoint"]["position"], json!(total), "{feed}");
        assert_eq!(said["refused"], 0, "{said}");
    }
    assert_eq!(first["reports"], second["reports"]);
    let asked = expected.carriers.len();
    let sent = first["messages"]["sent"].as_u64().unwrap();
    assert!(sent < total, "the kills fell within the replay, which went on: {sent} of {total} were left");
    println!("{kills} kills; {sent} of {total} requests were left for the last run");
    assert_eq!(second["messages"]["sent"], json!(asked), "only the report asks: nothing is delivered again");
    check_all(&fast, &sandbox, expected);
}

/// Asks every agent for its summary, in this process.
fn check_all(topology: &str, sandbox: &Sandbox, expected: Expected) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let running = node::start(topology, &sandbox.path(""), node::built_in()).await;
        let node = running.node();
        let families =
            [("carrier", expected.carriers), ("airport", expected.airports), ("aircraft", expected.aircraft)];
        let agents: usize = families.iter().map(|(_, expected)| expected.len()).sum();
        assert_eq!(node.agent_count(), agents, "everybody has come back, and nobody else");
        for (family, expected) in families {
            for (code, summary) in expected {
                let told = node.ask(&format!("{family}/{code}"), Request::query("summary"), STEP_MAX).await;
                assert_eq!(told.unwrap().to_json().unwrap(), summary, "{family}/{code}");
            }
        }
        node::stop(running, STEP_MAX).await;
    });
}

/// Goal: with `each-update`, what was acknowledged over HTTP before a `kill -9` is there after it, and nothing that was never sent.
/// Method: clients that count up in their own agents as fast as they are answered; kills at random moments.
#[test]
fn seeded_acknowledged_updates_survive() {
    const CLIENTS: usize = 4;
    let mut rng = seed::of("seeded_acknowledged_updates_survive").stream("kills");
    let sandbox = Sandbox::new();
    let file = boxes::topology(&sandbox, "\"each-update\"", "");
    let mut acknowledged = [0_u64; CLIENTS];
    for round in 0..4 {
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        for (client, acknowledged) in acknowledged.iter().enumerate() {
            let found = boxes::get(&endpoint, &format!("box/{client}"), "count");
            // One more may have been written and not acknowledged.
            assert!(
                (*acknowledged..=*acknowledged + 1).contains(&found),
                "round {round}, client {client}: {found} after {acknowledged} were acknowledged"
            );
        }
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (endpoint, over) = (endpoint.clone(), over.clone());
                std::thread::spawn(move || {
                    let agent = format!("box/{client}");
                    let mut count = boxes::get(&endpoint, &agent, "count");
                    while !over.load(Ordering::Relaxed)
                        && boxes::set(&endpoint, &agent, "count", json!(count + 1))
                    {
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        wait_until(Instant::now() + Duration::from_millis(rng.random_range(100..600)));
        kill(process);
        over.store(true, Ordering::Relaxed);
        for (client, acknowledged) in clients.into_iter().zip(&mut acknowledged) {
            *acknowledged = client.join().unwrap();
        }
    }
    assert!(acknowledged.iter().all(|count| *count > 3), "the clients got on: {acknowledged:?}");
}

/// Snapshots that are in the store.
fn snapshots(endpoint: &Endpoint) -> u64 {
    endpoint.json("/debug/store")["snapshots"].as_u64().unwrap()
}

/// Goal: the other policies give back the last complete snapshot: of `every`, what so many messages or so long a time had written;
/// of `on-hibernate`, what the agent went to sleep with; and an ordered stop keeps everything under each of them.
#[test]
fn the_last_snapshot_comes_back() {
    let policies = [
        ("{ every = 10 }", "", [20]),
        ("{ every = \"50ms\" }", "", [25]),
        ("\"on-hibernate\"", "hibernate_after = \"100ms\"", [25]),
    ];
    for (persist, more, [kept]) in policies {
        let sandbox = Sandbox::new();
        let file = boxes::topology(&sandbox, persist, more);
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        for count in 1..=25 {
            assert!(boxes::set(&endpoint, "box/a", "count", json!(count)), "{persist}");
            if (count, kept) == (10, 20) {
                // A store that is still busy with the tenth would take the twentieth later.
                until("the tenth is written", STEP_MAX, || (snapshots(&endpoint) >= 1).then_some(()));
            }
        }
        until("a snapshot of all that is to be written", STEP_MAX, || {
            let enough = if kept == 20 { 2 } else { 1 };
            (snapshots(&endpoint) >= enough).then_some(())
        });
        kill(process);

        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        let found = boxes::get(&endpoint, "box/a", "count");
        match kept {
            20 => assert_eq!(found, 20, "{persist}"),
            // Time passes also between two of the updates.
            _ => assert!((1..=kept).contains(&found), "{persist}: {found}"),
        }
        assert!(boxes::set(&endpoint, "box/a", "count", json!(99)), "{persist}");
        process.signal(Signal::TERM);
        let ended = process.wait(STEP_MAX);
        assert_eq!(ended.code, Some(0), "{persist}: {ended:?}");

        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        assert_eq!(endpoint.json("/debug/store")["restored"]["dormant"], 1, "{persist}");
        let asleep = endpoint.json("/debug/agents?status=dormant");
        assert_eq!(asleep["agents"][0]["name"], "box/a", "{asleep}");
        let restarted = endpoint.post("/debug/agents/box/a/restart");
        assert_eq!((restarted.status, &restarted.json()["code"]), (409, &json!("dormant")), "{persist}");
        assert_eq!(boxes::get(&endpoint, "box/a", "count"), 99, "{persist}: after an ordered stop");
        kill(process);
    }
}
