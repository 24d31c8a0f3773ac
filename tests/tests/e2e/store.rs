//! Stores that cannot be used, that fill up, and that people look at.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nexus_actors::rng::Rng;
use nexus_app::cli::Exit;
use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Ended, Process, Sandbox, Signal};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::boxes;
use crate::durable::kill;

const LIMIT: Duration = Duration::from_secs(60);
const EACH_UPDATE: &str = "\"each-update\"";
const ON_HIBERNATE: &str = "\"on-hibernate\"";

fn stop(process: Process) {
    process.signal(Signal::TERM);
    let ended = process.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn nexus(sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    Process::spawn(sandbox.command(nexus_binary!()).args(arguments)).wait(LIMIT)
}

/// Goal: a store that cannot be used ends the start with file and remedy, and nothing in it is changed.
#[test]
fn an_unusable_store_is_a_start_error() {
    let sandbox = Sandbox::new();
    let file = boxes::topology(&sandbox, EACH_UPDATE, "");
    let refused = |words: &[&str]| {
        let ended = sandbox.run(nexus_binary!(), &file, &[]).wait(LIMIT);
        assert_eq!(ended.code, Some(Exit::Tree.code().into()), "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "no `{word}`: {ended:?}");
        }
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    };
    let first = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&first);
    assert!(boxes::set(&endpoint, "box/a", "k", json!(7)));
    refused(&["state", "in use by another process", "stop the other node"]);
    assert!(boxes::set(&endpoint, "box/a", "k", json!(8)), "the first one goes on");
    stop(first);

    let store = sandbox.path("state/nexus.redb");
    let sound = std::fs::read(&store).unwrap();
    for damaged in [b"this is no store".repeat(1000), sound[..sound.len() / 2].to_vec()] {
        std::fs::write(&store, &damaged).unwrap();
        refused(&["nexus.redb", "is damaged", "move it away"]);
    }
    std::fs::write(&store, &sound).unwrap();
    let again = sandbox.run(nexus_binary!(), &file, &[]);
    assert_eq!(boxes::get(&sandbox.endpoint(&again), "box/a", "k"), 8);
    stop(again);

    std::fs::remove_dir_all(sandbox.path("state")).unwrap();
    std::fs::write(sandbox.path("state"), "a file").unwrap();
    let ended = nexus(&sandbox, &["check", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(Exit::Config.code().into()), "{ended:?}");
    assert!(ended.stdout.contains("bad-store-path"), "{ended:?}");
}

/// A text that no packing makes smaller.
fn noise(rng: &mut Rng) -> String {
    (0..20_000).map(|_| char::from(rng.random_range(b'!'..b'~'))).collect()
}

/// Writes to a store that `fill` leaves no room, until updates are refused; then makes room again with `free`. Nothing that was
/// acknowledged is lost, and the node says what is wrong for as long as it is.
fn fills_up(sandbox: &Sandbox, rng: &mut Rng, fill: impl FnOnce(&Process, u64), free: impl FnOnce(&Process)) {
    let file = boxes::topology(sandbox, EACH_UPDATE, "");
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    assert!(boxes::set(&endpoint, "box/first", "count", json!(1)));
    assert_eq!(endpoint.get("/readyz").status, 200);
    fill(&process, endpoint.json("/debug/store")["file_bytes"].as_u64().unwrap());

    let mut acknowledged = 0_u64;
    until("a store without room refuses", LIMIT, || {
        let agent = format!("box/{acknowledged}");
        let is_set = boxes::set(&endpoint, &agent, "noise", json!(noise(rng)))
            && boxes::set(&endpoint, &agent, "number", json!(acknowledged));
        acknowledged += u64::from(is_set);
        (!is_set).then_some(())
    });
    check_degraded(&endpoint, acknowledged);
    assert!(!process.has_ended(), "{}", process.stderr());

    free(&process);
    until("the store writes again", LIMIT, || (endpoint.get("/readyz").status == 200).then_some(()));
    for event in ["store.degraded", "store.recovered"] {
        // It is ready a moment before it says that it recovered.
        until(event, LIMIT, || {
            let told = endpoint.json(&format!("/debug/events?format=json&event={event}"));
            (told["events"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
    }
    until("updates are taken again", LIMIT, || {
        boxes::set(&endpoint, "box/last", "count", json!(2)).then_some(())
    });
    let ended = kill(process);
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");

    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    for number in 0..acknowledged {
        assert_eq!(boxes::get(&endpoint, &format!("box/{number}"), "number"), number);
    }
    assert_eq!(boxes::get(&endpoint, "box/first", "count"), 1);
    assert_eq!(boxes::get(&endpoint, "box/last", "count"), 2);
    stop(process);
    let checked = nexus(sandbox, &["store", "check", "state"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// What a node without room for its store says, and what it still does.
fn check_degraded(endpoint: &Endpoint, number: u64) {
    let ready = endpoint.get("/readyz");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("the store is full"), "{ready:?}");
    assert_eq!(endpoint.get("/livez").status, 200);
    let store = endpoint.json("/debug/store");
    assert_eq!(store["state"], "degraded", "{store}");
    assert!(store["failures"].as_u64().unwrap() > 0, "{store}");
    let text = endpoint.get("/debug/store?format=text").body;
    assert!(text.contains("degraded for") && text.contains("make room"), "{text}");
    // Who only asks is answered; who sets something hears why it is not kept, and it is not.
    assert_eq!(boxes::get(endpoint, "box/first", "count"), 1);
    let body = json!({ "operation": "update", "key": "count", "payload": 99 });
    let refused = endpoint.post_json("/api/agents/box/first/ask", &body);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("not_stored")), "{refused:?}");
    assert_eq!(boxes::get(endpoint, "box/first", "count"), 1, "after {number} updates");
}

/// Goal: a file that may not grow is a full disk: clear words in `/readyz`, refusals, recovery, no corruption, and the signal that
/// comes with it does not end the process. Method: `RLIMIT_FSIZE` of the running node.
#[test]
fn seeded_file_size_limit() {
    let mut rng = seed::of("seeded_file_size_limit").stream("noise");
    let sandbox = Sandbox::new();
    fills_up(
        &sandbox,
        &mut rng,
        |process, bytes| process.limit_files(Some(bytes)),
        |process| process.limit_files(None),
    );
}

/// A small file system in memory, unmounted with this.
struct Tmpfs<'a>(&'a Path);

impl Tmpfs<'_> {
    fn mount(path: &Path, bytes: u64) -> Option<Tmpfs<'_>> {
        std::fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]).arg(path);
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(Tmpfs(path))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // What cannot be unmounted stays until the machine stops; it holds some megabytes.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Goal: the same with a file system that is really full, and has room again. Only where it may be mounted.
#[test]
fn seeded_full_disk() {
    const BYTES: u64 = 8 << 20;
    let mut rng = seed::of("seeded_full_disk").stream("noise");
    let sandbox = Sandbox::new();
    let state = sandbox.path("state");
    let Some(_mounted) = Tmpfs::mount(&state, BYTES) else {
        println!("skipped: no file system may be mounted here");
        return;
    };
    let ballast = state.join("ballast");
    fills_up(
        &sandbox,
        &mut rng,
        |_, bytes| {
            let room = BYTES - bytes - (256 << 10);
            std::fs::write(&ballast, vec![1; usize::try_from(room).unwrap()]).unwrap();
        },
        |_| std::fs::remove_file(&ballast).unwrap(),
    );
}

/// A topology with a feed of numbers into a box that is kept.
fn numbers(sandbox: &Sandbox, persist: &str, source: &str, more: &str) -> PathBuf {
    let text = format!(
        r#"
        [store]
        path = "state"
        checkpoint = "20ms"

        [[agent]]
        name = "sum"
        behavior = "kv"
        persist = {persist}

        [[feed]]
        name = "numbers"
        source = "{source}"
        format = "csv"
        {more}

          [[feed.emit]]
          to = ["sum"]
          action = "increment"
          fields = {{ key = "{{key}}", by = {{ column = "by", type = "int", required = true }} }}
        {ENDPOINT}"#
    );
    sandbox.write("numbers.toml", text)
}

fn csv(rows: u64) -> String {
    let rows: String = (1..=rows).map(|by| format!("n,{by}\n")).collect();
    format!("key,by\n{rows}")
}

fn run_to_its_end(sandbox: &Sandbox, file: &Path) -> (Option<i32>, Value) {
    let ended = nexus(sandbox, &["-o", "json", "run", file.to_str().unwrap(), "--exit-when-done"]);
    let said = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, said)
}

/// Goal: a feed whose source or mapping is another than that of its place refuses to go on, with the remedy, and changes nothing; the
/// pace may change. Put back, or under another name, it runs.
#[test]
fn another_source_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("n.csv", csv(1000));
    let file = numbers(&sandbox, ON_HIBERNATE, "n.csv", "replay = { rate = 2000.0 }");
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    let kept = until("a checkpoint", LIMIT, || {
        endpoint.json("/debug/feeds")["feeds"][0]["checkpoint"]["position"].as_u64().filter(|kept| *kept > 0)
    });
    kill(process);

    sandbox.write("n.csv", csv(1001));
    let file = numbers(&sandbox, ON_HIBERNATE, "n.csv", "");
    let (code, said) = run_to_its_end(&sandbox, &file);
    assert_eq!((code, &said["feeds"][0]["state"]), (Some(Exit::Failed.code().into()), &json!("failed")));
    let error = said["feeds"][0]["error"].as_str().unwrap();
    assert!(error.contains("another source or mapping") && error.contains("another name"), "{error}");
    assert!(said["feeds"][0]["confirmed"].as_u64().unwrap() >= kept, "{said}");
    assert_eq!(said["messages"]["sent"], 0, "{said}");

    sandbox.write("n.csv", csv(1000));
    let (code, said) = run_to_its_end(&sandbox, &file);
    assert_eq!((code, &said["feeds"][0]["state"]), (Some(0), &json!("completed")));
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    assert_eq!(boxes::get(&sandbox.endpoint(&process), "sum", "n"), 500_500);
    stop(process);
}

