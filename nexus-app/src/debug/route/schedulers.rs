//! `GET /debug/schedulers`: the runtimes and their threads.

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use nexus_actors::Node;
use nexus_actors::scheduler::{RuntimeOverview, SchedulersOverview, WorkerOverview};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::get("/debug/schedulers", Access::Token, &["/debug/schedulers"], get(schedulers))
}

/// A worker of a runtime and its thread.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerView {
    /// The thread's number in the kernel; null for the system's runtime, and for a moment after the start.
    thread: Option<u32>,
    /// The CPUs it may run on, read back from the kernel just now, as `0-3,8`.
    cpus: Option<String>,
    /// The part of the window it was busy, 0 to 1.
    busy: f64,
    /// How often it went to sleep for want of work.
    parks: u64,
}

impl From<WorkerOverview> for WorkerView {
    fn from(worker: WorkerOverview) -> Self {
        Self { thread: worker.thread, cpus: worker.cpus, busy: worker.busy, parks: worker.parks }
    }
}

/// A runtime. Steals are not shown: tokio counts them in unstable builds only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuntimeView {
    /// `system`, `numa` with its node, or `core` with its CPU.
    name: String,
    /// What its threads are called; null for the system's.
    thread_name: Option<String>,
    /// Its NUMA node; null if it is on none or several.
    node: Option<u32>,
    /// The CPUs it was given, as `0-3,8`; null if it may run anywhere.
    cpus: Option<String>,
    /// The mean of its workers' busy parts, 0 to 1.
    busy: f64,
    /// Tasks that wait for any worker to take them; not those that one has taken.
    queued: usize,
    /// Tasks that have not ended: each live agent is one, and what behaviors spawn.
    tasks: usize,
    /// Agents of the route table that it is the place of: they live on it, or will from their next start on.
    agents: u64,
    /// Its workers.
    workers: Vec<WorkerView>,
}

impl RuntimeView {
    fn new(runtime: RuntimeOverview, agents: u64) -> Self {
        Self {
            name: runtime.name,
            thread_name: runtime.thread_name,
            node: runtime.node,
            cpus: runtime.cpus,
            busy: runtime.busy,
            queued: runtime.queued,
            tasks: runtime.tasks,
            agents,
            workers: runtime.workers.into_iter().map(WorkerView::from).collect(),
        }
    }
}

/// The runtimes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulersView {
    /// `numa`, `core` or `none`.
    #[schema(value_type = String)]
    policy: &'static str,
    /// Whether threads were to be pinned.
    pin: bool,
    /// Why they are not although they were to be.
    unpinned: Option<String>,
    /// CPUs kept free of agents, as `0-3,8`; empty for none.
    reserved: String,
    /// Where the layout is less than the policy could be, and why.
    notes: Vec<String>,
    /// The time that busy parts are of, in milliseconds.
    window_ms: u64,
    /// The system's runtime first, then those of the agents.
    runtimes: Vec<RuntimeView>,
}

impl SchedulersView {
    /// Looks at every agent.
    fn new(overview: SchedulersOverview, node: &Node) -> Self {
        let mut placed = node.agents_placed().into_iter();
        let mut agents = |runtime: &RuntimeOverview| match (&*runtime.name, runtime.agents) {
            ("system", true) => node.agent_count() as u64,
            ("system", false) => 0,
            _ => placed.next().unwrap_or(0),
        };
        let runtimes = overview.runtimes.into_iter();
        Self {
            policy: overview.policy,
            pin: overview.pin,
            unpinned: overview.unpinned,
            reserved: overview.reserved,
            notes: overview.notes,
            window_ms: overview.window_ms,
            runtimes: runtimes
                .map(|runtime| {
                    let agents = agents(&runtime);
                    RuntimeView::new(runtime, agents)
                })
                .collect(),
        }
    }
}

/// The runtimes: their threads, the CPUs these are pinned to, how busy they are, what waits, and the agents that live on them.
#[utoipa::path(get, path = "/debug/schedulers", tag = "node", responses(
    (status = 200, description = "The runtimes", body = SchedulersView),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node was built without schedulers", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn schedulers(
    State(state): State<DebugState>,
    params: Params,
) -> Result<Json<SchedulersView>, Problem> {
    params.finish()?;
    let Some(schedulers) = state.node().schedulers().cloned() else {
        let detail =
            "the node was built without schedulers: its agents live on the runtime that it was started on";
        return Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "no_schedulers", detail));
    };
    let view = state.sweep(move |state| SchedulersView::new(schedulers.overview(), state.node())).await?;
    Ok(Json(view))
}
