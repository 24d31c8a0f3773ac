//! The performance monitor through the real binary: what presses the node, what is done about it, and what is said of it.

use std::time::{Duration, Instant};

use nexus_tests::http::{Answer, Endpoint};
use nexus_tests::nexus_binary;
use nexus_tests::process::{ENDPOINT, Process, Sandbox};
use nexus_tests::wait::until;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

struct Running {
    _process: Process,
    endpoint: Endpoint,
    sandbox: Sandbox,
}

/// A node with the family `s/*`, whose agents can sleep and are not told to by themselves.
fn run(performance: &str) -> Running {
    let agents = "[[agent]]\nname = \"s/*\"\nbehavior = \"kv\"\n";
    let sandbox = Sandbox::new();
    let file = sandbox.write("pressed.toml", format!("{performance}{agents}{ENDPOINT}"));
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    Running { _process: process, endpoint, sandbox }
}

impl Running {
    fn ask(&self, agent: &str, priority: f64) -> Answer {
        let body = json!({ "operation": "update", "key": "x", "payload": 1, "priority": priority });
        self.endpoint.post_json(&format!("/api/agents/{agent}/ask"), &body)
    }

    fn events(&self, prefix: &str) -> Vec<Value> {
        let page = self.endpoint.json(&format!("/debug/events?format=json&limit=1000&event={prefix}"));
        page["events"].as_array().unwrap().clone()
    }

    fn performance(&self) -> Value {
        self.endpoint.json("/debug/performance")
    }

    fn command(&self, arguments: &[&str]) -> String {
        let mut command = self.sandbox.command(nexus_binary!());
        let ended = Process::spawn(command.args(arguments)).wait(LIMIT);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }
}