/// Goal: while the store cannot write, a feed into agents that are kept waits and loses nothing; it completes when there is room, and
/// its effect is that of an undisturbed run, also after a kill. Method: the running node may suddenly not write its file at all.
#[test]
fn a_feed_waits_for_a_full_store() {
    const ROWS: u64 = 3000;
    for persist in [EACH_UPDATE, ON_HIBERNATE] {
        let sandbox = Sandbox::new();
        sandbox.write("n.csv", csv(ROWS));
        let file = numbers(&sandbox, persist, "n.csv", "replay = { rate = 3000.0 }");
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        let feed = || endpoint.json("/debug/feeds")["feeds"][0].clone();
        until("it runs", LIMIT, || (feed()["confirmed"].as_u64().unwrap() > 300).then_some(()));
        process.limit_files(Some(1));
        until("the store is full", LIMIT, || (endpoint.get("/readyz").status == 503).then_some(()));
        until("a checkpoint fails", LIMIT, || feed()["checkpoint"]["error"].as_str().map(drop));
        let held = feed();
        assert_eq!(held["state"], "running", "{persist}: {held}");
        assert!(held["confirmed"].as_u64().unwrap() < ROWS, "{persist}: {held}");
        process.limit_files(None);
        until("it completes", LIMIT, || (feed()["state"] == "completed").then_some(()));
        let (kept, sum) = (feed()["checkpoint"]["position"].clone(), ROWS * (ROWS + 1) / 2);
        assert_eq!((kept, boxes::get(&endpoint, "sum", "n")), (json!(ROWS), sum), "{persist}");
        kill(process);
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        assert_eq!(boxes::get(&sandbox.endpoint(&process), "sum", "n"), sum, "{persist}");
        stop(process);
    }
}

