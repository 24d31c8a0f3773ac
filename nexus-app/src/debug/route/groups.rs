//! `GET /debug/groups` and `/debug/groups/{name}`: groups and their agents.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use nexus_actors::AgentError;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

/// Members on a page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/debug/groups", Access::Token, &["/debug/groups"], get(groups)),
        Route::get("/debug/groups/{*name}", Access::Token, &["/debug/groups/{name}"], get(group)),
    ]
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupView {
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Its agents now.
    agents: usize,
}

/// The groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupsView {
    /// By name.
    groups: Vec<GroupView>,
}

/// Every group with the number of its agents now.
#[utoipa::path(get, path = "/debug/groups", tag = "groups", responses(
    (status = 200, description = "The groups", body = GroupsView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn groups(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<GroupsView>, Problem> {
    params.finish()?;
    let sizes = state.node().group_sizes().into_iter();
    Ok(Json(GroupsView { groups: sizes.map(|(name, agents)| GroupView { name, agents }).collect() }))
}

/// A page of a group's agents.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupPage {
    /// The group.
    name: String,
    /// Its agents now.
    total: usize,
    /// How many of them come before this page.
    offset: usize,
    /// The most agents a page has.
    limit: usize,
    /// Their names, in order.
    #[schema(value_type = Vec<String>)]
    agents: Vec<Arc<str>>,
}

/// A group's agents.
#[utoipa::path(get, path = "/debug/groups/{name}", tag = "groups", params(
    ("name" = String, Path, description = "The group's name"),
    ("offset" = Option<u64>, Query, description = "Agents to skip"),
    ("limit" = Option<u64>, Query, description = "Agents to show, at most `debug.page_size_max`; default 100"),
), responses(
    (status = 200, description = "The page", body = GroupPage),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such group", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn group(
    State(state): State<DebugState>,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Json<GroupPage>, Problem> {
    let page = params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?;
    params.finish()?;
    let Some(agents) = state.node().group(&name) else {
        return Err(AgentError::UnknownGroup { name }.into());
    };
    Ok(Json(GroupPage {
        name,
        total: agents.len(),
        offset: page.offset,
        limit: page.limit,
        agents: agents.into_iter().skip(page.offset).take(page.limit).collect(),
    }))
}
