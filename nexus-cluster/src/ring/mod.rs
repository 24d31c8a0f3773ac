//! Which nodes are responsible for a key: consistent hashing (Karger et al., "Consistent Hashing and Random Trees", STOC 1997) with
//! Dynamo's preference lists (DeCandia et al., SOSP 2007, §4.2 and §4.3).
//!
//! Keys and points lie on a circle of 2⁴⁸ positions. A member has 100 virtual nodes × its weight, and a virtual node has 32 points,
//! which depend on the member's name alone. A key belongs to the member whose point is the first at the key or after it; its
//! preference list goes on clockwise over members that are not in it yet. So a member that joins takes keys from the others and
//! moves none between them, and one that leaves gives its keys back: the least movement there can be.
//!
//! **Why 32 points.** A point's arc is exponentially distributed, so the load of a member with `p` points deviates by 1/√p of the mean:
//! with one point for each of 100 virtual nodes by 10 %, and the busiest of 1,000 members by a third. Karger's remedy is more copies,
//! O(log N / ε²) for a deviation of ε (their Theorem 4.3's κ·log C copies; `ketama` hashes each server to four points per virtual node
//! for the same reason). With 3,200 points the deviation is 1.8 %, and 10 % are 5.6 deviations: once in 10⁷ members. What else is
//! published would break a promise: bounded loads (Mirrokni et al., 2016) move keys between members that stay, multi-probe hashing
//! (Appleton and O'Reilly, 2015) has no key ranges to hand over, and points spread by strata leave arcs as exponential as before.
//!
//! A ring is a pure, immutable snapshot: the same members give the same ring on every node, in whatever order they came.

mod moved;

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_actors::agent::AgentId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use self::moved::{Moved, moved};
use crate::{NodeId, NodeName};

/// Virtual nodes of a member of weight 1.
pub const VIRTUAL_NODES: u32 = 100;
/// Points of a virtual node; see the module.
pub const POINTS_PER_VIRTUAL_NODE: u32 = 32;
/// The highest weight; a higher one counts as this.
pub const WEIGHT_MAX: u16 = 16;
/// Members at most: a point names its member by 16 bits. Those after it, by name, have no points.
pub const MEMBERS_MAX: usize = 1 << MEMBER_BITS;

const MEMBER_BITS: u32 = 16;
/// Bits of a key that are below its position.
const BELOW_POSITION: u32 = 128 - POSITION_BITS;
const POSITION_BITS: u32 = 64 - MEMBER_BITS;
/// Points that share an entry of the index, on average at most.
const POINTS_PER_INDEX: usize = 4;

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node. Its points depend on its name alone, so that a restart moves nothing.
    pub node: NodeId,
    /// Its share of the keys in relation to others: 1 to [`WEIGHT_MAX`]; 0 counts as 1.
    pub weight: u16,
    /// What it shares its fate with: a rack, a zone. Empty where nothing is known.
    pub zone: Arc<str>,
}

impl Member {
    /// A member of weight 1 in no zone.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, weight: 1, zone: "".into() }
    }

    fn weight(&self) -> u16 {
        self.weight.clamp(1, WEIGHT_MAX)
    }
}

/// Names a membership: the same on all nodes that know the same members, another one after any change, a restart of a node included.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct RingEpoch(u64);

impl RingEpoch {
    /// The hash as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ring {
    /// By name; each name once.
    members: Vec<Member>,
    /// For each member the number of its zone, in the order of their names.
    zones: Vec<u16>,
    zone_count: usize,
    /// Ascending: a position in the upper 48 bits, the member's place in `members` in the lower 16. Of two points at one position the
    /// one of the lower name counts.
    points: Vec<u64>,
    /// For each prefix of `index_bits` bits the first point whose position does not lie before it, and the number of points.
    index: Vec<u32>,
    index_bits: u32,
    epoch: RingEpoch,
}