/// Goal: what cannot be read again says so in the check and in its status, and is fed all the same.
#[test]
fn standard_input_begins_anew() {
    let sandbox = Sandbox::new();
    let file = numbers(&sandbox, ON_HIBERNATE, "-", "");
    let why = "standard input cannot be read again";
    let checked = nexus(&sandbox, &["check", file.to_str().unwrap()]);
    assert!(checked.code == Some(0) && checked.stdout.contains(why), "{checked:?}");
    for round in 1..=2 {
        let mut command = sandbox.command(nexus_binary!());
        command.args(["-o", "json", "run"]).arg(&file).arg("--exit-when-done").stdin(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        std::io::Write::write_all(&mut process.take_stdin().unwrap(), csv(10).as_bytes()).unwrap();
        let ended = process.wait(LIMIT);
        let said: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, &said["feeds"][0]["not_kept"]), (Some(0), &json!(why)), "{said}");
        let process =
            Process::spawn(sandbox.command(nexus_binary!()).arg("run").arg(&file).stdin(Stdio::piped()));
        assert_eq!(boxes::get(&sandbox.endpoint(&process), "sum", "n"), 55 * round);
        stop(process);
    }
}

/// Goal: the command shows a running node's store, and reads and compacts one that no node uses, also in JSON; what is no store is
/// said to be none, and none is made.
#[test]
fn the_store_command() {
    let sandbox = Sandbox::new();
    let file = boxes::topology(&sandbox, EACH_UPDATE, "");
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    for agent in 0..20 {
        assert!(boxes::set(&endpoint, &format!("box/{agent}"), "k", json!(agent)));
    }
    let shown = nexus(&sandbox, &["store"]);
    assert!(shown.code == Some(0) && shown.stdout.contains("state      ok"), "{shown:?}");
    let shown: Value = serde_json::from_str(&nexus(&sandbox, &["store", "-o", "json"]).stdout).unwrap();
    assert_eq!((&shown["state"], &shown["snapshots"]), (&json!("ok"), &json!(20)), "{shown}");
    let metrics = endpoint.get("/metrics").body;
    assert!(metrics.contains("nexus_store_snapshots_total 20"), "{metrics}");
    let busy = nexus(&sandbox, &["store", "check", "state"]);
    assert!(busy.code == Some(1) && busy.stderr.contains("in use"), "{busy:?}");
    stop(process);

    let checked = nexus(&sandbox, &["store", "check", "state/nexus.redb", "-o", "json"]);
    let contents: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&contents["agents"], &contents["behaviors"]["kv"]), (&json!(20), &json!(20)), "{contents}");
    let compacted = nexus(&sandbox, &["store", "compact", "state"]);
    assert!(compacted.code == Some(0) && compacted.stdout.contains("fewer"), "{compacted:?}");
    let checked = nexus(&sandbox, &["store", "check", "state"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("20 agents"), "{checked:?}");
    let none = nexus(&sandbox, &["store", "check", "nowhere"]);
    assert!(none.code == Some(1) && none.stderr.contains("is no store"), "{none:?}");
    assert!(!sandbox.path("nowhere").exists());
}
