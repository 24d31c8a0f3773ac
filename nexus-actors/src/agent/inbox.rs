//! The bounded inbox of one agent (design decision D5): a queue that belongs to the agent's route, not to its actor, so it
//! survives the agent's crash.
//!
//! ```text
//!            push finds it idle: casts one Wake
//!   Idle ────────────────────────────────────────▶ Scheduled ◀─────────────────────┐
//!    ▲                                                 │ host drains a batch       │ push wakes the host's task
//!    ├────────────────── queue empty ──────────────────┤ (more left: wakes itself, │
//!    │                                                 │  stays Scheduled)         │
//!    └── the turn is over ── Lingering ◀── or, if letters come often ──┘───────────┘
//!   any ── close ──▶ Closed: whoever pushes now gets the letter back
//! ```
//!
//! Senders append to one buffer under a lock that is held for a few nanoseconds; the consumer exchanges that buffer for an
//! empty one and handles its letters without touching anything that senders touch. A lock-free queue was slower: both sides pay
//! for shared cache lines with every letter, and an agent that gets one letter for a block of 31.
//!
//! Accounting: `accepted` counts pushes, `processed` and `dead_lettered` count ends, so
//! `queued = accepted − processed − dead_lettered` includes the letters in the consumer's hands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::message::Request;
use super::reply::Answer;
use super::tally::Tally;
use crate::clock::Millis;

/// A request in an inbox. Kept small: both sides pay for every cache line of it.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

/// Letters in the order they came.
pub(crate) type Letters = VecDeque<Letter>;

/// Letters an idle inbox keeps room for; the room of a longer burst is given back.
const ROOM_KEPT: usize = 4;

/// Whether somebody is going to look into the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Scheduled,
    /// The consumer waits in its turn, and is scheduled by waking its task.
    Lingering,
    Closed,
}

/// What became of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It is in; the agent is scheduled already.
    Queued,
    /// It is in; the agent was idle: cast it a `Wake`.
    Wake,
    /// As many as allowed are waiting.
    Full(Letter),
    /// The agent has ended for good.
    Closed(Letter),
}

/// What became of a push of many. Those that are left found no room, or the agent has ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushedAll {
    /// The agent is scheduled already.
    Queued,
    /// The agent was idle: cast it a `Wake`.
    Wake,
    /// The agent has ended for good.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    gate: Line<Mutex<Gate>>,
    ends: Line<Ends>,
}

/// A cache line to itself. Not a pair of lines, as `CachePadded` has it for processors that fetch two at a time: there is an inbox for
/// every live agent.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

/// What senders write. With its lock it fills one cache line, which crosses from core to core with every letter of a short queue.
#[derive(Debug)]
struct Gate {
    state: State,
    letters: Letters,
    /// Boxed: hardly ever there.
    rare: Option<Box<Rare>>,
    accepted: u64,
    /// A lower bound of the letters there is room for: the consumer's line is read only when it is 0.
    room: u32,
}

/// What few inboxes have.
#[derive(Debug, Default)]
struct Rare {
    /// Letters that were given back: older than all others.
    given_back: Letters,
    /// Where senders wait for room: the consumer tells them, when it comes for more, that the inbox is half empty.
    room: Option<Arc<Notify>>,
    /// Senders that were turned away.
    rejected: u64,
}

impl Gate {
    /// There is room, and the inbox is open.
    #[inline(always)]
    fn push(&mut self, letter: Letter) {
        self.accepted += 1;
        self.room -= 1;
        if self.letters.capacity() == 0 {
            // Most queues are never longer; a `VecDeque` would begin with room for four.
            self.letters.reserve_exact(1);
        }
        self.letters.push_back(letter);
    }

    fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.rare.as_ref().is_none_or(|rare| rare.given_back.is_empty())
    }

    /// Tells whoever waits for room.
    fn tell_room(&mut self) {
        if let Some(room) = self.rare.as_mut().and_then(|rare| rare.room.take()) {
            room.notify_waiters();
        }
    }
}

