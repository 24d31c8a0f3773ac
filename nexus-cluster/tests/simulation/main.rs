//! Many nodes' membership and gossip under faults, from a seed: `NEXUS_TEST_SEED=…` runs one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod properties;
mod scale;
mod world;
