//! What the debug endpoint shows of membership.

use serde::Serialize;

use super::core::MembershipCounts;
use super::member::{Member, Metadata};
use super::quorum::PartitionState;
use crate::{NodeId, NodeName};

/// What a member is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer someone; it may defend itself.
    Suspect,
    /// It was declared down.
    Down,
    /// It went on purpose.
    Left,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberOverview {
    /// Its name.
    pub name: NodeName,
    /// Which life of it.
    pub incarnation: u64,
    /// How often it renewed itself in this life.
    pub renewal: u32,
    /// What it is taken for.
    pub state: MemberState,
    /// What it tells of itself.
    pub metadata: Metadata,
}

impl MemberOverview {
    pub(super) fn new(member: &Member, state: MemberState) -> Self {
        Self {
            name: member.name().clone(),
            incarnation: member.id().incarnation,
            renewal: member.renewal(),
            state,
            metadata: member.metadata().clone(),
        }
    }
}

/// A node's view of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MembershipOverview {
    /// Whose view.
    pub me: NodeId,
    /// Whether another member is known to know this node.
    pub joined: bool,
    /// On which side of a partition it is.
    pub partition: PartitionState,
    /// Nodes it is connected to.
    pub connected: usize,
    /// Those of them that are no members.
    pub strangers: usize,
    /// News that are still passed on.
    pub updates_queued: usize,
    /// What came and what was dropped.
    pub counts: MembershipCounts,
    /// Everyone remembered, by name, this node among them.
    pub members: Vec<MemberOverview>,
}
