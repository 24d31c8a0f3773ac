//! What the reading routes show.

use nexus_actors::agent::Request;
use serde_json::{Value, json};

use super::{Site, request};

/// Goal: probes need no token; readiness names what is missing; the summary stays 200.
#[tokio::test]
async fn health() {
    let site = Site::start().await;
    let bare = |path: &'static str| site.send(request("GET", path, &[], b""));
    assert_eq!(bare("/livez").await.text(), "alive\n");
    assert_eq!(bare("/readyz").await.json()["ready"], true);
    assert_eq!(bare("/healthz").await.json()["status"], "ok");

    site.readiness.set("feeds", false, "flights: no such file");
    let answer = bare("/readyz").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "not_ready"));
    assert_eq!(answer.json()["missing"][0]["detail"], "flights: no such file");
    let answer = bare("/healthz").await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("degraded")));
    assert_eq!(bare("/livez").await.status, 200);
}

fn names(node: &Value) -> Vec<String> {
    let children = node["children"].as_array().unwrap().iter();
    children.map(|child| child["name"].as_str().unwrap().to_owned()).collect()
}

/// Goal: the tree with everything a node shows, its subtrees, depths and pages.
#[tokio::test]
async fn tree() {
    let site = Site::start().await;
    site.post("/api/agents/f/1/ask", &json!({ "operation": "action", "key": "set", "payload": 1 })).await;
    let page = site.get("/debug/tree").await.json();
    let tree = &page["tree"];
    assert_eq!(
        (&tree["name"], &tree["kind"], &tree["status"]),
        (&json!("nexus"), &json!("supervisor"), &json!("running"))
    );
    assert_eq!(names(tree), ["agents.sup", "ops.sup"]);
    assert_eq!(names(&tree["children"][0]), ["tower", "a/b/c", "f"]);
    assert_eq!(page["totals"]["supervisors"], 4);
    let agent = &tree["children"][0]["children"][2]["children"][0];
    assert_eq!(agent["path"], "nexus/agents.sup/f/f/1");
    assert_eq!(
        (&agent["kind"], &agent["behavior"], &agent["processed"], &agent["queued"], &agent["restarts"]),
        (&json!("agent"), &json!("probe"), &json!(1), &json!(0), &json!(0))
    );

    let subtree = site.get("/debug/tree?path=nexus/agents.sup&depth=1&offset=1&limit=1").await.json();
    let subtree = &subtree["tree"];
    assert_eq!(names(subtree), ["a/b/c"]);
    assert_eq!((&subtree["children_total"], &subtree["children_offset"]), (&json!(3), &json!(1)));
    assert_eq!(names(&site.get("/debug/tree?depth=0").await.json()["tree"]), Vec::<String>::new());
    let leaf = site.get("/debug/tree?path=nexus%2Fagents.sup%2Fa%2Fb%2Fc").await.json();
    assert_eq!(leaf["tree"]["name"], "a/b/c");

    let text = site.get("/debug/tree?format=text&limit=2").await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let text = text.text();
    assert!(text.starts_with("nexus  one_for_one running") && text.contains("│   └── … 1 more"), "{text}");

    let nowhere = site.get("/debug/tree?path=nexus/nowhere").await;
    assert_eq!((nowhere.status, nowhere.problem().as_str()), (404, "unknown_path"));
}

/// Goal: agents filtered, sorted and paged.
#[tokio::test]
async fn agents() {
    let site = Site::start().await;
    for (agent, count) in [("f/1", 1), ("f/2", 3), ("f/3", 2)] {
        for _ in 0..count {
            site.post(&format!("/api/agents/{agent}/ask"), &json!({ "operation": "action", "key": "set" }))
                .await;
        }
    }
    let list = async |query: &str| {
        let page = site.get(&format!("/debug/agents?{query}")).await.json();
        let agents = page["agents"].as_array().unwrap().iter();
        let names: Vec<_> = agents.map(|agent| agent["name"].as_str().unwrap().to_owned()).collect();
        (page["total"].as_u64().unwrap(), names.join(" "))
    };
    assert_eq!(list("").await, (5, "a/b/c f/1 f/2 f/3 tower".into()));
    let tally = &site.get("/debug/agents?limit=1").await.json()["tally"];
    assert_eq!(tally, &json!({ "sent": 6, "processed": 6, "rejected": 0, "dead_lettered": 0, "queued": 0 }));
    assert_eq!(list("name=f/*&sort=processed").await, (3, "f/2 f/3 f/1".into()));
    assert_eq!(list("name=f/%7B1..2%7D&sort=processed&order=asc").await, (2, "f/1 f/2".into()));
    assert_eq!(list("prefix=f&offset=1&limit=1").await, (3, "f/2".into()));
    assert_eq!(list("contains=OWE").await, (1, "tower".into()));
    assert_eq!(list("behavior=other").await.0, 0);
    assert_eq!(list("status=running&sort=name&order=desc&limit=2").await, (5, "tower f/3".into()));

    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("sort=size", "sort"),
        ("stats=x", "stats"),
        ("name=*", "name"),
    ] {
        let refused = site.get(&format!("/debug/agents?{query}")).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "bad_parameter"), "{query}");
        let problem = refused.json();
        assert_eq!(problem["parameter"], parameter);
        assert!(problem["remedy"].as_str().is_some(), "{problem}");
    }
}

