//! What can go wrong, from a client's side.

use crate::protocol::{CloseReason, CodecError};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The node cannot be reached, or does not let this client in. Nothing was sent.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The node's address.
        url: String,
        /// What prevented it, with the node's own words if it said any.
        reason: String,
    },
    /// The connection was lost, or not there. If the message was on its way, whether it was handled is not known.
    #[error("disconnected{}", .reason.map(|reason| format!(": {}", reason.text())).unwrap_or_default())]
    Disconnected {
        /// Why the node closed it, if it said so.
        reason: Option<CloseReason>,
    },
    /// The node or the agent said no.
    #[error("{code}: {message}")]
    Refused {
        /// For programs; `docs/protocol.md` lists the codes.
        code: String,
        /// For people.
        message: String,
        /// When to try again, in milliseconds, if the node says so.
        retry_after_ms: Option<u64>,
    },
    /// A value does not fit: one that cannot be written, or an answer of another form than expected.
    #[error("value: {0}")]
    Value(#[from] CodecError),
}
