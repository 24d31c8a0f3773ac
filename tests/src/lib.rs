//! Shared helpers of the workspace tests.

pub mod flights;
