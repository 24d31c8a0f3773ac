//! `GET /debug/feeds`: what the feeds do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::feed::{CheckpointStatus, FeedState, FeedStatus, ReplayStatus};

pub(super) fn route() -> Route {
    Route::get("/debug/feeds", Access::Token, &["/debug/feeds"], get(feeds))
}

/// A malformed record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MalformedView {
    /// The line it starts on.
    line: u64,
    /// What is wrong with it.
    reason: String,
}

/// What the store has of a feed's place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointView {
    /// Requests whose effect is kept: where a restarted process goes on.
    position: u64,
    /// When it was kept, in milliseconds since 1970 (UTC); null if that was before the process started, or never.
    unix_ms: Option<u64>,
    /// Checkpoints in a row that failed since.
    failures: u64,
    /// Why the last one failed; it is tried again.
    #[schema(value_type = Option<String>)]
    error: Option<Arc<str>>,
}

impl From<CheckpointStatus> for CheckpointView {
    fn from(status: CheckpointStatus) -> Self {
        let CheckpointStatus { position, unix_ms, failures, error } = status;
        Self { position, unix_ms, failures, error }
    }
}

/// A feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedView {
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `waiting`, `running`, `paused`, `completed` or `failed`.
    #[schema(value_type = String)]
    state: FeedState,
    /// Why it failed, with the place in the source.
    #[schema(value_type = Option<String>)]
    error: Option<Arc<str>>,
    /// Records read, malformed ones included. Reading runs a little ahead of delivering.
    records: u64,
    /// Requests delivered to agents or to the dead letters.
    confirmed: u64,
    /// Those of them that were dead-lettered.
    dead_lettered: u64,
    /// Malformed records.
    malformed: u64,
    /// Requests that came too late to be put in order.
    late: u64,
    /// Requests that were delivered before their turn for want of memory.
    hurried: u64,
    /// Bytes of the source read, as it is packed.
    bytes_read: u64,
    /// Bytes of the source in all, if that can be known.
    bytes_total: Option<u64>,
    /// Records read per second.
    records_per_s: f64,
    /// When it was started first, in milliseconds since 1970 (UTC).
    started_unix_ms: Option<u64>,
    /// When it completed or failed.
    finished_unix_ms: Option<u64>,
    /// How often it went on after a crash.
    resumes: u64,
    /// The first malformed records.
    first_malformed: Vec<MalformedView>,
    /// What the store has of its place; null if it is not kept.
    checkpoint: Option<CheckpointView>,
    /// Why its place is not kept, so that it begins anew when the process has ended.
    #[schema(value_type = Option<String>)]
    not_kept: Option<Arc<str>>,
    /// The node of the cluster that runs it and says all this; null if it is this one.
    #[schema(value_type = Option<String>)]
    node: Option<Arc<str>>,
    /// How often it went back because part of it was lost in the cluster.
    replays: u64,
    /// While it gives again what it had given: why, and up to where; else null.
    replay: Option<ReplayView>,
    /// Agents that have not handled all of it although it is over.
    behind: u64,
}

/// A feed on its way back to where it was.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayView {
    /// What was lost.
    #[schema(value_type = String)]
    cause: Arc<str>,
    /// The requests it goes on after.
    from: u64,
    /// The requests it had given.
    until: u64,
}

impl From<ReplayStatus> for ReplayView {
    fn from(ReplayStatus { cause, from, until }: ReplayStatus) -> Self {
        Self { cause, from, until }
    }
}

impl From<FeedStatus> for FeedView {
    fn from(status: FeedStatus) -> Self {
        let malformed = status.first_malformed.into_iter();
        Self {
            name: status.name,
            state: status.state,
            error: status.error,
            records: status.records,
            confirmed: status.confirmed,
            dead_lettered: status.dead_lettered,
            malformed: status.malformed,
            late: status.late,
            hurried: status.hurried,
            bytes_read: status.bytes_read,
            bytes_total: status.bytes_total,
            records_per_s: status.records_per_s,
            started_unix_ms: status.started_unix_ms,
            finished_unix_ms: status.finished_unix_ms,
            resumes: status.resumes,
            first_malformed: malformed
                .map(|record| MalformedView { line: record.line, reason: record.reason })
                .collect(),
            checkpoint: status.checkpoint.map(CheckpointView::from),
            not_kept: status.not_kept,
            node: status.node,
            replays: status.replays,
            replay: status.replay.map(ReplayView::from),
            behind: status.behind,
        }
    }
}

/// The feeds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedsView {
    /// In the topology's order.
    feeds: Vec<FeedView>,
}

/// Every feed: state, records, confirmed requests, malformed records with the first ones in full.
#[utoipa::path(get, path = "/debug/feeds", tag = "feeds", responses(
    (status = 200, description = "The feeds", body = FeedsView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn feeds(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<FeedsView>, Problem> {
    params.finish()?;
    let feeds = state.sources().feeds.iter();
    Ok(Json(FeedsView { feeds: feeds.map(|feed| feed.status().into()).collect() }))
}
