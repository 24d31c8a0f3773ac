//! The operator's side of Nexus: supervisor binary, TOML topology, feeds, debug endpoint, web page.

pub mod behaviors;
pub mod feed;
pub mod report;
pub mod topology;
