//! The operator's side of Nexus: supervisor binary, TOML topology, feeds, debug endpoint, web page.

pub mod behaviors;
pub mod cli;
pub mod feed;
pub mod logging;
mod nexus;
pub mod topology;

pub use nexus::Nexus;
