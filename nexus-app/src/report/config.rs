//! What a report is, as the topology writes it.

use garde::Validate;
use indexmap::IndexMap;
use nexus_actors::agent::NamePattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topology::format;

/// A table over many agents, printed when all feeds have ended.
///
/// ```toml
/// [[report]]
/// title = "Carriers"
/// agents = "carrier/*"
/// query = "summary"
/// columns = { carrier = "carrier", flights = "flights", "dep p90" = "dep_delay.p90" }
/// sort = "flights"
/// ```
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// Printed above the table; unique among the topology's reports.
    #[garde(length(min = 1, max = 200))]
    pub title: String,
    /// The agents to ask: a name or a pattern. Those that exist when the report is made are asked, at most 100,000.
    #[schemars(schema_with = "format::name_pattern")]
    #[garde(skip)]
    pub agents: NamePattern,
    /// The key each of them is queried for; it should answer a map. Default `summary`.
    #[serde(default = "default_query")]
    #[garde(length(min = 1, max = 200))]
    pub query: String,
    /// The table's columns, 1 to 64: heading, and the field of the answer it shows; dots go into nested maps.
    #[garde(custom(some_columns))]
    pub columns: IndexMap<String, String>,
    /// The heading of the column to sort by, greatest first. Default: by agent name.
    #[serde(default)]
    #[garde(skip)]
    pub sort: Option<String>,
    /// Rows shown, 1 to 100,000. Default all.
    #[serde(default)]
    #[garde(range(min = 1, max = 100_000))]
    pub limit: Option<usize>,
}

fn default_query() -> String {
    "summary".to_owned()
}

fn some_columns(columns: &IndexMap<String, String>, (): &()) -> garde::Result {
    match columns.len() {
        1..=64 => Ok(()),
        count => Err(garde::Error::new(format!("has {count} columns; 1 to 64 are allowed"))),
    }
}
