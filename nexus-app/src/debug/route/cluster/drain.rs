//! `POST /cluster/drain`: moves all agents off a node. `GET /cluster/drain`: how far that is.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use nexus_cluster::NodeName;
use nexus_cluster::membership::MemberState;
use nexus_cluster::migrate::Progress;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Access, Route, busy, clustered};
use crate::cluster::Clustered;
use crate::debug::body::JsonBody;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn routes() -> [Route; 2] {
    [
        Route::get("/cluster/drain", Access::Token, &["/cluster/drain"], get(progress)),
        Route::post("/cluster/drain", &["/cluster/drain"], post(drain)),
    ]
}

/// Which node, and whether.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainBody {
    /// The node's name. Default: the one that is asked.
    node: Option<String>,
    /// Whether it is to be drained; false lets it take agents again. Default true.
    #[serde(default = "yes")]
    on: bool,
}

const fn yes() -> bool {
    true
}

/// How far a drain is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainView {
    /// The node.
    node: String,
    /// Whether it is drained, or was: it takes no new agents.
    draining: bool,
    /// Agents that were to move.
    total: u64,
    /// Agents that live elsewhere now.
    moved: u64,
    /// Agents that stay.
    failed: u64,
    /// The first hundred of them, with the reasons; only the node itself knows them.
    reasons: BTreeMap<String, String>,
    /// Bytes of state that have moved.
    bytes: u64,
    /// Whether it is over.
    done: bool,
}

impl DrainView {
    fn new(node: &NodeName, progress: Progress) -> Self {
        let Progress { draining, total, moved, failed, reasons, bytes, done } = progress;
        let reasons = reasons.into_iter().map(|(agent, why)| (agent.to_string(), why)).collect();
        Self { node: node.to_string(), draining, total, moved, failed, reasons, bytes, done }
    }
}

/// The member called `name`, or this node.
async fn member(clustered: &Clustered, name: Option<&str>) -> Result<NodeName, Problem> {
    let membership = clustered.cluster().membership();
    let own = membership.me().name().clone();
    let Some(name) = name.filter(|name| *name != own.as_str()) else { return Ok(own) };
    let members = membership.members();
    if let Some(found) = members.iter().find(|member| member.name().as_str() == name) {
        return Ok(found.name().clone());
    }
    let remembered = membership.overview().await.map_err(busy)?.members;
    Err(match remembered.iter().find(|member| member.name.as_str() == name) {
        Some(gone) => {
            let state = match gone.state {
                MemberState::Left => "it has left",
                _ => "it is down",
            };
            Problem::new(
                StatusCode::CONFLICT,
                "member_gone",
                format!("`{name}` is no member any more: {state}"),
            )
            .remedy("its agents start elsewhere by themselves; `nexus members` shows who is there")
        }
        None => {
            let name: String = name.chars().take(300).collect();
            Problem::new(StatusCode::NOT_FOUND, "unknown_member", format!("no member is called `{name}`"))
                .remedy("`nexus members` (GET /cluster/members) shows their names")
        }
    })
}

/// Refuses a drain of `node` if all others are being drained too, or there are none: nothing could move.
fn somebody_takes(clustered: &Clustered, node: &NodeName) -> Result<(), Problem> {
    let cluster = clustered.cluster();
    let (members, me) = (cluster.membership().members(), cluster.membership().me());
    let all = members.iter().map(|member| member.name()).chain([me.name()]);
    let mut others = all.filter(|name| *name != node).peekable();
    let what = if others.peek().is_none() { "it is the only member" } else { "all others are being drained" };
    if others.any(|other| !cluster.drained(other).is_some_and(|drain| drain.draining)) {
        return Ok(());
    }
    let detail = format!("nobody takes the agents of `{node}`: {what}");
    Err(Problem::new(StatusCode::CONFLICT, "nobody_takes", detail)
        .remedy("start another node, or let one take agents again with `nexus drain NODE --undo`"))
}

/// How far the drain of a node is, as it last said.
#[utoipa::path(get, path = "/cluster/drain", tag = "cluster", params(
    ("node" = Option<String>, Query, description = "The node's name; default: the one that is asked"),
), responses(
    (status = 200, description = "How far it is", body = DrainView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone, or no member has this name", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "The member is gone", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn progress(
    State(state): State<DebugState>,
    mut params: Params,
) -> Result<Json<DrainView>, Problem> {
    let node = params.text("node");
    params.finish()?;
    let clustered = clustered(&state)?;
    let node = member(clustered, node.as_deref()).await?;
    // Who has said nothing yet is not being drained, as far as anybody knows.
    let progress = clustered.cluster().drained(&node).unwrap_or_default();
    Ok(Json(DrainView::new(&node, progress)))
}

/// Moves all agents off a node, in batches, to where their placement says; until it is called off the node takes no agents. Agents that
/// are declared one by one stay. It begins at once; GET says how far it is.
#[utoipa::path(post, path = "/cluster/drain", tag = "cluster", request_body = DrainBody, responses(
    (status = 202, description = "It has begun, or is called off", body = DrainView),
    (status = 400, description = "Malformed JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone, or no member has this name", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "The member is gone, or nobody takes its agents", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "The JSON is not the right one", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "That node is not connected", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn drain(
    State(state): State<DebugState>,
    JsonBody(DrainBody { node, on }): JsonBody<DrainBody>,
) -> Result<(StatusCode, Json<DrainView>), Problem> {
    let clustered = clustered(&state)?;
    let node = member(clustered, node.as_deref()).await?;
    if on {
        somebody_takes(clustered, &node)?;
    }
    clustered.cluster().drain(&node, on).map_err(|error| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_connected", error.to_string())
            .remedy("try again, or ask that node itself")
    })?;
    let progress = clustered.cluster().drained(&node).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, Json(DrainView::new(&node, progress))))
}
