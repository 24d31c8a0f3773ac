//! `POST /cluster/join`: joins the cluster that a node is in.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Route, clustered};
use crate::debug::body::JsonBody;
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;
use crate::topology::format;

/// How long it is waited for that a member comes.
const WAIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn route() -> Route {
    Route::post("/cluster/join", &["/cluster/join"], post(join))
}

/// Whom to join.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinBody {
    /// `host:port` of a node of the cluster, where it listens for others (`cluster.listen`).
    #[schema(example = "10.0.0.5:7072")]
    address: String,
}

/// The node is in one cluster with whoever is at the address.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JoinedView {
    /// The members now, this node included, by name.
    members: Vec<String>,
}

/// Joins the cluster of the node at an address: connects to it for good, and waits until it is a member.
#[utoipa::path(post, path = "/cluster/join", tag = "cluster", request_body = JoinBody, responses(
    (status = 200, description = "It is a member", body = JoinedView),
    (status = 400, description = "Malformed JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "Control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node is alone", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "No address", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "It is no member yet; the node goes on trying", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn join(
    State(state): State<DebugState>,
    Extension(deadline): Extension<Deadline>,
    JsonBody(JoinBody { address }): JsonBody<JoinBody>,
) -> Result<Json<JoinedView>, Problem> {
    let clustered = clustered(&state)?;
    if let Err((_, problem, remedy)) = format::check(format::HOST_PORT, &address) {
        let detail = format!("the address {address:?} {problem}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_address", detail).remedy(remedy));
    }
    let membership = clustered.cluster().membership();
    let there = || {
        let members = membership.members();
        // By the address that it tells, or else by whoever is connected and was dialed there.
        members.iter().any(|member| member.metadata().address == address)
    };
    let before = membership.members().len();
    clustered.join(&address);
    let limit = deadline.0.min(tokio::time::Instant::now() + WAIT);
    while !there() && membership.members().len() <= before {
        if tokio::time::Instant::now() >= limit {
            let trouble = clustered.trouble().unwrap_or_else(|| "nothing was heard of it".to_owned());
            let detail = format!("whoever is at {address} is no member yet: {trouble}");
            return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "not_joined", detail)
                .remedy("the node goes on trying while it runs; `nexus links` (GET /cluster/links) counts refusals by reason"));
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut members: Vec<String> =
        membership.members().iter().map(|member| member.name().to_string()).collect();
    members.push(membership.me().name().to_string());
    members.sort();
    Ok(Json(JoinedView { members }))
}
