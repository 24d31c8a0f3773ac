//! `GET /cluster/links`: what goes between this node and the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use nexus_cluster::NodeName;
use nexus_cluster::transport::LinkOverview;
use nexus_cluster::transport::cluster::{ConnectionOverview, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route, clustered};
use crate::cluster::Clustered;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::get("/cluster/links", Access::Token, &["/cluster/links"], get(links))
}

/// The link to one node, and the connection that carries it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkView {
    /// The node at its other end.
    peer: String,
    /// Whether there is a connection now.
    connected: bool,
    /// Whether this node dialed it; null without a connection.
    dialed: Option<bool>,
    /// The protocol version both speak; null without a connection.
    version: Option<u16>,
    /// How long the way there and back takes on the control lane, smoothed, in milliseconds; null while that is not known.
    delay_ms: Option<f64>,
    /// Bytes a second to the node, over the last seconds.
    sent_per_s: f64,
    /// Bytes a second from the node, over the last seconds.
    received_per_s: f64,
    /// Bytes to the node on this connection.
    sent_bytes: u64,
    /// Bytes from the node on this connection.
    received_bytes: u64,
    /// Messages of agents that wait to be sent.
    queued: u64,
    /// The most that may wait.
    queue_limit: u64,
    /// Messages of agents that were sent and that the node has not acknowledged.
    unacknowledged: u64,
    /// Asks that wait for the node's answer.
    pending_asks: usize,
    /// Asks of the node that wait for an answer here.
    serving_asks: usize,
    /// Bytes of the node's messages that agents here have consumed: what it may send on grows with them.
    consumed_bytes: i64,
    /// The most that it may have sent and agents here have not consumed, in bytes.
    window_bytes: u32,
}

/// What became of the streams between this node and others since its start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HandshakesView {
    /// Streams that others opened.
    accepted: u64,
    /// Those and own ones that became connections.
    connected: u64,
    /// Dials that nobody answered.
    unreachable: u64,
    /// Refused by this node, by reason.
    refused: BTreeMap<String, u64>,
    /// Refused by the other, by its reason.
    refused_by_peer: BTreeMap<String, u64>,
}

/// The links of a node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinksView {
    /// The node that answers.
    node: String,
    /// Where it listens for others; null while it does not.
    listening: Option<String>,
    /// Whether streams are under TLS.
    tls: bool,
    /// Why changed certificates could not be read; the former are in use then.
    tls_error: Option<String>,
    /// Addresses that a connection is kept to.
    kept: Vec<String>,
    /// What became of all streams.
    handshakes: HandshakesView,
    /// The links, by peer.
    links: Vec<LinkView>,
}

/// What goes between this node and the others: rates, delays, queues, credit, and who was refused.
#[utoipa::path(get, path = "/cluster/links", tag = "cluster", responses(
    (status = 200, description = "The links", body = LinksView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn links(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<LinksView>, Problem> {
    params.finish()?;
    let clustered = clustered(&state)?;
    let carrier = clustered.carrier().overview();
    let mut links: BTreeMap<NodeName, LinkOverview> =
        clustered.cluster().gateway().links().into_iter().collect();
    let mut connections: BTreeMap<NodeName, ConnectionOverview> =
        carrier.connections.into_iter().map(|one| (one.peer.name.clone(), one)).collect();
    let peers: BTreeSet<NodeName> = links.keys().chain(connections.keys()).cloned().collect();
    let views = peers.into_iter().map(|peer| {
        let (link, connection) = (links.remove(&peer), connections.remove(&peer));
        view(clustered, &peer, link.as_ref(), connection.as_ref())
    });
    let counts = |counts: BTreeMap<Refusal, u64>| {
        counts.into_iter().map(|(reason, count)| (reason.to_string(), count)).collect()
    };
    Ok(Json(LinksView {
        links: views.collect(),
        node: carrier.node.name.to_string(),
        listening: carrier.listening.map(|address| address.to_string()),
        tls: carrier.tls,
        tls_error: carrier.tls_error,
        kept: carrier.kept,
        handshakes: HandshakesView {
            accepted: carrier.handshakes.accepted,
            connected: carrier.handshakes.connected,
            unreachable: carrier.handshakes.unreachable,
            refused: counts(carrier.handshakes.refused),
            refused_by_peer: counts(carrier.handshakes.refused_by_peer),
        },
    }))
}

fn view(
    clustered: &Clustered,
    peer: &NodeName,
    link: Option<&LinkOverview>,
    connection: Option<&ConnectionOverview>,
) -> LinkView {
    let limits = clustered.config().link();
    let rates = clustered.rates(peer).unwrap_or_default();
    let ms = |delay: Duration| delay.as_secs_f64() * 1000.0;
    LinkView {
        peer: peer.to_string(),
        connected: connection.is_some(),
        dialed: connection.map(|one| one.dialed),
        version: connection.map(|one| one.version),
        delay_ms: clustered.delay(peer).map(ms),
        sent_per_s: rates.sent,
        received_per_s: rates.received,
        sent_bytes: connection.map_or(0, |one| one.sent_bytes),
        received_bytes: connection.map_or(0, |one| one.received_bytes),
        queued: link.map_or(0, |link| link.queued),
        queue_limit: limits.queue_messages,
        unacknowledged: link.map_or(0, |link| link.unacknowledged),
        pending_asks: link.map_or(0, |link| link.pending_asks),
        serving_asks: link.map_or(0, |link| link.serving_asks),
        consumed_bytes: link.map_or(0, |link| link.consumed_bytes),
        window_bytes: limits.window_bytes,
    }
}
