//! The endpoint for agents' clients.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{self, between_ms};
use super::{Auth, Secret};

/// The endpoint for agents' clients: a WebSocket over which they ask, tell and subscribe (docs/protocol.md). There is one only
/// if the table is there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsConfig {
    /// IP address and port; port 0 takes a free one. Default `127.0.0.1:7071`, reachable from this machine only. There is no TLS:
    /// put a proxy before it where the network is not yours.
    #[schemars(schema_with = "format::socket_address")]
    #[garde(skip)]
    pub listen: SocketAddr,
    /// The bearer token, at least 16 characters; best written `${VARIABLE}`. Needed unless `auth` is "off".
    #[garde(skip)]
    pub token: Option<Secret>,
    /// `token`, or `off` to let everybody in who can connect, which only a loopback address may. Default `token`.
    #[garde(skip)]
    pub auth: Auth,
    /// What clients may reach: agents (`tower`, `carrier/*`, `sensor/{0..99}`) and groups to subscribe to (`group:fleet`), at
    /// most 1,024. Default: nothing.
    #[garde(length(max = 1024))]
    pub allow: Vec<String>,
    /// Connections at one time, 1 to 1,000,000; further ones are refused. Default 50,000. Each needs a file descriptor: where the
    /// system allows fewer, fewer are taken. An idle one costs about 4 KB.
    #[garde(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// The longest message a client may send, in bytes, 64 B to 16 MiB. Default 64 KiB. Times `connections`, it bounds what
    /// clients can make the node hold.
    #[garde(range(min = 64, max = 16_777_216))]
    pub message_bytes: u32,
    /// Messages a second that each client, which is each connection, may send, 1 to 1,000,000. Default 100. What is beyond is refused, and a client that goes
    /// on is disconnected.
    #[garde(range(min = 1, max = 1_000_000))]
    pub rate: u32,
    /// Messages a client may send at once after a pause, 1 to 1,000,000. Default 200.
    #[garde(range(min = 1, max = 1_000_000))]
    pub burst: u32,
    /// Asks of one client that wait for their answers, 1 to 65,536. Default 64. Further ones are refused.
    #[garde(range(min = 1, max = 65_536))]
    pub asks: u32,
    /// The longest time an answer may take, 1 ms to 10 min, and what an ask gets that names none. Default `5s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(1, 600_000)))]
    pub ask_timeout: Duration,
    /// Groups that one client may listen to, 0 to 1,024. Default 16.
    #[garde(range(min = 0, max = 1024))]
    pub subscriptions: u32,
    /// Messages that wait for one client, 1 to 65,536. Default 256. With one more it is cut off as too slow.
    #[garde(range(min = 1, max = 65_536))]
    pub queue_messages: u32,
    /// Bytes that wait for one client, 1 KiB to 256 MiB; one message may be longer. Default 1 MiB. With more it is cut off as too
    /// slow. The system's own buffers (64 KiB) come on top.
    #[garde(range(min = 1024, max = 268_435_456))]
    pub queue_bytes: u32,
    /// How long one message may take to be written, 10 ms to 10 min. Default `10s`. A client that reads more slowly is cut off.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 600_000)))]
    pub write_timeout: Duration,
    /// The time a client may take to open its WebSocket, 10 ms to 1 min. Default `5s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 60_000)))]
    pub handshake_timeout: Duration,
    /// A client that says nothing, waits for nothing and listens to nothing is disconnected after this time, 10 ms to 24 h. Default
    /// `10m`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 86_400_000)))]
    pub idle_timeout: Duration,
    /// A client that nothing was heard of for this time is pinged, 10 ms to 1 h. Default `30s`. Shorter finds vanished clients
    /// sooner and costs a wake-up per client and interval.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 3_600_000)))]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take, 10 ms to 1 h. Default `10s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 3_600_000)))]
    pub pong_timeout: Duration,
}

impl Default for ClientsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7071)),
            token: None,
            auth: Auth::Token,
            allow: Vec::new(),
            connections: 50_000,
            message_bytes: 64 * 1024,
            rate: 100,
            burst: 200,
            asks: 64,
            ask_timeout: Duration::from_secs(5),
            subscriptions: 16,
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
        }
    }
}
