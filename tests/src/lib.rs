//! Shared helpers of the workspace tests.

pub mod browser;
pub mod flights;
