//! Dead letters: requests that could not be handled, the last ones kept with their reason, all of them counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::feed_loss::FeedLosses;
use crate::agent::{Operation, Payload, Request};
use crate::clock::{Clock, Millis};
use crate::telemetry::{Event, Events};
use crate::text::cut;

/// Bytes kept of a dead letter's key.
const KEY_BYTES_KEPT: usize = 256;

/// Payload bytes kept of a dead letter; the rest is cut off, so that the store stays bounded.
const PAYLOAD_BYTES_KEPT: usize = 4096;

/// Why a request could not be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DeadLetterReason {
    /// No agent has the name and no family makes one of it.
    UnknownAgent,
    /// The agent failed, panicked or was killed while it handled this request.
    Crashed,
    /// The agent ended for good with this request in its inbox, or was already stopped.
    AgentStopped,
    /// The agent could not be started.
    StartFailed,
    /// The agent was dormant and did not wake; it sleeps on.
    WakeFailed,
    /// The node's limit of agents is reached.
    TooManyAgents,
    /// The request's deadline passed before its turn.
    Expired,
    /// The asker gave up before the request's turn.
    Cancelled,
    /// It was sent to a group that is not there.
    UnknownGroup,
    /// It was sent to a group that has no strategy.
    NotBalanced,
    /// It was sent to a group in which nobody takes messages.
    NoMember,
    /// The node that has the agent was lost, or its connection for too long, before it confirmed the message. It may have been handled
    /// there.
    NodeLost,
    /// It is larger than what goes between nodes.
    TooLarge,
    /// Its feed has one before it for the same agent, which that has not handled. The feed delivers both again, so it is counted here
    /// and not kept.
    OutOfTurn,
}

impl DeadLetterReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 14] = [
        Self::UnknownAgent,
        Self::Crashed,
        Self::AgentStopped,
        Self::StartFailed,
        Self::WakeFailed,
        Self::TooManyAgents,
        Self::Expired,
        Self::Cancelled,
        Self::UnknownGroup,
        Self::NotBalanced,
        Self::NoMember,
        Self::NodeLost,
        Self::TooLarge,
        Self::OutOfTurn,
    ];

    /// The reason's name in metrics and endpoints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownAgent => "unknown_agent",
            Self::Crashed => "crashed",
            Self::AgentStopped => "agent_stopped",
            Self::StartFailed => "start_failed",
            Self::WakeFailed => "wake_failed",
            Self::TooManyAgents => "too_many_agents",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::UnknownGroup => "unknown_group",
            Self::NotBalanced => "not_balanced",
            Self::NoMember => "no_member",
            Self::NodeLost => "node_lost",
            Self::TooLarge => "too_large",
            Self::OutOfTurn => "out_of_turn",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request that could not be handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// 1 for the node's first dead letter, without gaps between those that are kept at all.
    pub seq: u64,
    /// When, on the node's clock.
    pub at: Millis,
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// The agent it was for, or the key when only that was known.
    pub target: Arc<str>,
    /// Why.
    pub reason: DeadLetterReason,
    /// Query, update or action.
    pub operation: Operation,
    /// The request's key, at most its first 256 bytes.
    pub key: SmolStr,
    /// The request's payload, at most its first 4 KiB.
    pub payload: Payload,
    /// The payload's whole length in bytes.
    pub payload_bytes: usize,
}

/// The node's dead letters: the last `capacity` ones, which may be none, and counters of all.
#[derive(Debug)]
pub struct DeadLetters {
    clock: Clock,
    events: Events,
    capacity: usize,
    feed_losses: FeedLosses,
    counts: [AtomicU64; DeadLetterReason::ALL.len()],
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    next_seq: u64,
    letters: VecDeque<DeadLetter>,
    /// When a reason was last told as an event, so that a flood of dead letters does not drown the event log.
    told: [Option<Millis>; DeadLetterReason::ALL.len()],
}

