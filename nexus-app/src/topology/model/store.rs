//! The durable store, and whose state is kept in it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use garde::Validate;
use humantime_serde::re::humantime;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::format::{self, between_ms};

/// The most messages between two snapshots of an agent.
const EVERY_MESSAGES_MAX: u64 = 1_000_000_000;

/// A durable store of the node's own: agents with `persist` come back with their state after the process has ended, however it
/// ended, and feeds go on where these agents are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The folder it lives in, relative to the topology file; made if missing. One running node uses it at a time.
    #[garde(skip)]
    pub path: PathBuf,
    /// The size in bytes past which its file does not grow, 4 MiB to 16 TiB. Default 16 GiB. It grows by doubling, from
    /// 4 GiB on by 4 GiB, so powers of two waste nothing. A full store refuses updates of
    /// agents that are kept at each of them, puts off the other snapshots and says so in `/readyz`; it loses nothing it has.
    #[serde(default = "default_max_bytes")]
    #[garde(range(min = 4_194_304, max = 17_592_186_044_416_u64))]
    pub max_bytes: u64,
    /// How often a running feed notes its place together with the state of the agents it reached, 10 ms to 1 h. Default `1s`. A
    /// shorter one has less to repeat after a crash and writes more. The effect of a request is exactly once with any.
    #[serde(default = "default_checkpoint", with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(10, 3_600_000)))]
    pub checkpoint: Duration,
}

const fn default_max_bytes() -> u64 {
    16 * 1024 * 1024 * 1024
}

const fn default_checkpoint() -> Duration {
    Duration::from_secs(1)
}

/// When an agent's state is written to the store.
///
/// Whatever it is, the state is also written when the node stops in order, and with the checkpoints of the feeds that reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Persist {
    /// Never: it lives in memory only.
    #[default]
    None,
    /// When the agent hibernates.
    OnHibernate,
    /// With each update, before it is answered: what was answered is kept. Updates that wait together are written together.
    EachUpdate,
    /// After so many messages, or so long after the first message since the last time.
    Every(Every),
}

impl Persist {
    /// Whether anything is kept.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// garde rule: a span of time between two snapshots is within its bounds.
    pub(super) fn bounded(&self, (): &()) -> garde::Result {
        match self {
            Self::Every(Every::Span(span)) => between_ms(10, 86_400_000)(span, &()),
            _ => Ok(()),
        }
    }
}

/// The distance between two snapshots of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// So many messages.
    Messages(NonZeroU32),
    /// This long.
    Span(Duration),
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Messages(count) => serializer.serialize_u32(count.get()),
            Self::Span(span) => humantime_serde::serialize(span, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Messages(NonZeroU32),
            Span(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Messages(count) => Ok(Self::Messages(count)),
            Written::Span(text) => {
                humantime::parse_duration(&text).map(Self::Span).map_err(serde::de::Error::custom)
            }
        }
    }
}

impl JsonSchema for Every {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Every".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "So many messages, 1 to 1,000,000,000, or a length of time, 10 ms to 24 h.",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": EVERY_MESSAGES_MAX },
                { "type": "string", "format": format::DURATION, "examples": ["500ms", "5s"] },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every form reads back as written.
    #[test]
    fn policies_read_back() {
        for (text, expected) in [
            ("\"none\"", Persist::None),
            ("\"on-hibernate\"", Persist::OnHibernate),
            ("\"each-update\"", Persist::EachUpdate),
            ("{\"every\":100}", Persist::Every(Every::Messages(NonZeroU32::new(100).unwrap()))),
            ("{\"every\":\"5s\"}", Persist::Every(Every::Span(Duration::from_secs(5)))),
        ] {
            let read: Persist = serde_json::from_str(text).unwrap();
            assert_eq!((read, serde_json::to_string(&read).unwrap().as_str()), (expected, text));
        }
    }
}
