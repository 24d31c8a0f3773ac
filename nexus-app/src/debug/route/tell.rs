//! `POST /api/agents/{id}/tell`: a request nobody waits for.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use nexus_actors::telemetry::in_root_span;
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{RequestBody, trace};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;

/// The request is in the agent's inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enqueued {
    /// Always true.
    enqueued: bool,
}

/// Puts a request into an agent's inbox and does not wait for its end.
#[utoipa::path(post, path = "/api/agents/{id}/tell", tag = "messages", request_body = RequestBody, params(
    ("id" = String, Path, description = "The agent's name, its slashes as they are or as `%2F`; or `group:` and a group's name: the group's strategy chooses the agent"),
    ("traceparent" = Option<String>, Header, description = "W3C trace context"),
), responses(
    (status = 202, description = "It is in the inbox", body = Enqueued),
    (status = 400, description = "Malformed JSON, name or payload", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "`unknown_agent`, `unknown_group`", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 408, description = "The body came too slowly", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "`stopped`; `not_balanced`: the group has no strategy", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 413, description = "Body or payload too large", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "`bad_body`: the JSON is not the right one", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 429, description = "`overloaded`: the inbox is full, or the priority too low", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "`too_many_agents`; `no_member`: nobody in the group takes messages", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn tell(
    state: &DebugState,
    name: &str,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<(StatusCode, Json<Enqueued>), Problem> {
    body.check_unasked()?;
    let request = body.request(state.node(), state.sources().payload_bytes_max)?;
    let telling = async { state.node().send(name, request) };
    in_root_span("POST /api/agents/{id}/tell", trace(headers), telling).await?;
    Ok((StatusCode::ACCEPTED, Json(Enqueued { enqueued: true })))
}
