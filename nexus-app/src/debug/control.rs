//! Steering the tree: finding who supervises what, and waiting no longer than the client does.

use std::future::Future;

use axum::http::{StatusCode, header};
use nexus_actors::AgentError;
use nexus_actors::agent::AgentStatus;
use nexus_actors::supervision::{ChildView, Found, SupervisorError, SupervisorRef};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::Deadline;
use super::problem::Problem;
use super::state::DebugState;

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// `stopped`, `restarted` or `killed`.
    pub(crate) done: &'static str,
    /// Where it is in the tree.
    pub(crate) path: String,
}

/// An agent in the tree.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) supervisor: SupervisorRef,
    pub(crate) child: ChildView,
    pub(crate) path: String,
}

/// The agent called `name`, wherever in the tree it is: each supervisor is asked for a child of that id.
pub(crate) fn place_of_agent(state: &DebugState, name: &str) -> Result<Place, Problem> {
    let Some(agent) = state.node().agent(name) else {
        return Err(AgentError::UnknownAgent { name: name.to_owned() }.into());
    };
    if agent.status == AgentStatus::Dormant {
        let detail = format!("agent `{name}` is dormant: there is no actor to act on");
        return Err(Problem::new(StatusCode::CONFLICT, "dormant", detail).remedy("a message wakes it"));
    }
    if let Some(Found::Child { supervisor: view, child }) = state.root()?.locate(name)
        && let Some(supervisor) = view.supervisor()
    {
        let path = format!("{}/{name}", view.path());
        return Ok(Place { supervisor, child: *child, path });
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "not_supervised",
        format!("agent `{name}` is known and has no supervisor at the moment"),
    )
    .remedy("it is being started or has ended for good; a message brings a family's agent to life again"))
}

/// Waits for `asked`, at most until the deadline.
pub(crate) async fn within<T>(
    deadline: Deadline,
    asked: impl Future<Output = Result<T, SupervisorError>>,
) -> Result<T, Problem> {
    match tokio::time::timeout_at(deadline.0, asked).await {
        Ok(answered) => answered.map_err(refused),
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed_out",
            "the supervisor has not finished in time; it goes on with it",
        )
        .remedy("GET /debug/events tells when it is done")),
    }
}

fn refused(error: SupervisorError) -> Problem {
    let (status, code) = match &error {
        SupervisorError::NotFound(_) => (StatusCode::NOT_FOUND, "unknown_child"),
        SupervisorError::StartFailed { .. } => (StatusCode::BAD_GATEWAY, "start_failed"),
        SupervisorError::ShuttingDown | SupervisorError::Gone => {
            (StatusCode::SERVICE_UNAVAILABLE, "supervisor_ending")
        }
        SupervisorError::AlreadyStarted(_)
        | SupervisorError::AlreadyPresent(_)
        | SupervisorError::Running(_)
        | SupervisorError::Restarting(_)
        | SupervisorError::SimpleOneForOne
        | SupervisorError::NotSimpleOneForOne
        | SupervisorError::InvalidSpec(_) => (StatusCode::CONFLICT, "refused_by_supervisor"),
    };
    let problem = Problem::new(status, code, error.to_string());
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            problem.remedy("try again when it has been started anew").header(header::RETRY_AFTER, "1")
        }
        StatusCode::BAD_GATEWAY => problem.remedy("GET /debug/events has the reason"),
        _ => problem,
    }
}
