//! The endpoint for agents' clients: a WebSocket over which they ask, tell and subscribe (`docs/protocol.md`).
//!
//! A connection is one task with small buffers. Its decisions are `core.rs`'s; the task reads, writes, asks agents and listens to
//! groups for it. Nothing a client sends can make the node hold more than its limits say: messages, asks in flight,
//! subscriptions and what waits to be written are all bounded, and a client that does not read is cut off.
//!
//! ```text
//! ops.sup
//! └── clients           ClientsActor: owns the listener
//!     ├── connection    a task each: frame → core → effects
//!     └── hub           a task for each group listened to: encodes a publication once for all its listeners
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `protocol.rs` | from the wire's types (`nexus_client::protocol`) to the node's |
//! | `core.rs`, `limiter.rs` | what a connection does: pure |
//! | `connection.rs` | one connection |
//! | `handshake.rs` | from a TCP stream to a WebSocket: path, token, origin |
//! | `hub.rs` | groups' publications on their way to many clients |
//! | `server.rs` | the listener and its limit |
//! | `actor.rs` | the supervised actor that owns it all |
//! | `state.rs` | what they share: configuration, counters, the list of clients |
//! | `files.rs` | the system's limit of open files |

mod actor;
mod connection;
mod core;
#[cfg(test)]
mod core_test;
mod files;
mod handshake;
mod hub;
mod limiter;
mod protocol;
mod server;
mod state;

pub use actor::{ClientsActor, ClientsArgs, ClientsMessage};
pub use state::{ClientOverview, Clients, ClientsTotals, RefusalReason};
