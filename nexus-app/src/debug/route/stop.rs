//! `POST /debug/agents/{id}/stop`: ends an agent in order.

use axum::Json;

use crate::debug::control::{Done, place_of_agent, within};
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;

/// Ends an agent in order and keeps it stopped.
#[utoipa::path(post, path = "/debug/agents/{id}/stop", tag = "control", params(
    ("id" = String, Path, description = "The agent's name; its slashes as they are or as `%2F`"),
), responses(
    (status = 200, description = "It is done", body = Done),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such agent", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "Its supervisor refuses", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 502, description = "Its start failed", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Its supervisor is ending", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "Not done in time; the supervisor goes on", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn stop(state: &DebugState, name: &str, deadline: Deadline) -> Result<Json<Done>, Problem> {
    let place = place_of_agent(state, name)?;
    within(deadline, place.supervisor.terminate_child(name)).await?;
    Ok(Json(Done { done: "stopped", path: place.path }))
}
