//! Names of the string formats that the topology's JSON Schema uses beyond the standard ones, and helpers to declare them.
//!
//! The reader checks strings by these names while it walks a file, so that every malformed string is found in one run.

use std::net::SocketAddr;
use std::time::Duration;

use humantime_serde::re::humantime::{format_duration, parse_duration};
use nexus_actors::agent::NamePattern;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::Shutdown;

/// A length of time: `250ms`, `5s`, `1h 30m`.
pub(crate) const DURATION: &str = "nexus-duration";
/// `infinity`, `brutal_kill` or a length of time.
pub(crate) const SHUTDOWN: &str = "nexus-shutdown";
/// An agent's name, a family or a range.
pub(crate) const NAME_PATTERN: &str = "nexus-name-pattern";
/// An IP address and a port.
pub(crate) const SOCKET_ADDRESS: &str = "nexus-socket-address";
/// A host and a port: `10.0.0.5:7072`, `air-1.example:7072`, `[::1]:7072`.
pub(crate) const HOST_PORT: &str = "nexus-host-port";
/// A node to join: a host and a port, or `dns:` before them.
pub(crate) const SEED: &str = "nexus-seed";
/// A text that is never shown; `password` is what editors know.
pub(crate) const SECRET: &str = "password";

/// Schema of a length of time.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": DURATION, "examples": ["250ms", "5s", "1h 30m"] })
}

/// Schema of a length of time that may be left out.
pub(crate) fn maybe_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": DURATION, "examples": ["250ms", "5s"] })
}

/// Schema of a host and a port that may be left out.
pub(crate) fn host_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": HOST_PORT, "examples": ["10.0.0.5:7072", "air-1.example:7072"] })
}

/// Schema of the nodes to join.
pub(crate) fn seeds(_: &mut SchemaGenerator) -> Schema {
    let seed = json_schema!({ "type": "string", "format": SEED, "examples": ["10.0.0.5:7072", "dns:nexus.example:7072"] });
    json_schema!({ "type": "array", "items": seed, "maxItems": 256 })
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

/// garde rule: a stop may take up to 24 h, or be waited for without end.
pub(crate) fn bounded(value: &Shutdown, (): &()) -> garde::Result {
    match value {
        Shutdown::Timeout(limit) => between_ms(0, 86_400_000)(limit, &()),
        Shutdown::Infinity | Shutdown::BrutalKill => Ok(()),
    }
}

/// Why a string is not of a format: the code, what it does wrong, and the remedy.
pub(crate) type FormatError = (&'static str, String, String);

/// Whether `text` is of the format called `name`. Other formats than those above take any text.
pub(crate) fn check(name: &str, text: &str) -> Result<(), FormatError> {
    match name {
        DURATION => parse_duration(text).map(drop).map_err(|_| {
            let help = "write a number with its unit: \"250ms\", \"5s\", \"1h 30m\"";
            ("malformed-duration", "is no length of time".to_owned(), help.to_owned())
        }),
        SHUTDOWN => text
            .parse::<Shutdown>()
            .map(drop)
            .map_err(|problem| ("malformed-shutdown", "is no way to stop".to_owned(), problem)),
        NAME_PATTERN => text.parse::<NamePattern>().map(drop).map_err(|problem| {
            let help = "write a name (`tower`), a family (`aircraft/*`) or a range (`sensor/{0..99}`)";
            ("malformed-name", problem.to_string(), help.to_owned())
        }),
        SOCKET_ADDRESS => text.parse::<SocketAddr>().map(drop).map_err(|_| {
            let help = match text.strip_prefix("localhost:") {
                Some(port) => format!("write the address in numbers: \"127.0.0.1:{port}\""),
                None => "write an IP address and a port: \"127.0.0.1:7070\" or \"[::1]:7070\"".to_owned(),
            };
            ("malformed-address", "is no IP address with a port".to_owned(), help)
        }),
        HOST_PORT => host_and_port(text).map_err(|problem| {
            let help = "write a host and a port: \"10.0.0.5:7072\", \"air-1.example:7072\" or \"[::1]:7072\"";
            ("malformed-address", problem.to_owned(), help.to_owned())
        }),
        SEED => host_and_port(text.strip_prefix("dns:").unwrap_or(text)).map_err(|problem| {
            let help = "write a host and a port (\"air-1.example:7072\"), or all addresses of a name (\"dns:nexus.example:7072\")";
            ("malformed-address", problem.to_owned(), help.to_owned())
        }),
        _ => Ok(()),
    }
}

/// Whether `text` is a host, by name or address, and a port to connect to.
fn host_and_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    match port.parse::<u16>() {
        Ok(0) => return Err("has port 0, to which nobody can connect"),
        Ok(_) => {}
        Err(_) => return Err("has no port from 1 to 65535"),
    }
    let is_named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        None if !host.is_empty() && host.len() <= 253 && host.chars().all(is_named) => Ok(()),
        _ => Err("has no host before its port"),
    }
}

/// What a string of the format is, for people.
pub(crate) fn kind(name: &str) -> &'static str {
    match name {
        DURATION => "a length of time such as \"5s\"",
        SHUTDOWN => "\"infinity\", \"brutal_kill\" or a length of time such as \"5s\"",
        _ => "a string",
    }
}

/// A harmless string of the format.
pub(crate) fn placeholder(name: Option<&str>) -> &'static str {
    match name {
        Some(DURATION | SHUTDOWN) => "1s",
        Some(NAME_PATTERN) => "placeholder",
        Some(SOCKET_ADDRESS) => "127.0.0.1:0",
        Some(HOST_PORT | SEED) => "127.0.0.1:1",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each format takes its own placeholder and refuses nonsense.
    #[test]
    fn formats_take_their_placeholders_only() {
        for name in [DURATION, SHUTDOWN, NAME_PATTERN, SOCKET_ADDRESS, HOST_PORT, SEED] {
            assert_eq!(check(name, placeholder(Some(name))), Ok(()), "{name}");
            assert!(check(name, "?!").is_err(), "{name}");
        }
        assert_eq!(check(SECRET, "?!"), Ok(()));
    }

    /// Goal: seeds are hosts with ports, by name or address.
    #[test]
    fn hosts_have_ports() {
        for good in ["a:1", "10.0.0.1:7072", "[::1]:65535", "air_1.example-2:80"] {
            assert_eq!(check(HOST_PORT, good), Ok(()), "{good}");
            assert_eq!(check(SEED, &format!("dns:{good}")), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "::1:1",
            "[::1]",
            "[a]:1",
            "[::1:1",
            "a b:1",
            "http://a:1",
        ] {
            assert!(check(HOST_PORT, bad).is_err(), "{bad}");
        }
        assert!(check(HOST_PORT, "dns:a:1").is_err());
    }
}
