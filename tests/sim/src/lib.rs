//! The simulator: a cluster in one thread, on a clock that jumps, from one seed.
//!
//! The nodes are the ones of production: `Node`, its supervision tree, agents with their hosts, store, gateway, membership, gossip,
//! directory, all of them the real ractor actors. What is simulated is beneath them: time (tokio's paused clock), the network
//! (`nexus_cluster::transport::sim`), the disks ([`disk`]), chance (the seed; entropy of the operating system is replaced in the binary).
//! A simulation has its process to itself, so nothing but the seed decides what happens, and its [trace] has the same hash each
//! time.
//!
//! ```text
//!   plan ──▶ faults ──┐                       ┌──▶ trace ──▶ hash
//!                     ▼                       │
//!   load ──▶ N sites over one network ──▶ chronicle ──▶ invariants, every 100 ms and at the end
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `plan.rs` | what goes wrong and when, from the seed |
//! | `world.rs` | the course of a simulation |
//! | `site.rs` | a node, from its start to its crash |
//! | `load.rs`, `counter.rs` | who sends, and the agents that are sent to |
//! | `disk.rs` | a disk that loses what was not synced |
//! | `chronicle.rs`, `trace.rs` | what happened |
//! | `invariants/` | what must hold: a file each |

pub mod chronicle;
pub mod counter;
pub mod disk;
pub mod invariants;
pub mod load;
pub mod plan;
pub mod site;
pub mod trace;
pub mod world;

pub use world::{Config, Outcome, run};
