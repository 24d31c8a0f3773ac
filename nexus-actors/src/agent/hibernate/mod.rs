//! Hibernation (design decision D4): an idle agent costs its name, its state and one map entry.
//!
//! ```text
//!                 idle, inbox empty:                    its actor has ended,
//!                 state written, inbox sealed           inbox still empty
//!        Live ──────────────────────────▶ Settling ──────────────────────────▶ Dormant
//!         ▲                                  │                                    │
//!         │ the actor is up                  │ a letter has come meanwhile        │ a message comes
//!         └─────────────── Waking ◀──────────┴────────────────────────────────────┘
//!                            │ every attempt has failed
//!                            └──▶ its letters become dead letters, the state stays: Dormant
//! ```
//!
//! The agent's own actor writes the state, between two messages, and seals the inbox in the same moment: whatever is sent from
//! then on waits for the next actor. The family's supervisor ends the actor like any child, and what comes then is decided by
//! [`lifecycle`], under the lock of the route's entry, which every sender holds while it pushes. So a letter is either in the
//! inbox before the route becomes dormant, and wakes the agent again, or finds it dormant, and wakes it.

mod actor;
mod idle;
pub(crate) mod lifecycle;
#[cfg(test)]
mod lifecycle_test;
mod node;
mod record;
#[cfg(test)]
mod wake_test;

pub(crate) use idle::{IdleWatch, Turn};
pub(crate) use node::Watched;
pub(crate) use record::Record;
