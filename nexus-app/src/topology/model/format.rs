//! Names of the string formats that the topology's JSON Schema uses beyond the standard ones, and helpers to declare them.
//!
//! The reader checks strings by these names while it walks a file, so that every malformed string is found in one run.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A length of time: `250ms`, `5s`, `1h 30m`.
pub(crate) const DURATION: &str = "nexus-duration";
/// `infinity`, `brutal_kill` or a length of time.
pub(crate) const SHUTDOWN: &str = "nexus-shutdown";
/// An agent's name, a family or a range.
pub(crate) const NAME_PATTERN: &str = "nexus-name-pattern";
/// An IP address and a port.
pub(crate) const SOCKET_ADDRESS: &str = "nexus-socket-address";
/// A text that is never shown; `password` is what editors know.
pub(crate) const SECRET: &str = "password";

/// Schema of a length of time.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": DURATION, "examples": ["250ms", "5s", "1h 30m"] })
}

/// Schema of a name pattern.
pub(crate) fn name_pattern(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": NAME_PATTERN, "examples": ["tower", "aircraft/*", "sensor/{0..99}"] })
}

/// Schema of a socket address.
pub(crate) fn socket_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": SOCKET_ADDRESS, "examples": ["127.0.0.1:7070", "[::1]:7070"] })
}

/// garde rule: a length of time within both bounds, which are given in milliseconds.
pub(crate) fn between_ms(min: u64, max: u64) -> impl FnOnce(&Duration, &()) -> garde::Result {
    move |value, ()| {
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
        if (min..=max).contains(value) {
            return Ok(());
        }
        Err(garde::Error::new(format!(
            "{} is out of range; allowed is {} to {}",
            format_duration(*value),
            format_duration(min),
            format_duration(max)
        )))
    }
}
