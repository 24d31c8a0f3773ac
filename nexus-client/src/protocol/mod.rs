//! The protocol between a node and its agents' clients, version 1: what is said, and how it is written.
//!
//! A client opens a WebSocket at `/v1` and sends [`ClientMessage`]s; the node sends [`ServerMessage`]s. A text frame is JSON, a
//! binary frame is MessagePack, of the same structures; a client may mix them. The node answers in the encoding of the question,
//! and sends what is published in the encoding of the subscription. `docs/protocol.md` has an example of everything.

mod close;
mod codec;
mod message;
mod payload;

pub use close::CloseReason;
pub use codec::{CodecError, Encoding, decode, encode};
pub use message::{ClientMessage, Operation, ServerMessage};
pub use payload::Payload;

/// The path of this version's endpoint.
pub const PATH: &str = "/v1";
/// The prefix of the sub-protocol that carries a token where no header can be set: browsers.
pub const TOKEN_PROTOCOL: &str = "nexus.token.";
/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
