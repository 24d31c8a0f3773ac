//! Nodes of a zone or a release, and among those the ring.

use nexus_actors::agent::AgentId;

use super::{Cluster, Placement, Site};
use crate::NodeId;

/// What a node must be to have the agent. Where nothing fits, the agent starts nowhere: its letters are refused rather than handled in
/// the wrong place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// It stands in this zone; `None`: in any.
    pub zone: Option<String>,
    /// It runs this release; `None`: any.
    pub release: Option<String>,
}

impl Label {
    fn fits(&self, site: Option<&Site>) -> bool {
        let Some(site) = site else { return false };
        self.zone.as_ref().is_none_or(|zone| site.metadata.zone == *zone)
            && self.release.as_ref().is_none_or(|release| site.release == *release)
    }
}

impl Placement for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn about(&self) -> &'static str {
        "As `ring`, among the nodes of a zone or a release."
    }

    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId> {
        cluster.first(agent, |site| self.fits(site))
    }
}
