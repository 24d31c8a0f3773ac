//! Agents: their names, messages and host.

mod name_pattern;

pub use name_pattern::{NAME_BYTES_MAX, NameError, NamePattern, RANGE_MEMBERS_MAX, check_name};
