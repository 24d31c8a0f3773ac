//! What concerns the whole node: its name, limits, telemetry and debug endpoint.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{self, between_ms};
use super::{Auth, Secret};

/// The node itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Shown in logs, metrics and the page; 1 to 200 letters, digits and `_ - . : @ + ~ =`. Default: the topology file's name
    /// without its ending.
    #[garde(length(min = 1, max = 200))]
    pub name: Option<String>,
    /// The seed of every random choice the node makes: back-off jitter, placement, exploration. Default 1. Two runs with the
    /// same seed and the same messages choose alike.
    #[garde(skip)]
    pub seed: u64,
    /// The time limit for the whole ordered stop, 100 ms to 24 h. Default `30s`. What has not ended by then is killed.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(100, 86_400_000)))]
    pub shutdown: Duration,
    /// Restarts that the node's own supervisors (`agents.sup`, `feeds.sup`, `ops.sup` and the root above them) each allow
    /// within `period`, 0 to 1,000,000. Default 10. One more ends the process with the chain of reasons.
    #[garde(range(min = 0, max = 1_000_000))]
    pub intensity: u32,
    /// The window of `intensity`, 1 ms to 24 h. Default `1m`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1, 86_400_000)))]
    pub period: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: None,
            seed: 1,
            shutdown: Duration::from_secs(30),
            intensity: 10,
            period: Duration::from_secs(60),
        }
    }
}

/// Upper bounds. Everything that can grow has one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Messages an agent's inbox holds, 1 to 1,048,576, unless the agent says otherwise. Default 1024. A full inbox rejects
    /// senders at once and slows feeds; memory is used only for messages that wait.
    #[garde(range(min = 1, max = 1_048_576))]
    pub inbox: u32,
    /// Messages an agent handles before it lets others run, 1 to 65,536. Default 128. More gives throughput, less gives even
    /// latency and quicker reaction to a stop.
    #[garde(range(min = 1, max = 65_536))]
    pub batch: u32,
    /// Agents known to the node at one time, living or dormant, 1 to 100,000,000. Default 1,000,000. Further names are
    /// refused; count about 1 KB for each dormant one.
    #[garde(range(min = 1, max = 100_000_000))]
    pub agents: u32,
    /// Dead letters kept for looking at, 0 to 1,000,000; the oldest goes first. Default 1024. All are counted in any case.
    #[garde(range(min = 0, max = 1_000_000))]
    pub dead_letters: u32,
    /// Events (starts, exits, restarts) kept for readers of the debug endpoint that come late, 1 to 10,000,000. Default 65,536,
    /// about 20 MB when full.
    #[garde(range(min = 1, max = 10_000_000))]
    pub events: u32,
    /// The largest payload of a message in bytes, 64 B to 64 MiB. Default 1 MiB. Times `inbox`, it bounds an agent's memory.
    #[garde(range(min = 64, max = 67_108_864))]
    pub payload_bytes: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            inbox: 1024,
            batch: 128,
            agents: 1_000_000,
            dead_letters: 1024,
            events: 65_536,
            payload_bytes: 1024 * 1024,
        }
    }
}

/// Logs, and export to an OpenTelemetry collector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,nexus_app::feed=debug`. Default
    /// `info`.
    #[garde(length(max = 4096))]
    pub log: String,
    /// Export by OTLP. Default: off.
    #[garde(dive)]
    pub otlp: Option<OtlpConfig>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), otlp: None }
    }
}

/// Where metrics and spans are exported to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// The collector's address, `http://host:4318` or `https://…`.
    #[garde(length(min = 1, max = 4096))]
    pub endpoint: String,
    /// Headers sent with each export; their values are secrets. Default: none.
    #[serde(default)]
    #[garde(length(max = 64))]
    pub headers: BTreeMap<String, Secret>,
    /// Time between exports of metrics, 1 s to 1 h. Default `10s`. Shorter shows more detail and costs the collector more.
    #[serde(default = "default_interval", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1000, 3_600_000)))]
    pub interval: Duration,
}

/// The debug endpoint: HTTP, metrics and the page.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct DebugConfig {
    /// Whether there is one. Default true.
    #[garde(skip)]
    pub enabled: bool,
    /// IP address and port; port 0 takes a free one. Default `127.0.0.1:7070`, reachable from this machine only.
    #[schemars(schema_with = "format::socket_address")]
    #[garde(skip)]
    pub listen: SocketAddr,
    /// The bearer token, at least 16 characters; best written `${VARIABLE}`. Default: one is generated and shown at start.
    #[garde(skip)]
    pub token: Option<Secret>,
    /// `token`, or `off` to let everybody in who can connect, which only a loopback address may. Default `token`.
    #[garde(skip)]
    pub auth: Auth,
    /// Whether agents can be stopped, restarted and sent messages through it. Default false: it only shows.
    #[garde(skip)]
    pub allow_control: bool,
    /// Connections at one time, 1 to 50,000; further ones wait. Default 256.
    #[garde(range(min = 1, max = 50_000))]
    pub max_connections: u32,
    /// The largest request body in bytes, 1 to 64 MiB. Default 1 MiB.
    #[garde(range(min = 1, max = 67_108_864))]
    pub max_body_bytes: u32,
    /// The time a request may take, its body included, 10 ms to 10 min. Default `30s`. Event streams are not bound by it.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 600_000)))]
    pub request_timeout: Duration,
    /// The most entries one page of an answer has, 1 to 10,000. Default 1000.
    #[garde(range(min = 1, max = 10_000))]
    pub page_size_max: u32,
}

impl Default for DebugConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7070)),
            token: None,
            auth: Auth::Token,
            allow_control: false,
            max_connections: 256,
            max_body_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            page_size_max: 1000,
        }
    }
}

const fn default_interval() -> Duration {
    Duration::from_secs(10)
}
