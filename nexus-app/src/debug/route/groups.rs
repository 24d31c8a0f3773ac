//! `GET /debug/groups` and `/debug/groups/{name}`: groups and their agents.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use nexus_actors::AgentError;
use nexus_actors::route::GroupOverview;
use nexus_actors::route::balance::MemberOverview;
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
    /// The strategy by which messages to `group:` and its name are sent; none if it is only published to.
    balance: Option<&'static str>,
    /// Messages the strategy gave to an agent.
    decisions: u64,
    /// Messages that were rejected because everybody who was asked was full.
    refused: u64,
}

impl From<GroupOverview> for GroupView {
    fn from(group: GroupOverview) -> Self {
        let GroupOverview { name, agents, balance, decisions, refused } = group;
        Self { name, agents, balance, decisions, refused }
    }
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
    let groups = state.node().groups_overview().into_iter().map(GroupView::from).collect();
    Ok(Json(GroupsView { groups }))
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
    /// The strategy by which messages to `group:` and its name are sent; none if it is only published to.
    balance: Option<&'static str>,
    /// Messages the strategy gave to an agent.
    decisions: u64,
    /// Messages that were rejected because everybody who was asked was full.
    refused: u64,
    /// What the strategy knows of the page's agents, in order of their names; empty if there is no strategy.
    members: Vec<MemberView>,
}

/// An agent of a group that has a strategy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberView {
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Messages the strategy gave it.
    decisions: u64,
    /// The same as a share of all that the agents in the group now were given, 0 to 1.
    share: f64,
    /// Messages in its inbox, whoever sent them.
    queued: u32,
    /// The inbox's limit.
    inbox_limit: u32,
    /// Mean time of its answers to asks through the group in milliseconds; none until there was one.
    response_ms: Option<f64>,
    /// Share of time it is busy with messages, 0 to 1; none until it was measured.
    cpu: Option<f32>,
    /// Share of memory it uses of what it may, 0 to 1; none where nobody measures it.
    memory: Option<f32>,
    /// Whether it has stopped for good and is given nothing.
    stopped: bool,
}

impl From<MemberOverview> for MemberView {
    fn from(member: MemberOverview) -> Self {
        let MemberOverview { name, decisions, share, queued, inbox_limit, response_ms, cpu, memory, stopped } =
            member;
        Self { name, decisions, share, queued, inbox_limit, response_ms, cpu, memory, stopped }
    }
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
    let node = state.node();
    let (Some(agents), Some(found)) = (node.group(&name), node.group_overview(&name)) else {
        return Err(AgentError::UnknownGroup { name }.into());
    };
    let members = node.group_members(&name).unwrap_or_default().into_iter();
    Ok(Json(GroupPage {
        name,
        total: agents.len(),
        offset: page.offset,
        limit: page.limit,
        agents: agents.into_iter().skip(page.offset).take(page.limit).collect(),
        balance: found.balance,
        decisions: found.decisions,
        refused: found.refused,
        members: members.skip(page.offset).take(page.limit).map(MemberView::from).collect(),
    }))
}
