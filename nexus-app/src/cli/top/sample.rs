//! One look at a node.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::column::Column;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::feeds;

/// What of the node is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) sort: Column,
    pub(super) descending: bool,
    pub(super) filter: String,
    /// The most agents.
    pub(super) limit: u64,
}

/// A node at one moment. Fields that an endpoint does not have are 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) node: Health,
    /// The first agents in the query's order.
    pub(super) agents: Vec<AgentRow>,
    /// Agents that the filter lets through.
    pub(super) matching: u64,
    /// Message counters of the whole node, as far as they can be known.
    pub(super) tally: Option<Tally>,
    pub(super) feeds: Vec<FeedRow>,
    /// Dead letters since the start, by reason.
    pub(super) dead_letters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) node: String,
    pub(super) version: String,
    pub(super) status: String,
    pub(super) uptime_ms: u64,
    pub(super) agents: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AgentRow {
    pub(super) name: String,
    pub(super) behavior: String,
    pub(super) status: String,
    pub(super) queued: u64,
    pub(super) inbox_limit: u64,
    pub(super) processed: u64,
    pub(super) rejected: u64,
    pub(super) dead_lettered: u64,
    pub(super) restarts: u64,
    pub(super) uptime_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) processed: u64,
    pub(super) rejected: u64,
    pub(super) dead_lettered: u64,
    pub(super) queued: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct FeedRow {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) records: u64,
    pub(super) records_per_s: f64,
    /// 0 to 1, if the size of the source is known.
    pub(super) progress: Option<f64>,
    pub(super) malformed: u64,
}

impl Sample {
    /// Looks at the node: four small requests.
    pub(super) fn take(client: &Client, query: &Query) -> Result<Self, CliError> {
        let order = if query.descending { "desc" } else { "asc" };
        let filter = Some(query.filter.clone()).filter(|filter| !filter.is_empty());
        let parameters = [
            ("sort", Some(query.sort.parameter().to_owned())),
            ("order", Some(order.to_owned())),
            ("contains", filter),
            ("limit", Some(query.limit.to_string())),
        ];
        let health = client.get("/healthz", &[])?;
        let agents = match client.get("/debug/agents", &parameters) {
            Err(error) => match page_size_max(&error) {
                Some(limit) if limit < query.limit => {
                    return Self::take(client, &Query { limit, ..query.clone() });
                }
                _ => return Err(error),
            },
            Ok(agents) => agents,
        };
        let feeds = client.get("/debug/feeds", &[])?;
        let letters = client.get("/debug/dead-letters", &[("limit", Some("1".to_owned()))])?;
        Ok(Self::of(&health, &agents, &feeds, &letters))
    }

    pub(super) fn of(health: &Value, agents: &Value, feeds: &Value, letters: &Value) -> Self {
        let rows: Vec<AgentRow> = lenient(&agents["agents"]);
        let matching = agents["total"].as_u64().unwrap_or(rows.len() as u64);
        let tally = [agents, health].into_iter().find_map(|answer| Tally::deserialize(&answer["tally"]).ok());
        // With all agents on the page the sum is at hand.
        let tally =
            tally.or_else(|| (rows.len() as u64 >= lenient::<Health>(health).agents).then(|| sum(&rows)));
        Self {
            node: lenient(health),
            agents: rows,
            matching,
            tally,
            feeds: feeds::list(feeds).iter().map(FeedRow::of).collect(),
            dead_letters: lenient(&letters["counts"]),
        }
    }
}

impl FeedRow {
    fn of(feed: &Value) -> Self {
        let text = |field: &str| feed[field].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            state: text("state"),
            records: feed["records"].as_u64().unwrap_or(0),
            records_per_s: feed["records_per_s"].as_f64().unwrap_or(0.0),
            progress: feeds::progress(feed),
            malformed: feed["malformed"].as_u64().unwrap_or(0),
        }
    }
}

fn sum(rows: &[AgentRow]) -> Tally {
    let mut tally = Tally::default();
    for row in rows {
        tally.queued += row.queued;
        tally.processed += row.processed;
        tally.rejected += row.rejected;
        tally.dead_lettered += row.dead_lettered;
    }
    tally.sent = tally.queued + tally.processed + tally.rejected + tally.dead_lettered;
    tally
}

/// The most agents the node gives at once, if `error` says that it was asked for more.
fn page_size_max(error: &CliError) -> Option<u64> {
    let CliError::Problem { problem, .. } = error else { return None };
    if problem["parameter"] == "limit" { problem["range"][1].as_u64().filter(|max| *max > 0) } else { None }
}

/// What cannot be read is shown as nothing rather than ending the watch.
fn lenient<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}
