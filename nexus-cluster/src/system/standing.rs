//! Whether a node has its place in the cluster.

use std::fmt;

use serde::Serialize;

/// Where a node stands in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Standing {
    /// Too few members have been seen so far; no agents are started.
    Joining {
        /// Members there are, this one included.
        members: usize,
        /// Members there must be.
        expected: usize,
    },
    /// The directory has not heard from all members since the ring has changed.
    Synchronizing,
    /// Agents that were here before the node joined are claimed.
    Claiming {
        /// How many are not yet.
        left: usize,
    },
    /// On the smaller side of a partition, under the policy `quorum`.
    Minority {
        /// Members it sees, this one included.
        reachable: usize,
        /// Members last agreed on.
        agreed: usize,
    },
    /// Joined and synchronized.
    Ready,
}

impl Standing {
    /// Whether all is well.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether agents may be started.
    #[must_use]
    pub const fn has_joined(&self) -> bool {
        !matches!(self, Self::Joining { .. })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joining { members, expected } => {
                write!(f, "joining: {members} of at least {expected} members are there")
            }
            Self::Synchronizing => {
                f.write_str("synchronizing: the directory has not heard from all members yet")
            }
            Self::Claiming { left } => write!(f, "claiming {left} agents that were here before"),
            Self::Minority { reachable, agreed } => {
                write!(f, "in a minority: {reachable} of {agreed} members are in reach")
            }
            Self::Ready => f.write_str("ready"),
        }
    }
}
