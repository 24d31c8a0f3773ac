//! `/cluster/…`: the node's part in its cluster. `/debug/where/{id}`: the node where an agent lives.

pub(crate) mod drain;
pub(crate) mod join;
pub(crate) mod leave;
pub(crate) mod links;
pub(crate) mod members;
pub(crate) mod ring;
pub(crate) mod whereabouts;

use axum::http::StatusCode;
use nexus_actors::agent::AgentId;
use nexus_cluster::NodeName;

use super::{Access, Route};
use crate::cluster::Clustered;
use crate::debug::problem::Problem;
use crate::debug::state::DebugState;

pub(super) fn routes() -> Vec<Route> {
    let one = [
        members::route(),
        ring::route(),
        links::route(),
        whereabouts::route(),
        join::route(),
        leave::route(),
    ];
    one.into_iter().chain(drain::routes()).collect()
}

/// The node's part in its cluster.
fn clustered(state: &DebugState) -> Result<&Clustered, Problem> {
    state.sources().cluster.as_ref().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no_cluster", "the node is alone: its topology has no cluster")
            .remedy("add `[cluster]` to its topology, or start one with `nexus cluster up`")
    })
}

/// The other node where an agent lives that is not here, if the node is one of a cluster and the agent lives anywhere.
pub(crate) async fn elsewhere(state: &DebugState, name: &str) -> Result<Option<NodeName>, Problem> {
    let Some(clustered) = state.sources().cluster.as_ref() else { return Ok(None) };
    let found = clustered.cluster().directory().find(AgentId::of(name)).await;
    let found = found.map_err(|error| nobody_answers(&error))?;
    Ok(found.map(|node| node.name).filter(|node| node.as_str() != &**state.node().name()))
}

/// Nobody who could know where an agent lives has answered.
fn nobody_answers(why: &dyn std::fmt::Display) -> Problem {
    let detail = format!("nobody who could know has answered: {why}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "whereabouts_unknown", detail)
        .remedy("try again; `nexus members` (GET /cluster/members) shows who is in reach")
}

/// A part of the assembly is being started anew.
fn busy(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "cluster_starting", error.to_string())
        .remedy("try again; GET /debug/tree?root=nexus/cluster.sup shows its parts")
        .header(axum::http::header::RETRY_AFTER, "1")
}
