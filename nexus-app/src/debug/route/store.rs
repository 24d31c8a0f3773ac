//! `GET /debug/store`: the durable store.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nexus_actors::Node;
use nexus_actors::store::{Restored, Store, StoreState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::feeds::CheckpointView;
use super::{Access, Route};
use crate::cli::count;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::feed::FeedStatus;

pub(super) fn route() -> Route {
    Route::get("/debug/store", Access::Token, &["/debug/store"], get(store))
}

/// An agent in the store that was not brought back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotRestoredView {
    /// Its name.
    #[schema(value_type = String)]
    agent: Arc<str>,
    /// Why.
    reason: String,
}

/// What the store gave back when the node started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoredView {
    /// Members of families, asleep until their first message.
    dormant: u64,
    /// Agents that are declared one by one.
    declared: u64,
    /// Agents whose record was damaged: it is put aside, and they began anew.
    damaged: u64,
    /// Agents that the topology does not have any more, or not as they were; their records stay.
    unclaimed: u64,
    /// The first hundred of the damaged and unclaimed ones.
    not_restored: Vec<NotRestoredView>,
}

impl From<&Restored> for RestoredView {
    fn from(restored: &Restored) -> Self {
        let not_restored = restored.not_restored.iter();
        Self {
            dormant: restored.dormant,
            declared: restored.declared,
            damaged: restored.damaged,
            unclaimed: restored.unclaimed,
            not_restored: not_restored
                .map(|lost| NotRestoredView { agent: lost.agent.clone(), reason: lost.reason.clone() })
                .collect(),
        }
    }
}

/// A feed's place in the store.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedPlaceView {
    /// The feed.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Requests confirmed.
    confirmed: u64,
    /// What is kept of its place; null if it is not kept.
    checkpoint: Option<CheckpointView>,
    /// Why it is not kept.
    #[schema(value_type = Option<String>)]
    not_kept: Option<Arc<str>>,
}

impl From<FeedStatus> for FeedPlaceView {
    fn from(status: FeedStatus) -> Self {
        Self {
            name: status.name,
            confirmed: status.confirmed,
            checkpoint: status.checkpoint.map(CheckpointView::from),
            not_kept: status.not_kept,
        }
    }
}

/// The store.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoreView {
    /// Its file.
    #[schema(value_type = String)]
    path: Arc<str>,
    /// `ok`, or `degraded` while it does not write.
    state: &'static str,
    /// What is wrong, and what to do.
    reason: Option<String>,
    /// How long it has been degraded, in milliseconds.
    degraded_ms: Option<u64>,
    /// Agents that have a record; null if that cannot be read now.
    agents: Option<u64>,
    /// Length of its file in bytes.
    file_bytes: u64,
    /// The most that the file may have.
    max_bytes: Option<u64>,
    /// Bytes that wait to be written.
    waiting_bytes: u64,
    /// The most that may wait.
    queue_bytes: u64,
    /// Commits since the node started.
    commits: u64,
    /// Commits that failed since the node started.
    failures: u64,
    /// How long the last commit took, in milliseconds; it may have failed.
    last_commit_ms: Option<f64>,
    /// Snapshots of agents committed since the node started.
    snapshots: u64,
    /// Damaged records that were put aside, now and earlier.
    damaged: u64,
    /// What it gave back when the node started.
    restored: Option<RestoredView>,
    /// The feeds' places, in the topology's order.
    feeds: Vec<FeedPlaceView>,
}

impl StoreView {
    #[expect(clippy::cast_precision_loss, reason = "a duration for people needs no more than 52 bits")]
    /// May wait for the commit at hand: not for an async thread.
    fn new(store: &Store, node: &Node, state: &DebugState) -> Self {
        let status = store.status();
        let (name, reason, degraded_ms) = match &status.state {
            StoreState::Ok => ("ok", None, None),
            StoreState::Degraded { reason, since, .. } => {
                let span = node.clock().now().get().saturating_sub(since.get());
                ("degraded", Some(reason.clone()), Some(span))
            }
        };
        let sources = state.sources();
        Self {
            path: status.path,
            state: name,
            reason,
            degraded_ms,
            agents: store.agents(),
            file_bytes: status.file_bytes,
            max_bytes: status.max_bytes,
            waiting_bytes: status.waiting_bytes,
            queue_bytes: status.queue_bytes,
            commits: status.commits,
            failures: status.failures,
            last_commit_ms: status.last_commit_us.map(|us| us as f64 / 1000.0),
            snapshots: status.snapshots,
            damaged: status.damaged,
            restored: sources.restored.as_ref().map(RestoredView::from),
            feeds: sources.feeds.iter().map(|feed| feed.status().into()).collect(),
        }
    }
}

