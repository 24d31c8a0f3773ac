//! What a feed is, as the topology writes it.

use std::path::PathBuf;
use std::time::Duration;

use garde::Validate;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stream of records turned into requests for agents.
///
/// ```toml
/// [[feed]]
/// name = "flights"
/// source = "data/flights-2013-01-week1.csv"   # relative to the topology file; "-" is standard input
/// na = ["NA"]
/// replay = "fast"                              # or { rate = 5000.0 } or { speed = 3600.0 }
/// reorder = "48h"
///
/// [[feed.emit]]
/// to = ["aircraft/{tailnum}", "carrier/{carrier}", "airport/{origin}"]
/// action = "departure"
/// require = ["dep_time", "tailnum"]
/// at = { date = "{year}-{month}-{day}", clock = "sched_dep_time", plus_minutes = "dep_delay" }
/// fields = { flight = { column = "flight", type = "int" }, delay = { column = "dep_delay", type = "float" } }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Unique among the topology's feeds; shown in the tree, in events and in metrics.
    #[garde(length(min = 1, max = 200))]
    pub name: String,
    /// A file, relative to the topology file, or `-` for standard input. `${VARIABLE}` refers to the environment.
    #[garde(length(min = 1))]
    pub source: String,
    /// How the source is written. Default: by the file name's ending, before any `.gz` or `.zip`.
    #[serde(default)]
    #[garde(skip)]
    pub format: Option<Format>,
    /// How the source is packed. Default: by the file name's ending.
    #[serde(default)]
    #[garde(skip)]
    pub compression: Option<Compression>,
    /// For a zip archive with several files: the one to read. Default: the only one.
    #[serde(default)]
    #[garde(skip)]
    pub entry: Option<String>,
    /// Cell contents that mean "no value". Default: the empty cell.
    #[serde(default = "default_na")]
    #[garde(skip)]
    pub na: Vec<String>,
    /// How fast the records are replayed. Default: as fast as the agents take them.
    #[serde(default)]
    #[garde(dive)]
    pub replay: Replay,
    /// How far behind the latest time seen a record may still come to be put in its place, when requests carry a time
    /// (`at`). Default: no reordering. Requests later than this are delivered at once and counted as late. Larger values
    /// hold more requests in memory.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>", extend("format" = "nexus-duration"))]
    #[garde(skip)]
    pub reorder: Option<Duration>,
    /// How much memory `reorder` may use, 64 KiB to 64 GiB. Past it the earliest requests leave early, and those that
    /// belonged before them count as late: a source whose times stand still costs order, not memory. Default 256 MiB.
    #[serde(default = "default_max_reorder_bytes")]
    #[garde(range(min = 65_536, max = 68_719_476_736_usize))]
    pub max_reorder_bytes: usize,
    /// The share of malformed records, 0 to 1, past which the feed stops with an error. Looked at from the 100th record on
    /// and once more at the end. Default 0.01.
    #[serde(default = "default_max_malformed")]
    #[garde(range(min = 0.0, max = 1.0))]
    pub max_malformed: f64,
    /// Where malformed records are written, relative to the topology file, one JSON line each with file, line, reason and
    /// the record's text (of a record that is too long, its beginning). The file is made anew whenever the source is opened,
    /// and a record that cannot be written there stops the feed. Default: they are counted and the first ones logged, not
    /// written.
    #[serde(default)]
    #[garde(skip)]
    pub rejects: Option<PathBuf>,
    /// The longest record in bytes, 256 B to 16 MiB; a longer one is malformed and is skipped without being held in memory.
    /// Default 1 MiB.
    #[serde(default = "default_max_record_bytes")]
    #[garde(range(min = 256, max = 16_777_216))]
    pub max_record_bytes: usize,
    /// The requests that one record becomes, in order.
    #[garde(dive, length(min = 1, max = 64))]
    pub emit: Vec<EmitConfig>,
}

/// How the source is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// How the source is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not packed.
    None,
    /// gzip.
    Gzip,
    /// A zip archive.
    Zip,
}

