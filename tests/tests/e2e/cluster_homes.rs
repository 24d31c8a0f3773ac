//! Where a cluster's agents live, and what becomes of their stored states, on real processes.

use std::collections::BTreeMap;

use nexus_tests::cluster::{AGREE_MAX, LocalCluster};
use nexus_tests::http::Endpoint;
use nexus_tests::nexus_binary;
use nexus_tests::process::{Process, START_MAX, Sandbox, Signal};
use nexus_tests::wait::until;
use serde_json::{Value, json};

const COUNT: usize = 30;

/// Sets `key` of a box, through any node, until that is acknowledged.
fn put(endpoint: &Endpoint, number: usize, key: &str) {
    let body = json!({ "operation": "update", "key": key, "payload": number });
    until("an acknowledgement", AGREE_MAX, || {
        let answer = endpoint.post_json(&format!("/api/agents/box/{number}/ask"), &body);
        assert_ne!(answer.status, 403, "{answer:?}");
        (answer.status == 200).then_some(())
    });
}

fn get(endpoint: &Endpoint, number: usize, key: &str) -> Value {
    let body = json!({ "operation": "query", "key": key });
    let answer = endpoint.post_json(&format!("/api/agents/box/{number}/ask"), &body);
    if answer.status == 200 { answer.json()["value"].clone() } else { Value::Null }
}

fn home(endpoint: &Endpoint, number: usize) -> Option<String> {
    endpoint.json(&format!("/debug/where/box/{number}"))["node"].as_str().map(str::to_owned)
}

/// Goal: each node stores what its agents have acknowledged, and a node that is killed brings it back, to be merged with what others have
/// done under the same names meanwhile; nothing acknowledged is lost. Method: a third of the agents lose their node, are changed while it is
/// away, and are asked for both changes when it is back.
#[test]
fn what_is_acknowledged_survives_its_node() {
    let topology = "[store]\npath = \"state\"\n[[agent]]\nname = \"box/*\"\nbehavior = \"kv\"\npersist = \"each-update\"\n";
    let cluster = LocalCluster::start(nexus_binary!(), 3, topology, &["--restart"]);
    let first = cluster.endpoint("air-1");
    let mut homes = BTreeMap::<_, usize>::new();
    for number in 0..COUNT {
        put(&first, number, "before");
        *homes.entry(home(&first, number).unwrap()).or_default() += 1;
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
    let life = cluster.agrees("air-1", "air-2", "alive")["incarnation"].clone();
    cluster.kill("air-2");
    for number in 0..COUNT {
        put(&first, number, "after");
    }
    until("another life", AGREE_MAX, || {
        (cluster.agrees("air-1", "air-2", "alive")["incarnation"] != life).then_some(())
    });
    for node in ["air-1", "air-2", "air-3"] {
        let endpoint = cluster.endpoint(node);
        for number in 0..COUNT {
            for key in ["before", "after"] {
                until(&format!("`{key}` of box/{number}, asked at {node}"), AGREE_MAX, || {
                    (get(&endpoint, number, key) == json!(number)).then_some(())
                });
            }
        }
    }
    let mut kept = 0;
    for node in ["air-1", "air-2", "air-3"] {
        kept += cluster.endpoint(node).json("/debug/store")["agents"].as_u64().unwrap();
    }
    assert!(kept >= COUNT as u64, "{kept} agents are stored");
    assert_eq!(cluster.stop().code, Some(0));
}

/// Goal: agents start where a node's metadata match, whichever node is asked, and nowhere else while there is such a node. Method: two zones.
#[test]
fn agents_start_in_their_zone() {
    let sandbox = Sandbox::new();
    let topology = "[[agent]]\nname = \"box/*\"\nbehavior = \"kv\"\nplace = { label = { zone = \"east\" } }\n\
                    [debug]\nlisten = \"127.0.0.1:0\"\nallow_control = true\n[cluster]\nlisten = \"127.0.0.1:0\"\npreset = \"local\"\nexpect = 2\n";
    let file = sandbox.write("air.toml", topology);
    let start = |name: &str, zone: &str, seeds: &[String]| {
        let mut command = sandbox.command(nexus_binary!());
        command.arg("run").arg(&file).env("NEXUS_COOKIE", "a-cookie-of-two-zones");
        for setting in
            [format!("node.name={name}"), format!("cluster.zone={zone}"), format!("cluster.seeds={seeds:?}")]
        {
            command.args(["--set", &setting]);
        }
        Process::spawn(&mut command)
    };
    let west = start("west-1", "west", &[]);
    let asked = sandbox.endpoint(&west);
    let seed = asked.json("/cluster/links")["listening"].as_str().unwrap().to_owned();
    let east = start("east-1", "east", &[seed]);
    until("both are ready", AGREE_MAX, || (asked.get("/readyz").status == 200).then_some(()));
    for number in 0..COUNT {
        put(&asked, number, "a");
        assert_eq!(home(&asked, number).as_deref(), Some("east-1"), "box/{number}");
        assert_eq!(get(&asked, number, "a"), json!(number));
    }
    for node in [west, east] {
        node.signal(Signal::TERM);
        let ended = node.wait(START_MAX);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}
