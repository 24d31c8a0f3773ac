//! `GET /debug/clients`: agents' clients, and what they did.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::clients::ClientOverview;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

/// Clients on a page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;

pub(super) fn route() -> Route {
    Route::get("/debug/clients", Access::Token, &["/debug/clients"], get(clients))
}

/// A client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientView {
    /// Its number: 1 for the node's first.
    id: u64,
    /// Its address.
    peer: String,
    /// How long it has been connected, in milliseconds.
    connected_ms: u64,
    /// Messages it sent.
    received: u64,
    /// Messages written to it.
    sent: u64,
    /// Messages of it that were refused because there were too many.
    rate_limited: u64,
    /// Publications it missed.
    missed: u64,
    /// Messages that wait to be written.
    queued: u32,
    /// Asks that wait for their answers.
    asks: u32,
    /// Groups it listens to.
    subscriptions: u32,
}

/// A page of clients, and what all did since the node started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientsPage {
    /// Where their endpoint listens.
    address: Option<String>,
    /// Clients connected now.
    connections: u64,
    /// The most there may be, as far as the system's limit of open files allows.
    connections_max: u64,
    /// Clients that were let in.
    accepted: u64,
    /// Connections refused before they were clients, by reason: `full`, `handshake`, `request`, `access`.
    refused: BTreeMap<&'static str, u64>,
    /// Clients that have gone, by reason: `slow` ones were cut off.
    closed: BTreeMap<&'static str, u64>,
    /// Messages received.
    received: u64,
    /// Messages written.
    sent: u64,
    /// Messages refused because a client sent too many.
    rate_limited: u64,
    /// Publications that clients missed.
    missed: u64,
    /// How many clients come before this page.
    offset: usize,
    /// The most clients a page has.
    limit: usize,
    /// By number.
    clients: Vec<ClientView>,
}

/// Agents' clients: totals, and a page of those connected now.
#[utoipa::path(get, path = "/debug/clients", tag = "clients", params(
    ("offset" = Option<u64>, Query, description = "Clients to skip"),
    ("limit" = Option<u64>, Query, description = "Clients to show, at most `debug.page_size_max`; default 100"),
), responses(
    (status = 200, description = "The page", body = ClientsPage),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "`no_clients_endpoint`", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn clients(
    State(state): State<DebugState>,
    mut params: Params,
) -> Result<Json<ClientsPage>, Problem> {
    let page = params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?;
    params.finish()?;
    let Some(clients) = &state.sources().clients else {
        let detail = "this node has no endpoint for agents' clients";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_clients_endpoint", detail)
            .remedy("add a `[clients]` table to the topology and start the node again"));
    };
    let totals = clients.totals();
    let now = state.node().clock().now();
    let view = |client: ClientOverview| ClientView {
        id: client.id,
        peer: client.peer.to_string(),
        connected_ms: u64::try_from(now.since(client.since).as_millis()).unwrap_or(u64::MAX),
        received: client.received,
        sent: client.sent,
        rate_limited: client.rate_limited,
        missed: client.missed,
        queued: client.queued,
        asks: client.asks,
        subscriptions: client.subscriptions,
    };
    Ok(Json(ClientsPage {
        address: clients.address().map(|address| address.to_string()),
        connections: totals.connections,
        connections_max: totals.connections_max,
        accepted: totals.accepted,
        refused: totals.refused.into_iter().collect(),
        closed: totals.closed.into_iter().collect(),
        received: totals.received,
        sent: totals.sent,
        rate_limited: totals.rate_limited,
        missed: totals.missed,
        offset: page.offset,
        limit: page.limit,
        clients: clients.page(page.offset, page.limit).into_iter().map(view).collect(),
    }))
}
