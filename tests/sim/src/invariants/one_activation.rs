//! At most one activation of an agent on each side of a partition.
//!
//! A registration is at most once per side, and duplicates that come of a change of the ring or of a heal are found and decided within
//! 5 s (`docs/design/0012`). So two of one agent on nodes that can talk to each other are a violation when they have lasted longer than
//! that and than membership takes to notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Invariant, Look};
use crate::chronicle::{ActivationId, Chronicle};

/// How long the cluster has agreed on who is there before two are one too many.
const SOON: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneActivation {
    /// Since when agents have run more than once in an agreed cluster.
    since: BTreeMap<Arc<str>, (Vec<ActivationId>, Duration)>,
}

impl Invariant for OneActivation {
    fn name(&self) -> &'static str {
        "one activation"
    }

    fn look(&mut self, look: &Look, chronicle: &Chronicle) -> Result<(), String> {
        let several = chronicle.running().filter(|(_, activations)| activations.len() > 1);
        let several: BTreeMap<_, _> =
            several.map(|(agent, activations)| (agent.clone(), activations.to_vec())).collect();
        self.since.retain(|agent, (activations, _)| several.get(agent) == Some(activations));
        for (agent, activations) in several {
            let (_, since) = self.since.entry(agent.clone()).or_insert((activations.clone(), look.at));
            let lasts = look.at.saturating_sub(*since);
            if look.calm_for() > SOON && look.agreed_for() > SOON && lasts > SOON {
                let on: Vec<_> = activations
                    .iter()
                    .map(|activation| &chronicle.lives[chronicle.activations[*activation].life].name)
                    .collect();
                return Err(format!("{agent} has run on {on:?} for {:.1} s", lasts.as_secs_f64()));
            }
        }
        Ok(())
    }
}
