//! Asking and telling.

use serde_json::{Value, json};

use super::site::TOKEN;
use super::{Site, request};

/// Goal: any JSON goes in and comes out; defaults apply; the three operations work under both spellings of a name.
#[tokio::test]
async fn ask() {
    let site = Site::start().await;
    let empty = site.post("/api/agents/tower/ask", &json!({ "operation": "query", "key": "get" })).await;
    assert_eq!((empty.status, empty.problem().as_str()), (404, "not_found"));
    let default = json!({ "operation": "query", "key": "get", "default": [1, null] });
    assert_eq!(site.post("/api/agents/tower/ask", &default).await.json(), json!({ "value": [1, null] }));
    let default = json!({ "operation": "query", "key": "get", "payload": "x" });
    assert_eq!(site.post("/api/agents/tower/ask", &default).await.json(), json!({ "value": "x" }));
    for value in [json!({ "a": [1, -2, 3.5, "ü", true, null] }), json!(0), json!("text"), Value::Null] {
        let set = json!({ "operation": "update", "key": "set", "payload": value });
        assert_eq!(site.post("/api/agents/a%2Fb%2Fc/ask", &set).await.json(), json!({ "value": null }));
        let get = json!({ "operation": "query", "key": "get", "timeout_ms": 1000 });
        assert_eq!(site.post("/api/agents/a/b/c/ask", &get).await.json(), json!({ "value": value }));
        let again = json!({ "operation": "query", "key": "get", "at_least_once": true });
        assert_eq!(site.post("/api/agents/a/b/c/ask", &again).await.json(), json!({ "value": value }));
    }
}

/// Goal: what belongs to an answer is refused where nobody waits for one.
#[tokio::test]
async fn what_only_asks_have() {
    let site = Site::start().await;
    for (field, value) in [("timeout_ms", json!(1000)), ("at_least_once", json!(true))] {
        for path in ["/api/agents/tower/tell", "/api/groups/all/publish"] {
            let body = json!({ "operation": "update", "key": "set", "payload": 7, field: value });
            let answer = site.post(path, &body).await;
            let found = (answer.status, answer.problem(), answer.json()["path"].clone());
            assert_eq!(found, (422, "bad_body".into(), json!(field)), "{path}");
        }
    }
}

/// Goal: each way to fail has its status and code.
#[tokio::test]
async fn failures() {
    let site = Site::start().await;
    let ask = async |key: &str| {
        let body = json!({ "operation": "action", "key": key, "timeout_ms": 200 });
        let answer = site.post("/api/agents/f/1/ask", &body).await;
        (answer.status, answer.problem())
    };
    assert_eq!(ask("invalid").await, (422, "invalid".into()));
    assert_eq!(ask("other").await, (422, "unsupported".into()));
    assert_eq!(ask("fail").await, (502, "crashed".into()));
    assert_eq!(ask("panic").await, (502, "crashed".into()));
    assert_eq!(ask("hang").await, (504, "timed_out".into()));
    // One hangs; the inbox takes as many as it holds, and says no to the next.
    let tell = json!({ "operation": "action", "key": "set" });
    let mut accepted = 0;
    let full = loop {
        let answer = site.post("/api/agents/f/1/tell", &tell).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted <= 4, "the inbox holds 4");
    };
    assert_eq!((full.status, full.problem().as_str()), (429, "overloaded"));
    assert_eq!((full.headers["retry-after"].as_str(), &full.json()["error"]["limit"]), ("1", &json!(4)));
    let late = json!({ "operation": "action", "key": "set", "timeout_ms": 5, "deadline_ms": 1 });
    assert_eq!(site.post("/api/agents/f/1/ask", &late).await.status, 429);
}

