//! `GET /debug/where/{id}`: the node where an agent lives.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json};
use nexus_actors::agent::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route, nobody_answers};
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;
use crate::debug::target::agent_name;

pub(super) fn route() -> Route {
    Route::get("/debug/where/{*id}", Access::Token, &["/debug/where/{id}"], get(whereabouts))
}

/// Where an agent is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhereView {
    /// Its name.
    agent: String,
    /// The key of its name, which decides its place on the ring, as 32 hexadecimal digits.
    key: String,
    /// The node where it lives; null if it lives nowhere yet.
    node: Option<String>,
    /// Whether that is the node that answers.
    here: bool,
    /// The node that the ring has for its name: its entry is there, and it starts there unless its `place` says otherwise.
    owner: Option<String>,
    /// Nodes with a copy of its entry.
    successors: Vec<String>,
    /// The node that messages from here to it go to, if any went to another.
    messages_go_to: Option<String>,
}

/// The node where an agent lives, asked of the node that must know.
#[utoipa::path(get, path = "/debug/where/{id}", tag = "cluster", params(
    ("id" = String, Path, description = "The agent's name; its slashes as they are or as `%2F`"),
), responses(
    (status = 200, description = "Where it is", body = WhereView),
    (status = 400, description = "A bad name", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "There is no such agent, and no family makes it", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nobody who could know has answered", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn whereabouts(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<WhereView>, Problem> {
    params.finish()?;
    let (node, name) = (state.node(), agent_name(&name)?);
    let id = AgentId::of(name);
    let unknown = || nexus_actors::AgentError::UnknownAgent { name: name.to_owned() };
    let Some(clustered) = state.sources().cluster.as_ref() else {
        node.agent(name).ok_or_else(unknown)?;
        let me = node.name().to_string();
        return Ok(Json(WhereView {
            agent: name.to_owned(),
            key: format!("{:032x}", id.get()),
            node: Some(me.clone()),
            here: true,
            owner: Some(me),
            successors: Vec::new(),
            messages_go_to: None,
        }));
    };
    let cluster = clustered.cluster();
    let found = tokio::time::timeout_at(deadline.0, cluster.directory().find(id)).await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(nobody_answers(&error)),
        Err(_) => return Err(nobody_answers(&"it took too long")),
    };
    if found.is_none() && !node.declares(name) {
        // All nodes have the same families.
        return Err(unknown().into());
    }
    let ring = cluster.ring();
    let mut holders = ring
        .preference_list(id, 1 + clustered.config().directory().successors)
        .into_iter()
        .map(|node| node.name.to_string());
    let here = found.as_ref().is_some_and(|found| found.name.as_str() == &**node.name());
    Ok(Json(WhereView {
        agent: name.to_owned(),
        key: format!("{:032x}", id.get()),
        node: found.map(|found| found.name.to_string()),
        here,
        owner: holders.next(),
        successors: holders.collect(),
        messages_go_to: node.leads_to(name).map(|node| node.to_string()),
    }))
}
