//! `GET /cluster/ring`: which share of the names each node is responsible for.

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route, clustered};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::get("/cluster/ring", Access::Token, &["/cluster/ring"], get(ring))
}

/// A node on the ring.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RingMemberView {
    /// Its name.
    name: String,
    /// Its weight.
    weight: u16,
    /// Where it stands; empty if it does not say.
    zone: String,
    /// The part of all names that it is responsible for, 0 to 1.
    share: f64,
}

/// The ring as this node sees it, and what its directory holds by it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RingView {
    /// Which membership it is drawn from: nodes that show the same have the same ring.
    epoch: String,
    /// The nodes on it, by name.
    members: Vec<RingMemberView>,
    /// Nodes beside the owner that have a copy of an agent's entry.
    successors: u32,
    /// Whether the directory has heard from all members since the ring changed.
    settled: bool,
    /// Agents that live on this node.
    local: usize,
    /// Entries that this node holds as their owner or with a copy.
    held: usize,
    /// Answers of other nodes that are remembered.
    cached: usize,
    /// Registrations and look-ups under way.
    pending: usize,
    /// Agents found on two nodes and not decided yet.
    duplicates: usize,
    /// Bytes of the directory's tables.
    bytes: usize,
}

/// Which share of the names each node is responsible for, and what this node's directory holds.
#[utoipa::path(get, path = "/cluster/ring", tag = "cluster", responses(
    (status = 200, description = "The ring", body = RingView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn ring(State(state): State<DebugState>, params: Params) -> Result<Json<RingView>, Problem> {
    params.finish()?;
    let clustered = clustered(&state)?.clone();
    // Shares are reckoned over all points: some milliseconds with a thousand members.
    let view = state.sweep(move |_| {
        let (ring, directory) = (clustered.cluster().ring(), clustered.cluster().directory().overview());
        let members = ring.members().iter().zip(ring.shares()).map(|(member, share)| RingMemberView {
            name: member.node.name.to_string(),
            weight: member.weight,
            zone: member.zone.to_string(),
            share,
        });
        RingView {
            epoch: format!("{:016x}", ring.epoch().get()),
            members: members.collect(),
            successors: u32::try_from(clustered.config().directory().successors).unwrap_or(u32::MAX),
            settled: directory.settled,
            local: directory.local,
            held: directory.held,
            cached: directory.cached,
            pending: directory.pending,
            duplicates: directory.duels,
            bytes: directory.bytes,
        }
    });
    Ok(Json(view.await?))
}
