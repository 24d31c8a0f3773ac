//! The store: agents' states on disk (design decision D10), in one redb file that belongs to the node.
//!
//! ```text
//! Agent<A> ── snapshot ──▶ Core: what waits, one snapshot an agent ── one commit at a time ──▶ Engine: redb
//!    ▲                      │ bounded in bytes, the last one wins                               │
//!    └──── replies ◀────────┴──────────────── committed, or why not ◀───────────────────────────┘
//! ```
//!
//! While one commit runs, what all agents give is gathered for the next: group commit without waiting for company. After a failure
//! the file is closed and opened again (redb then stands at its last commit), with back-off; meanwhile the store is *degraded*, and
//! says so. The core decides, `actor.rs` carries out, `engine.rs` is the only part that knows redb.

mod actor;
mod checkpoint;
mod config;
mod contents;
mod core;
#[cfg(test)]
mod core_test;
mod disk;
mod engine;
mod error;
pub mod fault;
#[cfg(test)]
mod feed_test;
#[cfg(test)]
mod file_test;
mod format;
mod handle;
mod marks;
#[cfg(test)]
mod model_test;
mod policy;
mod restore;
#[cfg(test)]
mod store_test;
#[cfg(test)]
mod testing;

pub use checkpoint::FeedMark;
pub(crate) use checkpoint::Wish;
pub use config::{FILE_NAME, MAX_BYTES_MIN, StoreConfig};
pub use contents::Contents;
pub use disk::Disk;
pub use error::StoreError;
pub use handle::{Store, StoreState, StoreStatus};
pub use marks::{Follows, Origin};
pub(crate) use marks::{Marks, Standing};
pub(crate) use policy::Due;
pub use policy::Persist;
pub use redb::StorageBackend;
pub use restore::{NotRestored, Restored};
