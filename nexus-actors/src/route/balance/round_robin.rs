//! Each in turn.

use rand::RngCore;

use super::{Members, Strategy, next_in_turn};

/// Serves with each member in turn, whatever its load: O(1) on one atomic counter. A member that has stopped is passed over, its
/// turn goes to the next.
///
/// Good where requests cost about the same. Order is that in which members came; it changes when one goes.
#[derive(Debug)]
pub(super) struct RoundRobin;

impl Strategy for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn about(&self) -> &'static str {
        "Each in turn: for requests that cost about the same."
    }

    fn choose(&self, members: &dyn Members, turn: u64, _: &mut dyn RngCore) -> Option<usize> {
        next_in_turn(members, turn)
    }
}
