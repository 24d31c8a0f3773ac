//! Placement, and agents that move.

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
