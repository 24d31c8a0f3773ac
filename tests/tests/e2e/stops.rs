//! How a node ends: signals, limits, and outputs that nobody reads.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nexus_actors::prelude::*;
use nexus_app::cli::Exit;
use nexus_tests::nexus_binary;
use nexus_tests::process::{ENDPOINT, Process, Sandbox, Signal};
use nexus_tests::wait::until;

use crate::node;

const LIMIT: Duration = Duration::from_secs(20);

/// An `echo` that is kept busy for an hour by its first message, which no stop in order can end.
fn busy(shutdown: &str, node: &str) -> String {
    format!(
        r#"
        node = {{ {node} }}

        [[agent]]
        name = "busy"
        behavior = "echo"
        shutdown = "{shutdown}"

        [[feed]]
        name = "records"
        source = "records.jsonl"

          [[feed.emit]]
          to = ["busy"]
          action = "sleep"
          fields = {{ ms = {{ column = "ms", type = "int" }} }}
        {ENDPOINT}"#
    )
}

/// A node whose agent is busy.
fn start_busy(sandbox: &Sandbox, shutdown: &str, node: &str) -> Process {
    sandbox.write("records.jsonl", "{\"ms\": 3600000}\n");
    let file = sandbox.write("busy.toml", busy(shutdown, node));
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    until("the agent is busy", LIMIT, || {
        let agent = endpoint.json("/debug/agents/busy?timeout_ms=0");
        (agent["queued"] == 1 && agent["status"] == "running").then_some(())
    });
    process
}

/// Goal: SIGTERM stops the tree in order: it is said, the runtime file goes, and the exit code is that of success.
#[test]
fn sigterm_stops_in_order() {
    let sandbox = Sandbox::new();
    let file = sandbox.shipped("airspace.toml");
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    assert_eq!(endpoint.get("/livez").status, 200);
    assert_eq!(std::fs::read_dir(sandbox.path("nexus")).unwrap().count(), 1);
    process.signal(Signal::TERM);
    let ended = process.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("SIGTERM: stopping in order"), "{ended:?}");
    assert_eq!(std::fs::read_dir(sandbox.path("nexus")).unwrap().count(), 0, "nobody finds it any more");
}

/// Goal: an agent that does not stop is ended after its own limit, and the node still stops in order.
#[test]
fn a_busy_agent_has_its_limit() {
    let sandbox = Sandbox::new();
    let process = start_busy(&sandbox, "300ms", "");
    let started = Instant::now();
    process.signal(Signal::TERM);
    let ended = process.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(started.elapsed() >= Duration::from_millis(300), "it had its time");
}

/// Goal: where an agent has no limit, the node's own limit ends the stop, and that is said.
#[test]
fn the_node_has_its_limit() {
    let sandbox = Sandbox::new();
    let process = start_busy(&sandbox, "infinity", "shutdown = \"500ms\"");
    process.signal(Signal::INT);
    let ended = process.wait(LIMIT);
    assert!(ended.stderr.contains("had not stopped within 500ms"), "{ended:?}");
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

/// Goal: a second signal ends the node at once, whatever it is waiting for, and leaves nothing behind.
#[test]
fn a_second_sigterm_ends_at_once() {
    let sandbox = Sandbox::new();
    let process = start_busy(&sandbox, "infinity", "shutdown = \"1h\"");
    process.signal(Signal::TERM);
    process.says("SIGTERM: stopping in order; once more to end at once", LIMIT);
    assert!(!process.has_ended());
    process.signal(Signal::TERM);
    let ended = process.wait(Duration::from_secs(5));
    assert_eq!(ended.code, Some(Exit::Interrupted.code().into()), "{ended:?}");
    assert!(ended.stderr.contains("SIGTERM again: ending at once"), "{ended:?}");
    assert_eq!(std::fs::read_dir(sandbox.path("nexus")).unwrap().count(), 0);
}

/// Goal: a feed that waits for standard input does not hold up the end.
#[test]
fn sigterm_while_standard_input_is_silent() {
    let sandbox = Sandbox::new();
    let text = busy("1s", "").replace("\"records.jsonl\"", "\"-\"\nformat = \"jsonl\"");
    let file = sandbox.write("stdin.toml", text);
    let mut command = sandbox.command(nexus_binary!());
    let mut process = Process::spawn(command.arg("run").arg(file).stdin(Stdio::piped()));
    let mut stdin = process.take_stdin().unwrap();
    let _endpoint = sandbox.endpoint(&process);
    stdin.write_all(b"{\"ms\": 1}\n").unwrap();
    process.signal(Signal::TERM);
    let ended = process.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    drop(stdin);
}

/// The names of agents whose `post_stop` has run, in order.
static STOPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes that it was stopped in order.
#[derive(Default)]
struct Noted;

impl Actor for Noted {
    type Msg = AgentMessage;
    type State = String;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<String, ActorProcessingErr> {
        Ok(spec.name.to_string())
    }

    async fn post_stop(
        &self,
        _: ActorRef<AgentMessage>,
        name: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        STOPPED.lock().unwrap().push(name.clone());
        Ok(())
    }
}

/// Goal: an ordered stop runs every agent's `post_stop`, the last started first.
#[tokio::test]
async fn every_post_stop_runs_in_reverse_order() {
    let mut behaviors = node::built_in();
    behaviors.register::<Noted>("noted");
    let text = r#"
        [[agent]]
        name = "first"
        behavior = "noted"

        [[supervisor]]
        name = "inner"

          [[supervisor.agent]]
          name = "second"
          behavior = "noted"

          [[supervisor.agent]]
          name = "third"
          behavior = "noted"

        [[supervisor]]
        name = "family"

          [[supervisor.agent]]
          name = "member/{0..9}"
          behavior = "noted"
          start = "eager"
    "#;
    let running = node::start(text, std::path::Path::new(""), behaviors).await;
    node::stop(running, LIMIT).await;
    let mut stopped = STOPPED.lock().unwrap().clone();
    let rest = stopped.split_off(10);
    assert_eq!(rest, ["third", "second", "first"]);
    // A dynamic supervisor stops its children together, as OTP's does.
    stopped.sort_unstable();
    assert_eq!(stopped, (0..10).map(|number| format!("member/{number}")).collect::<Vec<_>>());
}

/// Goal: results that nobody reads are no failure, and a full disk under them is one that is told. Method: a pipe whose reader has
/// gone, and `/dev/full`.
#[test]
fn broken_standard_output() {
    let sandbox = Sandbox::new();
    sandbox.write("records.jsonl", "{\"ms\": 0}\n");
    let file = sandbox.write("busy.toml", busy("1s", ""));
    let run = |stdout: Stdio| {
        let mut command = sandbox.command(nexus_binary!());
        Process::spawn_to(stdout, command.arg("run").arg(&file).arg("--exit-when-done")).wait(LIMIT)
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = run(writer.into());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panic"), "{ended:?}");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = run(full.into());
    assert_eq!(ended.code, Some(Exit::Failed.code().into()), "{ended:?}");
    assert!(ended.stderr.contains("cannot write the output: No space left"), "{ended:?}");
}