/// Goal: bodies that are not what they should be, each with its explanation.
#[tokio::test]
async fn bad_bodies() {
    let site = Site::start().await;
    let token = format!("Bearer {TOKEN}");
    let json_type = [("authorization", token.as_str()), ("content-type", "application/json")];
    let raw = async |body: &[u8]| {
        let answer = site.send(request("POST", "/api/agents/tower/ask", &json_type, body)).await;
        (answer.status, answer.problem(), answer.json())
    };
    let (status, code, problem) = raw(b"{\"operation\": \"query\",\n \"key\": }").await;
    assert_eq!(
        (status, code.as_str(), &problem["line"], &problem["column"]),
        (400, "malformed_json", &json!(2), &json!(9))
    );
    for (body, path) in [
        (json!({ "operation": "query" }), Value::Null),
        (json!({ "operation": "shout", "key": "get" }), json!("operation")),
        (json!({ "operation": "query", "key": 1 }), json!("key")),
        (json!({ "operation": "query", "key": "get", "payload": 1, "default": 2 }), json!("default")),
        (json!({ "operation": "update", "key": "set", "default": 1 }), json!("default")),
        (json!({ "operation": "query", "key": "get", "timeout_ms": 0 }), json!("timeout_ms")),
        (json!({ "operation": "query", "key": "get", "timeout_ms": 31_000 }), json!("timeout_ms")),
        (json!({ "operation": "query", "key": "get", "timeout": 1 }), json!("timeout")),
        (json!([]), Value::Null),
    ] {
        let (status, code, problem) = raw(body.to_string().as_bytes()).await;
        assert_eq!((status, code.as_str(), &problem["path"]), (422, "bad_body", &path), "{body}");
    }
    let form = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let answer = site.send(request("POST", "/api/agents/tower/ask", &form, b"{}")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (415, "not_json"));
    let big = json!({ "operation": "update", "key": "set", "payload": "x".repeat(2000) });
    let answer = site.post("/api/agents/tower/ask", &big).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "payload_too_large"));
}

/// Goal: one request to all of a group.
#[tokio::test]
async fn publish() {
    let site = Site::start().await;
    let body = json!({ "operation": "update", "key": "set", "payload": 7 });
    let answer = site.post("/api/groups/all/publish", &body).await;
    let fared = json!({ "delivered": 1, "rejected": 0, "stopped": 0, "nodes": 0, "nodes_full": 0 });
    assert_eq!((answer.status, answer.json()), (202, fared));
    let get = json!({ "operation": "query", "key": "get" });
    assert_eq!(site.post("/api/agents/tower/ask", &get).await.json(), json!({ "value": 7 }));
    assert_eq!(site.post("/api/groups/none/publish", &body).await.problem(), "unknown_group");
}

/// Goal: a group with a strategy is asked and told like an agent; what is wrong with the others is said, and how to do better.
#[tokio::test]
async fn groups_as_one_name() {
    let site = Site::start().await;
    let set = json!({ "operation": "update", "key": "set", "payload": 7 });
    let get = json!({ "operation": "query", "key": "get" });
    for _ in 0..2 {
        assert_eq!(site.post("/api/agents/group:desks/ask", &set).await.status, 200);
    }
    for agent in ["tower", "a/b/c"] {
        let answer = site.post(&format!("/api/agents/{agent}/ask"), &get).await;
        assert_eq!(answer.json(), json!({ "value": 7 }), "each had its turn");
    }
    assert_eq!(site.post("/api/agents/group:desks/ask", &get).await.json(), json!({ "value": 7 }));
    assert_eq!(site.post("/api/agents/group:desks/tell", &set).await.status, 202);

    let answer = site.post("/api/agents/group:all/tell", &set).await;
    assert_eq!((answer.status, answer.problem().as_str()), (409, "not_balanced"));
    assert!(answer.json()["remedy"].as_str().is_some_and(|remedy| remedy.contains("balance")));
    assert_eq!(site.node.dead_letters().total(), 1);
    let answer = site.post("/api/agents/group:none/ask", &get).await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown_group"));
    assert_eq!(site.node.dead_letters().total(), 1, "a query only looks");
    assert_eq!(site.post("/api/agents/group:a%20b/ask", &get).await.problem(), "bad_name");
    assert_eq!(site.post("/debug/agents/group:desks/kill", &json!({})).await.problem(), "bad_name");
}
