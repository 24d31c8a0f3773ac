//! What feeds have to deliver again: requests that did not reach their agents, by feed.
//!
//! Only of feeds that say what each request [follows](crate::store::Follows): whatever of them becomes a dead letter that another delivery
//! would not, or finds its agent without what it follows, is noted here until the feed asks.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::DeadLetterReason;
use crate::agent::Request;

/// Part of a feed that did not reach an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedLoss {
    /// The feed's number.
    pub feed: u16,
    /// The delivery in which it happened: see [`Follows::pass`](crate::store::Follows::pass).
    pub pass: u8,
    /// What follows this place is lost, of some agent; what comes before is not, as far as is known here.
    pub after: u64,
}

/// The losses on one node that nobody has asked for yet: one for each delivery of a feed.
#[derive(Debug, Default)]
pub struct FeedLosses {
    lowest: Mutex<BTreeMap<(u16, u8), u64>>,
    noted: Notify,
}

impl FeedLosses {
    pub(crate) fn note(&self, feed: u16, pass: u8, after: u64) {
        let mut lowest = self.lowest.lock();
        lowest.entry((feed, pass)).and_modify(|before| *before = after.min(*before)).or_insert(after);
        drop(lowest);
        self.noted.notify_one();
    }

    /// `request` is not handled.
    pub(crate) fn note_request(&self, request: &Request) {
        if let Some((origin, follows)) = request.chained() {
            self.note(origin.feed(), follows.pass, follows.seq);
        }
    }

    pub(super) fn note_dead(&self, request: &Request, reason: DeadLetterReason) {
        if is_repaired(reason) {
            self.note_request(request);
        }
    }

    /// What there is, by feed. It is the asker's from now on.
    #[must_use]
    pub fn take(&self) -> Vec<FeedLoss> {
        let lowest = std::mem::take(&mut *self.lowest.lock());
        lowest.into_iter().map(|((feed, pass), after)| FeedLoss { feed, pass, after }).collect()
    }

    /// Waits until there may be some. A permit is kept for one that does not wait yet.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }
}

/// Whether another delivery can succeed where this one failed. One that crashed its agent is not tried again, and one that was early is
/// noted with what the agent has.
const fn is_repaired(reason: DeadLetterReason) -> bool {
    matches!(
        reason,
        DeadLetterReason::NodeLost
            | DeadLetterReason::AgentStopped
            | DeadLetterReason::StartFailed
            | DeadLetterReason::WakeFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the lowest place of each delivery is kept until it is asked for, once.
    #[tokio::test]
    async fn losses_are_gathered() {
        let losses = FeedLosses::default();
        for (pass, after) in [(0, 7), (1, 9), (0, 5), (0, 8)] {
            losses.note(3, pass, after);
        }
        losses.noted().await;
        let loss = |pass, after| FeedLoss { feed: 3, pass, after };
        assert_eq!(losses.take(), [loss(0, 5), loss(1, 9)]);
        assert_eq!(losses.take(), []);
        losses.note(3, 0, 8);
        assert_eq!(losses.take(), [loss(0, 8)]);
    }
}
