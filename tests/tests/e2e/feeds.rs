//! Feeds over bad sources, and feeds that are killed.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use nexus_actors::agent::{Payload, Request};
use nexus_app::cli::Exit;
use nexus_tests::flights::{expected, read, requests, week};
use nexus_tests::process::{ENDPOINT, Ended, Process, Sandbox, config_dir};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::node;

const LIMIT: Duration = Duration::from_secs(20);

/// A topology with one `kv` that keeps the last number of each record's name.
fn topology(source: &str, more: &str) -> String {
    format!(
        r#"
        [[agent]]
        name = "store"
        behavior = "kv"
        args = {{ max_keys = 100_000 }}

        [[feed]]
        name = "records"
        source = "{source}"
        {more}

          [[feed.emit]]
          to = ["store"]
          update = "{{name}}"
          fields = {{ number = {{ column = "number", type = "int", required = true }} }}
        "#
    )
}

fn csv(records: impl IntoIterator<Item = String>) -> String {
    let records: String = records.into_iter().map(|record| record + "\n").collect();
    format!("name,number\n{records}")
}

fn run(sandbox: &Sandbox, text: &str) -> (Ended, Value) {
    let file = sandbox.write("test.toml", format!("{text}{ENDPOINT}"));
    let mut command = sandbox.command(nexus_binary!());
    let ended =
        Process::spawn(command.arg("-ojson").arg("run").arg(file).arg("--exit-when-done")).wait(LIMIT);
    let said: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let feed = said["feeds"][0].clone();
    (ended, feed)
}

fn failed(ended: &Ended, feed: &Value, words: &[&str]) {
    assert_eq!(ended.code, Some(Exit::Failed.code().into()), "{ended:?}");
    assert_eq!(feed["state"], "failed");
    let error = feed["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "no `{word}` in {error}");
    }
    assert!(ended.stderr.contains("feed records failed: "), "{}", ended.stderr);
}

/// Goal: a record of over a megabyte and one that is no UTF-8 are rejected with line and reason, counted and written aside, and
/// all others are handled.
#[test]
fn bad_records_are_set_aside() {
    let sandbox = Sandbox::new();
    let mut bytes = csv((0..300).map(|number| format!("n{number},{number}"))).into_bytes();
    bytes.extend([b"x".repeat(1_500_000), b",1\n".to_vec(), b"\xff\xfe,2\nlast,3\n".to_vec()].concat());
    sandbox.write("records.csv", bytes);
    let text = topology("records.csv", "max_malformed = 0.5\nrejects = \"rejects.jsonl\"");
    let (ended, feed) = run(&sandbox, &text);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((&feed["state"], &feed["records"]), (&json!("completed"), &json!(303)));
    assert_eq!((&feed["malformed"], &feed["confirmed"]), (&json!(2), &json!(301)));
    let rejects = std::fs::read_to_string(sandbox.path("rejects.jsonl")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<&Value> = rejects.iter().map(|reject| &reject["line"]).collect();
    assert_eq!(lines, [302, 303]);
    assert!(rejects[1]["reason"].as_str().unwrap().contains("UTF-8"), "{rejects:?}");
    assert!(rejects[0]["text"].as_str().unwrap().len() < 100_000, "of a long record its beginning is kept");
}

/// Goal: a reject file on a full disk stops the feed with the system's reason, rather than losing what it cannot write.
#[test]
fn the_reject_file_is_on_a_full_disk() {
    let sandbox = Sandbox::new();
    sandbox.write("records.csv", csv(["a,1".into(), "b,not a number".into(), "c,3".into()]));
    let text = topology("records.csv", "max_malformed = 1.0\nrejects = \"/dev/full\"");
    let (ended, feed) = run(&sandbox, &text);
    failed(&ended, &feed, &["/dev/full", "No space left"]);
}

/// Goal: too large a share of malformed records stops the feed, with the numbers and the first one.
#[test]
fn too_many_malformed_records() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "records.csv",
        csv((0..1000).map(|number| {
            let cell = if number % 10 == 5 { "ten".to_owned() } else { number.to_string() };
            format!("n{number},{cell}")
        })),
    );
    let (ended, feed) = run(&sandbox, &topology("records.csv", "max_malformed = 0.05"));
    failed(&ended, &feed, &["records.csv:", "11 of 106 records are malformed", "0.05", "line 7"]);
    assert!(feed["records"].as_u64().unwrap() < 1000, "it stopped there: {feed}");
}

/// Goal: a cut-off archive is an error with its place, and what could be read before it was handled.
#[test]
fn a_damaged_archive() {
    let sandbox = Sandbox::new();
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    let records = csv((0..20_000).map(|number| format!("n{},{number}", number % 77)));
    packer.write_all(records.as_bytes()).unwrap();
    let mut packed = packer.finish().unwrap();
    packed.truncate(packed.len() / 2);
    sandbox.write("records.csv.gz", packed);
    let (ended, feed) = run(&sandbox, &topology("records.csv.gz", ""));
    failed(&ended, &feed, &["records.csv.gz:", "reading failed"]);
    let (records, confirmed) = (feed["records"].as_u64().unwrap(), feed["confirmed"].as_u64().unwrap());
    assert!(records > 1000 && confirmed == records, "{feed}");
}

