//! Everything that knows about more than one node.
//!
//! It re-exports the crate below, so that no crate above needs to reach past it.

pub mod directory;
pub mod gossip;
pub mod membership;
pub mod migrate;
mod node_id;
mod range;
pub mod ring;
pub mod system;
pub mod transport;

pub use nexus_actors as actors;
pub use node_id::{NodeId, NodeName, NodeNameError};
pub use range::OutOfRange;
