//! The bounded inbox of one agent (design decision D5): a lock-free queue that belongs to the agent's route, not to its actor,
//! so it survives the agent's crash.
//!
//! ```text
//!            push finds it idle: casts one Wake
//!   Idle ────────────────────────────────────────▶ Scheduled
//!    ▲                                                 │ host drains a batch
//!    └──────────── queue empty, checked again ─────────┘   (more left: wakes itself, stays Scheduled)
//!   any ── retire ──▶ Closed: whoever pushes now drains into the dead letters
//! ```
//!
//! Accounting: `accepted` counts pushes, `processed` and `dead_lettered` count ends, so
//! `queued = accepted − processed − dead_lettered` includes the message being handled.
//!
//! Senders and the consumer write to different cache lines, and a sender reads the consumer's line only when the inbox looks
//! full from what was known before.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use super::cell::Tally;
use super::message::Request;
use super::reply::ReplyPort;

/// A request in an inbox.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) request: Request,
    pub(crate) reply: ReplyPort,
}

const IDLE: u8 = 0;
const SCHEDULED: u8 = 1;
const CLOSED: u8 = 2;

/// What a successful push asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The agent is scheduled already.
    Queued,
    /// The agent was idle: cast it a `Wake`.
    Wake,
    /// The inbox closed meanwhile: drain it into the dead letters.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queue: SegQueue<Letter>,
    senders: CachePadded<Senders>,
    consumer: CachePadded<Consumer>,
}

/// What senders write.
#[derive(Debug)]
struct Senders {
    accepted: AtomicU64,
    /// A lower bound of the letters that have ended.
    ended_known: AtomicU64,
    state: AtomicU8,
    rejected: AtomicU64,
}

/// What the consumer writes, or reads with every letter.
#[derive(Debug, Default)]
struct Consumer {
    processed: AtomicU64,
    dead_lettered: AtomicU64,
    /// Senders that wait for room. The consumer notifies them when the queue is half empty.
    waiting: AtomicUsize,
    room: Notify,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let senders = Senders {
            accepted: AtomicU64::new(0),
            ended_known: AtomicU64::new(0),
            state: AtomicU8::new(IDLE),
            rejected: AtomicU64::new(0),
        };
        Self { queue: SegQueue::new(), senders: CachePadded::new(senders), consumer: CachePadded::default() }
    }

    /// Enqueues `letter` unless `limit` are waiting already; then it comes back.
    #[inline]
    pub(crate) fn push(&self, letter: Letter, limit: u64) -> Result<Pushed, Letter> {
        let senders = &self.senders;
        let before = senders.accepted.fetch_add(1, Ordering::Relaxed);
        if before.saturating_sub(senders.ended_known.load(Ordering::Relaxed)) >= limit
            && self.is_full(before, limit)
        {
            senders.accepted.fetch_sub(1, Ordering::Relaxed);
            // While this letter was counted, the consumer may have found the inbox too full to tell those who wait for room.
            self.make_room(limit);
            return Err(letter);
        }
        self.queue.push(letter);
        // SegQueue publishes with a sequentially consistent exchange, and this load is sequentially consistent too: either
        // it sees the consumer's IDLE, or the consumer's second look at the queue sees this letter.
        match senders.state.load(Ordering::SeqCst) {
            SCHEDULED => Ok(Pushed::Queued),
            IDLE => match senders.state.compare_exchange(IDLE, SCHEDULED, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => Ok(Pushed::Wake),
                Err(CLOSED) => Ok(Pushed::Closed),
                Err(_) => Ok(Pushed::Queued),
            },
            _ => Ok(Pushed::Closed),
        }
    }

    /// Learns how many letters have ended, and says whether the inbox is full all the same.
    #[cold]
    fn is_full(&self, accepted: u64, limit: u64) -> bool {
        let ended = self.ended();
        self.senders.ended_known.store(ended, Ordering::Relaxed);
        accepted.saturating_sub(ended) >= limit
    }

    /// Takes the oldest letter. The caller must report it with [`Inbox::finish`].
    pub(crate) fn pop(&self) -> Option<Letter> {
        self.queue.pop()
    }

    /// A popped letter was handled to the end.
    pub(crate) fn processed(&self, limit: u64) {
        self.consumer.processed.fetch_add(1, Ordering::Release);
        self.make_room(limit);
    }

    /// A popped letter was not handled to the end.
    pub(crate) fn dead_lettered(&self, limit: u64) {
        self.consumer.dead_lettered.fetch_add(1, Ordering::Release);
        self.make_room(limit);
    }

    fn make_room(&self, limit: u64) {
        if self.consumer.waiting.load(Ordering::Relaxed) != 0 && self.queued() <= limit / 2 {
            self.consumer.room.notify_waiters();
        }
    }

    /// A sender was turned away.
    pub(crate) fn reject(&self) {
        self.senders.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// The consumer found the queue empty. `true` if it may rest; `false` if a letter came in between and it must go on.
    pub(crate) fn rest(&self) -> bool {
        if self.senders.state.compare_exchange(SCHEDULED, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return true; // closed
        }
        self.queue.is_empty()
            || self
                .senders
                .state
                .compare_exchange(IDLE, SCHEDULED, Ordering::SeqCst, Ordering::SeqCst)
                .is_err()
    }

    /// A new incarnation takes over: it will wake itself, so pushes need not.
    pub(crate) fn open(&self) {
        self.senders.state.store(SCHEDULED, Ordering::SeqCst);
    }

    /// Admits no more: every later push reports [`Pushed::Closed`]. Senders that wait for room are woken.
    pub(crate) fn close(&self) {
        self.senders.state.store(CLOSED, Ordering::SeqCst);
        self.consumer.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.senders.state.load(Ordering::SeqCst) == CLOSED
    }

    fn ended(&self) -> u64 {
        self.consumer.processed.load(Ordering::Acquire) + self.consumer.dead_lettered.load(Ordering::Acquire)
    }

    /// Letters waiting or being handled.
    pub(crate) fn queued(&self) -> u64 {
        // The ends first: a letter accepted in between must not make the difference negative.
        let ended = self.ended();
        self.senders.accepted.load(Ordering::Acquire).saturating_sub(ended)
    }

    /// The inbox's counters. The ends are read first and the beginnings last, so that a letter that passes meanwhile may be
    /// missing at its end, never at its beginning.
    pub(crate) fn tally(&self) -> Tally {
        let processed = self.consumer.processed.load(Ordering::Acquire);
        let dead_lettered = self.consumer.dead_lettered.load(Ordering::Acquire);
        let rejected = self.senders.rejected.load(Ordering::Acquire);
        let accepted = self.senders.accepted.load(Ordering::Acquire);
        let queued = accepted.saturating_sub(processed + dead_lettered);
        Tally { sent: accepted + rejected, processed, rejected, dead_lettered, queued }
    }

    /// Waits until there may be room, or the inbox is closed.
    pub(crate) async fn room(&self, limit: u64) {
        let _guard = Waiting::new(&self.consumer.waiting);
        let notified = self.consumer.room.notified();
        tokio::pin!(notified);
        // Registered before the check, so that a notification between the two is not lost.
        notified.as_mut().enable();
        if self.queued() < limit || self.is_closed() {
            return;
        }
        notified.await;
    }
}

/// Counts a waiting sender for as long as it waits, even if its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