/// Goal: a source that has gone, or turned into something else, since the topology was checked fails the feed with its name
/// and the reason, and nothing else of the node.
#[tokio::test]
async fn a_source_that_goes_after_the_check() {
    for (spoil, words) in [
        ((|path| std::fs::remove_file(path).unwrap()) as fn(&std::path::Path), "cannot open"),
        (
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(path).unwrap();
            },
            "is a directory",
        ),
    ] {
        let sandbox = Sandbox::new();
        let path = sandbox.write("records.csv", csv(["a,1".into()]));
        let behaviors = node::built_in();
        let topology = node::topology(&topology("records.csv", ""), &sandbox.path(""), &behaviors);
        spoil(&path);
        let display = nexus_app::feed::ProgressDisplay::Lines;
        let running = nexus_app::boot::start(topology, behaviors, display).await.unwrap();
        let end = tokio::time::timeout(LIMIT, running.feeds_over()).await.unwrap();
        let (feed, reason) = &end.failed[0];
        assert_eq!(&**feed, "records");
        assert!(reason.contains("records.csv") && reason.contains(words), "{reason}");
        let told = running.node().ask("store", Request::action("keys", Payload::EMPTY), LIMIT).await;
        assert!(told.is_ok(), "the agents serve on: {told:?}");
        node::stop(running, LIMIT).await;
    }
}

/// Goal: standard input is a feed like any other, also when it comes in pieces, and ends with its writer.
#[test]
fn standard_input() {
    let sandbox = Sandbox::new();
    let text = topology("-", "format = \"csv\"");
    let file = sandbox.write("test.toml", format!("{text}{ENDPOINT}"));
    let mut command = sandbox.command(nexus_binary!());
    command.arg("-ojson").arg("run").arg(file).arg("--exit-when-done").stdin(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut stdin = process.take_stdin().unwrap();
    let records = csv((0..1000).map(|number| format!("n{number},{number}")));
    for piece in records.as_bytes().chunks(37) {
        stdin.write_all(piece).unwrap();
    }
    drop(stdin);
    let ended = process.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(said["feeds"][0]["records"], 1000);
    assert_eq!(said["messages"]["processed"], 1000);
}

/// Goal: a feed whose actor is killed again and again goes on where it was: nothing is lost, nothing applied twice. Method: the
/// shipped week, slow enough to be hit as often also when optimized, with more restarts allowed; fifty kills at random places; every carrier and the books are compared
/// with the oracle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_kills_of_the_feed() {
    const KILLS: u64 = 50;
    let mut rng = seed::of("seeded_kills_of_the_feed").stream("kills");
    let rows = read(&week());
    let (expected, total) = (expected(&rows), requests(&rows));
    let text = std::fs::read_to_string(config_dir().join("airspace.toml")).unwrap();
    let text = text.replacen("[node]", "[node]\nintensity = 100\n", 1);
    let text = text.replacen("replay = \"fast\"", "replay = { rate = 6000.0 }", 1);
    let running = node::start(&text, &config_dir(), node::built_in()).await;
    let (node, feed) = (running.node().clone(), running.feeds()[0].clone());
    for _ in 0..KILLS {
        let due = feed.confirmed() + rng.random_range(0..total / KILLS / 4);
        until("the replay goes on", LIMIT, || (feed.confirmed() >= due).then_some(()));
        let cell = until("the feed runs", LIMIT, || {
            assert!(!feed.state().is_over(), "the kills fall during the replay: {:?}", feed.status());
            let found = running.root().view().find("nexus/feeds.sup/flights")?;
            found.cell().filter(|cell| cell.get_status() == ractor::ActorStatus::Running)
        });
        cell.kill();
        cell.wait(Some(LIMIT)).await.unwrap();
    }
    let end = tokio::time::timeout(2 * LIMIT, running.feeds_over()).await.unwrap();
    assert_eq!(end.failed, []);
    let status = feed.status();
    assert_eq!((status.confirmed, status.records, status.late), (total, rows.len() as u64, 0));
    assert_eq!(status.resumes, KILLS, "each kill hit a running feed");
    let tally = node.tally();
    assert_eq!((tally.sent, tally.processed, tally.dead_lettered), (total, total, 0));
    for (code, summary) in expected.carriers {
        let told = node.ask(&format!("carrier/{code}"), Request::query("summary"), LIMIT).await;
        assert_eq!(told.unwrap().to_json().unwrap(), summary, "{code}");
    }
    node::stop(running, LIMIT).await;
}
