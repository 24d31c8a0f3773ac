//! `POST` below `/api/agents/` and `/debug/agents/`: finds the route by the path's last segment.

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::ask::ask;
use super::kill::kill;
use super::level::level;
use super::restart::restart;
use super::stop::stop;
use super::tell::tell;
use super::{Access, Route};
use crate::debug::auth::check_control;
use crate::debug::body::JsonBody;
use crate::debug::guard::Deadline;
use crate::debug::problem::Problem;
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::debug::target::{agent_name, message_target, split_action, unknown_action};

/// What can be done with an agent's life.
const ACTIONS: [&str; 4] = ["kill", "level", "restart", "stop"];

/// What can be said to an agent.
const MESSAGES: [&str; 2] = ["ask", "tell"];

pub(super) fn route() -> Route {
    const OPERATIONS: &[&str] = &[
        "/debug/agents/{id}/kill",
        "/debug/agents/{id}/level",
        "/debug/agents/{id}/restart",
        "/debug/agents/{id}/stop",
    ];
    Route::post("/debug/agents/{*id}", OPERATIONS, post(act))
}

pub(super) fn api_route() -> Route {
    // A query that is asked only looks.
    Route::post("/api/agents/{*id}", &["/api/agents/{id}/ask", "/api/agents/{id}/tell"], post(message))
        .access(Access::Token)
}

async fn act(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    Path(rest): Path<String>,
    params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    params.finish()?;
    let (name, action) = split_action(&rest).ok_or_else(|| unknown_action(&rest, &ACTIONS))?;
    match action {
        "kill" => kill(&state, agent_name(name)?).await.map(IntoResponse::into_response),
        "restart" => restart(&state, agent_name(name)?, deadline).await.map(IntoResponse::into_response),
        "stop" => stop(&state, agent_name(name)?, deadline).await.map(IntoResponse::into_response),
        "level" => {
            let body = JsonBody::from_request(request, &state).await?;
            level(&state, agent_name(name)?, deadline, body.0).await.map(IntoResponse::into_response)
        }
        _ => Err(unknown_action(&rest, &ACTIONS)),
    }
}

async fn message(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    Path(rest): Path<String>,
    params: Params,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, Problem> {
    params.finish()?;
    let (name, action) = split_action(&rest)
        .filter(|(_, action)| MESSAGES.contains(action))
        .ok_or_else(|| unknown_action(&rest, &MESSAGES))?;
    let name = message_target(name)?;
    if action == "tell" {
        check_control(&state)?;
    }
    let body = JsonBody::from_request(request, &state).await?;
    if action == "ask" {
        ask(&state, name, &headers, deadline, body.0).await.map(IntoResponse::into_response)
    } else {
        tell(&state, name, &headers, body.0).await.map(IntoResponse::into_response)
    }
}
