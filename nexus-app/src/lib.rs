//! The operator's side of Nexus: supervisor binary, TOML topology, feeds, debug endpoint, web page.

pub mod behaviors;
pub mod debug;
pub mod feed;
pub mod telemetry;
pub mod topology;
