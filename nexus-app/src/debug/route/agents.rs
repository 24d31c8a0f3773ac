//! `GET /debug/agents`: all agents, filtered, sorted and paged.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use nexus_actors::agent::{AgentOverview, AgentStatus, NamePattern, Tally};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::{Page, Params};
use crate::debug::state::DebugState;
use crate::debug::view::AgentView;

/// Agents on a page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;

pub(super) fn route() -> Route {
    Route::get("/debug/agents", Access::Token, &["/debug/agents"], get(agents))
}

/// A page of agents.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentsPage {
    /// Agents that pass the filters.
    total: usize,
    /// Agents that sleep until a message wakes them. They pass no filter but `status=dormant`.
    dormant: usize,
    /// How many of `total` come before this page.
    offset: usize,
    /// The most agents a page has.
    limit: usize,
    /// The whole node's messages.
    tally: TallyView,
    agents: Vec<AgentView>,
}

/// The node's messages: those of all agents there are and ever were, and those to nobody. At rest
/// `sent = processed + rejected + dead_lettered + queued`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TallyView {
    /// Attempts to send.
    sent: u64,
    /// Handled to the end.
    processed: u64,
    /// Refused because an inbox was full.
    rejected: u64,
    /// Accepted, or addressed to nobody, and not handled to the end.
    dead_lettered: u64,
    /// Waiting or being handled.
    queued: u64,
}

/// The agents, a page at a time.
#[utoipa::path(get, path = "/debug/agents", tag = "agents", params(
    ("name" = Option<String>, Query, description = "A name or pattern: `tower`, `aircraft/*`, `sensor/{0..9}`"),
    ("prefix" = Option<String>, Query, description = "How names begin"),
    ("contains" = Option<String>, Query, description = "Text within the name, case ignored"),
    ("behavior" = Option<String>, Query, description = "The behavior's name"),
    ("status" = Option<String>, Query, description = "`starting`, `running`, `down`, `stopped`; or `dormant`: those that sleep, by name"),
    ("sort" = Option<String>, Query, description = "`name` (default), `behavior`, `status`, `restarts`, `queued`, `sent`, `processed`, `rejected`, `dead_lettered` or `uptime_ms`"),
    ("order" = Option<String>, Query, description = "`asc` or `desc`; default: texts ascending, numbers descending"),
    ("offset" = Option<u64>, Query, description = "Agents to skip"),
    ("limit" = Option<u64>, Query, description = "Agents to show, at most `debug.page_size_max`; default 100"),
), responses(
    (status = 200, description = "The page", body = AgentsPage),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn agents(
    State(state): State<DebugState>,
    mut params: Params,
) -> Result<Json<AgentsPage>, Problem> {
    let filter = Filter::read(&mut params)?;
    let order = Order::read(&mut params)?;
    let page = params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?;
    params.finish()?;
    state.sweep(move |state| Json(look(state, &filter, order, page))).await
}

fn look(state: &DebugState, filter: &Filter, order: Order, page: Page) -> AgentsPage {
    let mut agents = match filter.status {
        Some(AgentStatus::Dormant) => sleeping(state, filter),
        _ => state.node().agents(),
    };
    agents.retain(|agent| filter.matches(agent));
    // They come sorted by name, and the sort is stable: equal agents stay in that order.
    if order.by != Key::Name || order.descending {
        agents.sort_by(|one, two| order.compare(one, two));
    }
    let clock = state.node().clock();
    let Tally { sent, processed, rejected, dead_lettered, queued } = state.node().tally();
    let shown = agents.iter().skip(page.offset).take(page.limit);
    AgentsPage {
        total: agents.len(),
        dormant: state.node().dormant_count(),
        offset: page.offset,
        limit: page.limit,
        tally: TallyView { sent, processed, rejected, dead_lettered, queued },
        agents: shown.map(|agent| AgentView::new(agent, clock)).collect(),
    }
}

/// Those that sleep, by name.
fn sleeping(state: &DebugState, filter: &Filter) -> Vec<AgentOverview> {
    let names = state.node().dormant_names(|name| filter.matches_name(name));
    // One may have been woken since.
    names.iter().filter_map(|name| state.node().agent(name.as_str())).collect()
}

#[derive(Debug, Default)]
struct Filter {
    name: Option<NamePattern>,
    prefix: Option<String>,
    contains: Option<String>,
    behavior: Option<String>,
    status: Option<AgentStatus>,
}

impl Filter {
    fn read(params: &mut Params) -> Result<Self, Problem> {
        let status = [
            ("any", None),
            ("starting", Some(AgentStatus::Starting)),
            ("running", Some(AgentStatus::Running)),
            ("down", Some(AgentStatus::Down)),
            ("stopped", Some(AgentStatus::Stopped)),
            ("dormant", Some(AgentStatus::Dormant)),
        ];
        Ok(Self {
            name: params.parsed(
                "name",
                "a name such as `tower`, `aircraft/*` or `sensor/{0..9}`",
                |text| text.parse().ok(),
            )?,
            prefix: params.text("prefix"),
            contains: params.text("contains").map(|text| text.to_lowercase()),
            behavior: params.text("behavior"),
            status: params.word("status", &status)?,
        })
    }

    fn matches(&self, agent: &AgentOverview) -> bool {
        self.matches_name(&agent.name)
            && self.behavior.as_ref().is_none_or(|behavior| *agent.behavior == **behavior)
            && self.status.is_none_or(|status| agent.status == status)
    }

    fn matches_name(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.matches(name))
            && self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
            && self.contains.as_ref().is_none_or(|text| name.to_lowercase().contains(text.as_str()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    Behavior,
    Status,
    Restarts,
    Queued,
    Sent,
    Processed,
    Rejected,
    DeadLettered,
    Uptime,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    by: Key,
    descending: bool,
}

impl Order {
    fn read(params: &mut Params) -> Result<Self, Problem> {
        let keys = [
            ("name", Key::Name),
            ("behavior", Key::Behavior),
            ("status", Key::Status),
            ("restarts", Key::Restarts),
            ("queued", Key::Queued),
            ("sent", Key::Sent),
            ("processed", Key::Processed),
            ("rejected", Key::Rejected),
            ("dead_lettered", Key::DeadLettered),
            ("uptime_ms", Key::Uptime),
        ];
        let by = params.word("sort", &keys)?;
        let directions = [("asc", false), ("desc", true)];
        let descending = params.parsed("order", "`asc` or `desc`", |text| {
            directions.iter().find(|(word, _)| *word == text).map(|(_, descending)| *descending)
        })?;
        let text = matches!(by, Key::Name | Key::Behavior | Key::Status);
        Ok(Self { by, descending: descending.unwrap_or(!text) })
    }

    fn compare(self, one: &AgentOverview, two: &AgentOverview) -> Ordering {
        let number = |read: fn(&AgentOverview) -> u64| read(one).cmp(&read(two));
        let ordering = match self.by {
            Key::Name => one.name.cmp(&two.name),
            Key::Behavior => one.behavior.cmp(&two.behavior),
            Key::Status => one.status.cmp(&two.status),
            Key::Restarts => number(|agent| agent.incarnation),
            Key::Queued => number(|agent| agent.queued),
            Key::Sent => number(|agent| agent.sent),
            Key::Processed => number(|agent| agent.processed),
            Key::Rejected => number(|agent| agent.rejected),
            Key::DeadLettered => number(|agent| agent.dead_lettered),
            Key::Uptime => number(|agent| agent.uptime_ms),
        };
        if self.descending { ordering.reverse() } else { ordering }
    }
}
