//! Intelligence levels: how much of what an agent does is learned. Reactive is the floor every agent stands on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The four levels, each building on the one below (progressive intelligence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Level {
    /// Request and response, entirely predictable.
    #[default]
    Reactive,
    /// Learns from its requests and predicts; falls back to reactive.
    Proactive,
    /// Adjusts its behavior to the environment within bounds; falls back to proactive.
    Adaptive,
    /// Coordinates with other agents in a swarm, monitored; falls back to adaptive.
    Emergent,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Reactive, Self::Proactive, Self::Adaptive, Self::Emergent];

    /// The highest level this build can serve.
    pub const HIGHEST: Self = Self::Reactive;

    /// The level that serves a request for `self`: the highest one there is, not above `self`.
    #[must_use]
    pub fn granted(self) -> Self {
        self.min(Self::HIGHEST)
    }

    /// The level's name in topologies, traces and endpoints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reactive => "reactive",
            Self::Proactive => "proactive",
            Self::Adaptive => "adaptive",
            Self::Emergent => "emergent",
        }
    }

    /// The level with this number (0 to 3); reactive for any other.
    pub(crate) fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| format!("unknown level `{text}`: one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The answer to a request for a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelGranted {
    /// What was asked for.
    pub requested: Level,
    /// What serves the agent from now on.
    pub granted: Level,
}
