//! Membership: soon after the last change every node sees every other that runs and can be reached (completeness), and nobody else
//! (accuracy).

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_cluster::NodeId;

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
        if look.steady_for() < SOON {
            return Ok(());
        }
        for side in &look.sides {
            for place in &side.places {
                let (node, others) = (&look.running[place], look.others(*place, &side.places));
                if node.members != others {
                    let steady = look.steady_for().as_secs_f64();
                    let names = |ids: &BTreeSet<NodeId>| {
                        ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
                    };
                    return Err(format!(
                        "{} sees [{}] and not [{}], {steady:.1} s after the last fault began or ended",
                        node.id,
                        names(&node.members),
                        names(&others)
                    ));
                }
            }
        }
        Ok(())
    }
}
