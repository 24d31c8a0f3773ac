//! The better of two drawn by chance: an extension, not in the source documents.

use rand::{Rng as _, RngCore};

use super::{Members, Strategy, next_in_turn};

/// Pairs drawn before the next in turn is taken instead.
const DRAWS_MAX: usize = 4;

/// Draws two members by chance and serves with the one that has fewer messages. Source: Mitzenmacher, "The Power of Two Choices
/// in Randomized Load Balancing", IEEE TPDS 12(10), 2001: with two choices the longest of N queues is O(log log N), with one it is
/// O(log N / log log N).
///
/// O(1) with two inboxes read, both at this very moment: of all strategies that look at load it is the one for large groups.
#[derive(Debug)]
pub(super) struct PowerOfTwo;

impl Strategy for PowerOfTwo {
    fn name(&self) -> &'static str {
        "power_of_two"
    }

    fn about(&self) -> &'static str {
        "The shorter inbox of two drawn by chance: the cheapest that looks at load, for large groups."
    }

    fn choose(&self, members: &dyn Members, turn: u64, chance: &mut dyn RngCore) -> Option<usize> {
        let len = members.len();
        if len > 1 {
            for _ in 0..DRAWS_MAX {
                let one = chance.random_range(0..len);
                // Another one: drawn from the rest.
                let two = (one + chance.random_range(1..len)) % len;
                match (members.takes(one), members.takes(two)) {
                    (true, true) => return Some(shorter(members, one, two)),
                    (true, false) => return Some(one),
                    (false, true) => return Some(two),
                    (false, false) => {}
                }
            }
        }
        next_in_turn(members, turn)
    }
}

fn shorter(members: &dyn Members, one: usize, two: usize) -> usize {
    let load = |at| {
        let gauge = members.read(at);
        (gauge.is_full(), gauge.queued())
    };
    if load(two) < load(one) { two } else { one }
}
