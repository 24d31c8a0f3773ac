//! What holds for every request: a time limit, no panic that ends the connection, and a line in the log.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::Instant;

use super::problem::Problem;
use super::state::DebugState;

/// How much longer than the request's deadline the guard waits, so that a handler that keeps the deadline can answer with
/// more than "too late".
const GRACE: Duration = Duration::from_millis(50);

/// When a request must be answered. In the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Instant);

impl Deadline {
    /// Time left.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

pub(crate) async fn guard(State(state): State<DebugState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let limit = state.config().request_timeout;
    request.extensions_mut().insert(Deadline(started + limit));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());

    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = match tokio::time::timeout(limit + GRACE, answering).await {
        Ok(Ok(response)) => response,
        // The panic hook has reported where.
        Ok(Err(_)) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the handler panicked")
            .remedy("see the node's log, and report it")
            .into_response(),
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            format!("there was no answer within {} ms", limit.as_millis()),
        )
        .remedy("ask for less, or raise `debug.request_timeout`")
        .into_response(),
    };
    tracing::debug!(
        method = %method,
        path,
        status = response.status().as_u16(),
        took = ?started.elapsed(),
        "debug request"
    );
    response
}
