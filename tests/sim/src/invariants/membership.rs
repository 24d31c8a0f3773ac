//! Membership: soon after the last fault every node sees every other that runs (completeness) and none that does not (accuracy).

use std::time::Duration;

use super::{Invariant, Look};
use crate::chronicle::Chronicle;

/// How soon. The longest way there: a crash is noticed by the next connection that fails and a probe of each member in turn, and suspicion
/// takes 1.5 s; after a heal connections are back in 0.1 s, whoever was declared down is spoken to within 0.25 s and renews itself.
const SOON: Duration = Duration::from_secs(8);

/// See the module.
#[derive(Debug)]
pub(super) struct Membership;

impl Invariant for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn look(&mut self, look: &Look, _: &Chronicle) -> Result<(), String> {
        if look.calm_for() < SOON {
            return Ok(());
        }
        for (place, node) in &look.running {
            let others = look.others(*place);
            if node.members != others {
                let calm = look.calm_for().as_secs_f64();
                return Err(format!(
                    "{} sees {:?} and not {others:?}, {calm:.1} s after the last fault",
                    node.id, node.members
                ));
            }
        }
        Ok(())
    }
}
