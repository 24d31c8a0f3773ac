//! Agents that move from node to node, and [where](place) they start.
//!
//! **A move.** The *source* lets the agent finish the message at hand, has its state written and offers it to the *target*, which keeps what comes
//! for the agent, asks for the state part by part, stores it if the agent's family is stored, and registers the agent over the source's claim:
//! from then on it lives there. The source relays what waits, tells all members, and is done when each has said that it sends to the agent
//! by another way now, behind all that it sent by way of the source (`nexus_actors::route::travel`). Everything is said again until it is answered.
//!
//! **A crash.** The source decides nothing by a time-out. The target says that it has taken the agent, or that it has not and will not, or
//! membership says that it is gone: then the source registers the agent again and goes on with what it kept. A target that has the whole state
//! when its source dies goes on; one that has not forgets it. So there is one agent at any time but while a directory is split by a
//! partition, and it has all updates but those that a node had alone when it died: states live in memory unless their family is stored.
//!
//! **Merging.** After a heal the directory decides which of two agents goes on. The other one leaves as if it moved, and the winner gets its state to
//! be [merged](nexus_actors::agent::Durable::merge).
//!
//! **Draining.** A node that is drained takes no agents, and its own move to where their placement says, a batch at a time. Members of families move;
//! agents that are declared one by one, and behaviors that are not durable, do not.
//!
//! | file | holds |
//! |---|---|
//! | `core.rs`, `source.rs`, `target.rs` | the pure state machine |
//! | `message.rs` | what nodes say to each other |
//! | `actor.rs`, `handle.rs` | the ractor shell around it, and what the rest of the node sees |
//! | `drain.rs` | draining, and what nodes tell of themselves |
//! | `place/` | where agents start, a strategy a file |

mod actor;
mod config;
mod core;
mod drain;
mod error;
mod handle;
mod message;
pub mod place;
#[cfg(test)]
mod scenario_test;
mod source;
mod target;

pub use self::config::MigrationConfig;
pub use self::core::{Core, Effect, Input, Key};
pub use self::drain::{Progress, Report};
pub use self::error::{MoveError, Refusal};
pub use self::handle::{Migration, Place};
pub use self::message::{MESSAGE_BYTES_MAX, Message, MessageError, Passport, Purpose};
