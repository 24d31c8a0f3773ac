//! How far an agent has handled each feed. Pure.
//!
//! A feed whose requests can be lost on their way, because they go to other nodes, says with each what it [`Follows`]: the request
//! before it for the same agent. An agent handles a request only if it has handled that one. So its state is always that of a feed
//! without gaps up to its mark, whatever is lost, doubled or late; what it lacks is delivered again, and it skips what it has.

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

    /// Both numbers as one, as they travel.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }

    /// From [`Origin::bits`]; `None` if they are of no origin.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Self::new((bits >> SEQ_BITS) as u16, bits & Self::SEQ_MAX)
    }
}

/// What a feed's request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The place of the request before it that the feed has for the same agent; 0 if it is the first. Less than its own place.
    pub seq: u64,
    /// Which of the feed's deliveries it belongs to: another one after each time that the feed went back. It wraps around.
    pub pass: u8,
}

/// How a feed's request stands to what its agent has handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the agent's next one of its feed.
    Next,
    /// It was handled.
    Handled,
    /// The agent has handled the feed up to `mark` only, and not the request that this one follows.
    Early {
        /// That place.
        mark: u64,
    },
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
        if marks.capacity() == 0 {
            // Most agents hear of one feed.
            marks.reserve_exact(1);
        }
        match marks.binary_search_by_key(&origin.feed(), |(feed, _)| *feed) {
            Ok(at) => marks[at].1 = marks[at].1.max(origin.seq()),
            Err(at) => marks.insert(at, (origin.feed(), origin.seq())),
        }
    }

    /// Whether the request from `origin` is to be handled. Without a word of what it follows, it follows what was handled.
    pub(crate) fn standing(&self, origin: Origin, follows: Option<Follows>) -> Standing {
        let mark = self.of(origin.feed());
        if origin.seq() <= mark {
            Standing::Handled
        } else if follows.is_some_and(|follows| follows.seq > mark) {
            Standing::Early { mark }
        } else {
            Standing::Next
        }
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
        let last = Origin::new(u16::MAX, Origin::SEQ_MAX).unwrap();
        assert_eq!((Origin::from_bits(last.bits()), Origin::from_bits(5 << SEQ_BITS)), (Some(last), None));
        assert_eq!(size_of::<Option<Origin>>(), 8);
    }

    /// Goal: marks only grow, each feed's by itself.
    #[test]
    fn marks_only_grow() {
        let mut marks = Marks::default();
        let origin = |feed, seq| Origin::new(feed, seq).unwrap();
        assert!(marks.standing(origin(7, 1), None) == Standing::Next && marks.as_slice().is_empty());
        for (feed, seq) in [(7, 5), (3, 9), (7, 4)] {
            marks.advance(origin(feed, seq));
        }
        assert_eq!(marks.as_slice(), [(3, 9), (7, 5)]);
        let standing = |feed, seq| marks.standing(origin(feed, seq), None);
        assert_eq!([standing(7, 5), standing(7, 6)], [Standing::Handled, Standing::Next]);
        assert_eq!(standing(4, 1), Standing::Next);
        assert_eq!(Marks::from(vec![(7, 5), (3, 9)]), marks);
    }

    /// Goal: what a request follows is kept over the whole range, and nothing beyond it; nothing known is told from the first place.
    #[test]
    fn what_a_request_follows_is_bounded() {
        use crate::prelude::{Payload, Request};
        let request = || Request::action("x", Payload::EMPTY);
        let origin = Origin::new(1, Origin::SEQ_MAX).unwrap();
        assert_eq!(request().from_feed(origin).follows(), None);
        let last = Origin::SEQ_MAX - 1;
        for (seq, kept) in
            [(0, 0), (1, 1), (1 << 40, 1 << 40), (last, last), (Origin::SEQ_MAX, last), (u64::MAX, last)]
        {
            for pass in [0, 1, 255] {
                let request = request().from_feed_after(origin, Follows { seq, pass });
                assert_eq!(request.follows(), Some(Follows { seq: kept, pass }));
            }
        }
    }

    /// Goal: whatever is lost, doubled, late or delivered again, an agent handles each request once and in order, and none past a gap.
    /// Method: a seeded mess of deliveries of one sequence, in which state and marks are lost now and then.
    #[test]
    fn seeded_a_gap_is_never_passed() {
        use rand::Rng as _;
        let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
        println!("NEXUS_TEST_SEED={seed}");
        let mut rng = crate::rng::Seed::new(seed).stream("marks");
        let mut early = 0;
        for _ in 0..200 {
            // The agent's places among those of its feed.
            let mut places: Vec<u64> = (0..50).map(|_| rng.random_range(1..500)).collect();
            places.sort_unstable();
            places.dedup();
            let (mut marks, mut handled) = (Marks::default(), Vec::new());
            while handled != places {
                if rng.random_range(0..50) == 0 {
                    (marks, handled) = (Marks::default(), Vec::new());
                }
                let from = rng.random_range(0..places.len());
                for at in from..places.len() {
                    let origin = Origin::new(1, places[at]).unwrap();
                    let seq = if at == 0 { 0 } else { places[at - 1] };
                    match marks.standing(origin, Some(Follows { seq, pass: 0 })) {
                        _ if rng.random_range(0..40) == 0 => {}
                        Standing::Next => {
                            handled.push(origin.seq());
                            marks.advance(origin);
                        }
                        Standing::Handled => assert!(handled.contains(&origin.seq())),
                        Standing::Early { mark } => {
                            assert_eq!(mark, handled.last().copied().unwrap_or(0));
                            early += 1;
                        }
                    }
                }
                assert_eq!(handled[..], places[..handled.len()], "a prefix, each once and in order");
            }
        }
        assert!(early > 1000, "{early}: gaps were met");
    }
}
