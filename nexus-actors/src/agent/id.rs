//! Agent names and the 128-bit keys that routes use; the identity of asks that are tried again.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// The stable key of an agent: the xxh3-128 of its name (design decision D3).
///
/// The same name gives the same key on every node and in every release, so a key can be stored and sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(u128);

impl AgentId {
    /// The key of the agent called `name`.
    #[inline]
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(xxh3_128(name.as_bytes()))
    }

    /// The key that was [`get`](Self::get) as a number before: from another node, or from a disk.
    #[must_use]
    pub const fn from_key(key: u128) -> Self {
        Self(key)
    }

    /// The key as a number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self})")
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The identity of an ask that may be tried again: the same for all its tries, and that of no other ask of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// The id of the `number`-th such ask of a node's `life`, a number that no other life of any node has.
    #[must_use]
    pub const fn new(life: u64, number: u64) -> Self {
        Self((life as u128) << 64 | number as u128)
    }

    /// The id that was [`get`](Self::get) as a number before: from another node.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Which of its node's asks it is.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the number")]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }
}

/// Where a message goes: anything that names an agent.
///
/// A name can bring a family's agent to life (`aircraft/*`); a bare [`AgentId`] only reaches an agent that is known.
pub trait Target {
    /// The agent's key.
    fn id(&self) -> AgentId;
    /// The agent's name, where the caller knows it.
    fn name(&self) -> Option<&str>;
}

impl Target for str {
    fn id(&self) -> AgentId {
        AgentId::of(self)
    }

    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

impl Target for String {
    fn id(&self) -> AgentId {
        AgentId::of(self)
    }

    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

impl Target for std::sync::Arc<str> {
    fn id(&self) -> AgentId {
        AgentId::of(self)
    }

    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

impl Target for AgentId {
    fn id(&self) -> AgentId {
        *self
    }

    fn name(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: keys never change between releases. Method: compare with the published xxh3-128 of a known text.
    #[test]
    fn keys_are_stable() {
        assert_eq!(AgentId::of("").to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(AgentId::of("aircraft/N14228"), AgentId::of(&String::from("aircraft/N14228")));
    }
}
