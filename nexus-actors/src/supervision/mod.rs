//! Supervision after OTP's `supervisor`.
//!
//! A [`SupervisorSpec`] describes a supervisor and its children; [`Root::start`] starts the tree. Semantics follow OTP
//! (`supervisor(3)`, and `supervisor.erl` where the manual is silent) so closely that the same crashes give the same restarts:
//! `testdata/` holds the crash traces, run against the pure core and against real actors.
//!
//! | file | holds |
//! |---|---|
//! | `spec.rs` | supervisor and child specifications, [`StartChild`] |
//! | `strategy.rs`, `intensity.rs`, `backoff.rs` | the pure rules |
//! | `core.rs` | the pure state machine |
//! | `actor.rs`, `start.rs` | the ractor shell around it |
//! | `message.rs` | requests to a running supervisor ([`SupervisorRef`]) |
//! | `view.rs`, `tree.rs` | what is running, readable by anybody at any time |
//! | `reason.rs`, `error.rs` | why something ended, or did not happen |
//!
//! # Departures from OTP
//!
//! - Time is measured in milliseconds, OTP's restart intensity in whole seconds.
//! - Extensions, all off by default: [`Backoff`], [`ChildRules::start_timeout`], [`SupervisorRef::cycle_child`].
//! - Children of a `simple_one_for_one` supervisor have ids. Their starts and terminations do not wait for each other.
//! - A shutdown does not wait for a start that is under way: the start is dropped.
//! - A killed child that does not reach an await point within 5 s is reported and left behind; OTP's processes can always be
//!   killed.
//! - When a supervisor is killed, its own supervisor waits (at most 5 s) until everything below it is gone before it starts
//!   it again, so that old and new children do not overlap.

mod actor;
#[cfg(test)]
mod actor_test;
mod backoff;
mod core;
#[cfg(test)]
mod core_test;
mod error;
mod intensity;
mod launch;
#[cfg(test)]
mod launch_test;
mod message;
#[cfg(test)]
mod otp_test;
mod reason;
mod root;
mod spec;
mod start;
mod strategy;
mod tree;
#[cfg(test)]
mod tree_test;
mod view;

pub use backoff::Backoff;
pub use core::ChildCounts;
pub use error::{RootError, SpecError, StartError, SupervisorError};
pub use intensity::INTENSITY_MAX;
pub use message::{SupervisorMsg, SupervisorRef};
pub use reason::{Escalation, ExitReason};
pub use root::Root;
pub use spec::{
    ChildKind, ChildRules, ChildSpec, Shutdown, StartChild, Started, SupervisorSpec, WORKER_SHUTDOWN,
};
pub use start::StartContext;
pub(crate) use start::StartSupervisor;
pub use strategy::{AutoShutdown, Restart, Strategy};
pub use tree::{Found, TreeNode, TreeTotals};
pub use view::{ChildView, ExitRecord, Status, SupervisorEnv, SupervisorView};
