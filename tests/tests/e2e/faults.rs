//! Faults of the surroundings, of topologies and of behaviors, with the real binary: each has a clear text, the right exit code
//! and an end in bounded time.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use nexus_app::cli::Exit;
use nexus_tests::nexus_binary;
use nexus_tests::process::{ENDPOINT, Ended, Process, Sandbox};
use serde_json::{Value, json};

/// Every fault must be told within this time, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// One `echo` that does what the records of `records.jsonl` say.
const ECHO: &str = r#"
[[agent]]
name = "echo"
behavior = "echo"

[[feed]]
name = "records"
source = "records.jsonl"

  [[feed.emit]]
  to = ["echo"]
  action = "{what}"
  fields = { reason = "{why}" }
"#;

fn is(ended: &Ended, exit: Exit) {
    assert_eq!(ended.code, Some(exit.code().into()), "{ended:?}");
}

fn run(sandbox: &Sandbox, topology: &str) -> Ended {
    let file = sandbox.write("test.toml", topology);
    let mut command = sandbox.command(nexus_binary!());
    Process::spawn(command.arg("-ojson").arg("run").arg(file).arg("--exit-when-done")).wait(LIMIT)
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

/// Goal: a port that is taken ends the start with the address, the reason and the remedy.
#[test]
fn port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sandbox = Sandbox::new();
    let ended = run(&sandbox, &format!("[debug]\nlisten = \"{address}\"\n"));
    is(&ended, Exit::Tree);
    has(&ended.stderr, &[&address.to_string(), "in use", "another process listens there", "debug.listen"]);
}

/// Goal: topologies that cannot be read, are no text, or are wrong start nothing and say why.
#[test]
fn bad_topologies() {
    let sandbox = Sandbox::new();
    let ended = |name: &str| {
        let mut command = sandbox.command(nexus_binary!());
        Process::spawn(command.arg("run").arg(sandbox.path(name))).wait(LIMIT)
    };
    std::fs::create_dir(sandbox.path("directory.toml")).unwrap();
    sandbox.write("bytes.toml", b"[node]\nname = \"\xff\"\n");
    sandbox.write("broken.toml", "[node\nname = 1\n");
    sandbox.write("wrong.toml", "[node]\nnmae = \"x\"\n\n[[agent]]\nname = \"a\"\nbehavior = \"ecko\"\n");
    sandbox.write("source.toml", ECHO);
    for (name, words) in [
        ("missing.toml", &["cannot open", "No such file"][..]),
        ("directory.toml", &["cannot read", "directory"]),
        ("bytes.toml", &["not UTF-8", "line 2"]),
        ("broken.toml", &["broken.toml:1"]),
        ("wrong.toml", &["wrong.toml:2", "nmae", "`name`", "ecko", "`echo`"]),
        ("source.toml", &["records.jsonl"]),
    ] {
        let ended = ended(name);
        is(&ended, Exit::Config);
        has(&ended.stderr, words);
        assert_eq!(ended.stdout, "", "{name}");
    }
}

/// Goal: arguments a behavior refuses end the start with the agent's name and the reason, and nothing keeps running.
#[test]
fn an_agent_that_cannot_start() {
    let topology = "[[agent]]\nname = \"store\"\nbehavior = \"kv\"\nargs = { keys = 7 }\n";
    let ended = run(&Sandbox::new(), &format!("{topology}{ENDPOINT}"));
    is(&ended, Exit::Tree);
    has(&ended.stderr, &["child `agents.sup`: child `store`", "integer `7`, expected a map"]);
}

/// Goal: a panic costs the record that caused it and nothing else, visibly: one dead letter, one restart, all others handled.
#[test]
fn a_panic_loses_one_record() {
    let sandbox = Sandbox::new();
    let mut records = String::new();
    for number in 0..500 {
        let what = if number == 250 { "panic" } else { "hello" };
        records.push_str(&json!({ "what": what, "why": format!("record {number}") }).to_string());
        records.push('\n');
    }
    sandbox.write("records.jsonl", records);
    let ended = run(&sandbox, &format!("{ECHO}{ENDPOINT}"));
    is(&ended, Exit::Ok);
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    let messages = json!({ "sent": 500, "processed": 499, "rejected": 0, "dead_lettered": 1, "queued": 0 });
    assert_eq!(said["messages"], messages);
    has(&ended.stderr, &["panic: record 250"]);
}

/// Goal: an endless crash loop ends the node, with the whole chain of reasons as its last word. Method: an agent fails on every
/// request, requests come without end; three supervisors stand above it.
#[test]
fn a_crash_loop_escalates() {
    let sandbox = Sandbox::new();
    let topology = r#"
        node = { intensity = 1 }

        [[supervisor]]
        name = "inner"
        intensity = 2

          [[supervisor.agent]]
          name = "echo"
          behavior = "echo"

        [[feed]]
        name = "records"
        source = "-"
        format = "jsonl"

          [[feed.emit]]
          to = ["echo"]
          action = "fail"
          fields = { reason = "{why}" }
    "#;
    let file = sandbox.write("loop.toml", format!("{topology}{ENDPOINT}"));
    let mut command = sandbox.command(nexus_binary!());
    let mut process = Process::spawn(command.arg("run").arg(file).stdin(Stdio::piped()));
    let mut stdin = process.take_stdin().unwrap();
    let writer = std::thread::spawn(move || {
        // Until nobody reads any more.
        while stdin.write_all(b"{\"why\": \"beyond repair\"}\n").is_ok() {}
    });
    let ended = process.wait(LIMIT);
    writer.join().unwrap();
    is(&ended, Exit::Tree);
    let chain = [
        "the tree ended: supervisor `nexus` gave up: more than 1 restarts",
        "because: supervisor `nexus/agents.sup` gave up: more than 1 restarts",
        "because: supervisor `nexus/agents.sup/inner` gave up: more than 2 restarts",
        "because: error: beyond repair",
    ];
    let mut rest = ended.stderr.as_str();
    for line in chain {
        let at = rest.find(line).unwrap_or_else(|| panic!("no `{line}` in {}", ended.stderr));
        rest = &rest[at..];
    }
}
