//! The runtimes that agents live on, through the real binary: pinned as the endpoint says and as the kernel has it, and apart
//! from the endpoint while agents take every CPU they get.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nexus_tests::http::Endpoint;
use nexus_tests::nexus_binary;
use nexus_tests::process::{ENDPOINT, Process, Sandbox};
use nexus_tests::wait::until;
use serde_json::Value;

/// `/livez` answers within this while agents flood the machine.
const QUICK: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(20);

struct Running {
    process: Process,
    endpoint: Endpoint,
    sandbox: Sandbox,
}

fn run(topology: &str) -> Running {
    let sandbox = Sandbox::new();
    let file = sandbox.write("pinned.toml", format!("{topology}{ENDPOINT}"));
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    Running { process, endpoint, sandbox }
}

/// The CPUs of every thread of the process by its number, with its name, as `/proc` has them.
fn kernel(process: &Process) -> BTreeMap<u64, (String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let thread = |path: std::path::PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let field =
            |name| status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
        let number = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, (field("Name:")?, field("Cpus_allowed_list:")?)))
    };
    tasks.filter_map(|task| thread(task.ok()?.path())).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap()
}

/// Goal: each agents' thread is pinned where the endpoint says, with one runtime for each CPU and one for each node; agents
/// are spread over the runtimes; the command shows the same. Method: the kernel's own account of the process's threads.
#[test]
fn threads_are_pinned() {
    for policy in ["core", "numa"] {
        let topology = format!(
            "[schedulers]\npolicy = \"{policy}\"\nreserve = 0\n[[agent]]\nname = \"e/{{0..63}}\"\nbehavior = \"echo\"\nstart = \"eager\"\n"
        );
        let node = run(&topology);
        // An agent counts from the moment it is placed; its task is there once it has started.
        let shown = until("the agents and their tasks", SETTLE, || {
            let shown = node.endpoint.json("/debug/schedulers");
            let runtimes = list(&shown, "runtimes");
            let agents: u64 = runtimes.iter().filter_map(|runtime| runtime["agents"].as_u64()).sum();
            let started =
                runtimes.iter().all(|runtime| runtime["tasks"].as_u64() >= runtime["agents"].as_u64());
            (agents == 64 && started).then_some(shown)
        });
        assert_eq!((&shown["policy"], &shown["unpinned"]), (&policy.into(), &Value::Null), "{shown}");
        let [system, runtimes @ ..] = list(&shown, "runtimes") else { panic!("{shown}") };
        assert_eq!((&system["name"], &system["agents"]), (&"system".into(), &0.into()));
        let threads = kernel(&node.process);
        let mut workers = 0;
        for runtime in runtimes {
            for worker in list(runtime, "workers") {
                let (name, cpus) = &threads[&worker["thread"].as_u64().unwrap()];
                assert_eq!(
                    (name.as_str(), cpus.as_str()),
                    (runtime["thread_name"].as_str().unwrap(), runtime["cpus"].as_str().unwrap())
                );
                assert_eq!(worker["cpus"], runtime["cpus"]);
                workers += 1;
            }
        }
        assert!(workers >= runtimes.len() && workers > 0, "{shown}");
        let mut command = node.sandbox.command(nexus_binary!());
        let ended = Process::spawn(command.arg("schedulers")).wait(SETTLE);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for runtime in runtimes {
            assert!(ended.stdout.contains(runtime["name"].as_str().unwrap()), "{ended:?}");
        }
    }
}

/// Goal: agents that handle messages without end, on every CPU, leave the endpoint of service. Method: more self-feeding work
/// than there are CPUs, until the workers are seen busy; then the endpoint is asked many times.
#[test]
fn a_flood_of_agent_work_leaves_the_endpoint_alone() {
    let rows = "x\n1\n".to_owned() + &"1\n".repeat(2_000_000);
    let topology = r#"
[limits]
inbox = 65536
[[agent]]
name = "e/*"
behavior = "echo"
[[feed]]
name = "flood"
source = "rows.csv"
[[feed.emit]]
to = ["e/{x}", "e/b{x}", "e/c{x}", "e/d{x}"]
action = "note"
"#;
    let sandbox = Sandbox::new();
    sandbox.write("rows.csv", rows);
    let file = sandbox.write("flood.toml", format!("{topology}{ENDPOINT}"));
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    until("agents are busy", SETTLE, || {
        let shown = endpoint.json("/debug/schedulers");
        let busy = list(&shown, "runtimes")[1..].iter().filter_map(|runtime| runtime["busy"].as_f64());
        (busy.sum::<f64>() > 0.1).then_some(())
    });
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(endpoint.get("/livez").status, 200);
        assert!(started.elapsed() < QUICK, "/livez took {:?}", started.elapsed());
    }
    let feed = endpoint.json("/debug/feeds")["feeds"][0]["state"].clone();
    assert_eq!(feed, "running", "the flood went on all the while");
}
