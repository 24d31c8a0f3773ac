//! Agents that keep what they are told: `kv` with a store.

use std::path::PathBuf;

use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Sandbox};
use serde_json::{Value, json};

/// A topology of boxes that are kept by the policy `persist`, with more keys for them.
pub(crate) fn topology(sandbox: &Sandbox, persist: &str, more: &str) -> PathBuf {
    let text = format!(
        "[store]\npath = \"state\"\n[[agent]]\nname = \"box/*\"\nbehavior = \"kv\"\npersist = {persist}\n{more}\n{ENDPOINT}"
    );
    sandbox.write("boxes.toml", text)
}

/// Sets `key` of a box; whether that was acknowledged.
pub(crate) fn set(endpoint: &Endpoint, agent: &str, key: &str, value: Value) -> bool {
    let body = json!({ "operation": "update", "key": key, "payload": value });
    let answer = endpoint.try_post_json(&format!("/api/agents/{agent}/ask"), &body);
    answer.is_ok_and(|answer| answer.status == 200)
}

/// The number under `key` of a box; 0 if there is none, or no such box.
pub(crate) fn get(endpoint: &Endpoint, agent: &str, key: &str) -> u64 {
    let body = json!({ "operation": "query", "key": key, "default": 0 });
    let answer = endpoint.post_json(&format!("/api/agents/{agent}/ask"), &body);
    if answer.status == 404 {
        return 0;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["value"].as_u64().unwrap_or_else(|| panic!("{answer:?}"))
}
