//! Nodes of a zone or a protocol version, and among those the ring.

use nexus_actors::agent::AgentId;
use thiserror::Error;

use super::{Cluster, Placement, Site};
use crate::NodeId;
use crate::membership::ZONE_BYTES_MAX;

/// What a node must be to have the agent. Where nothing fits, the agent starts nowhere: its letters are refused rather than handled in
/// the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// It stands in this zone.
    Zone(String),
    /// It speaks this protocol version.
    Version(u16),
}

/// The text is no label.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no label: write `zone=NAME` with 1 to {ZONE_BYTES_MAX} bytes, or `version=N` with N from 0 to 65535"
)]
pub struct LabelError {
    /// As it was given.
    pub text: String,
}

impl Label {
    /// As a topology writes it: `zone=eu-west`, `version=2`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let error = || LabelError { text: text.chars().take(80).collect() };
        match text.split_once('=').ok_or_else(error)? {
            ("zone", zone) if (1..=ZONE_BYTES_MAX).contains(&zone.len()) => Ok(Self::Zone(zone.to_owned())),
            ("version", version) => version.parse().map(Self::Version).map_err(|_| error()),
            _ => Err(error()),
        }
    }

    fn fits(&self, site: Option<&Site>) -> bool {
        let Some(Site { metadata, .. }) = site else { return false };
        match self {
            Self::Zone(zone) => metadata.zone == *zone,
            Self::Version(version) => (metadata.versions.0..=metadata.versions.1).contains(version),
        }
    }
}

impl Placement for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn about(&self) -> &'static str {
        "As `ring`, among the nodes of a zone (`zone=NAME`) or a protocol version (`version=N`)."
    }

    fn place<'a>(&self, agent: AgentId, cluster: &Cluster<'a>) -> Option<&'a NodeId> {
        cluster.first(agent, |site| self.fits(site))
    }
}
