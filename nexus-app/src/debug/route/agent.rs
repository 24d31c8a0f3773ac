//! `GET /debug/agents/{id}`: one agent, with its state as its behavior shows it.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json};
use nexus_actors::AgentError;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::cluster::elsewhere;
use super::{Access, Route};
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::debug::target::agent_name;
use crate::debug::view::{AgentView, ExitView, exit_view};

/// How long the agent may take to show its state, unless the client says otherwise.
const STATE_TIMEOUT_MS: u64 = 1000;

pub(super) fn route() -> Route {
    Route::get("/debug/agents/{*id}", Access::Token, &["/debug/agents/{id}"], get(agent))
}

/// One agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentDetail {
    #[serde(flatten)]
    agent: AgentView,
    /// Its last exits, newest first.
    exits: Vec<ExitView>,
    /// Its state as its behavior shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    /// Why there is no state.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_error: Option<StateError>,
}

/// Why an agent did not show its state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StateError {
    /// The error's stable name, such as `timed_out`.
    code: String,
    /// The error in words.
    detail: String,
}

/// Where to look instead.
async fn not_here(state: &DebugState, name: &str) -> Problem {
    match elsewhere(state, name).await {
        Ok(Some(node)) => {
            let detail = format!("agent `{name}` lives on the node `{node}`");
            Problem::new(StatusCode::NOT_FOUND, "lives_elsewhere", detail).remedy(format!(
                "ask that node: `nexus inspect {name} --node {node}`; GET /cluster/members has its endpoint"
            ))
        }
        Ok(None) => AgentError::UnknownAgent { name: name.to_owned() }.into(),
        Err(problem) => problem,
    }
}

/// One agent: counters, exits and state.
///
/// An agent that is not running or does not answer is shown without its state.
#[utoipa::path(get, path = "/debug/agents/{id}", tag = "agents", params(
    ("id" = String, Path, description = "The agent's name; its slashes as they are or as `%2F`"),
    ("timeout_ms" = Option<u64>, Query, description = "How long it may take to show its state, 0 (do not ask) to `debug.request_timeout`; default 1000"),
), responses(
    (status = 200, description = "The agent", body = AgentDetail),
    (status = 400, description = "A bad name or parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such agent; `lives_elsewhere`: it lives on another node", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn agent(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Json<AgentDetail>, Problem> {
    let longest = u64::try_from(state.config().request_timeout.as_millis()).unwrap_or(u64::MAX);
    let timeout = params.number("timeout_ms", 0..=longest)?.unwrap_or(STATE_TIMEOUT_MS.min(longest));
    params.finish()?;
    let (node, name) = (state.node(), agent_name(&name)?);
    let Some(overview) = node.agent(name) else { return Err(not_here(&state, name).await) };
    let shown = match timeout {
        0 => None,
        ms => Some(node.inspect(name, Duration::from_millis(ms).min(deadline.left())).await),
    };
    let shown = shown.map(|reply| reply.and_then(|payload| payload.to_json()));
    let clock = node.clock();
    Ok(Json(AgentDetail {
        agent: AgentView::new(&overview, clock),
        exits: overview.exits.iter().rev().map(|exit| exit_view(exit, clock)).collect(),
        state_error: shown.as_ref().and_then(|shown| shown.as_ref().err()).map(|error| StateError {
            code: Problem::from(error.clone()).details().code().to_owned(),
            detail: error.to_string(),
        }),
        state: shown.and_then(Result::ok),
    }))
}