/// How fast a feed replays its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// As fast as the agents' inboxes take them.
    #[default]
    Fast,
    /// This many records a second.
    Rate(#[garde(range(min = 0.001, max = 1e9))] f64),
    /// At the records' own time (`at`), this many times faster; 3600 plays an hour in a second.
    Speed(#[garde(range(min = 0.001, max = 1e9))] f64),
}

/// One request made from a record.
///
/// Exactly one of `query`, `update` and `action` is given: the kind of the request and its key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct EmitConfig {
    /// The agents to send it to: templates over columns, `aircraft/{tailnum}`; or `group:desks` for one agent of a group that has a
    /// `balance`. A target whose template meets an NA column is
    /// left out; if all are, nothing is sent. A cell that makes no valid name makes the record malformed.
    #[garde(length(min = 1, max = 64))]
    pub to: Vec<String>,
    /// Sends a query for this key (a template). The answer is dropped.
    #[serde(default)]
    #[garde(skip)]
    pub query: Option<String>,
    /// Sends an update of this key (a template) with the fields as its value.
    #[serde(default)]
    #[garde(skip)]
    pub update: Option<String>,
    /// Sends an action of this name (a template) with the fields as its arguments.
    #[serde(default)]
    #[garde(skip)]
    pub action: Option<String>,
    /// Send only if none of these columns is NA.
    #[serde(default)]
    #[garde(skip)]
    pub require: Vec<String>,
    /// Send only if all of these columns are NA.
    #[serde(default)]
    #[garde(skip)]
    pub absent: Vec<String>,
    /// The time the request belongs to, for `reorder` and for `replay = { speed = … }`. Without it, or where one of its
    /// columns is NA, the request follows those of the latest time seen so far.
    #[serde(default)]
    #[garde(dive)]
    pub at: Option<TimeConfig>,
    /// The request's payload: a MessagePack map with these fields.
    #[serde(default)]
    #[garde(skip)]
    pub fields: IndexMap<String, FieldConfig>,
}

/// How a request's time is read from a record. Times are the records' own clock, without a zone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// A template that gives a date (`2013-1-7`) or a date and time (`2013-01-07T05:15:00`, with or without a final `Z`).
    /// Needed unless `after_emit` is given, which replaces it.
    #[serde(default)]
    #[garde(skip)]
    pub date: String,
    /// Column with a wall clock reading as a number, hours × 100 + minutes: `517` is 05:17, `2400` the end of the day. It
    /// replaces the time of day that `date` may have.
    #[serde(default)]
    #[garde(skip)]
    pub clock: Option<String>,
    /// Column with minutes to add; may be negative.
    #[serde(default)]
    #[garde(skip)]
    pub plus_minutes: Option<String>,
    /// The time is the first reading of `clock` at or after the time of the emit with this position (from 0) in the same
    /// record: how an arrival past midnight gets its date. Must point to an earlier emit with `at`, whether or not that one
    /// sends anything for the record.
    #[serde(default)]
    #[garde(skip)]
    pub after_emit: Option<usize>,
}

/// One field of a payload.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldConfig {
    /// A column with a type: `{ column = "dep_delay", type = "float" }`.
    Column(ColumnConfig),
    /// A string made from columns: `"{carrier}{flight}"`. NA if any of them is.
    Template(String),
}

/// A column read as a type. NA becomes nil, unless `required`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// The column's name in the header, or the key in the JSON object.
    pub column: String,
    /// Its type. A cell that does not read as this type makes the record malformed.
    #[serde(rename = "type", default)]
    pub kind: ColumnType,
    /// NA makes the record malformed. Default false.
    #[serde(default)]
    pub required: bool,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// UTF-8 text, as it is.
    #[default]
    Text,
    /// A whole number, 64 bits, signed.
    Int,
    /// A number, 64 bits, finite.
    Float,
    /// `true` or `false`, `1` or `0`.
    Bool,
    /// A wall clock reading, hours × 100 + minutes, as minutes since midnight: `517` is 317.
    Clock,
}

fn default_na() -> Vec<String> {
    vec![String::new()]
}

const fn default_max_malformed() -> f64 {
    0.01
}

const fn default_max_reorder_bytes() -> usize {
    256 * 1024 * 1024
}

const fn default_max_record_bytes() -> usize {
    1024 * 1024
}
