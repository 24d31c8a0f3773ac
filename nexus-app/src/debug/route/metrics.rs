//! `GET /metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::telemetry::PROMETHEUS_MEDIA_TYPE;

pub(super) fn route() -> Route {
    Route::get("/metrics", Access::Token, &["/metrics"], get(metrics))
}

/// All metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "telemetry", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain; version=0.0.4"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn metrics(
    State(state): State<DebugState>,
    params: Params,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let text = state
        .sweep(|state| state.sources().telemetry.prometheus_text())
        .await?
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, PROMETHEUS_MEDIA_TYPE)], text))
}
