//! Shared helpers of the workspace tests.

pub mod browser;
pub mod cluster;
pub mod flights;
pub mod http;
pub mod invariants;
pub mod netns;
pub mod process;
pub mod seed;
pub mod tree;
pub mod wait;
