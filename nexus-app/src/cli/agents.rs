//! `nexus agents`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::connection::Connection;
use super::exit::Exit;
use super::output::{Cell, Column, Table, Tone, count, duration, number, text};
use super::{Context, Outcome};

/// List agents with their counters
///
/// RESTARTS counts starts after the first: an agent that slept and woke, or came back from the store, has one more. The other counters begin
/// anew when it wakes; `nexus inspect AGENT` shows how it ended.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus agents                                   The first agents by name
  nexus agents --name 'carrier/*'                Those of a pattern
  nexus agents --contains N14                    Those whose name contains N14
  nexus agents --sort queued --limit 20          The longest inboxes first
  nexus agents --behavior aircraft --status down
  nexus agents -o json | jq '.agents[].name'")]
pub(crate) struct AgentsArgs {
    /// Only those of this name or pattern, such as 'aircraft/*' or 'sensor/{0..9}'
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Only those whose name contains this, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only those of this behavior
    #[arg(long, value_name = "BEHAVIOR")]
    behavior: Option<String>,
    /// Only those of this status
    #[arg(long)]
    status: Option<AgentStatusName>,
    /// The column to sort by; counters start with the largest
    #[arg(long, value_name = "COLUMN", default_value = "name")]
    sort: AgentSort,
    /// Sort the other way round
    #[arg(long)]
    reverse: bool,
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    connection: Connection,
}

/// What agents can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum AgentSort {
    Name,
    Behavior,
    Status,
    Queued,
    Sent,
    Processed,
    Rejected,
    DeadLettered,
    Restarts,
    #[value(name = "uptime")]
    UptimeMs,
}

/// Where an agent can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AgentStatusName {
    Starting,
    Running,
    Down,
    Stopped,
    Dormant,
}

impl AgentStatusName {
    const fn parameter(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Dormant => "dormant",
        }
    }
}

impl AgentSort {
    /// The parameter's value.
    pub(crate) const fn parameter(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Behavior => "behavior",
            Self::Status => "status",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Processed => "processed",
            Self::Rejected => "rejected",
            Self::DeadLettered => "dead_lettered",
            Self::Restarts => "restarts",
            Self::UptimeMs => "uptime_ms",
        }
    }

    /// Whether the largest comes first.
    pub(crate) const fn descends(self) -> bool {
        !matches!(self, Self::Name | Self::Behavior | Self::Status)
    }
}

pub(crate) fn run(args: &AgentsArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let order = if args.sort.descends() == args.reverse { "asc" } else { "desc" };
    let answer = client.get(
        "/debug/agents",
        &[
            ("name", args.name.clone()),
            ("contains", args.contains.clone()),
            ("behavior", args.behavior.clone()),
            ("status", args.status.map(|status| status.parameter().to_owned())),
            ("sort", Some(args.sort.parameter().to_owned())),
            ("order", Some(order.to_owned())),
            ("offset", Some(args.offset.to_string())),
            ("limit", Some(args.limit.to_string())),
        ],
    )?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let agents = answer["agents"].as_array().map_or(&[][..], Vec::as_slice);
    context.out.table(&table(agents))?;
    let total = number(&answer, "total").max(agents.len() as u64);
    if total > agents.len() as u64 {
        let first = args.offset + 1;
        let last = args.offset + agents.len() as u64;
        let shown = if agents.is_empty() {
            format!("none of {} from {}", count(total), count(first))
        } else {
            format!("{} to {} of {}; more with --offset and --limit", count(first), count(last), count(total))
        };
        let shown = context.out.tone(Tone::Dim, &shown);
        context.out.line(&shown)?;
    }
    let dormant = number(&answer, "dormant");
    if dormant > 0 {
        let more = if args.status == Some(AgentStatusName::Dormant) { "" } else { "more " };
        let shown = format!("{} {more}are dormant: a message wakes them", count(dormant));
        let shown = context.out.tone(Tone::Dim, &shown);
        context.out.line(&shown)?;
    }
    Ok(Exit::Ok)
}

fn table(agents: &[Value]) -> Table {
    let mut table = Table::new([
        Column::left("NAME"),
        Column::left("BEHAVIOR"),
        Column::left("STATUS"),
        Column::right("QUEUED"),
        Column::right("PROCESSED"),
        Column::right("REJECTED"),
        Column::right("DEAD"),
        Column::right("RESTARTS"),
        Column::right("UPTIME"),
    ]);
    for agent in agents {
        let counter = |field: &str| count(number(agent, field));
        table.row([
            text(agent, "name").into(),
            text(agent, "behavior").into(),
            Cell::status(&text(agent, "status")),
            counter("queued").into(),
            counter("processed").into(),
            alarming(number(agent, "rejected"), Tone::Warn),
            alarming(number(agent, "dead_lettered"), Tone::Warn),
            alarming(restarts(agent), Tone::Warn),
            uptime(agent).into(),
        ]);
    }
    table
}

/// Restarts of an agent, counted or told by its incarnation.
pub(crate) fn restarts(agent: &Value) -> u64 {
    agent["restarts"].as_u64().unwrap_or_else(|| number(agent, "incarnation").saturating_sub(1))
}

/// How long it has been running; the empty text if it is not.
pub(crate) fn uptime(agent: &Value) -> String {
    match number(agent, "uptime_ms") {
        0 => String::new(),
        ms => duration(Duration::from_millis(ms)),
    }
}

/// A counter that should be 0.
pub(crate) fn alarming(number: u64, tone: Tone) -> Cell {
    Cell::toned(count(number), if number == 0 { Tone::Dim } else { tone })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: the table from the endpoint's JSON; fields that are missing are empty, those that are unknown ignored.
    #[test]
    fn agents_as_a_table() {
        let agents = [
            json!({
                "name": "aircraft/N14228", "behavior": "aircraft", "status": "running", "queued": 3, "processed": 336_776,
                "rejected": 0, "dead_lettered": 1, "incarnation": 3, "uptime_ms": 187_000, "brand_new": true,
            }),
            json!({ "name": "carrier/UA", "behavior": "carrier", "status": "down", "restarts": 0 }),
        ];
        insta::assert_snapshot!(table(&agents).lines(None, &|_, text| text.to_owned()).join("\n"));
    }
}