/// What the consumer writes, and senders read only when they have to.
#[derive(Debug, Default)]
struct Ends {
    /// Only the consumer writes it.
    processed: AtomicU64,
    dead_lettered: AtomicU64,
    /// When the consumer last rested, on the node's clock; kept only where the agent can sleep.
    rested_at: AtomicU64,
    /// The consumer's task, while it lingers.
    lingering: AtomicWaker,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let gate = Gate { state: State::Idle, letters: Letters::new(), rare: None, accepted: 0, room: 0 };
        Self { gate: Line(Mutex::new(gate)), ends: Line::default() }
    }

    /// Enqueues `letter` unless `limit` are waiting already.
    #[inline]
    pub(crate) fn push(&self, letter: Letter, limit: u64) -> Pushed {
        let mut gate = self.gate.0.lock();
        if gate.room == 0 {
            let room = limit.saturating_sub(self.queued_at(&gate));
            if room == 0 {
                return Pushed::Full(letter);
            }
            gate.room = u32::try_from(room).unwrap_or(u32::MAX);
        }
        self.enqueue(gate, letter)
    }

    /// The same where something else bounds what waits.
    #[cold]
    pub(crate) fn push_unlimited(&self, letter: Letter) -> Pushed {
        let mut gate = self.gate.0.lock();
        gate.room = gate.room.max(1);
        self.enqueue(gate, letter)
    }

    #[inline(always)]
    fn enqueue(&self, mut gate: MutexGuard<'_, Gate>, letter: Letter) -> Pushed {
        let before = gate.state;
        if before == State::Closed {
            return Pushed::Closed(letter);
        }
        gate.push(letter);
        self.schedule(gate, before);
        if before == State::Idle { Pushed::Wake } else { Pushed::Queued }
    }

    /// The consumer is scheduled from `before` on, by the caller if it was idle. Unlocks, and wakes its task if it lingers.
    #[inline(always)]
    fn schedule(&self, mut gate: MutexGuard<'_, Gate>, before: State) {
        if before == State::Scheduled {
            return;
        }
        gate.state = State::Scheduled;
        if before == State::Lingering {
            drop(gate);
            self.ends.0.lingering.wake();
        }
    }

    /// Enqueues the oldest of `letters`, as many as there is room for, and leaves the others. The last one's receipt goes in, if any does.
    pub(crate) fn push_all(&self, letters: &mut Letters, limit: u64) -> PushedAll {
        let mut gate = self.gate.0.lock();
        let before = gate.state;
        if before == State::Closed {
            return PushedAll::Closed;
        }
        if (gate.room as usize) < letters.len() {
            let room = limit.saturating_sub(self.queued_at(&gate));
            gate.room = u32::try_from(room).unwrap_or(u32::MAX);
        }
        let count = letters.len().min(gate.room as usize);
        if count == 0 {
            return PushedAll::Queued;
        }
        gate.accepted += count as u64;
        // It is at least as much.
        gate.room -= u32::try_from(count).unwrap_or(u32::MAX);
        if count < letters.len() {
            let receipt = letters.back_mut().and_then(|last| last.answer.detach());
            if let Some(receipt) = receipt {
                letters[count - 1].answer.attach(receipt);
            }
            gate.letters.extend(letters.drain(..count));
        } else if gate.letters.is_empty() {
            std::mem::swap(&mut gate.letters, letters);
        } else {
            gate.letters.append(letters);
        }
        self.schedule(gate, before);
        if before == State::Idle { PushedAll::Wake } else { PushedAll::Queued }
    }

    /// Takes the oldest letters, all there are or all that were given back, in exchange for the empty buffer `letters`. The caller
    /// reports each as processed or dead-lettered, or gives it back.
    pub(crate) fn take(&self, letters: &mut Letters, limit: u64) {
        let mut gate = self.gate.0.lock();
        match &mut gate.rare {
            Some(rare) if !rare.given_back.is_empty() => std::mem::swap(&mut rare.given_back, letters),
            _ => std::mem::swap(&mut gate.letters, letters),
        }
        self.make_room(&mut gate, limit);
    }

    /// Puts letters that were taken back in front of the others. `false` if the inbox is closed: they stay where they are.
    pub(crate) fn give_back(&self, letters: &mut Letters, limit: u64) -> bool {
        let mut gate = self.gate.0.lock();
        if gate.state == State::Closed {
            return false;
        }
        if !letters.is_empty() {
            let rare = gate.rare.get_or_insert_default();
            letters.append(&mut rare.given_back);
            std::mem::swap(&mut rare.given_back, letters);
        }
        self.make_room(&mut gate, limit);
        true
    }

    /// A letter was handled to the end.
    #[inline]
    pub(crate) fn processed(&self) {
        let before = self.ends.0.processed.load(Ordering::Relaxed);
        self.ends.0.processed.store(before + 1, Ordering::Release);
    }

    /// A letter was not handled to the end.
    pub(crate) fn dead_lettered(&self) {
        self.ends.0.dead_lettered.fetch_add(1, Ordering::Release);
    }

    fn make_room(&self, gate: &mut Gate, limit: u64) {
        if gate.rare.as_ref().is_some_and(|rare| rare.room.is_some()) && self.queued_at(gate) <= limit / 2 {
            gate.tell_room();
        }
    }

    /// A sender was turned away.
    pub(crate) fn reject(&self) {
        // Under the lock, so that a tally has it with what was accepted, and not with what the consumer writes.
        self.gate.0.lock().rare.get_or_insert_default().rejected += 1;
    }

    /// The consumer found nothing, and its buffer is empty. `true` if it may rest; `false` if a letter has come and it must go on.
    pub(crate) fn rest(&self) -> bool {
        let mut gate = self.gate.0.lock();
        if !gate.is_empty() {
            return false;
        }
        if gate.letters.capacity() > ROOM_KEPT {
            gate.letters = Letters::new();
        }
        if gate.state != State::Closed {
            gate.state = State::Idle;
        }
        true
    }

    /// Whether there is a letter. If not, the next push wakes the consumer's task.
    pub(crate) fn poll_letter(&self, task: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.gate.0.lock();
        if !gate.is_empty() {
            return Poll::Ready(());
        }
        if gate.state != State::Closed {
            // Under the lock: whoever finds this state finds the waker.
            self.ends.0.lingering.register(task.waker());
            gate.state = State::Lingering;
        }
        Poll::Pending
    }

    /// If nothing waits and nothing is being handled: whatever is pushed from now on waits for the next incarnation.
    pub(crate) fn seal(&self) -> bool {
        let mut gate = self.gate.0.lock();
        let idle = gate.state != State::Closed && self.queued_at(&gate) == 0;
        if idle {
            gate.state = State::Scheduled;
        }
        idle
    }

    /// Admits no more if nothing waits and nothing is being handled; else `false`.
    pub(crate) fn close_if_idle(&self) -> bool {
        let mut gate = self.gate.0.lock();
        let idle = self.queued_at(&gate) == 0;
        if idle {
            gate.state = State::Closed;
            gate.tell_room();
        }
        idle
    }

    /// A new incarnation takes over: it will wake itself, so pushes need not.
    pub(crate) fn open(&self) {
        self.gate.0.lock().state = State::Scheduled;
        drop(self.ends.0.lingering.take());
    }

    /// Admits no more: every later push gives the letter back. Senders that wait for room are woken.
    pub(crate) fn close(&self) {
        let mut gate = self.gate.0.lock();
        gate.state = State::Closed;
        gate.tell_room();
        drop(gate);
        drop(self.ends.0.lingering.take());
    }

    /// Letters waiting or being handled.
    pub(crate) fn queued(&self) -> u64 {
        self.queued_at(&self.gate.0.lock())
    }

    /// Under the lock nothing is accepted, and nothing ends that was not accepted.
    #[cold]
    fn queued_at(&self, gate: &Gate) -> u64 {
        let ends = &self.ends.0;
        gate.accepted - ends.processed.load(Ordering::Acquire) - ends.dead_lettered.load(Ordering::Acquire)
    }

    /// The inbox's counters.
    pub(crate) fn tally(&self) -> Tally {
        let gate = self.gate.0.lock();
        let processed = self.ends.0.processed.load(Ordering::Acquire);
        let dead_lettered = self.ends.0.dead_lettered.load(Ordering::Acquire);
        let rejected = gate.rare.as_ref().map_or(0, |rare| rare.rejected);
        Tally {
            sent: gate.accepted + rejected,
            processed,
            rejected,
            dead_lettered,
            queued: gate.accepted - processed - dead_lettered,
        }
    }

    /// Letters waiting or being handled, and letters handled so far.
    pub(crate) fn glance(&self) -> (u64, u64) {
        let queued = self.queued();
        (queued, self.ends.0.processed.load(Ordering::Relaxed))
    }

    /// Gives back the room that an empty inbox keeps, and says how many bytes it was.
    pub(crate) fn shrink(&self) -> usize {
        let mut gate = self.gate.0.lock();
        if !gate.is_empty() {
            return 0;
        }
        std::mem::take(&mut gate.letters).capacity() * size_of::<Letter>()
    }

    /// The consumer has nothing to do.
    pub(crate) fn rested(&self, now: Millis) {
        self.ends.0.rested_at.store(now.get(), Ordering::Relaxed);
    }

    pub(crate) fn rested_at(&self) -> Millis {
        Millis::new(self.ends.0.rested_at.load(Ordering::Relaxed))
    }

    /// Waits until there may be room, or the inbox is closed.
    pub(crate) async fn room(&self, limit: u64) {
        let notified = {
            let mut gate = self.gate.0.lock();
            if gate.state == State::Closed || self.queued_at(&gate) < limit {
                return;
            }
            let room = gate.rare.get_or_insert_default().room.get_or_insert_default();
            // It hears of every notification from here on, polled or not.
            room.clone().notified_owned()
        };
        notified.await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use futures::FutureExt as _;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicU64);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn letter(key: &str) -> Letter {
        let request = Request::query(key);
        Letter { request, answer: Answer::Nobody }
    }

    fn keys(letters: &Letters) -> String {
        letters.iter().map(|letter| letter.request.key.as_str()).collect()
    }

    /// Goal: the first push wakes, letters that are given back stay in front of those that came meanwhile, and the inbox rests
    /// only when it is empty.
    #[test]
    fn letters_keep_their_order() {
        let inbox = Inbox::new();
        assert!(matches!(inbox.push(letter("a"), 9), Pushed::Wake));
        assert!(matches!(inbox.push(letter("b"), 9), Pushed::Queued));
        let mut taken = Letters::new();
        inbox.take(&mut taken, 9);
        assert!(matches!(inbox.push(letter("c"), 9), Pushed::Queued));
        taken.pop_front();
        inbox.processed();
        assert!(inbox.give_back(&mut taken, 9) && taken.is_empty());
        for expected in ["b", "c"] {
            assert!(!inbox.rest(), "{expected} is still there");
            inbox.take(&mut taken, 9);
            assert_eq!(keys(&taken), expected);
            taken.clear();
            inbox.processed();
        }
        assert!(inbox.rest());
        assert!(matches!(inbox.push(letter("d"), 9), Pushed::Wake));
        let tally = inbox.tally();
        assert_eq!((tally.sent, tally.processed, tally.queued), (4, 3, 1));
    }

    /// Goal: a consumer that lingers is woken once by the first push, whatever kind, and needs no `Wake`; what follows wakes nobody.
    #[test]
    fn a_push_wakes_whoever_lingers() {
        let pushes: [fn(&Inbox); 3] = [
            |inbox| assert!(matches!(inbox.push(letter("a"), 9), Pushed::Queued)),
            |inbox| assert!(matches!(inbox.push_unlimited(letter("a")), Pushed::Queued)),
            |inbox| {
                let mut letters = Letters::from([letter("a")]);
                assert!(matches!(inbox.push_all(&mut letters, 9), PushedAll::Queued));
            },
        ];
        for push in pushes {
            let wakes = Arc::new(Wakes::default());
            let waker = wakes.clone().into();
            let mut task = Context::from_waker(&waker);
            let inbox = Inbox::new();
            inbox.open();
            assert!(inbox.poll_letter(&mut task).is_pending());
            assert!(inbox.poll_letter(&mut task).is_pending(), "it may be asked again");
            push(&inbox);
            push(&inbox);
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
            assert!(inbox.poll_letter(&mut task).is_ready());
            inbox.take(&mut Letters::new(), 9);
            assert!(inbox.poll_letter(&mut task).is_pending());
            inbox.close();
            assert!(matches!(inbox.push(letter("b"), 9), Pushed::Closed(_)));
            assert!(inbox.poll_letter(&mut task).is_pending(), "it goes when its turn is over");
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        }
    }

    /// Goal: letters in the consumer's hands count against the limit; a sender that waits hears when half of it is free.
    #[test]
    fn waiting_senders_hear_of_room() {
        let inbox = Inbox::new();
        for key in ["a", "b", "c", "d"] {
            assert!(!matches!(inbox.push(letter(key), 4), Pushed::Full(_)));
        }
        let mut taken = Letters::new();
        inbox.take(&mut taken, 4);
        assert!(matches!(inbox.push(letter("e"), 4), Pushed::Full(back) if back.request.key == "e"));
        let mut room = Box::pin(inbox.room(4));
        assert!(room.as_mut().now_or_never().is_none());
        taken.pop_front();
        inbox.processed();
        assert!(inbox.give_back(&mut taken, 4));
        assert!(room.as_mut().now_or_never().is_none(), "three of four are left");
        inbox.take(&mut taken, 4);
        taken.pop_front();
        inbox.dead_lettered();
        assert!(inbox.give_back(&mut taken, 4));
        assert!(room.as_mut().now_or_never().is_some());
        assert!(inbox.room(4).now_or_never().is_some(), "there is room: no wait");
    }

    /// Goal: what comes past the limit counts against it: nobody else gets in until there is room.
    #[test]
    fn what_is_unlimited_still_counts() {
        let inbox = Inbox::new();
        assert!(matches!(inbox.push_unlimited(letter("a")), Pushed::Wake));
        for key in ["b", "c", "d"] {
            assert!(matches!(inbox.push_unlimited(letter(key)), Pushed::Queued));
        }
        assert!(matches!(inbox.push(letter("e"), 2), Pushed::Full(_)));
        assert_eq!(inbox.queued(), 4);
    }

    /// Goal: a letter stays as small as a cache line: both sides pay for each of them.
    #[test]
    fn letters_are_small() {
        assert_eq!(size_of::<Letter>(), 64);
    }

    /// Goal: what a push touches of an inbox is one cache line.
    #[test]
    fn a_gate_is_one_line() {
        assert_eq!((size_of::<Line<Mutex<Gate>>>(), size_of::<Inbox>()), (64, 128));
    }

    /// Goal: a closed inbox takes nothing, neither new letters nor old ones, and holds nobody up.
    #[test]
    fn closed_is_closed() {
        let inbox = Inbox::new();
        assert!(matches!(inbox.push(letter("a"), 1), Pushed::Wake));
        let mut taken = Letters::new();
        inbox.take(&mut taken, 1);
        let mut room = Box::pin(inbox.room(1));
        assert!(room.as_mut().now_or_never().is_none());
        inbox.close();
        assert!(room.as_mut().now_or_never().is_some());
        assert!(matches!(inbox.push(letter("b"), 9), Pushed::Closed(_)));
        assert!(!inbox.give_back(&mut taken, 1));
        assert_eq!(keys(&taken), "a");
        inbox.open();
        assert!(matches!(inbox.push(letter("c"), 9), Pushed::Queued), "its new incarnation wakes itself");
    }
}
