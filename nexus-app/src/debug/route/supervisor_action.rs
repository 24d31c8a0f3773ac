//! `POST /debug/supervisors/{path}/kill` and `/restart`: faults and restarts of whole branches.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json};
use nexus_actors::supervision::{Found, SupervisorRef, SupervisorView};
use std::sync::Arc;

use super::Route;
use super::kill::not_running;
use super::tree::nothing_at;
use crate::debug::control::{Done, within};
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::debug::target::{split_action, unknown_action};

const ACTIONS: [&str; 2] = ["kill", "restart"];

pub(super) fn route() -> Route {
    const OPERATIONS: &[&str] = &["/debug/supervisors/{path}/kill", "/debug/supervisors/{path}/restart"];
    Route::post("/debug/supervisors/{*path}", OPERATIONS, post(act))
}

async fn act(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    Path(rest): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    match split_action(&rest) {
        Some((path, "kill")) => kill(&state, path).await.map(IntoResponse::into_response),
        Some((path, "restart")) => restart(&state, path, deadline).await.map(IntoResponse::into_response),
        _ => Err(unknown_action(&rest, &ACTIONS)),
    }
}

/// A supervisor that has a supervisor.
struct Branch {
    found: Found,
    parent: SupervisorRef,
    id: Arc<str>,
    path: String,
}

fn branch(root: &Arc<SupervisorView>, path: &str) -> Result<Branch, Problem> {
    let found = root.find(path).ok_or_else(|| nothing_at(path))?;
    if let Found::Root(_) = found {
        let detail = format!("`{path}` is the root: its end would be the node's");
        return Err(Problem::new(StatusCode::CONFLICT, "is_root", detail)
            .remedy("choose a supervisor below it; a signal stops the node"));
    }
    let (parent, id) = found.parent().ok_or_else(|| not_running(path))?;
    let path = format!("{}/{id}", parent.view().path());
    Ok(Branch { found, parent, id, path })
}

/// Kills a supervisor, or another child, for fault injection. What is below it ends with it, and its own supervisor starts
/// it again by its rules.
#[utoipa::path(post, path = "/debug/supervisors/{path}/kill", tag = "control", params(
    ("path" = String, Path, description = "Ids from the root joined with `/`, as GET /debug/tree shows them"),
), responses(
    (status = 202, description = "The kill is on its way; `/debug/events` tells what follows", body = Done),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "Nothing at this path", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It does not run, or is the root", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn kill(state: &DebugState, path: &str) -> Result<(StatusCode, Json<Done>), Problem> {
    let branch = branch(&state.root()?, path)?;
    let cell = branch.found.cell().ok_or_else(|| not_running(&branch.path))?;
    cell.kill();
    Ok((StatusCode::ACCEPTED, Json(Done { done: "killed", path: branch.path })))
}

/// Ends a supervisor, or another child, in order and starts it again. Does not count against the intensity above it.
#[utoipa::path(post, path = "/debug/supervisors/{path}/restart", tag = "control", params(
    ("path" = String, Path, description = "Ids from the root joined with `/`, as GET /debug/tree shows them"),
), responses(
    (status = 200, description = "It is done", body = Done),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "Nothing at this path", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It is the root, or its supervisor refuses", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 502, description = "Its start failed", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Its supervisor is ending", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "Not done in time; the supervisor goes on", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn restart(
    state: &DebugState,
    path: &str,
    deadline: Deadline,
) -> Result<Json<Done>, Problem> {
    let branch = branch(&state.root()?, path)?;
    within(deadline, branch.parent.cycle_child(branch.id)).await?;
    Ok(Json(Done { done: "restarted", path: branch.path }))
}
