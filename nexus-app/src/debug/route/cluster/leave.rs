//! `POST /cluster/leave`: the node leaves its cluster, and stops.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Route, clustered};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::post("/cluster/leave", &["/cluster/leave"], post(leave))
}

/// The node is leaving.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeavingView {
    /// Which.
    leaving: String,
}

/// The node tells the others that it leaves, and stops in order: a life that has left does not come back. The answer comes before that.
#[utoipa::path(post, path = "/cluster/leave", tag = "cluster", responses(
    (status = 202, description = "It is leaving", body = LeavingView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn leave(
    State(state): State<DebugState>,
    params: Params,
) -> Result<(StatusCode, Json<LeavingView>), Problem> {
    params.finish()?;
    clustered(&state)?.ask_to_leave();
    Ok((StatusCode::ACCEPTED, Json(LeavingView { leaving: state.node().name().to_string() })))
}
