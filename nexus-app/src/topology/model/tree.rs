//! Supervisors, agents and groups as the topology declares them.

use std::borrow::Cow;
use std::time::Duration;

use garde::Validate;
use nexus_actors::agent::NamePattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{self, between_ms};
use super::{
    Args, AutoShutdown, Balance, Level, LimitsConfig, Persist, Place, Restart, Shutdown, Start, Strategy,
};

/// A supervisor and what it supervises.
///
/// Children start in this order: its agents as written, then its supervisors as written; they stop in the reverse order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SupervisorConfig {
    /// Unique among the topology's supervisors; 1 to 200 letters, digits and `_ - . : @ + ~ =`.
    #[garde(length(min = 1, max = 200))]
    pub name: String,
    /// Which children are restarted when one exits. Default `one_for_one`.
    #[serde(default)]
    #[garde(skip)]
    pub strategy: Strategy,
    /// Restarts allowed within `period`, 0 to 1,000,000; one more and the supervisor gives up, stops its children and exits.
    /// Default 1. More tolerate more faults, and hide an endless crash loop for longer.
    #[serde(default = "default_intensity")]
    #[garde(range(min = 0, max = 1_000_000))]
    pub intensity: u32,
    /// The window in which restarts are counted, 1 ms to 24 h. Default `5s`.
    #[serde(default = "default_period", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1, DAY_MS)))]
    pub period: Duration,
    /// Waits before each restart, longer each time. Default: restarts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub backoff: Option<BackoffConfig>,
    /// When its own supervisor starts it again. Default `permanent`.
    #[serde(default)]
    #[garde(skip)]
    pub restart: Restart,
    /// How its own supervisor stops it: a time limit of at most 24 h, `infinity` or `brutal_kill`. Default `infinity`, so that it can stop its children in order.
    #[serde(default = "default_supervisor_shutdown")]
    #[garde(custom(format::bounded))]
    pub shutdown: Shutdown,
    /// Whether its end counts for its own supervisor's `auto_shutdown`; then `restart` must not be `permanent`. Default false.
    #[serde(default)]
    #[garde(skip)]
    pub significant: bool,
    /// Whether it ends by itself when significant children have ended by themselves. Default `never`.
    #[serde(default)]
    #[garde(skip)]
    pub auto_shutdown: AutoShutdown,
    /// Agents directly under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[garde(dive)]
    pub agent: Vec<AgentConfig>,
    /// Supervisors under it, at most 16 levels deep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[garde(dive)]
    pub supervisor: Vec<SupervisorConfig>,
}

/// The pause before a restart: `initial`, then times `factor` each time, at most `max`. An extension to OTP.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct BackoffConfig {
    /// The first pause, 1 ms to 1 h. Default `100ms`.
    #[serde(default = "default_backoff_initial", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1, HOUR_MS)))]
    pub initial: Duration,
    /// The longest pause, 1 ms to 24 h, not less than `initial`. Default `30s`.
    #[serde(default = "default_backoff_max", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1, DAY_MS)))]
    pub max: Duration,
    /// How much longer each pause is than the one before, 1 to 100. Default 2; 1 keeps it constant.
    #[serde(default = "default_backoff_factor")]
    #[garde(range(min = 1, max = 100))]
    pub factor: u32,
}

