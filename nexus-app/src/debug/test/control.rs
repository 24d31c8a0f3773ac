//! Steering: agents and supervisors are killed, restarted and stopped, and the tree heals.

use nexus_actors::agent::AgentStatus;
use serde_json::json;

use super::Site;

fn incarnation(site: &Site, agent: &str) -> u64 {
    site.node.agent(agent).map_or(0, |agent| agent.incarnation)
}

/// Goal: a killed agent comes back by its supervisor's rules, visibly.
#[tokio::test]
async fn a_killed_agent_comes_back() {
    let site = Site::start().await;
    let answer = site.post("/debug/agents/a/b/c/kill", &json!({})).await;
    assert_eq!(
        (answer.status, answer.json()),
        (202, json!({ "done": "killed", "path": "nexus/agents.sup/a/b/c" }))
    );
    site.until("restart", |site| incarnation(site, "a/b/c") == 2).await;
    let events =
        site.get("/debug/events?format=json&event=supervision.child_restarted&agent=a/b/c").await.json();
    assert_eq!(events["events"][0]["reason"]["kind"], "killed", "{events}");
    let agent = site.get("/debug/agents/a/b/c").await.json();
    assert_eq!((&agent["status"], &agent["last_exit"]["reason"]), (&json!("running"), &json!("killed")));
}

/// Goal: stop keeps an agent down and its messages refused; restart brings it back and counts no crash.
#[tokio::test]
async fn stop_and_restart() {
    let site = Site::start().await;
    let answer = site.post("/debug/agents/tower/stop", &json!({})).await;
    assert_eq!((answer.status, &answer.json()["done"]), (200, &json!("stopped")));
    assert_eq!(site.node.agent("tower").unwrap().status, AgentStatus::Stopped);
    let tell = json!({ "operation": "action", "key": "set" });
    let refused = site.post("/api/agents/tower/tell", &tell).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "stopped"));
    let answer = site.post("/debug/agents/tower/kill", &json!({})).await;
    assert_eq!((answer.status, answer.problem().as_str()), (409, "not_running"));
    for incarnations in [2, 3] {
        let answer = site.post("/debug/agents/tower/restart", &json!({})).await;
        assert_eq!((answer.status, &answer.json()["done"]), (200, &json!("restarted")));
        assert_eq!(incarnation(&site, "tower"), incarnations);
    }
    assert_eq!(site.post("/api/agents/tower/tell", &tell).await.status, 202);
    assert_eq!(site.post("/debug/agents/nobody/stop", &json!({})).await.problem(), "unknown_agent");
}

/// Goal: a higher level is served by the highest there is, and the answer says so.
#[tokio::test]
async fn level() {
    let site = Site::start().await;
    let answer = site.post("/debug/agents/tower/level", &json!({ "level": "emergent" })).await;
    assert_eq!(answer.json(), json!({ "requested": "emergent", "granted": "reactive" }));
    let answer = site.post("/debug/agents/tower/level", &json!({ "level": "genius" })).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "bad_body"));
    assert_eq!(
        site.post("/debug/agents/nobody/level", &json!({ "level": "reactive" })).await.problem(),
        "unknown_agent"
    );
}

/// Goal: a killed supervisor comes back with everything below it; a restart of one too; the root is spared.
#[tokio::test]
async fn supervisors() {
    let site = Site::start().await;
    let answer = site.post("/debug/supervisors/nexus/agents.sup/kill", &json!({})).await;
    assert_eq!((answer.status, &answer.json()["path"]), (202, &json!("nexus/agents.sup")));
    let all_up = |times: u64| {
        move |site: &Site| {
            ["tower", "a/b/c"].iter().all(|agent| {
                let agent = site.node.agent(*agent);
                agent.is_some_and(|agent| agent.incarnation == times && agent.status == AgentStatus::Running)
            })
        }
    };
    site.until("heal", all_up(2)).await;
    site.until("the branch runs", |site| site.root.view().nested().len() == 2).await;
    let answer = site.post("/debug/supervisors/nexus/agents.sup/restart", &json!({})).await;
    assert_eq!((answer.status, &answer.json()["done"]), (200, &json!("restarted")), "{}", answer.text());
    site.until("restart", all_up(3)).await;
    for action in ["kill", "restart"] {
        let answer = site.post(&format!("/debug/supervisors/nexus/{action}"), &json!({})).await;
        assert_eq!((answer.status, answer.problem().as_str()), (409, "is_root"));
        let answer = site.post(&format!("/debug/supervisors/nexus/none.sup/{action}"), &json!({})).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown_path"));
    }
}

/// Goal: the endpoint itself can be killed: it is restarted on the same port.
#[tokio::test]
async fn the_endpoint_heals_itself() {
    let site = Site::start().await;
    let address = site.address();
    assert_eq!(site.post("/debug/supervisors/nexus/ops.sup/debug/kill", &json!({})).await.status, 202);
    site.until("restart", |site| site.root.view().totals().restarts == 1).await;
    assert_eq!(site.address(), address);
    assert_eq!(site.get("/livez").await.status, 200);
}

/// Goal: a port in use is a clear error that names the address and the remedy.
#[tokio::test]
async fn a_port_in_use_is_explained() {
    let site = Site::start().await;
    let error = crate::debug::server::bind(site.address()).await.unwrap_err();
    assert!(error.contains(&site.address().to_string()) && error.contains("`debug.listen`"), "{error}");
}

/// Goal: the endpoint stops within its limits although a client has a stream open, and the port is free then.
#[tokio::test]
async fn stops_in_time() {
    let site = Site::start().await;
    let mut stream = super::stream::open(&site, "/debug/events", &[]).await;
    let ended = tokio::time::timeout(super::site::PATIENCE, site.root.shutdown()).await;
    assert!(ended.is_ok_and(|reason| reason.is_normal()));
    assert!(stream.next().await.is_none(), "the stream has ended");
    assert!(tokio::net::TcpListener::bind(site.address()).await.is_ok());
}