/// Goal: one agent with state and exits, under both spellings of its name; without state when it does not answer.
#[tokio::test]
async fn agent() {
    let site = Site::start().await;
    site.post(
        "/api/agents/a/b/c/ask",
        &json!({ "operation": "update", "key": "set", "payload": { "x": 1 } }),
    )
    .await;
    for path in ["/debug/agents/a/b/c", "/debug/agents/a%2Fb%2Fc"] {
        let agent = site.get(path).await.json();
        assert_eq!((&agent["name"], &agent["state"]), (&json!("a/b/c"), &json!({ "x": 1 })), "{path}");
        assert_eq!((&agent["level"], &agent["inbox_limit"]), (&json!("reactive"), &json!(4)));
    }
    site.post("/api/agents/a/b/c/ask", &json!({ "operation": "action", "key": "fail" })).await;
    site.until("restart", |site| site.node.agent("a/b/c").is_some_and(|agent| agent.incarnation == 2)).await;
    let agent = site.get("/debug/agents/a/b/c").await.json();
    assert_eq!(
        (&agent["restarts"], &agent["state"]),
        (&json!(1), &Value::Null),
        "state is lost with the restart"
    );
    assert!(agent["exits"][0]["reason"].as_str().unwrap().contains("told to fail"), "{agent}");
    assert_eq!(agent["exits"][0]["normal"], false);

    site.post("/api/agents/tower/tell", &json!({ "operation": "action", "key": "hang" })).await;
    let agent = site.get("/debug/agents/tower?timeout_ms=50").await;
    assert_eq!((agent.status, &agent.json()["state_error"]["code"]), (200, &json!("timed_out")));
    let unknown = site.get("/debug/agents/nobody").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "unknown_agent"));
    assert_eq!(site.get("/debug/agents/a%20b").await.problem(), "bad_name");
}

/// Goal: dead letters newest first, counted by reason, with their payload as JSON.
#[tokio::test]
async fn dead_letters() {
    let site = Site::start().await;
    for name in ["nobody", "noone"] {
        let body = json!({ "operation": "update", "key": "k", "payload": { "n": 1 } });
        assert_eq!(site.post(&format!("/api/agents/{name}/tell"), &body).await.problem(), "unknown_agent");
    }
    let page = site.get("/debug/dead-letters?limit=1").await.json();
    assert_eq!(
        (&page["total"], &page["kept"], &page["counts"]["unknown_agent"]),
        (&json!(2), &json!(2), &json!(2))
    );
    let letter = &page["dead_letters"][0];
    assert_eq!((&letter["target"], &letter["payload"]), (&json!("noone"), &json!({ "n": 1 })));
    let page = site.get("/debug/dead-letters?offset=1").await.json();
    assert_eq!(page["dead_letters"][0]["target"], "nobody");
}

