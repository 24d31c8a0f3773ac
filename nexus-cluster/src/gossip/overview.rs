//! What the debug endpoint shows of gossip.

use serde::Serialize;

use crate::{NodeId, NodeName};

/// Laggards named at most.
pub(super) const LAGGARDS_MAX: usize = 16;

/// Counts of what came, went and was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GossipCounts {
    /// Rounds of its own, the immediate ones included.
    pub rounds: u64,
    /// Messages sent.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Messages that the round's budget had no room for.
    pub deferred: u64,
    /// Messages taken.
    pub received: u64,
    /// Updates that brought something new.
    pub applied: u64,
    /// Updates that did not.
    pub known: u64,
    /// Updates whose beginning was missing.
    pub gaps: u64,
    /// Updates about nodes that are no members here yet.
    pub unknown: u64,
    /// Messages that no honest node sends; nothing of them was taken.
    pub malformed: u64,
}

/// Whether all members know the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Convergence {
    /// Every member has shown to know what we know.
    Converged {
        /// The sum over it.
        sum: u64,
    },
    /// Some have not, or not yet.
    NotConverged {
        /// The sum over what we know.
        sum: u64,
        /// The first of those, by name.
        lagging: Vec<NodeName>,
        /// How many there are beside.
        more: usize,
    },
}

/// What is known of one node's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnerOverview {
    /// Whose.
    pub name: NodeName,
    /// Whether it is a member. Of others nothing is passed on.
    pub member: bool,
    /// The life that wrote them.
    pub incarnation: u64,
    /// Everything up to this version is known here.
    pub version: u64,
    /// Live keys.
    pub keys: usize,
    /// Deleted keys that are remembered.
    pub tombstones: usize,
    /// Bytes of it all.
    pub bytes: usize,
    /// Up to which version of our own state it has shown to know.
    pub acknowledged: u64,
}

/// A node's view of what the cluster says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GossipOverview {
    /// Whose view.
    pub me: NodeId,
    /// Whether all know the same.
    pub convergence: Convergence,
    /// Peers of a round.
    pub fanout: usize,
    /// Nodes whose news are being pushed.
    pub hot: usize,
    /// What came, went and was dropped.
    pub counts: GossipCounts,
    /// Everyone whose keys are known, by name.
    pub owners: Vec<OwnerOverview>,
}