/// One agent, or a family of agents that are alike.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// A name (`tower`), a family whose members come to life with their first message (`aircraft/*`), or a range
    /// (`sensor/{0..99}`, both ends included). No agent may be declared twice.
    #[schemars(schema_with = "format::name_pattern")]
    #[garde(skip)]
    pub name: NamePattern,
    /// The registered name of the behavior it runs.
    #[garde(length(min = 1, max = 200))]
    pub behavior: String,
    /// Handed to the behavior at each start, as a MessagePack map. Default: an empty one.
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    #[garde(skip)]
    pub args: Args,
    /// When it is started again after an exit. Default `permanent`.
    #[serde(default)]
    #[garde(skip)]
    pub restart: Restart,
    /// How it is stopped: a time limit of at most 24 h, `infinity` or `brutal_kill`. Default `5s`.
    #[serde(default = "default_agent_shutdown")]
    #[garde(custom(format::bounded))]
    pub shutdown: Shutdown,
    /// Messages its inbox holds before senders meet `overloaded`, 1 to 1,048,576. Default: `limits.inbox`. A larger one takes
    /// longer bursts and more memory, and makes the last message in it wait longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(range(min = 1, max = 1_048_576))]
    pub inbox: Option<u32>,
    /// The intelligence level it starts with. Default `reactive`.
    #[serde(default)]
    #[garde(skip)]
    pub level: Level,
    /// Names of groups, each declared by a `[[group]]`, that it belongs to. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[garde(length(max = 64))]
    pub groups: Vec<String>,
    /// When it comes to life. Default: `eager` for one agent, `on_demand` for a range. A family is always `on_demand`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    pub start: Option<Start>,
    /// How long an agent is idle before it hibernates, 100 ms to 365 d: its state is written down, its actor ends, and the next
    /// message wakes it with that state. Only for agents that start on demand, and for behaviors that can write their state down.
    /// Shorter saves memory sooner and costs more wakes, each of which takes as long as a start. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(inner(custom(between_ms(100, 365 * DAY_MS))))]
    pub hibernate_after: Option<Duration>,
    /// When its state is written to the store: `none`, `on-hibernate`, `each-update`, `{ every = 100 }` messages or `{ every = "5s" }`.
    /// Needs a `[store]`, and a behavior that can write its state down. Rarer is cheaper and loses more when the process is
    /// killed; `each-update` loses nothing that was answered. Default `none`.
    #[serde(default, skip_serializing_if = "Persist::is_none")]
    #[garde(custom(Persist::bounded))]
    pub persist: Persist,
    /// On which node of the cluster it comes to life if it lives nowhere yet: `ring`, `local`, `least_loaded`, or
    /// `{ label = { zone = "east" } }`. Needs a `[cluster]`. Default `ring`.
    #[serde(default, skip_serializing_if = "Place::is_default")]
    #[garde(skip)]
    pub place: Place,
    /// Whether its end counts for its supervisor's `auto_shutdown`; then it must be one agent and `restart` must not be
    /// `permanent`. Default false.
    #[serde(default)]
    #[garde(skip)]
    pub significant: bool,
}

impl AgentConfig {
    /// The inbox limit in messages, from here or from the limits.
    #[must_use]
    pub fn inbox(&self, limits: &LimitsConfig) -> u32 {
        self.inbox.unwrap_or(limits.inbox)
    }

    /// When it comes to life, with the default filled in.
    #[must_use]
    pub fn start(&self) -> Start {
        match (&self.name, self.start) {
            (NamePattern::Family(_), _) => Start::OnDemand,
            (_, Some(start)) => start,
            (NamePattern::Exact(_), None) => Start::Eager,
            (NamePattern::Range { .. }, None) => Start::OnDemand,
        }
    }

    /// Its id in the tree, under its supervisor. An agent that starts with the tree has its name. Agents that start on demand
    /// get a supervisor of their own, named by what their names begin with: `aircraft` for `aircraft/*`. Supervisors' ids
    /// have no slashes, so that others stand in for them, and patterns that differ may have one id.
    #[must_use]
    pub fn child_id(&self) -> Cow<'_, str> {
        if let (NamePattern::Exact(name), Start::Eager) = (&self.name, self.start()) {
            return name.into();
        }
        match self.name.prefix().trim_end_matches('/') {
            "" => "family".into(),
            prefix => prefix.replace('/', ".").into(),
        }
    }
}

/// A named set of agents that a message can be published to, or sent to as to one of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Unique among the topology's groups; 1 to 200 letters, digits and `_ - . : @ + ~ =`.
    #[garde(length(min = 1, max = 200))]
    pub name: String,
    /// Names or patterns of declared agents, or `group:other` for all members of another group. May be left out if agents name
    /// this group in their `groups`.
    #[serde(default)]
    #[garde(length(max = 100_000))]
    pub members: Vec<String>,
    /// Who serves a message that is sent to `group:` and this name, in `to` of a feed or by `nexus ask`. Strategies that look at
    /// load serve uneven requests sooner and cost more for each, up to some microseconds for 1,000 agents. Default: nobody; the
    /// group is only published to.
    #[serde(default)]
    #[garde(skip)]
    pub balance: Option<Balance>,
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

const fn default_intensity() -> u32 {
    1
}

const fn default_period() -> Duration {
    Duration::from_secs(5)
}

const fn default_supervisor_shutdown() -> Shutdown {
    Shutdown::Infinity
}

const fn default_agent_shutdown() -> Shutdown {
    Shutdown::Timeout(Duration::from_secs(5))
}

const fn default_backoff_initial() -> Duration {
    Duration::from_millis(100)
}

const fn default_backoff_max() -> Duration {
    Duration::from_secs(30)
}

const fn default_backoff_factor() -> u32 {
    2
}
