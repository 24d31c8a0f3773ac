//! How agents and exits are shown.

use std::sync::Arc;

use nexus_actors::agent::{AgentExit, AgentOverview, AgentStatus, Level};
use nexus_actors::clock::{Clock, Millis};
use nexus_actors::supervision::ExitReason;
use serde::Serialize;
use utoipa::ToSchema;

/// An exit of an agent or supervisor.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExitView {
    /// When, in milliseconds since the node started.
    pub at_ms: u64,
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// Why, in words.
    pub reason: String,
    /// Whether it was an orderly one.
    pub normal: bool,
}

impl ExitView {
    pub(crate) fn new(at: Millis, reason: &ExitReason, clock: &Clock) -> Self {
        Self {
            at_ms: at.get(),
            unix_ms: clock.unix_ms(at),
            reason: reason.to_string(),
            normal: reason.is_normal(),
        }
    }
}

/// An agent and its counters: `sent = processed + rejected + dead_lettered + queued`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgentView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// Registered name of its behavior.
    #[schema(value_type = String)]
    pub behavior: Arc<str>,
    /// Where it stands.
    #[schema(value_type = String, example = "running")]
    pub status: AgentStatus,
    /// The intelligence level that serves it.
    #[schema(value_type = String, example = "reactive")]
    pub level: Level,
    /// Starts after the first one.
    pub restarts: u64,
    /// Messages waiting or being handled.
    pub queued: u64,
    /// The most messages its inbox holds.
    pub inbox_limit: u64,
    /// Messages sent to it.
    pub sent: u64,
    /// Messages handled to the end.
    pub processed: u64,
    /// Messages refused because the inbox was full.
    pub rejected: u64,
    /// Messages accepted and not handled to the end.
    pub dead_lettered: u64,
    /// Among the processed: sent, not asked, and answered with an error.
    pub refused: u64,
    /// Milliseconds since its actor started; 0 if it does not run.
    pub uptime_ms: u64,
    /// Its last exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitView>,
}

impl AgentView {
    pub(crate) fn new(overview: &AgentOverview, clock: &Clock) -> Self {
        Self {
            name: overview.name.clone(),
            behavior: overview.behavior.clone(),
            status: overview.status,
            level: overview.level,
            restarts: overview.incarnation.saturating_sub(1),
            queued: overview.queued,
            inbox_limit: overview.inbox_limit,
            sent: overview.sent,
            processed: overview.processed,
            rejected: overview.rejected,
            dead_lettered: overview.dead_lettered,
            refused: overview.refused,
            uptime_ms: overview.uptime_ms,
            last_exit: overview.exits.last().map(|exit| exit_view(exit, clock)),
        }
    }
}

pub(crate) fn exit_view(exit: &AgentExit, clock: &Clock) -> ExitView {
    ExitView::new(exit.at, &exit.reason, clock)
}

/// `text` on one line and without control characters, which a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
