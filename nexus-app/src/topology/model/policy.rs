//! The small vocabularies of the topology, in OTP's words.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use humantime_serde::re::humantime;
use nexus_actors::route::balance;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which children are restarted together when one exits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the one that exited.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// The one that exited and those declared after it.
    RestForOne,
}

/// When a child that exited is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal exit.
    Transient,
    /// Never.
    Temporary,
}

/// When a supervisor ends by itself because significant children ended by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It does not; then no child may be significant.
    #[default]
    Never,
    /// When any significant child ends by itself.
    AnySignificant,
    /// When the last significant child ends by itself.
    AllSignificant,
}

/// How much intelligence an agent may use. A request for more than there is gets the highest there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Predictable: the behavior alone answers.
    #[default]
    Reactive,
    /// Learns and predicts.
    Proactive,
    /// Changes its own strategy.
    Adaptive,
    /// Acts as a part of a swarm.
    Emergent,
}

/// When a declared agent comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With its supervisor.
    Eager,
    /// With its first message.
    OnDemand,
}

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Whoever presents the bearer token.
    #[default]
    Token,
    /// Everybody who can connect. Only allowed on loopback addresses.
    Off,
}

/// How a child is stopped. Written `"5s"`, `"infinity"` or `"brutal_kill"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Asked to stop; killed when it has not ended after this time.
    Timeout(Duration),
    /// Asked to stop, and waited for as long as it takes.
    Infinity,
    /// Killed at once.
    BrutalKill,
}

impl FromStr for Shutdown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "infinity" => Ok(Self::Infinity),
            "brutal_kill" => Ok(Self::BrutalKill),
            _ => humantime::parse_duration(text)
                .map(Self::Timeout)
                .map_err(|_| "expected a time such as \"5s\", \"infinity\" or \"brutal_kill\"".to_owned()),
        }
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "{}", humantime::format_duration(*limit)),
            Self::Infinity => write!(f, "infinity"),
            Self::BrutalKill => write!(f, "brutal_kill"),
        }
    }
}

impl Serialize for Shutdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Shutdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Shutdown {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shutdown".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": super::format::SHUTDOWN,
            "examples": ["5s", "infinity", "brutal_kill"],
        })
    }
}

/// A group's strategy, by its name. The names are those of [`balance::all`].
#[derive(Clone, Copy, Debug)]
pub struct Balance(&'static dyn balance::Strategy);

impl Balance {
    /// The strategy.
    #[must_use]
    pub fn strategy(self) -> &'static dyn balance::Strategy {
        self.0
    }

    fn names() -> Vec<&'static str> {
        balance::all().into_iter().map(balance::Strategy::name).collect()
    }
}

impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || format!("`{name}` is no strategy; there are {}", Self::names().join(", "));
        balance::named(&name).map(Self).ok_or_else(|| serde::de::Error::custom(unknown()))
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let choice = |strategy: &dyn balance::Strategy| json_schema!({ "description": strategy.about(), "type": "string", "const": strategy.name() });
        let choices: Vec<Schema> = balance::all().into_iter().map(choice).collect();
        json_schema!({ "description": "Who serves a message that is sent to a group.", "oneOf": choices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: all three forms read back as written; anything else is refused.
    #[test]
    fn shutdown_reads_back() {
        for text in ["5s", "infinity", "brutal_kill", "1m 30s"] {
            assert_eq!(text.parse::<Shutdown>().unwrap().to_string(), text);
        }
        for text in ["", "5", "forever", "-1s"] {
            assert!(text.parse::<Shutdown>().is_err(), "{text}");
        }
    }
}
