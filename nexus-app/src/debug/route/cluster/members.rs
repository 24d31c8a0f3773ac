//! `GET /cluster/members`: who is in the cluster, as this node sees it.

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use nexus_cluster::membership::{MemberOverview, MemberState, PartitionState};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route, busy, clustered};
use crate::cluster::{LinkNews, NodeNews};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

/// A member's usual weight in membership's hundredths.
const USUAL_WEIGHT: f64 = 100.0;

pub(super) fn route() -> Route {
    Route::get("/cluster/members", Access::Token, &["/cluster/members"], get(members))
}

/// One member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberView {
    /// Its name.
    name: String,
    /// Whether it is the node that answers.
    me: bool,
    /// `alive`; `suspect` while it does not answer and may defend itself; `down`; `left` if it went on purpose.
    #[schema(value_type = String)]
    state: MemberState,
    /// Whether there is a connection to it.
    connected: bool,
    /// Which life of it: when it began, in milliseconds since 1970.
    incarnation: u64,
    /// How often it renewed itself in this life: when it was taken for dead, or told something new of itself.
    renewal: u32,
    /// Where others reach it, `host:port`.
    address: String,
    /// Where it stands; empty if it does not say.
    zone: String,
    /// Its share of the agents in relation to the others'.
    weight: f64,
    /// Agents that it has room for.
    capacity: u64,
    /// Agents that live on it, as it told last; null while it has not.
    agents: Option<u64>,
    /// The base address of its debug endpoint, if it told one.
    debug: Option<String>,
    /// The release of what runs on it, as its topology says; empty if it does not.
    version: String,
    /// Its release of Nexus; null while it has not told.
    nexus: Option<String>,
    /// Its connections as it told last, the busiest 16.
    links: Vec<MemberLinkView>,
}

/// A member's connection to another one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberLinkView {
    /// The node at its other end.
    peer: String,
    /// How long the way there and back takes, in milliseconds; null while that is not known.
    delay_ms: Option<f64>,
    /// Bytes a second to it.
    sent_per_s: u64,
    /// Bytes a second from it.
    received_per_s: u64,
}

impl From<LinkNews> for MemberLinkView {
    #[expect(clippy::cast_precision_loss, reason = "a delay for people needs no more than 52 bits")]
    fn from(LinkNews { peer, delay_us, sent, received }: LinkNews) -> Self {
        Self {
            peer,
            delay_ms: delay_us.map(|us| us as f64 / 1000.0),
            sent_per_s: sent,
            received_per_s: received,
        }
    }
}

/// The cluster as this node sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MembersView {
    /// The cluster's name.
    cluster: String,
    /// The node that answers.
    node: String,
    /// Whether it is ready for work in the cluster.
    ready: bool,
    /// The same in words: what it waits for.
    standing: String,
    /// Whether it is on the smaller side of a partition, where that counts.
    minority: bool,
    /// Everyone remembered, by name.
    members: Vec<MemberView>,
}

/// Who is in the cluster, as this node sees it: states, zones, and agents on each.
#[utoipa::path(get, path = "/cluster/members", tag = "cluster", responses(
    (status = 200, description = "The members", body = MembersView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Membership is being started anew", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn members(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<MembersView>, Problem> {
    params.finish()?;
    let clustered = clustered(&state)?;
    let overview = clustered.cluster().membership().overview().await.map_err(busy)?;
    let connections = clustered.carrier().overview().connections;
    let mut members = Vec::with_capacity(overview.members.len());
    for member in overview.members {
        let me = member.name == overview.me.name;
        let connected = connections.iter().any(|connection| connection.peer.name == member.name);
        let mut news = clustered.news(&member.name).await;
        // Of this one we know what it will tell.
        if let Some(news) = news.as_mut().filter(|_| me) {
            news.links = clustered.link_news();
            news.agents = state.node().agent_count() as u64;
        }
        members.push(view(member, me, connected, news));
    }
    let (ready, standing) = clustered.readiness();
    Ok(Json(MembersView {
        cluster: clustered.config().name.clone(),
        node: overview.me.name.to_string(),
        ready,
        standing,
        minority: matches!(overview.partition, PartitionState::Minority { .. }),
        members,
    }))
}

fn view(member: MemberOverview, me: bool, connected: bool, news: Option<NodeNews>) -> MemberView {
    let MemberOverview { name, incarnation, renewal, state, metadata } = member;
    // What a node told that is gone is no more so.
    let news = news.filter(|_| matches!(state, MemberState::Alive | MemberState::Suspect));
    MemberView {
        name: name.to_string(),
        me,
        state,
        connected,
        incarnation,
        renewal,
        address: metadata.address,
        zone: metadata.zone,
        weight: f64::from(metadata.weight) / USUAL_WEIGHT,
        capacity: metadata.capacity,
        agents: news.as_ref().map(|news| news.agents),
        debug: news.as_ref().and_then(|news| news.debug.clone()),
        version: news.as_ref().map(|news| news.version.clone()).unwrap_or_default(),
        nexus: news.as_ref().map(|news| news.nexus.clone()),
        links: news.into_iter().flat_map(|news| news.links).map(MemberLinkView::from).collect(),
    }
}
