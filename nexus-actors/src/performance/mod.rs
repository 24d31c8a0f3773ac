//! Performance monitor: looks at the node every few seconds, and relieves what is pressed.
//!
//! ```text
//! /proc, cgroups, runtimes, inboxes ─ sensors/ ─▶ Readings ─ core.rs ─▶ steps ─ actor.rs ─▶ controls.rs, hibernation, placement
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | levels, bounds and switches |
//! | `core.rs` | what is to be done about what was read; pure |
//! | `sensors/` | what is read, one file for each thing |
//! | `act.rs` | how each action is carried out |
//! | `controls.rs` | what hosts and senders read of it |
//! | `overview.rs` | what it shows |
//! | `actor.rs` | the actor that looks |

mod act;
mod actor;
mod config;
mod controls;
mod core;
mod overview;
mod sensors;
#[cfg(test)]
mod test;

pub use self::core::Measure;
pub use actor::Performance;
pub use config::{
    CpuPolicy, ImbalancePolicy, Levels, MemoryPolicy, PerformanceConfig, PerformanceConfigError,
};
pub(crate) use controls::Controls;
pub use overview::{ActionOverview, MeasureStatus, PerformanceOverview, Vitals};
pub use sensors::process;
pub use sensors::{
    CpuReading, InboxReading, LatencyReading, LimitedBy, MemoryReading, Readings, RuntimeReading, Sensors,
};
