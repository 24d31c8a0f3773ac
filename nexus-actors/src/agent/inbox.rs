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
//! Accounting: `accepted` counts pushes, `finished` counts messages that were handled or dead-lettered, so
//! `queued = accepted − finished` includes the one being handled.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;

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
    accepted: AtomicU64,
    finished: AtomicU64,
    state: AtomicU8,
    /// Senders that wait for room. The consumer notifies them when the queue is half empty.
    waiting: AtomicUsize,
    room: Notify,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: SegQueue::new(),
            accepted: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            state: AtomicU8::new(IDLE),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// Enqueues `letter` unless `limit` are waiting already; then it comes back.
    pub(crate) fn push(&self, letter: Letter, limit: u64) -> Result<Pushed, Letter> {
        let before = self.accepted.fetch_add(1, Ordering::Relaxed);
        if before.wrapping_sub(self.finished.load(Ordering::Relaxed)) >= limit {
            self.accepted.fetch_sub(1, Ordering::Relaxed);
            return Err(letter);
        }
        self.queue.push(letter);
        // SegQueue publishes with a sequentially consistent exchange, and this load is sequentially consistent too: either
        // it sees the consumer's IDLE, or the consumer's second look at the queue sees this letter.
        match self.state.load(Ordering::SeqCst) {
            SCHEDULED => Ok(Pushed::Queued),
            IDLE => match self.state.compare_exchange(IDLE, SCHEDULED, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => Ok(Pushed::Wake),
                Err(CLOSED) => Ok(Pushed::Closed),
                Err(_) => Ok(Pushed::Queued),
            },
            _ => Ok(Pushed::Closed),
        }
    }

    /// Takes the oldest letter. The caller must report it with [`Inbox::finish`].
    pub(crate) fn pop(&self) -> Option<Letter> {
        self.queue.pop()
    }

    /// A popped letter has been handled or dead-lettered.
    pub(crate) fn finish(&self, limit: u64) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) != 0 && self.queued() <= limit / 2 {
            self.room.notify_waiters();
        }
    }

    /// The consumer found the queue empty. `true` if it may rest; `false` if a letter came in between and it must go on.
    pub(crate) fn rest(&self) -> bool {
        if self.state.compare_exchange(SCHEDULED, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return true; // closed
        }
        self.queue.is_empty()
            || self.state.compare_exchange(IDLE, SCHEDULED, Ordering::SeqCst, Ordering::SeqCst).is_err()
    }

    /// A new incarnation takes over: it will wake itself, so pushes need not.
    pub(crate) fn open(&self) {
        self.state.store(SCHEDULED, Ordering::SeqCst);
    }

    /// Admits no more: every later push reports [`Pushed::Closed`]. Senders that wait for room are woken.
    pub(crate) fn close(&self) {
        self.state.store(CLOSED, Ordering::SeqCst);
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CLOSED
    }

    /// Letters waiting or being handled.
    pub(crate) fn queued(&self) -> u64 {
        // `finished` first: a letter accepted in between must not make the difference negative.
        let finished = self.finished.load(Ordering::Acquire);
        self.accepted.load(Ordering::Acquire).saturating_sub(finished)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Waits until there may be room, or the inbox is closed.
    pub(crate) async fn room(&self, limit: u64) {
        let _guard = Waiting::new(&self.waiting);
        let notified = self.room.notified();
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
