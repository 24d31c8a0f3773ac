//! At most one activation of an agent on each side of a partition.
//!
//! A registration is at most once per side, and duplicates that come of a change of the ring or of a heal are found and decided within
//! 5 s (`docs/design/0012`). So two of one agent on nodes that can talk to each other, and have agreed for longer than that on who is
//! there, are one too many.

use std::time::Duration;

use super::{Invariant, Look};
use crate::chronicle::{ActivationId, Chronicle};

/// How long a side has agreed on who is there before two are one too many.
const SOON: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct OneActivation;

impl Invariant for OneActivation {
    fn name(&self) -> &'static str {
        "one activation"
    }

    fn look(&mut self, look: &Look, chronicle: &Chronicle) -> Result<(), String> {
        for side in look.sides.iter().filter(|side| look.agreed_for(side) > SOON) {
            let here = |id: &&ActivationId| {
                let life = &chronicle.lives[chronicle.activations[**id].life];
                life.until.is_none() && side.places.contains(&life.place)
            };
            for (agent, activations) in chronicle.running() {
                let on: Vec<_> = activations
                    .iter()
                    .filter(here)
                    .map(|id| {
                        let activation = &chronicle.activations[*id];
                        let name = &chronicle.lives[activation.life].name;
                        format!("{name} since {:.1} s", activation.from.as_secs_f64())
                    })
                    .collect();
                if on.len() > 1 {
                    let agreed = look.agreed_for(side).as_secs_f64();
                    return Err(format!(
                        "{agent} runs on {on:?}, which have agreed for {agreed:.1} s on who is there"
                    ));
                }
            }
        }
        Ok(())
    }
}
