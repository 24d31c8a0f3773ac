//! What changes hands between two rings.

use nexus_actors::agent::AgentId;

use super::{BELOW_POSITION, POSITION_BITS, Ring, member_of, position};
use crate::NodeName;

/// Keys that have another owner now: those from `first` to `last`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The lowest key.
    pub first: AgentId,
    /// The highest key.
    pub last: AgentId,
    /// Whose they were.
    pub from: NodeName,
    /// Whose they are.
    pub to: NodeName,
}

impl Moved {
    /// The part of all keys that this is.
    #[must_use]
    pub fn share(&self) -> f64 {
        ((self.last.get() >> BELOW_POSITION) - (self.first.get() >> BELOW_POSITION) + 1) as f64
            / (1_u64 << POSITION_BITS) as f64
    }
}

/// The key ranges whose owner is another in `new` than in `old`, ascending and as few as possible. Nothing if either is empty: nobody
/// gives or nobody takes. One walk along both.
#[must_use]
pub fn moved(old: &Ring, new: &Ring) -> Vec<Moved> {
    let (mut in_old, mut in_new) = (Walk::new(old), Walk::new(new));
    let mut ranges: Vec<Moved> = Vec::new();
    let mut first = 0_u64;
    while let (Some(from), Some(to)) = (in_old.owner(), in_new.owner()) {
        let last = in_old.end().min(in_new.end());
        if from != to && last >= first {
            push(&mut ranges, first, last, from, to);
        }
        first = last + 1;
        if first == 1 << POSITION_BITS {
            break;
        }
        in_old.pass(first);
        in_new.pass(first);
    }
    ranges
}

fn push(ranges: &mut Vec<Moved>, first: u64, last: u64, from: &NodeName, to: &NodeName) {
    let first = AgentId::from_key(u128::from(first) << BELOW_POSITION);
    let last = AgentId::from_key(((u128::from(last) + 1) << BELOW_POSITION).wrapping_sub(1));
    match ranges.last_mut() {
        Some(before)
            if before.last.get().wrapping_add(1) == first.get()
                && before.from == *from
                && before.to == *to =>
        {
            before.last = last;
        }
        _ => ranges.push(Moved { first, last, from: from.clone(), to: to.clone() }),
    }
}

/// A place on a ring.
struct Walk<'a> {
    ring: &'a Ring,
    at: usize,
}

impl<'a> Walk<'a> {
    const fn new(ring: &'a Ring) -> Self {
        Self { ring, at: 0 }
    }

    /// Who owns the positions up to [`end`](Self::end).
    fn owner(&self) -> Option<&'a NodeName> {
        let point = self.ring.points.get(self.at).or_else(|| self.ring.points.first())?;
        Some(&self.ring.members[member_of(*point)].node.name)
    }

    /// The last position of this point's arc; beyond the last point that is the end of the circle.
    fn end(&self) -> u64 {
        self.ring.points.get(self.at).map_or((1 << POSITION_BITS) - 1, |point| position(*point))
    }

    /// Goes to the arc that `first` lies in.
    fn pass(&mut self, first: u64) {
        while self.ring.points.get(self.at).is_some_and(|point| position(*point) < first) {
            self.at += 1;
        }
    }
}