/// The durable store: state, size, commits, what it gave back at the start, and the feeds' places. With `format=text` for people.
#[utoipa::path(get, path = "/debug/store", tag = "node", params(
    ("format" = Option<String>, Query, description = "`json` (default) or `text`"),
), responses(
    (status = 200, description = "The store", body = StoreView),
    (status = 400, description = "A parameter is wrong", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node has no store", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn store(State(state): State<DebugState>, mut params: Params) -> Result<Response, Problem> {
    let is_text = params.word("format", &[("json", false), ("text", true)])?;
    params.finish()?;
    let node = state.node();
    let Some(store) = node.store().cloned() else {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no_store", "the node has no store");
        return Err(problem.remedy("add `[store]` with a `path` to its topology"));
    };
    let view = state.sweep(move |state| StoreView::new(&store, state.node(), state)).await?;
    if !is_text {
        return Ok(Json(view).into_response());
    }
    let value = serde_json::to_value(&view).expect("a view is plain data");
    Ok(text(&value).into_response())
}

/// The answer for people, a fact a line.
pub(crate) fn text(view: &Value) -> String {
    let number = |key: &str| count(view[key].as_u64().unwrap_or(0));
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = String::new();
    let mut line = |name: &str, fact: String| {
        // Writing to a text does not fail.
        let _ = writeln!(lines, "{name:<10} {fact}");
    };
    line("file", words(&view["path"]));
    line(
        "state",
        match view["degraded_ms"].as_u64() {
            Some(ms) => {
                format!("degraded for {}.{} s: {}", ms / 1000, ms % 1000 / 100, words(&view["reason"]))
            }
            None => words(&view["state"]),
        },
    );
    let of = |limit: &Value| {
        limit.as_u64().map(|limit| format!(" of at most {}", count(limit))).unwrap_or_default()
    };
    line("size", format!("{}{} bytes", number("file_bytes"), of(&view["max_bytes"])));
    line("waiting", format!("{}{} bytes", number("waiting_bytes"), of(&view["queue_bytes"])));
    let last = view["last_commit_ms"].as_f64().map(|ms| format!("; the last one took {ms:.1} ms"));
    line(
        "commits",
        format!("{}, {} failed{}", number("commits"), number("failures"), last.unwrap_or_default()),
    );
    if let Some(agents) = view["agents"].as_u64() {
        line("agents", count(agents));
    }
    line("snapshots", number("snapshots"));
    if let Some(restored) = view["restored"].as_object() {
        let number = |key: &str| count(restored[key].as_u64().unwrap_or(0));
        let back = format!("{} families' members, {} others", number("dormant"), number("declared"));
        line("restored", format!("{back}; {} damaged, {} unclaimed", number("damaged"), number("unclaimed")));
        for lost in restored["not_restored"].as_array().into_iter().flatten() {
            line("", format!("not {}: {}", words(&lost["agent"]), words(&lost["reason"])));
        }
    }
    for feed in view["feeds"].as_array().into_iter().flatten() {
        let name = words(&feed["name"]);
        let checkpoint = &feed["checkpoint"];
        let place = match checkpoint["position"].as_u64() {
            Some(position) => {
                let confirmed = feed["confirmed"].as_u64().unwrap_or(0);
                let error = checkpoint["error"]
                    .as_str()
                    .map(|error| format!("; the last checkpoint failed: {error}"));
                format!(
                    "kept {} of {} requests{}",
                    count(position),
                    count(confirmed),
                    error.unwrap_or_default()
                )
            }
            None => format!("not kept: {}", words(&feed["not_kept"])),
        };
        line("feed", format!("{name}: {place}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: people see what is wrong and since when, and where each feed stands.
    #[test]
    fn a_store_as_text() {
        let view = json!({
            "path": "/var/lib/fleet/nexus.redb", "state": "degraded", "reason": "the store is full", "degraded_ms": 61_250,
            "file_bytes": 8_388_608, "max_bytes": 8_388_608, "waiting_bytes": 512, "queue_bytes": 67_108_864,
            "agents": 4002, "last_commit_ms": 2.34, "commits": 1200, "failures": 3, "snapshots": 54_321, "damaged": 1,
            "restored": {
                "dormant": 4000, "declared": 2, "damaged": 1, "unclaimed": 0,
                "not_restored": [{ "agent": "box/7", "reason": "damaged: its checksum is wrong" }],
            },
            "feeds": [
                { "name": "flights", "confirmed": 18_297, "not_kept": null, "checkpoint": {
                    "position": 18_000, "unix_ms": 1, "failures": 2, "error": "the store is full" } },
                { "name": "pipe", "confirmed": 5, "checkpoint": null, "not_kept": "standard input cannot be read again" },
            ],
        });
        insta::assert_snapshot!(text(&view));
    }
}
