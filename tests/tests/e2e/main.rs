//! Nexus from the outside: the real binary as a child process, and whole nodes in this process.
//!
//! One test binary, so that everything is linked once.

#![expect(clippy::unwrap_used, reason = "all of this is tests and parts of them")]

mod airspace;
mod airspace_cluster;
mod bench;
mod boxes;
mod browser;
mod clients;
mod cluster;
mod cluster_homes;
mod durable;
mod faults;
mod feeds;
mod http;
mod kill;
mod kill_http;
mod memory;
mod netns;
mod node;
mod performance;
mod readme;
mod schedulers;
mod stops;
mod store;
mod summaries;
mod tidy;
