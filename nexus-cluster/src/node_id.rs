//! Who a node is: its name, and which of its lives.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 255;

/// The name of a node, unique in its cluster and kept over restarts: `a`, `rack3-host17`. 1 to 255 bytes: letters, digits, `-`, `_`
/// and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// The text is no node's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` is no node's name: 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`")]
pub struct NodeNameError {
    /// The text, cut if it is long.
    pub name: String,
}

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(name: &str) -> Result<Self, NodeNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(NodeNameError { name: name.chars().take(40).collect() })
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(name: String) -> Result<Self, NodeNameError> {
        name.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.as_str().into()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a node. Ordered by name, then by incarnation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Its name.
    pub name: NodeName,
    /// Grows with each start: the wall time of the start in milliseconds since 1970, handed in. Whoever knows a higher one treats
    /// this life as over.
    pub incarnation: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names that would need quoting somewhere are refused, from text and from the wire.
    #[test]
    fn names_are_plain() {
        for good in ["a", "rack3-host_17.eu", &"x".repeat(NAME_BYTES_MAX)] {
            let name: NodeName = good.parse().unwrap();
            let bytes = rmp_serde::to_vec(&name).unwrap();
            assert_eq!(rmp_serde::from_slice::<NodeName>(&bytes).unwrap(), name);
        }
        for bad in ["", "a b", "a@b", "ä", "a/b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
            assert!(rmp_serde::from_slice::<NodeName>(&rmp_serde::to_vec(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
