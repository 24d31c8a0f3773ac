//! The operator's side of Nexus: supervisor binary, TOML topology, feeds, debug endpoint, web page.

pub mod behaviors;
mod bench;
pub mod boot;
pub mod cli;
pub mod clients;
pub mod cluster;
pub mod debug;
pub mod feed;
pub mod logging;
mod nexus;
mod path;
pub mod report;
mod suggest;
pub mod telemetry;
pub mod topology;

/// The allocator of the `nexus` binary, for binaries of your own (`#[global_allocator]`).
pub use mimalloc::MiMalloc as Allocator;
pub use nexus::Nexus;
pub use nexus_actors::prelude;