/// The value of a metric without labels.
fn metric(endpoint: &Endpoint, name: &str) -> u64 {
    let text = endpoint.get("/metrics").body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn balanced(endpoint: &Endpoint) {
    let total = |name: &str| metric(endpoint, &format!("nexus_messages_{name}"));
    let text = endpoint.get("/metrics").body;
    let dead: u64 = text
        .lines()
        .filter(|line| line.starts_with("nexus_messages_dead_lettered_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    let ends = total("processed_total") + total("rejected_total") + total("queued") + dead;
    assert_eq!(total("sent_total"), ends, "{text}");
}

/// Goal: under memory pressure agents sleep, those that have been idle the longest first, although their family asks for no
/// hibernation, and the events say why. Method: a limit that any process passes, one agent a look, and agents used at different
/// times in an order that is not that of their names.
#[test]
fn memory_pressure_hibernates_the_longest_idle_first() {
    let node = run(
        "[performance]\ninterval = \"100ms\"\n[performance.memory]\nlimit_bytes = 1048576\nportion = 1\n\
                    idle = \"2s\"\ncool_down = \"100ms\"\n",
    );
    let order = ["s/d", "s/b", "s/e", "s/a", "s/c"];
    for agent in order {
        assert_eq!(node.ask(agent, 0.5).status, 200);
        // Rest is noted in milliseconds.
        let used = Instant::now();
        until("the clock goes on", LIMIT, || (used.elapsed() > Duration::from_millis(5)).then_some(()));
    }
    let slept = until("all sleep", LIMIT, || {
        let slept = node.events("agent.hibernated");
        (slept.len() >= order.len()).then_some(slept)
    });
    let slept: Vec<_> = slept.iter().map(|event| event["agent"].as_str().unwrap()).collect();
    assert_eq!(slept, order);
    let began = node.events("performance.pressure_changed");
    assert_eq!((&began[0]["measure"], &began[0]["pressed"]), (&json!("memory"), &json!(true)));
    let acted = node.events("performance.acted");
    let told = acted
        .iter()
        .find(|event| event["outcome"].as_str().unwrap().ends_with("the longest idle first: 1"))
        .unwrap();
    assert_eq!(told["action"], "hibernate");
    assert!(told["reason"].as_str().unwrap().ends_with("is at or above 0.85"), "{told}");
    assert!(told["readings"]["memory"].as_f64().unwrap() > 0.85, "{told}");
    let shown = node.performance();
    assert_eq!(
        (&shown["measures"][0]["measure"], &shown["measures"][0]["pressed"]),
        (&json!("memory"), &json!(true))
    );
    assert_eq!(shown["readings"]["memory"]["limited_by"], "configured");
    let text = node.command(&["performance"]);
    assert!(text.contains("PRESSED for") && text.contains("agents told to hibernate"), "{text}");
    assert!(node.command(&["events", "--event", "performance."]).contains("action=hibernate"));
    balanced(&node.endpoint);
}

/// Goal: a node that is short of CPU refuses what matters least, at once and with the reason, and never what matters most; every
/// message is accounted for. Method: levels so low that answering is pressure, and no end to it.
#[test]
fn cpu_pressure_sheds_what_matters_least() {
    let node = run(
        "[performance]\ninterval = \"200ms\"\n[performance.memory]\nenabled = false\n[performance.cpu]\nhigh = 0.001\n\
                    low = 0\ndwell = \"0s\"\ncool_down = \"0s\"\nbatch = false\nshed_step = 1\nshed_max = 1\n",
    );
    until("requests are refused", LIMIT, || {
        assert_eq!(node.ask("s/a", 1.0).status, 200, "what matters most is never refused");
        (node.performance()["shed_below"] == 1.0).then_some(())
    });
    let rejected = metric(&node.endpoint, "nexus_messages_rejected_total");
    let refused = node.ask("s/a", 0.99);
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("overloaded")));
    assert!(refused.body.contains("priority below 1.00"), "{refused:?}");
    assert_eq!(node.ask("s/never-made", 0.0).status, 429);
    assert_eq!(node.endpoint.get("/debug/agents/s%2Fnever-made").status, 404);
    assert_eq!(node.ask("s/a", 1.0).status, 200);
    assert_eq!(metric(&node.endpoint, "nexus_messages_rejected_total"), rejected + 2);
    assert!(metric(&node.endpoint, "nexus_messages_shed_total") >= 2);
    balanced(&node.endpoint);
    let shed = node.events("performance.acted");
    assert_eq!((&shed[0]["measure"], &shed[0]["action"]), (&json!("cpu"), &json!("shed")));
    assert!(shed[0]["reason"].as_str().unwrap().ends_with("is at or above 0.001"), "{shed:?}");
    assert!(node.command(&["performance"]).contains("requests of a priority below 1.00 are refused"));
    let bad = node.ask("s/a", 1.5);
    assert_eq!((bad.status, &bad.json()["path"]), (422, &json!("priority")));
}

/// Goal: switched off as a whole there is no monitor, and switched off one by one it looks and does nothing, however pressed.
#[test]
fn switched_off_nothing_is_done() {
    let pressed = "interval = \"100ms\"\n[performance.memory]\nlimit_bytes = 1048576\nidle = \"0s\"\n";
    let off = run(&format!("[performance]\nenabled = false\n{pressed}"));
    let idle = run(&format!(
        "[performance]\n{pressed}enabled = false\n[performance.cpu]\nenabled = false\n[performance.imbalance]\nenabled = false\n"
    ));
    for node in [&off, &idle] {
        assert_eq!(node.ask("s/a", 0.0).status, 200);
    }
    until("it has looked", LIMIT, || (idle.performance()["looks"].as_u64() > Some(20)).then_some(()));
    let shown = idle.performance();
    assert!(
        shown["measures"].as_array().unwrap().iter().all(|measure| measure["pressed"] == false),
        "{shown}"
    );
    assert_eq!((&off.performance()["enabled"], &off.performance()["looks"]), (&json!(false), &json!(0)));
    for node in [&off, &idle] {
        assert_eq!(node.events("performance."), Vec::<Value>::new());
        assert_eq!(node.endpoint.json("/debug/agents/s%2Fa")["status"], "running");
    }
    let monitors = |node: &Running| node.command(&["tree"]).matches("performance.monitor").count();
    assert_eq!((monitors(&off), monitors(&idle)), (0, 1));
    assert!(off.command(&["performance"]).contains("the performance monitor is off"));
}
