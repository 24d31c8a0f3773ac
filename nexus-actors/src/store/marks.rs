//! How far an agent has handled each feed. Pure.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Bits of an origin's place.
const SEQ_BITS: u32 = 48;

/// Where a request comes from: a feed's number and the request's place among all that the feed delivers, from 1 on. A feed that is
/// resumed delivers requests again; the agent's marks say which of them it has handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(NonZeroU64);

impl Origin {
    /// The largest place: 2^48 − 1.
    pub const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;

    /// The request in place `seq` of the feed with this number; `None` if `seq` is 0 or more than [`Origin::SEQ_MAX`].
    #[must_use]
    pub const fn new(feed: u16, seq: u64) -> Option<Self> {
        if seq == 0 || seq > Self::SEQ_MAX {
            return None;
        }
        match NonZeroU64::new((feed as u64) << SEQ_BITS | seq) {
            Some(packed) => Some(Self(packed)),
            None => None,
        }
    }

    /// The feed's number.
    #[must_use]
    pub const fn feed(self) -> u16 {
        (self.0.get() >> SEQ_BITS) as u16
    }

    /// The request's place among the feed's.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0.get() & Self::SEQ_MAX
    }
}

/// For each feed, by its number, the place of the last request that was handled. Feeds deliver in order to each agent, so all before
/// it were handled too.
///
/// Most agents have none: no marks cost a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(
    #[expect(clippy::box_collection, reason = "one word in each dormant agent's cell")]
    Option<Box<Vec<(u16, u64)>>>,
);

impl Marks {
    /// Sorted by feed.
    pub(crate) fn as_slice(&self) -> &[(u16, u64)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The place of the last request of `feed` that was handled, 0 if none was.
    pub(crate) fn of(&self, feed: u16) -> u64 {
        let marks = self.as_slice();
        marks.binary_search_by_key(&feed, |(feed, _)| *feed).map_or(0, |at| marks[at].1)
    }

    /// The request from `origin` is handled.
    pub(crate) fn advance(&mut self, origin: Origin) {
        let marks = self.0.get_or_insert_default();
        match marks.binary_search_by_key(&origin.feed(), |(feed, _)| *feed) {
            Ok(at) => marks[at].1 = marks[at].1.max(origin.seq()),
            Err(at) => marks.insert(at, (origin.feed(), origin.seq())),
        }
    }

    /// Whether the request from `origin` was handled before.
    pub(crate) fn has(&self, origin: Origin) -> bool {
        origin.seq() <= self.of(origin.feed())
    }
}

impl From<Vec<(u16, u64)>> for Marks {
    fn from(mut marks: Vec<(u16, u64)>) -> Self {
        marks.sort_unstable();
        Self((!marks.is_empty()).then(|| Box::new(marks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: origins hold what they were made of, within their range.
    #[test]
    fn origins_are_two_numbers() {
        for (feed, seq) in [(0, 1), (1, 1), (u16::MAX, Origin::SEQ_MAX)] {
            let origin = Origin::new(feed, seq).unwrap();
            assert_eq!((origin.feed(), origin.seq()), (feed, seq));
        }
        assert_eq!((Origin::new(1, 0), Origin::new(1, Origin::SEQ_MAX + 1)), (None, None));
        assert_eq!(size_of::<Option<Origin>>(), 8);
    }

    /// Goal: marks only grow, each feed's by itself.
    #[test]
    fn marks_only_grow() {
        let mut marks = Marks::default();
        let origin = |feed, seq| Origin::new(feed, seq).unwrap();
        assert!(!marks.has(origin(7, 1)) && marks.as_slice().is_empty());
        for (feed, seq) in [(7, 5), (3, 9), (7, 4)] {
            marks.advance(origin(feed, seq));
        }
        assert_eq!(marks.as_slice(), [(3, 9), (7, 5)]);
        assert!(marks.has(origin(7, 5)) && !marks.has(origin(7, 6)) && !marks.has(origin(4, 1)));
        assert_eq!(Marks::from(vec![(7, 5), (3, 9)]), marks);
    }
}
