//! What is worth doing: models, intelligence levels, coordination, emergence.
//!
//! This release serves every agent at the reactive level, which lives with the agent's host in `nexus-actors`; the crate
//! holds nothing but its place in the dependency order `nexus-app → nexus-intel → nexus-cluster → nexus-actors`.

pub use nexus_cluster as cluster;
