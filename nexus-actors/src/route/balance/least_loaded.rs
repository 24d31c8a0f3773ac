//! The shortest inbox.

use rand::RngCore;

use super::{Members, Strategy, least};

/// Serves with the member that has the fewest messages waiting or being handled; among equals, each in turn. What other systems
/// call least connections. Ends at the first idle member; O(N) only while all are busy.
#[derive(Debug)]
pub(super) struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn name(&self) -> &'static str {
        "least_loaded"
    }

    fn about(&self) -> &'static str {
        "The shortest inbox: for requests of uneven cost."
    }

    fn choose(&self, members: &dyn Members, turn: u64, _: &mut dyn RngCore) -> Option<usize> {
        least(members, turn, |gauge| f64::from(gauge.queued()))
    }
}
