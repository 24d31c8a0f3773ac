//! Several real processes as one system: `nexus cluster up` and what an operator does with it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nexus_tests::cluster::{AGREE_MAX, LocalCluster, lives};
use nexus_tests::http::{Answer, Endpoint};
use nexus_tests::nexus_binary;
use nexus_tests::process::{Process, START_MAX, Sandbox, Signal};
use nexus_tests::wait::until;
use serde_json::{Value, json};

/// A family that lives on all nodes.
const BOXES: &str = "[[agent]]\nname = \"box/*\"\nbehavior = \"kv\"\n";
const NODES: [&str; 3] = ["air-1", "air-2", "air-3"];
const COUNT: usize = 24;

/// Sets the value of a box through any node; `None` while its node is not known.
fn put(endpoint: &Endpoint, number: usize, value: u64) -> Answer {
    let body = json!({ "operation": "update", "key": "a", "payload": value });
    endpoint.post_json(&format!("/api/agents/box/{number}/ask"), &body)
}

fn get(endpoint: &Endpoint, number: usize) -> Answer {
    endpoint.post_json(&format!("/api/agents/box/{number}/ask"), &json!({ "operation": "query", "key": "a" }))
}

fn home(endpoint: &Endpoint, number: usize) -> Option<String> {
    let answer = endpoint.json(&format!("/debug/where/box/{number}"));
    answer["node"].as_str().map(str::to_owned)
}

fn events(endpoint: &Endpoint, event: &str) -> Vec<Value> {
    let page = endpoint.json(&format!("/debug/events?format=json&event={event}&limit=1000"));
    page["events"].as_array().unwrap().clone()
}

/// Goal: three processes are one system: they know each other, an agent is one wherever it is asked for, a node that is killed is missed
/// and its agents start elsewhere, and all stop in order.
#[test]
fn three_processes_are_one_system() {
    let cluster = LocalCluster::start(nexus_binary!(), 3, BOXES, &[]);
    let endpoints = NODES.map(|node| cluster.endpoint(node));
    for node in NODES {
        for other in NODES {
            let member = cluster.agrees(node, other, "alive");
            assert_eq!(member["connected"], node != other, "{node}: {member}");
        }
        let ring = cluster.endpoint(node).json("/cluster/ring");
        assert_eq!(ring["epoch"], endpoints[0].json("/cluster/ring")["epoch"]);
        let shares: f64 =
            ring["members"].as_array().unwrap().iter().map(|one| one["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{ring}");
    }
    let mut homes = Vec::new();
    for number in 0..COUNT {
        let answer = put(&endpoints[number % 3], number, number as u64);
        assert_eq!(answer.status, 200, "{answer:?}");
        let homes_seen: BTreeSet<_> =
            endpoints.iter().map(|endpoint| home(endpoint, number).unwrap()).collect();
        assert_eq!(homes_seen.len(), 1, "box/{number}: {homes_seen:?}");
        homes.extend(homes_seen);
        for endpoint in &endpoints {
            let answer = get(endpoint, number);
            assert_eq!(
                (answer.status, answer.json()["value"].as_u64()),
                (200, Some(number as u64)),
                "{answer:?}"
            );
        }
    }
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    shows_links(&endpoints[0]);
    drains_one(&cluster, &endpoints);
    let homes: Vec<_> = (0..COUNT).map(|number| home(&endpoints[0], number).unwrap()).collect();
    loses_one(&cluster, &homes);
    drains_none(&cluster);

    let running = cluster.running();
    assert_eq!(running.len(), 2);
    let ended = cluster.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!running.iter().any(lives));
    for node in ["air-1", "air-3"] {
        assert!(ended.stdout.contains(&format!("{node} ")), "{ended:?}");
    }
}

fn shows_links(endpoint: &Endpoint) {
    let links = until("delays", AGREE_MAX, || {
        let view = endpoint.json("/cluster/links");
        view["links"].as_array()?.iter().all(|link| link["delay_ms"].is_number()).then_some(view)
    });
    assert_eq!((&links["tls"], links["links"].as_array().unwrap().len()), (&json!(false), 2), "{links}");
    let metrics = endpoint.get("/metrics").body;
    for metric in [
        "nexus_cluster_members 3",
        "nexus_cluster_ready 1",
        "nexus_cluster_connection_sent_bytes_total{peer=\"air-2\"}",
    ] {
        assert!(metrics.contains(metric) || metrics.contains(&metric.replace(' ', "{} ")), "{metric}");
    }
}

