//! `POST /debug/agents/{id}/level`: asks for an intelligence level.

use axum::Json;
use nexus_actors::agent::Level;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;

/// The level to ask for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LevelBody {
    /// `reactive`, `proactive`, `adaptive` or `emergent`.
    #[schema(value_type = String, example = "proactive")]
    level: Level,
}

/// The level that serves the agent from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LevelView {
    /// What was asked for.
    #[schema(value_type = String)]
    requested: Level,
    /// The highest level there is, not above what was asked for.
    #[schema(value_type = String)]
    granted: Level,
}

/// Asks for an intelligence level; the highest one there is, not above it, serves the agent.
#[utoipa::path(post, path = "/debug/agents/{id}/level", tag = "control", request_body = LevelBody, params(
    ("id" = String, Path, description = "The agent's name; its slashes as they are or as `%2F`"),
), responses(
    (status = 200, description = "The level that serves the agent", body = LevelView),
    (status = 400, description = "Malformed JSON or name", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such agent", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It does not run", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "No such level", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 502, description = "It ended meanwhile", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "It did not answer in time", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn level(
    state: &DebugState,
    name: &str,
    deadline: Deadline,
    body: LevelBody,
) -> Result<Json<LevelView>, Problem> {
    let level = state.node().set_level(name, body.level, deadline.left()).await?;
    Ok(Json(LevelView { requested: level.requested, granted: level.granted }))
}
