//! `GET /livez`, `/readyz`, `/healthz`: for probes, so without a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::readiness::Condition;
use crate::debug::state::DebugState;

/// Answered even to connections past the limit.
pub(super) const LIVEZ: &str = "/livez";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(LIVEZ, Access::Public, &["/livez"], get(livez)),
        Route::get("/readyz", Access::Public, &["/readyz"], get(readyz)),
        Route::get("/healthz", Access::Public, &["/healthz"], get(healthz)),
    ]
}

/// The process lives.
///
/// Looks at nothing, so it answers when the tree or all agents are stuck.
#[utoipa::path(get, path = "/livez", tag = "health", security(()),
    responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "alive\n"
}

/// The node's readiness.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always true; a node that is not ready answers 503.
    ready: bool,
    conditions: Vec<Condition>,
}

/// All conditions for work hold.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "It is ready", body = Ready),
    (status = 503, description = "It is not ready; `missing` has the conditions that do not hold", body = ProblemDetails,
        content_type = "application/problem+json")))]
pub(crate) async fn readyz(State(state): State<DebugState>, params: Params) -> Result<Json<Ready>, Problem> {
    params.finish()?;
    let conditions = state.sources().readiness.conditions();
    let missing: Vec<_> = conditions.iter().filter(|condition| !condition.ready).collect();
    if missing.is_empty() {
        return Ok(Json(Ready { ready: true, conditions }));
    }
    let names = missing.iter().map(|condition| format!("{} ({})", condition.name, condition.detail));
    let detail = format!("waiting for: {}", names.collect::<Vec<_>>().join(", "));
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail).with("missing", json!(missing)))
}

/// The node in a few words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `degraded` when a condition does not hold.
    status: &'static str,
    /// The node's name.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The build's version.
    version: &'static str,
    /// Milliseconds since the node started.
    uptime_ms: u64,
    /// Agents in the route table.
    agents: usize,
    conditions: Vec<Condition>,
}

/// A summary of the node. Answers 200 also when degraded; `/readyz` tells by status.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "The summary", body = Health)))]
pub(crate) async fn healthz(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<Health>, Problem> {
    params.finish()?;
    let (node, readiness) = (state.node(), &state.sources().readiness);
    let conditions = readiness.conditions();
    let ready = conditions.iter().all(|condition| condition.ready);
    Ok(Json(Health {
        status: if ready { "ok" } else { "degraded" },
        node: node.name().clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: node.clock().now().get(),
        agents: node.agent_count(),
        conditions,
    }))
}