/// Moves everything off the third node by command, and lets it take agents again.
fn drains_one(cluster: &LocalCluster, endpoints: &[Endpoint]) {
    let nexus = |arguments: &[&str]| {
        let mut command = cluster.sandbox.command(nexus_binary!());
        Process::spawn(command.args(arguments)).wait(AGREE_MAX)
    };
    let ended = nexus(&["drain", "air-3"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("air-3 drained"), "{ended:?}");
    for number in 0..COUNT {
        assert_ne!(home(&endpoints[0], number).as_deref(), Some("air-3"), "box/{number}");
        let answer = get(&endpoints[2], number);
        assert_eq!(
            (answer.status, answer.json()["value"].as_u64()),
            (200, Some(number as u64)),
            "{answer:?}"
        );
    }
    let ended = nexus(&["drain", "air-3", "--undo"]);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "air-3 takes agents again"), "{ended:?}");
    let nobody = nexus(&["drain", "air-9"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("no member is called `air-9`"), "{nobody:?}");
    let nowhere = nexus(&["where", "nobody/1"]);
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("nobody/1"), "{nowhere:?}");
    assert!(nexus(&["links"]).stdout.contains("air-1: listening"));
}

/// Drains that cannot be: of a node that is down, and of the last one that takes agents.
fn drains_none(cluster: &LocalCluster) {
    let nexus = |arguments: &[&str]| {
        let mut command = cluster.sandbox.command(nexus_binary!());
        Process::spawn(command.args(arguments)).wait(AGREE_MAX)
    };
    let down = nexus(&["drain", "air-2", "--node", "air-1"]);
    assert!(down.code == Some(1) && down.stderr.contains("no member any more: it is down"), "{down:?}");
    let ended = nexus(&["drain", "air-3", "--node", "air-1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = nexus(&["drain", "air-1", "--node", "air-1"]);
    assert!(last.code == Some(1) && last.stderr.contains("nobody takes the agents of `air-1`"), "{last:?}");
}

fn loses_one(cluster: &LocalCluster, homes: &[String]) {
    cluster.kill("air-2");
    cluster.up.prints("air-2 was killed (SIGKILL); 2 of 3 nodes are left", START_MAX);
    for node in ["air-1", "air-3"] {
        cluster.agrees(node, "air-2", "down");
        let endpoint = cluster.endpoint(node);
        assert_eq!(events(&endpoint, "cluster.member_down")[0]["node"], "air-2");
    }
    let endpoint = cluster.endpoint("air-1");
    for (number, home_before) in homes.iter().enumerate() {
        // While the directory hears from all, a new name may have to wait.
        let answer = until("a box answers", AGREE_MAX, || {
            let answer = put(&endpoint, number, 7);
            (answer.status == 200).then_some(answer)
        });
        let home = home(&endpoint, number).unwrap();
        if home_before == "air-2" {
            assert_ne!(home, "air-2", "{answer:?}");
        } else {
            assert_eq!(home, *home_before, "box/{number} stays");
        }
    }
}

/// Goal: a node that dies is started again, under TLS with certificates made for the run.
#[test]
fn a_node_that_dies_comes_back() {
    let cluster = LocalCluster::start(nexus_binary!(), 2, BOXES, &["--restart", "--tls"]);
    let before = cluster.agrees("air-1", "air-2", "alive");
    assert_eq!(cluster.endpoint("air-1").json("/cluster/links")["tls"], true);
    cluster.kill("air-2");
    cluster
        .up
        .prints("air-2 was killed (SIGKILL); it is started again in 1 s; 1 of 2 nodes are left", START_MAX);
    let after = until("another life", AGREE_MAX, || {
        let member = cluster.agrees("air-1", "air-2", "alive");
        (member["incarnation"].as_u64() > before["incarnation"].as_u64()).then_some(member)
    });
    assert_ne!(after["incarnation"], before["incarnation"]);
    let ready = until("ready again", AGREE_MAX, || {
        Some(cluster.endpoint("air-2").get("/readyz")).filter(|answer| answer.status == 200)
    });
    assert!(ready.body.contains("\"cluster\""), "{ready:?}");
    assert_eq!(cluster.stop().code, Some(0));
}

/// A node of another process group, as another machine would have it.
fn alone(sandbox: &Sandbox, name: &str, seeds: &[String], cookie: &str) -> Process {
    let topology = sandbox.path("air.toml");
    let mut command = sandbox.command(nexus_binary!());
    command.arg("run").arg(topology).env("NEXUS_COOKIE", cookie);
    command.args(["--set", &format!("node.name={name}"), "--set", &format!("cluster.seeds={seeds:?}")]);
    Process::spawn(&mut command)
}

fn cluster_address(endpoint: &Endpoint) -> String {
    endpoint.json("/cluster/links")["listening"].as_str().unwrap().to_owned()
}

/// Goal: who does not know the cookie is refused, and both sides say so in a line that names the remedy.
#[test]
fn a_wrong_cookie_is_refused() {
    let cluster = LocalCluster::start(nexus_binary!(), 2, BOXES, &[]);
    let endpoint = cluster.endpoint("air-1");
    let stranger =
        alone(&cluster.sandbox, "stranger", &[cluster_address(&endpoint)], "not-the-cookie-of-this-cluster");
    stranger.says("all nodes of a cluster need the same secret in NEXUS_COOKIE", START_MAX);
    cluster.up.prints("refused a connection: `stranger` does not know our cookie", START_MAX);
    // It is told after it is logged.
    let told = || events(&endpoint, "cluster.handshake_refused").into_iter().next();
    let refused = until("the refusal is told", START_MAX, told);
    assert_eq!((&refused["reason"], &refused["by_us"]), (&json!("wrong_cookie"), &json!(true)));
    let links = endpoint.json("/cluster/links");
    assert!(links["handshakes"]["refused"]["wrong_cookie"].as_u64() > Some(0), "{links}");

    let own = cluster.endpoint("stranger");
    let ready = own.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("joining: 1 of at least 2 members are there; was refused by"), "{ready:?}");
    let members = endpoint.json("/cluster/members");
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");
    stranger.signal(Signal::TERM);
    assert_eq!(stranger.wait(START_MAX).code, Some(0));
    assert_eq!(cluster.stop().code, Some(0));
}

/// Goal: a node joins while it runs and leaves again by command, and leaving is no failure to anybody.
#[test]
fn nodes_join_and_leave_by_command() {
    let cookie = "a-cookie-that-two-clusters-share";
    let sandbox = Sandbox::new();
    sandbox.write("air.toml", format!("{BOXES}[debug]\nlisten = \"127.0.0.1:0\"\nallow_control = true\n[cluster]\nlisten = \"127.0.0.1:0\"\npreset = \"local\"\n"));
    let (first, second) = (alone(&sandbox, "one", &[], cookie), alone(&sandbox, "two", &[], cookie));
    let nexus = |arguments: &[&str]| {
        let ended = Process::spawn(sandbox.command(nexus_binary!()).args(arguments)).wait(START_MAX);
        (ended.code == Some(0)).then_some(ended.stdout).ok_or(ended.stderr)
    };
    let members = |node: &str| {
        let shown = nexus(&["members", "--node", node, "-o", "json"]).ok()?;
        serde_json::from_str::<Value>(&shown).ok()
    };
    let links: Value = until("two runs", START_MAX, || {
        members("one").filter(|view| view["ready"] == true)?;
        serde_json::from_str(&nexus(&["links", "--node", "two", "-o", "json"]).ok()?).ok()
    });
    let address = links["listening"].as_str().unwrap();
    let joined = nexus(&["join", address, "--node", "one"]).unwrap();
    assert_eq!(joined.trim(), "joined: 2 members: one, two");
    // One cluster now, so that any of its nodes answers for it.
    let shown = until("both are alive", AGREE_MAX, || {
        nexus(&["members"]).ok().filter(|shown| shown.matches("alive").count() == 2)
    });
    assert!(shown.contains("cluster nexus"), "{shown}");
    let nobody = nexus(&["join", "127.0.0.1:1", "--node", "one"]).unwrap_err();
    assert!(nobody.contains("is unreachable"), "{nobody}");
    assert!(nexus(&["join", "nowhere", "--node", "one"]).unwrap_err().contains("has no port"));

    assert_eq!(nexus(&["leave", "--node", "two"]).unwrap().trim(), "two leaves its cluster and stops");
    let ended = second.wait(AGREE_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    until("it has left", AGREE_MAX, || {
        let view = members("one")?;
        view["members"]
            .as_array()?
            .iter()
            .any(|one| one["name"] == "two" && one["state"] == "left")
            .then_some(())
    });
    first.signal(Signal::TERM);
    let ended = first.wait(START_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("member down"), "{ended:?}");
}

/// Goal: under `quorum` the side without a majority says so in its readiness, and takes it back when the others answer again.
#[test]
fn a_minority_is_not_ready() {
    let arguments = ["--set", "cluster.partition=quorum", "--set", "cluster.membership.agree_after=1s"];
    let cluster = LocalCluster::start(nexus_binary!(), 3, BOXES, &arguments);
    let endpoint = cluster.endpoint("air-1");
    // A view counts once it was the same for a second; before, a loss would only make another one.
    let agreed = Instant::now() + Duration::from_secs(3);
    until("an agreed view", AGREE_MAX, || (Instant::now() > agreed).then_some(()));
    for node in ["air-2", "air-3"] {
        cluster.signal(node, Signal::STOP);
    }
    let told = until("a minority", AGREE_MAX, || {
        let answer = endpoint.get("/readyz");
        answer.body.contains("in a minority").then_some(answer)
    });
    assert_eq!(told.status, 503);
    for node in ["air-2", "air-3"] {
        cluster.signal(node, Signal::CONT);
    }
    until("a majority again", AGREE_MAX, || (endpoint.get("/readyz").status == 200).then_some(()));
    let changes = events(&endpoint, "cluster.partition_changed");
    let sides: Vec<_> = changes.iter().map(|event| event["minority"].clone()).collect();
    assert_eq!(sides, [json!(true), json!(false)]);
    for node in NODES {
        cluster.agrees(node, "air-1", "alive");
        cluster.agrees(node, "air-2", "alive");
    }
    let ended = cluster.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Goal: whatever becomes of the command, no process is left: its nodes stop when it is killed.
#[test]
fn nodes_end_with_their_command() {
    let cluster = LocalCluster::start(nexus_binary!(), 2, BOXES, &[]);
    let running = cluster.running();
    assert_eq!(running.len(), 2);
    cluster.up.signal(Signal::KILL);
    until("all nodes have ended", AGREE_MAX, || (!running.iter().any(lives)).then_some(()));
}

/// Goal: agents that start with the tree wait for the other nodes; meanwhile the node says so, and stops when it is told to.
#[test]
fn a_node_that_waits_for_others_can_be_seen_and_stopped() {
    let sandbox = Sandbox::new();
    let text = "[[agent]]\nname = \"tower\"\nbehavior = \"kv\"\n[debug]\nlisten = \"127.0.0.1:0\"\n[cluster]\nlisten = \"127.0.0.1:0\"\nexpect = 2\n";
    sandbox.write("air.toml", text);
    let node = alone(&sandbox, "one", &[], "a-cookie-that-nobody-else-has");
    let endpoint = sandbox.endpoint(&node);
    let ready = endpoint.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("joining: 1 of at least 2 members are there"), "{ready:?}");
    node.signal(Signal::TERM);
    let ended = node.wait(START_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Goal: without a cookie nothing starts, and the line says what to do.
#[test]
fn a_cookie_is_needed() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("air.toml", format!("{BOXES}[cluster]\n"));
    let ended = sandbox.run(nexus_binary!(), &file, &[]).wait(START_MAX);
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.stderr.contains("NEXUS_COOKIE (cluster.cookie_env) is not set"), "{ended:?}");
    let short =
        sandbox.command(nexus_binary!()).arg("run").arg(&file).env("NEXUS_COOKIE", "short").output().unwrap();
    let told = String::from_utf8(short.stderr).unwrap();
    assert!(
        told.contains("the cookie has 5 bytes, at least 16 are needed") && !told.contains("short"),
        "{told}"
    );
}
