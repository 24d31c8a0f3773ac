//! `POST /debug/agents/{id}/kill`: ends an agent's actor at once, as a crash would.

use axum::Json;
use axum::http::StatusCode;

use crate::debug::control::{Done, place_of_agent};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;

/// Kills an agent's actor at its next await point, for fault injection: its supervisor deals with that as with any crash.
#[utoipa::path(post, path = "/debug/agents/{id}/kill", tag = "control", params(
    ("id" = String, Path, description = "The agent's name; its slashes as they are or as `%2F`"),
), responses(
    (status = 202, description = "The kill is on its way; `/debug/events` tells what follows", body = Done),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such agent", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It does not run", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn kill(state: &DebugState, name: &str) -> Result<(StatusCode, Json<Done>), Problem> {
    let place = place_of_agent(state, name)?;
    let cell = place.child.cell.ok_or_else(|| not_running(&place.path))?;
    cell.kill();
    Ok((StatusCode::ACCEPTED, Json(Done { done: "killed", path: place.path })))
}

pub(crate) fn not_running(path: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_running", format!("`{path}` does not run"))
        .remedy("start it with `restart`")
}
