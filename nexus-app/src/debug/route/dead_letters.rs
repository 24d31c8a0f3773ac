//! `GET /debug/dead-letters`: requests that could not be handled.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use nexus_actors::agent::Operation;
use nexus_actors::route::{DeadLetter, DeadLetterReason};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

/// Dead letters on a page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;

pub(super) fn route() -> Route {
    Route::get("/debug/dead-letters", Access::Token, &["/debug/dead-letters"], get(dead_letters))
}

/// A request that could not be handled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// 1 for the node's first one, without gaps.
    seq: u64,
    /// When, in milliseconds since the node started.
    at_ms: u64,
    /// When, in milliseconds since 1970 (UTC).
    unix_ms: u64,
    /// The agent it was for.
    #[schema(value_type = String)]
    target: Arc<str>,
    /// Why it could not be handled.
    #[schema(value_type = String, example = "crashed")]
    reason: DeadLetterReason,
    /// `query`, `update` or `action`.
    #[schema(value_type = String, example = "update")]
    operation: Operation,
    /// The request's key.
    key: String,
    /// The request's payload; absent where it was cut off or is not decodable.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// The payload's whole length, encoded.
    payload_bytes: usize,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            seq: letter.seq,
            at_ms: letter.at.get(),
            unix_ms: letter.unix_ms,
            payload: letter.payload.to_json().ok(),
            target: letter.target,
            reason: letter.reason,
            operation: letter.operation,
            key: letter.key.to_string(),
            payload_bytes: letter.payload_bytes,
        }
    }
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLettersPage {
    /// Since the node started, kept or not.
    total: u64,
    /// The total by reason.
    counts: BTreeMap<&'static str, u64>,
    /// How many are kept.
    kept: usize,
    /// How many of the kept ones come before this page.
    offset: usize,
    /// The most dead letters a page has.
    limit: usize,
    /// Newest first.
    dead_letters: Vec<DeadLetterView>,
}

/// Requests that could not be handled, newest first, and counts of all by reason.
#[utoipa::path(get, path = "/debug/dead-letters", tag = "messages", params(
    ("offset" = Option<u64>, Query, description = "Dead letters to skip"),
    ("limit" = Option<u64>, Query, description = "Dead letters to show, at most `debug.page_size_max`; default 100"),
), responses(
    (status = 200, description = "The page", body = DeadLettersPage),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn dead_letters(
    State(state): State<DebugState>,
    mut params: Params,
) -> Result<Json<DeadLettersPage>, Problem> {
    let page = params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?;
    params.finish()?;
    let dead = state.node().dead_letters();
    let counts = dead.counts();
    let (letters, kept) = dead.page(page.offset, page.limit);
    Ok(Json(DeadLettersPage {
        total: counts.iter().map(|(_, count)| count).sum(),
        counts: counts.into_iter().map(|(reason, count)| (reason.name(), count)).collect(),
        kept,
        offset: page.offset,
        limit: page.limit,
        dead_letters: letters.into_iter().map(DeadLetterView::from).collect(),
    }))
}
