//! What goes between nodes (design decisions D7 and D8).
//!
//! ```text
//!   send, ask, publish            membership, gossip, directory, …
//!          │ envelopes                      │ bytes, by service
//!   ┌──────▼────────────────────────────────▼──────┐
//!   │ links: one per peer; coalescing, credit,     │  the same above every carrier
//!   │ bounds, order, deadlines, duplicates         │
//!   └──────▲────────────────────────────────▲──────┘
//!          │ data lane   (`Line`)           │ control lane
//!   ┌──────▼────────────────────────────────▼──────┐
//!   │ carrier: `cluster` (ractor_cluster) or `sim` │  same bytes on both
//!   └──────────────────────────────────────────────┘
//! ```
//!
//! Above the seam ([`Carrier`], [`Exchange`], [`Line`]) nothing knows what carries the two lanes; below it nothing knows what they say.

pub mod cluster;
#[cfg(test)]
mod codec_test;
mod config;
mod delay;
pub mod envelope;
mod exchange;
pub mod frame;
#[cfg(test)]
mod hostile_frames_test;
mod link;
pub mod reader;
pub mod sim;
#[cfg(test)]
mod two_nodes_test;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

pub use self::config::LinkConfig;
pub use self::delay::Delays;
pub use self::exchange::{Gateway, Listener, Locate, StaticTable};
pub use self::link::LinkOverview;
use crate::{NodeId, NodeName};

/// The two lanes of a connection. Each keeps its order; the control lane is never held up by the data lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Between the nodes' own actors.
    Control,
    /// Between agents.
    Data,
}

/// The system actor that a message on the control lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Service {
    /// Who is in the cluster.
    Membership = 1,
    /// What nodes know of each other.
    Gossip = 2,
    /// Where agents are.
    Directory = 3,
    /// Agents that move.
    Migration = 4,
    /// How long the way there and back takes.
    Echo = 5,
    /// What is on which node.
    Census = 6,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Membership, Self::Gossip, Self::Directory, Self::Migration, Self::Echo, Self::Census];
}

/// One authenticated connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: NodeId,
    /// Known to both ends, another one for every connection of two nodes: what is left of an ended connection is told by it.
    pub epoch: u64,
    /// The protocol version that both ends speak.
    pub version: u16,
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// Either side wanted it.
    #[error("closed: {0}")]
    Closed(String),
    /// Nothing was heard for too long.
    #[error("idle for too long")]
    Idle,
    /// The network ended it.
    #[error("lost: {0}")]
    Lost(String),
    /// The peer sent something that no peer sends.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A newer connection or a newer life of the peer took its place.
    #[error("replaced by a newer one")]
    Replaced,
}

/// What a carrier sends next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A whole message of the control lane.
    Control(Bytes),
    /// A whole frame of the data lane, in two pieces that follow each other: so its body is not copied for its header.
    Data([Bytes; 2]),
}

/// Carries bytes between nodes. Dials again after a loss, with jitter.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// From now on keeps a connection to whoever is at `address` (`host:port`). Idempotent.
    fn keep(&self, address: &str);

    /// Ends the connection to `address` and dials no more. Connections that the peer opens are not affected.
    fn forget(&self, address: &str);

    /// Ends the connection to `peer`, if there is one.
    fn close(&self, peer: &NodeName, reason: CloseReason);
}

/// Whom a carrier tells of its connections. Never blocks.
pub trait Exchange: Send + Sync + 'static {
    /// A connection is authenticated, before either end has sent anything on it. The line serves it until it is
    /// [closed](Line::closed). Of two connections to one peer the carrier ends one.
    fn connected(&self, connection: Connection) -> Arc<dyn Line>;
}

/// One connection, as the carrier sees it. Methods never block.
pub trait Line: Send + Sync + 'static {
    /// What to send next: the control lane's before the data lane's. `None` until [`Line::work`] is notified; the data lane also ends
    /// for a while when the receiver's credit is used up.
    fn take(&self) -> Option<Outgoing>;

    /// Notified, with a permit kept, when [`Line::take`] may have something again.
    fn work(&self) -> &Notify;

    /// A whole message or frame has come, in the order of its lane.
    ///
    /// # Errors
    /// It is malformed: the carrier ends the connection with this reason.
    fn arrived(&self, lane: Lane, bytes: Bytes) -> Result<(), CloseReason>;

    /// The connection has ended. Called once, last.
    fn closed(&self, reason: CloseReason);
}

/// Why nothing was sent on the control lane. Nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ControlError {
    /// There is no connection to that node now.
    #[error("`{to}` is not connected")]
    NotConnected {
        /// Whom it was for.
        to: NodeName,
    },
    /// As much as allowed waits already.
    #[error("{queued_bytes} bytes wait for `{to}` already, {limit_bytes} are allowed")]
    Full {
        /// Whom it was for.
        to: NodeName,
        /// What waits.
        queued_bytes: u64,
        /// What may wait.
        limit_bytes: u64,
    },
}

/// The control lane as a node's own actors see it: at most once, in order per peer and service. Never blocks.
pub trait ControlLane: Send + Sync + 'static {
    /// Sends `bytes` to the `service` of the connected node `to`.
    ///
    /// # Errors
    /// It was not sent.
    fn send(&self, to: &NodeName, service: Service, bytes: Bytes) -> Result<(), ControlError>;

    /// Those that are connected now, by name.
    fn peers(&self) -> Vec<NodeId>;
}

/// What a service hears from the control lane, in order per peer. Delivered to the service's actor by whoever wires it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A peer is connected.
    Connected(NodeId),
    /// A message from a connected peer.
    Message {
        /// Its sender.
        from: NodeId,
        /// What it says.
        bytes: Bytes,
    },
    /// A peer is not connected any more.
    Disconnected(NodeId, CloseReason),
}