impl DeadLetters {
    pub(crate) fn new(clock: Clock, events: Events, capacity: usize) -> Self {
        Self {
            clock,
            events,
            capacity,
            feed_losses: FeedLosses::default(),
            counts: Default::default(),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn push(&self, target: &Arc<str>, request: Request, reason: DeadLetterReason) {
        self.counts[reason as usize].fetch_add(1, Ordering::AcqRel);
        self.feed_losses.note_dead(&request, reason);
        let at = self.clock.now();
        let payload_bytes = request.payload.bytes().len();
        let payload = head(request.payload);
        let mut kept = self.kept.lock();
        let is_kept = reason != DeadLetterReason::OutOfTurn;
        kept.next_seq += u64::from(is_kept);
        if self.capacity > 0 && is_kept {
            if kept.letters.len() == self.capacity {
                kept.letters.pop_front();
            }
            let letter = DeadLetter {
                seq: kept.next_seq,
                at,
                unix_ms: self.clock.unix_ms(at),
                target: target.clone(),
                reason,
                operation: request.operation,
                key: cut(&request.key, KEY_BYTES_KEPT).into(),
                payload,
                payload_bytes,
            };
            kept.letters.push_back(letter);
        }
        let told = &mut kept.told[reason as usize];
        let tell = told.is_none_or(|last| at.since(last).as_secs() >= 1);
        if tell {
            *told = Some(at);
        }
        drop(kept);
        if tell {
            self.events.emit(Event::DeadLetter { target: target.clone(), reason: reason.name().into() });
        }
    }

    /// Drops the older half of those that are kept, and gives back their memory; all stay counted. Answers how many were dropped.
    pub(crate) fn shrink(&self) -> usize {
        let mut kept = self.kept.lock();
        let dropped = kept.letters.len().div_ceil(2);
        kept.letters.drain(..dropped);
        kept.letters.shrink_to_fit();
        dropped
    }

    /// What of feeds is to be delivered again.
    #[must_use]
    pub const fn feed_losses(&self) -> &FeedLosses {
        &self.feed_losses
    }

    /// Dead letters since the node started, by reason; all reasons, in a fixed order.
    #[must_use]
    pub fn counts(&self) -> Vec<(DeadLetterReason, u64)> {
        let count = |reason: DeadLetterReason| self.counts[reason as usize].load(Ordering::Acquire);
        DeadLetterReason::ALL.into_iter().map(|reason| (reason, count(reason))).collect()
    }

    /// Dead letters since the node started.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// The newest dead letters first, after skipping `offset`, at most `limit`, and how many are kept in all.
    #[must_use]
    pub fn page(&self, offset: usize, limit: usize) -> (Vec<DeadLetter>, usize) {
        let kept = self.kept.lock();
        (kept.letters.iter().rev().skip(offset).take(limit).cloned().collect(), kept.letters.len())
    }
}

/// What is kept of a payload.
fn head(payload: Payload) -> Payload {
    match payload.bytes().get(..PAYLOAD_BYTES_KEPT) {
        // Copied, so that the store does not hold the whole payload.
        Some(head) => Payload::from_msgpack(bytes::Bytes::copy_from_slice(head)),
        None => payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the store is bounded in letters and bytes, and the counters forget nothing.
    #[test]
    fn keeps_the_last_and_counts_all() {
        let clock = Clock::start_at(0);
        let dead = DeadLetters::new(clock, Events::new(clock, 16), 2);
        let big = Payload::encode(&"x".repeat(10_000)).unwrap();
        for key in ["a", "b", "c"] {
            dead.push(&"x".into(), Request::action(key, big.clone()), DeadLetterReason::UnknownAgent);
        }
        let (page, kept) = dead.page(0, 10);
        assert_eq!(
            page.iter().map(|letter| (&*letter.key, letter.seq)).collect::<Vec<_>>(),
            [("c", 3), ("b", 2)]
        );
        assert_eq!((kept, dead.total(), dead.counts()[0]), (2, 3, (DeadLetterReason::UnknownAgent, 3)));
        assert_eq!((page[0].payload.bytes().len(), page[0].payload_bytes), (4096, 10_003));
        assert_eq!(dead.page(1, 10).0.len(), 1);
    }

    /// Goal: a capacity of 0 keeps none, however many there are, and they are still counted and told.
    #[test]
    fn none_is_kept_without_room() {
        let clock = Clock::start_at(0);
        let events = Events::new(clock, 16);
        let dead = DeadLetters::new(clock, events.clone(), 0);
        for key in ["a", "b", "c"] {
            dead.push(&"x".into(), Request::action(key, Payload::EMPTY), DeadLetterReason::Crashed);
        }
        assert_eq!(dead.page(0, 10), (Vec::new(), 0));
        assert_eq!((dead.total(), dead.counts()[1]), (3, (DeadLetterReason::Crashed, 3)));
        assert_eq!(events.emitted(), 1, "a reason is told once a second");
    }
}
