//! `POST /api/groups/{name}/publish`: a request to every agent of a group.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use nexus_actors::telemetry::in_root_span;
use serde::Serialize;
use utoipa::ToSchema;

use super::Route;
use super::ask::{RequestBody, trace};
use crate::debug::body::JsonBody;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::debug::target::{split_action, unknown_action};

pub(super) fn route() -> Route {
    Route::post("/api/groups/{*name}", &["/api/groups/{name}/publish"], post(dispatch))
}

async fn dispatch(
    State(state): State<DebugState>,
    Path(rest): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: JsonBody<RequestBody>,
) -> Result<Response, Problem> {
    params.finish()?;
    match split_action(&rest) {
        Some((name, "publish")) => {
            publish(&state, name, &headers, body.0).await.map(IntoResponse::into_response)
        }
        _ => Err(unknown_action(&rest, &["publish"])),
    }
}

/// How the request fared.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedView {
    /// Agents that have it in their inbox.
    delivered: u64,
    /// Agents whose inbox was full.
    rejected: u64,
    /// Agents that have stopped.
    stopped: u64,
    /// Other nodes that it is on its way to; what their agents do with it is counted there.
    nodes: u64,
    /// Other nodes for which too much waits already.
    nodes_full: u64,
}

/// Puts a request into the inbox of every agent that is in a group now.
#[utoipa::path(post, path = "/api/groups/{name}/publish", tag = "groups", request_body = RequestBody, params(
    ("name" = String, Path, description = "The group's name"),
    ("traceparent" = Option<String>, Header, description = "W3C trace context"),
), responses(
    (status = 202, description = "How it fared", body = PublishedView),
    (status = 400, description = "Malformed JSON or payload", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "`unknown_group`", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 408, description = "The body came too slowly", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 413, description = "Body or payload too large", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "`bad_body`: the JSON is not the right one", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn publish(
    state: &DebugState,
    name: &str,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<(StatusCode, Json<PublishedView>), Problem> {
    body.check_unasked()?;
    let request = body.request(state.node(), state.sources().payload_bytes_max)?;
    let publishing = async { state.node().publish(name, request) };
    let published = in_root_span("POST /api/groups/{name}/publish", trace(headers), publishing).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(PublishedView {
            delivered: published.delivered,
            rejected: published.rejected,
            stopped: published.stopped,
            nodes: published.nodes,
            nodes_full: published.nodes_full,
        }),
    ))
}
