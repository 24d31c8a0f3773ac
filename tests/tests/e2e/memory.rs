//! Feeds much larger than memory should be: what a node holds depends on its limits, not on the length of a feed.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nexus_tests::nexus_binary;
use nexus_tests::process::{ENDPOINT, Process, Sandbox};
use serde_json::Value;

/// Bytes that go through standard input. A debug build is slower, and memory that grows with them shows there as well.
const BYTES: usize = if cfg!(debug_assertions) { 200 << 20 } else { 2 << 30 };
/// How much more a node may hold at the end than after the first tenth.
const GROWTH_MAX_KIB: u64 = 16 * 1024;
/// What it may hold in all.
const PEAK_MAX_KIB: u64 = 192 * 1024;

const TOPOLOGY: &str = r#"
[[agent]]
name = "sink/*"
behavior = "echo"
inbox = 256

[[feed]]
name = "records"
source = "-"
format = "csv"

  [[feed.emit]]
  to = ["sink/{key}"]
  update = "text"
  fields = { text = "{text}" }
"#;

/// Goal: a long feed runs in bounded memory. Method: records of 1 KiB through a pipe; the node's memory after the first tenth
/// against its peak at the end.
#[test]
fn a_long_feed_in_bounded_memory() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("long.toml", format!("{TOPOLOGY}{ENDPOINT}"));
    let mut command = sandbox.command(nexus_binary!());
    command.arg("-ojson").arg("run").arg(file).stdin(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut stdin = process.take_stdin().unwrap();
    let text = "x".repeat(1015);
    let block: String = (0..64).map(|key| format!("{key:03},{text}\n")).collect();
    let blocks = BYTES / block.len();
    let started = Instant::now();
    stdin.write_all(b"key,text\n").unwrap();
    let mut early = 0;
    for written in 0..blocks {
        if written == blocks / 10 {
            early = process.memory_kib().1;
        }
        stdin.write_all(block.as_bytes()).unwrap();
    }
    drop(stdin);
    process.says("all feeds are over", Duration::from_secs(60));
    let (_, peak) = process.memory_kib();
    let took = started.elapsed();
    process.signal(nexus_tests::process::Signal::TERM);
    let ended = process.wait(Duration::from_secs(20));
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(said["messages"]["processed"], blocks as u64 * 64, "{ended:?}");
    println!("{} MiB in {took:.1?}: {early} KiB after a tenth, {peak} KiB at most", BYTES >> 20);
    assert!(peak < early + GROWTH_MAX_KIB, "it grew from {early} KiB to {peak} KiB");
    assert!(peak < PEAK_MAX_KIB, "{peak} KiB");
}