/// Goal: groups and their agents, and the feeds.
#[tokio::test]
async fn groups_and_feeds() {
    let site = Site::start().await;
    let groups = site.get("/debug/groups").await.json();
    assert_eq!(
        groups,
        json!({ "groups": [
            { "name": "all", "agents": 1, "balance": null, "decisions": 0, "refused": 0 },
            { "name": "desks", "agents": 2, "balance": "round_robin", "decisions": 0, "refused": 0 },
        ] })
    );
    assert_eq!(site.get("/debug/groups/all").await.json()["agents"], json!(["tower"]));
    assert_eq!(site.get("/debug/groups/none").await.problem(), "unknown_group");
    site.node.ask("group:desks", Request::query("get"), None).await.expect_err("there is no value");
    let desks = site.get("/debug/groups/desks?limit=1&offset=1").await.json();
    assert_eq!(
        (&desks["balance"], &desks["decisions"], &desks["total"]),
        (&json!("round_robin"), &json!(1), &json!(2))
    );
    let member = &desks["members"][0];
    assert_eq!(desks["members"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&member["name"], &member["decisions"], &member["share"]),
        (&json!("tower"), &json!(1), &json!(1.0))
    );
    assert!(member["response_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{member}");
    assert_eq!((&member["stopped"], &member["memory"]), (&json!(false), &Value::Null));
    let feeds = site.get("/debug/feeds").await.json();
    let feed = &feeds["feeds"][0];
    assert_eq!(
        (&feed["name"], &feed["state"], &feed["records"]),
        (&json!("rows"), &json!("waiting"), &json!(0))
    );
}

/// Goal: the metrics have the node's counters under Prometheus's conventions and no label names an agent.
#[tokio::test]
async fn metrics() {
    let site = Site::start().await;
    site.post("/api/agents/f/secretname/ask", &json!({ "operation": "update", "key": "set" })).await;
    let answer = site.get("/metrics").await;
    assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        "nexus_agents{behavior=\"probe\",status=\"running\"} 3",
        "nexus_messages_sent_total 1",
        "nexus_messages_processed_total 1",
        "nexus_messages_rejected_total 0",
        "nexus_messages_queued 0",
        "nexus_messages_dead_lettered_total{reason=\"crashed\"} 0",
        "nexus_agent_state_updates_total 1",
        "nexus_restarts_total 0",
        "nexus_events_emitted_total{event=\"agent.started\"} 3",
        "nexus_agent_message_duration_seconds_count 1",
        "nexus_inbox_depth_max 0",
        "nexus_feed_records_total{feed=\"rows\"} 0",
        "nexus_feed_state{feed=\"rows\",state=\"waiting\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for name in [
        "nexus_process_memory_resident_bytes",
        "nexus_process_cpu_time_seconds_total",
        "nexus_process_uptime_seconds",
        "nexus_process_open_fds",
        "nexus_build_info",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
    assert!(!text.contains("secretname"), "no label per agent");
    let names = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("target_info"));
    assert!(names.clone().all(|line| line.starts_with("nexus_")), "{text}");
}

/// Goal: the description is served as it is.
#[tokio::test]
async fn openapi() {
    let site = Site::start().await;
    let served = site.get("/openapi.json").await.json();
    assert_eq!(served, serde_json::to_value(crate::debug::openapi()).unwrap());
}

/// Goal: what is not there is a problem too; HEAD is answered like GET.
#[tokio::test]
async fn unknown_routes_and_methods() {
    let site = Site::start().await;
    let answer = site.get("/no/such/route").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown_route"));
    let answer = site.post("/debug/tree", &json!({})).await;
    assert_eq!((answer.status, answer.problem().as_str()), (405, "wrong_method"));
    assert!(answer.headers["allow"].contains("GET"), "{:?}", answer.headers);
    assert_eq!(site.post("/api/agents/tower/shout", &json!({})).await.problem(), "unknown_route");
    assert_eq!(site.post("/debug/agents/tower/explode", &json!({})).await.problem(), "unknown_route");
    let answer = site.send(request("HEAD", "/livez", &[], b"")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

/// Goal: a node that is alone says so, and still knows where its own agents are.
#[tokio::test]
async fn a_node_without_a_cluster() {
    let site = Site::start().await;
    for path in ["/cluster/members", "/cluster/ring", "/cluster/links"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "no_cluster"), "{path}");
    }
    for (path, body) in [("/cluster/join", json!({ "address": "a:1" })), ("/cluster/leave", json!({}))] {
        let answer = site.post(path, &body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "no_cluster"), "{path}");
    }
    let at = site.get("/debug/where/a/b/c").await.json();
    assert_eq!(
        (&at["agent"], &at["node"], &at["here"]),
        (&json!("a/b/c"), &json!(&**site.node.name()), &json!(true))
    );
    assert_eq!(site.get("/debug/where/nobody").await.problem(), "unknown_agent");
    assert_eq!(site.get("/debug/where/a%20b").await.problem(), "bad_name");
}