impl Ring {
    /// The ring of `members`, in any order. Of several lives of a node the latest counts.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let mut by_name: BTreeMap<NodeName, Member> = BTreeMap::new();
        for member in members {
            let known = by_name.get(&member.node.name);
            if known.is_none_or(|known| known.node.incarnation <= member.node.incarnation) {
                by_name.insert(member.node.name.clone(), member);
            }
        }
        let members: Vec<Member> = by_name.into_values().take(MEMBERS_MAX).collect();
        let points = points_of(&members);
        let (index, index_bits) = index_of(&points);
        let (zones, zone_count) = zones_of(&members);
        let epoch = epoch_of(&members);
        Self { members, zones, zone_count, points, index, index_bits, epoch }
    }

    /// The members, by name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which membership this is.
    #[must_use]
    pub const fn epoch(&self) -> RingEpoch {
        self.epoch
    }

    /// The place of the node called `name` among the [members](Self::members).
    #[must_use]
    pub fn place(&self, name: &NodeName) -> Option<usize> {
        self.members.binary_search_by(|member| member.node.name.cmp(name)).ok()
    }

    /// Whether exactly this life of the node is a member.
    #[must_use]
    pub fn contains(&self, node: &NodeId) -> bool {
        self.place(&node.name).is_some_and(|place| self.members[place].node == *node)
    }

    /// Who is responsible for `id`; `None` only if nobody is there.
    #[inline]
    #[must_use]
    pub fn owner(&self, id: AgentId) -> Option<&NodeId> {
        let point = self.points.get(self.first_point(id)).or_else(|| self.points.first())?;
        Some(&self.members[member_of(*point)].node)
    }

    /// The places of up to `n` distinct members for `id`: its owner first, then clockwise. Members of zones that are not in the list
    /// yet come before others, so that copies spread over zones as far as there are zones. Dynamo's preference list.
    #[must_use]
    pub fn preference_places(&self, id: AgentId, n: usize) -> Vec<u16> {
        let wanted = n.min(self.members.len());
        let zones_wanted = wanted.min(self.zone_count);
        let mut chosen: Vec<u16> = Vec::with_capacity(wanted);
        // Members whose zone was there already, in the order of the walk: they fill up what the zones leave.
        let mut spare: Vec<u16> = Vec::new();
        let start = self.first_point(id);
        for point in self.points[start..].iter().chain(&self.points[..start]) {
            if chosen.len() == zones_wanted && chosen.len() + spare.len() >= wanted {
                break;
            }
            let place = (point & u64::from(u16::MAX)) as u16;
            if chosen.contains(&place) {
                continue;
            }
            let zone = self.zones[usize::from(place)];
            if chosen.len() < zones_wanted
                && chosen.iter().all(|other| self.zones[usize::from(*other)] != zone)
            {
                chosen.push(place);
            } else if spare.len() < wanted && !spare.contains(&place) {
                spare.push(place);
            }
        }
        chosen.extend(spare.into_iter().take(wanted - chosen.len()));
        chosen
    }

    /// As [`preference_places`](Self::preference_places), as nodes.
    #[must_use]
    pub fn preference_list(&self, id: AgentId, n: usize) -> Vec<&NodeId> {
        let places = self.preference_places(id, n);
        places.into_iter().map(|place| &self.members[usize::from(place)].node).collect()
    }

    /// The share of all keys that each member owns, in the order of the members. They add up to 1.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        let mut arcs = vec![0_u64; self.members.len()];
        if let (Some(first), Some(last)) = (self.points.first(), self.points.last()) {
            let circle = 1_u64 << POSITION_BITS;
            let mut before = position(*last);
            for point in &self.points {
                let arc = if std::ptr::eq(point, first) {
                    position(*point) + circle - before
                } else {
                    position(*point) - before
                };
                arcs[member_of(*point)] += arc;
                before = position(*point);
            }
        }
        arcs.into_iter().map(|arc| arc as f64 / (1_u64 << POSITION_BITS) as f64).collect()
    }

    /// Bytes that the ring takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.points.len() * 8 + self.index.len() * 4 + self.members.len() * (size_of::<Member>() + 2)
    }

    /// The first point at the key or after it; the number of points if that is the first of all.
    #[inline]
    fn first_point(&self, id: AgentId) -> usize {
        let at = (id.get() >> BELOW_POSITION) as u64;
        let prefix = (at >> (POSITION_BITS - self.index_bits)) as usize;
        let (from, to) = (self.index[prefix] as usize, self.index[prefix + 1] as usize);
        from + self.points[from..to].partition_point(|point| position(*point) < at)
    }
}

impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl Eq for Ring {}

const fn position(point: u64) -> u64 {
    point >> MEMBER_BITS
}

const fn member_of(point: u64) -> usize {
    (point & (MEMBERS_MAX as u64 - 1)) as usize
}

fn points_of(members: &[Member]) -> Vec<u64> {
    let count = |member: &Member| u32::from(member.weight()) * VIRTUAL_NODES * POINTS_PER_VIRTUAL_NODE;
    let mut points = Vec::with_capacity(members.iter().map(|member| count(member) as usize).sum());
    for (place, member) in members.iter().enumerate() {
        let base = xxh3_64(member.node.name.as_str().as_bytes());
        let place = u64::try_from(place).expect("at most MEMBERS_MAX");
        points.extend((1..=u64::from(count(member))).map(|n| split_mix(base, n) << MEMBER_BITS | place));
    }
    points.sort_unstable();
    points
}

/// The `n`th number of the generator SplitMix64 begun at `base` (Steele, Lea and Flood, OOPSLA 2014).
const fn split_mix(base: u64, n: u64) -> u64 {
    let mut z = base.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn index_of(points: &[u64]) -> (Vec<u32>, u32) {
    let bits = (points.len() / POINTS_PER_INDEX).max(1).ilog2();
    let starts = (0..=1_u64 << bits).scan(0_usize, |at, prefix| {
        while points.get(*at).is_some_and(|point| position(*point) >> (POSITION_BITS - bits) < prefix) {
            *at += 1;
        }
        Some(u32::try_from(*at).expect("MEMBERS_MAX members of WEIGHT_MAX have fewer than 2³² points"))
    });
    (starts.collect(), bits)
}

fn zones_of(members: &[Member]) -> (Vec<u16>, usize) {
    let names: std::collections::BTreeSet<&str> = members.iter().map(|member| &*member.zone).collect();
    let numbers: BTreeMap<&str, u16> = names.into_iter().zip(0..).collect();
    (members.iter().map(|member| numbers[&*member.zone]).collect(), numbers.len())
}

fn epoch_of(members: &[Member]) -> RingEpoch {
    let mut hash = Xxh3::new();
    for member in members {
        let name = member.node.name.as_str();
        // Lengths first, so that no two memberships give the same bytes.
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(&member.node.incarnation.to_le_bytes());
        hash.update(&member.weight().to_le_bytes());
        hash.update(&(member.zone.len() as u64).to_le_bytes());
        hash.update(member.zone.as_bytes());
    }
    RingEpoch(hash.digest())
}

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
