//! `GET /debug/feeds`: what the feeds do.

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::get("/debug/feeds", Access::Token, &["/debug/feeds"], get(feeds))
}

/// The feeds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedsView {
    /// Each feed's status, in the topology's order.
    #[schema(value_type = Vec<Object>)]
    feeds: Vec<Value>,
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
    Ok(Json(FeedsView { feeds: state.sources().feeds.iter().map(|feed| feed.status()).collect() }))
}
