//! Everything that knows about more than one node.
//!
//! This release runs on one node, so the crate holds nothing but its place in the dependency order
//! `nexus-app → nexus-intel → nexus-cluster → nexus-actors`; it re-exports the crate below so that no crate above needs to
//! reach past it.

pub use nexus_actors as actors;
