//! Letters for an agent that is between two places: they wait here, in order, until it is known where they go.
//!
//! There are three kinds of halts. At the node that an agent *leaves*, everything waits. At the node where it *arrives*, what other nodes send
//! goes to it as soon as it is there; what this node's own agents send is *late*: it waits until all they sent before, by way of the old place,
//! has come, and so does what comes from nodes whose letters have gone that way too.
//! At any other node whose agents have sent to it, everything waits that is sent while they *turn* to the new place, for the same reason.
//!
//! A [fence](Fence) is queued and sent like a letter, and answered where the agent is: all letters before it have arrived then. One that comes
//! back to the node that sent it, because nodes took each other for the agent's home, is answered there: the letters before it are back too,
//! and go before what this node's own agents have sent since.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::DeadLetters;
use super::remote::Way;
use super::travel::Outcome;
use crate::agent::{AgentCell, Answer, Letter, Payload, Sent};
use crate::error::AgentError;

/// What waits.
#[derive(Debug)]
pub(crate) enum Item {
    /// A message.
    Letter(Letter),
    /// What follows letters.
    Fence(Fence),
}

/// Answered when all before it have arrived.
#[derive(Debug)]
pub(crate) struct Fence {
    /// The node that waits for it.
    pub(crate) origin: Arc<str>,
    pub(crate) answer: Answer,
}

impl Fence {
    /// Tells who waits.
    pub(crate) fn has_passed(self) {
        self.answer.send(Ok(Payload::EMPTY));
    }
}

/// Whose letters wait.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Of an agent that leaves this node: what has its inbox until it has ended.
    Leaving(Arc<AgentCell>),
    /// Of an agent that comes; with its cell once it is here.
    Arriving(Option<Arc<AgentCell>>),
    /// Of an agent elsewhere, until this node's fence has passed.
    Turning,
    /// Of one that has left, or behind a fence that has passed: all that waits has one order.
    Left,
    /// The same, and all that waited has gone this way: what comes follows.
    Passing(Arc<dyn Way>),
    /// Of an agent that was to arrive and lives elsewhere: what comes by way of its old place goes this way; the rest still waits for what
    /// went to the old place.
    Forwarding(Arc<dyn Way>),
}

/// Fences that wait at a halt at most: there is one for each member that turns. Who is refused asks again.
const FENCES_MAX: usize = 4096;

/// What becomes of a letter that comes to a halt.
pub(crate) enum Halted {
    /// As with any inbox.
    Sent(Sent),
    /// It is to go this way.
    Along(Arc<dyn Way>, Letter),
}

/// See the module. Senders push under the lock of the route's entry, so that nobody pushes once the entry leads elsewhere.
#[derive(Debug)]
pub(crate) struct Halt {
    limit: u64,
    state: Mutex<State>,
    /// Letters at all halts of the node, for its tally.
    waiting: Arc<AtomicU64>,
    /// Who hears how the leaving of an agent ended.
    ended: Mutex<Option<oneshot::Sender<Outcome>>>,
    room: Notify,
}

#[derive(Debug)]
struct State {
    stop: Stop,
    items: VecDeque<Item>,
    /// What is late and comes from other nodes.
    late: VecDeque<Item>,
    /// What this node's own agents have sent, where it is late or turns: after all else.
    own: VecDeque<Item>,
    /// The nodes from which what comes is late.
    relayed: BTreeSet<Arc<str>>,
    /// The nodes that have sent what goes on to another one from here.
    senders: BTreeSet<Arc<str>>,
}

/// Where a letter waits.
#[derive(PartialEq, Eq)]
enum Lane {
    Items,
    Late,
    Own,
}

impl State {
    fn lane(&self, from: Option<&str>) -> Lane {
        match (&self.stop, from) {
            // It waits for what went from here to the old place of an agent that arrives.
            (Stop::Arriving(_) | Stop::Forwarding(_), Some(from)) if self.relayed.contains(from) => {
                Lane::Late
            }
            (Stop::Arriving(_) | Stop::Forwarding(_) | Stop::Turning, None) => Lane::Own,
            _ => Lane::Items,
        }
    }

    fn len(&self) -> u64 {
        (self.items.len() + self.late.len() + self.own.len()) as u64
    }
}

impl Halt {
    pub(crate) fn new(stop: Stop, limit: u64, waiting: Arc<AtomicU64>) -> Self {
        let state = State {
            stop,
            items: VecDeque::new(),
            late: VecDeque::new(),
            own: VecDeque::new(),
            relayed: BTreeSet::new(),
            senders: BTreeSet::new(),
        };
        Self { limit, state: Mutex::new(state), waiting, ended: Mutex::default(), room: Notify::new() }
    }

    /// `sender` hears how the leaving of the agent ends.
    pub(crate) fn on_left(&self, sender: oneshot::Sender<Outcome>) {
        *self.ended.lock() = Some(sender);
    }

    /// It has ended.
    pub(crate) fn has_left(&self, outcome: Outcome) {
        if let Some(sender) = self.ended.lock().take() {
            // Whoever moved it may have stopped.
            let _ = sender.send(outcome);
        }
    }

    /// What it waits for, and how much waits.
    pub(crate) fn describe(&self) -> String {
        let state = self.state.lock();
        let what = match &state.stop {
            Stop::Leaving(_) => "it is leaving".to_owned(),
            Stop::Arriving(None) => "it is to come".to_owned(),
            Stop::Arriving(Some(_)) => "it has come".to_owned(),
            Stop::Turning => "its letters turn to another way".to_owned(),
            Stop::Left => "it has left".to_owned(),
            Stop::Passing(way) => format!("its letters pass on to {}", way.node()),
            Stop::Forwarding(way) => format!("what is not late passes on to {}", way.node()),
        };
        let behind = state.late.len() + state.own.len();
        format!("{what}; {} wait, and {behind} behind them", state.items.len())
    }

    /// Letters that wait, and how many may.
    pub(crate) fn queue(&self) -> (u64, u64) {
        (self.state.lock().len(), self.limit)
    }

    /// This node's fence has passed: what its own agents have sent goes after what came back before that.
    pub(crate) fn fence_has_passed(&self) {
        let mut state = self.state.lock();
        state.stop = Stop::Left;
        let mut own = std::mem::take(&mut state.own);
        state.items.append(&mut own);
    }

    /// What comes from these nodes is late.
    pub(crate) fn hold_late(&self, nodes: BTreeSet<Arc<str>>) {
        self.state.lock().relayed = nodes;
    }

    /// Nothing has gone on to another node from here that is still on its way.
    pub(crate) fn forget_senders(&self) {
        self.state.lock().senders.clear();
    }

    /// Takes a letter of the node `from`, or of this one's own agents.
    pub(crate) fn push(&self, letter: Letter, from: Option<&str>, dead: &DeadLetters) -> Halted {
        let mut state = self.state.lock();
        let lane = state.lane(from);
        match &state.stop {
            Stop::Passing(way) => return Halted::Along(way.clone(), letter),
            Stop::Forwarding(way) if lane == Lane::Items => return Halted::Along(way.clone(), letter),
            Stop::Arriving(Some(cell)) if lane == Lane::Items => {
                let cell = cell.clone();
                drop(state);
                return Halted::Sent(cell.push(letter, dead));
            }
            Stop::Arriving(None) | Stop::Forwarding(_) | Stop::Turning | Stop::Left => {
                if let Some(from) = from.filter(|from| !state.senders.contains(*from)) {
                    state.senders.insert(from.into());
                }
            }
            Stop::Arriving(Some(_)) | Stop::Leaving(_) => {}
        }
        // What a feed would deliver again has room: what is on its way is bounded already.
        let limited = letter.request.chained().is_none() || from.is_none();
        if limited && state.len() >= self.limit {
            return Halted::Sent(Sent::Full(letter));
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let queue = match lane {
            Lane::Items => &mut state.items,
            Lane::Late => &mut state.late,
            Lane::Own => &mut state.own,
        };
        queue.push_back(Item::Letter(letter));
        Halted::Sent(Sent::Done)
    }

    /// Takes a fence of the node `from`, and answers it at once where the agent is. The way that it goes on, if it does.
    pub(crate) fn fence(&self, fence: Fence, from: &str) -> Option<(Arc<dyn Way>, Fence)> {
        let mut state = self.state.lock();
        let late = state.lane(Some(from)) == Lane::Late;
        match &state.stop {
            Stop::Passing(way) | Stop::Forwarding(way) if !late => return Some((way.clone(), fence)),
            Stop::Arriving(Some(_)) if !late => {
                drop(state);
                fence.has_passed();
            }
            _ => {
                let is_fence = |item: &&Item| matches!(item, Item::Fence(_));
                let queued = state.items.iter().chain(&state.late).filter(is_fence).count();
                if queued >= FENCES_MAX {
                    drop(state);
                    let (queued, limit) = (queued as u64, FENCES_MAX as u64);
                    let error = AgentError::Overloaded { queued, limit, shed_below_percent: None };
                    fence.answer.send(Err(error));
                } else {
                    let queue = if late { &mut state.late } else { &mut state.items };
                    queue.push_back(Item::Fence(fence));
                }
            }
        }
        None
    }

    /// Letters that are older than all that wait.
    pub(crate) fn put_before(&self, letters: Vec<Letter>) {
        self.waiting.fetch_add(letters.len() as u64, Ordering::AcqRel);
        let mut state = self.state.lock();
        for letter in letters.into_iter().rev() {
            state.items.push_front(Item::Letter(letter));
        }
    }

    /// The oldest; of those that are not late only, if that is wanted.
    pub(crate) fn pop(&self, late: bool) -> Option<Item> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let first = state.items.pop_front();
        let item = match first {
            None if late => state.late.pop_front().or_else(|| state.own.pop_front())?,
            first => first?,
        };
        let half_empty = state.len() <= self.limit / 2;
        drop(guard);
        if matches!(item, Item::Letter(_)) {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        if half_empty {
            self.room.notify_waiters();
        }
        Some(item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().len() == 0
    }

    /// The way that what comes goes, once nothing waits any more.
    pub(crate) fn way(&self) -> Option<Arc<dyn Way>> {
        match &self.state.lock().stop {
            Stop::Passing(way) => Some(way.clone()),
            _ => None,
        }
    }

    /// If nothing but what is late waits, the rest of what comes goes this way from now on.
    pub(crate) fn forward(&self, way: &Arc<dyn Way>) -> bool {
        let mut state = self.state.lock();
        let empty = state.items.is_empty();
        if empty {
            state.stop = Stop::Forwarding(way.clone());
        }
        empty
    }

    /// If nothing waits, what comes goes this way from now on.
    pub(crate) fn pass(&self, way: &Arc<dyn Way>) -> bool {
        let mut state = self.state.lock();
        let empty = state.len() == 0;
        if empty {
            state.stop = Stop::Passing(way.clone());
        }
        empty
    }

    /// The agent that leaves has ended.
    pub(crate) fn vacated(&self) {
        self.state.lock().stop = Stop::Left;
    }

    /// The agent is here: what other nodes have sent is in its inbox, in order, and what they send goes there.
    pub(crate) fn arrived(&self, cell: &Arc<AgentCell>) {
        let mut state = self.state.lock();
        let items = std::mem::take(&mut state.items);
        state.stop = Stop::Arriving(Some(cell.clone()));
        self.settle(cell, items);
        self.room.notify_waiters();
    }

    /// Everything goes into the inbox of `cell`: the entry is about to lead there.
    pub(crate) fn empty_into(&self, cell: &AgentCell) {
        let mut state = self.state.lock();
        let mut items = std::mem::take(&mut state.items);
        items.append(&mut state.late);
        items.append(&mut state.own);
        self.settle(cell, items);
        self.room.notify_waiters();
    }

    fn settle(&self, cell: &AgentCell, items: VecDeque<Item>) {
        for item in items {
            match item {
                Item::Letter(letter) => {
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                    cell.push_waited(letter);
                }
                Item::Fence(fence) => fence.has_passed(),
            }
        }
    }

    /// The nodes that have sent what goes on to another one from here.
    pub(crate) fn senders(&self) -> BTreeSet<Arc<str>> {
        self.state.lock().senders.clone()
    }

    /// The agent that has come.
    pub(crate) fn arrival(&self) -> Option<Arc<AgentCell>> {
        match &self.state.lock().stop {
            Stop::Arriving(cell) => cell.clone(),
            _ => None,
        }
    }

    /// Whether it is `cell` that leaves or has come.
    pub(crate) fn leads_to(&self, cell: &AgentCell) -> bool {
        match &self.state.lock().stop {
            Stop::Leaving(present) | Stop::Arriving(Some(present)) => {
                std::ptr::eq(&raw const **present, cell)
            }
            Stop::Arriving(None) | Stop::Turning | Stop::Left | Stop::Passing(_) | Stop::Forwarding(_) => {
                false
            }
        }
    }

    /// Waits until there may be room, or it is over.
    pub(crate) async fn room(&self) {
        let notified = self.room.notified();
        tokio::pin!(notified);
        // Registered before the look, so that a notification between the two is not lost.
        notified.as_mut().enable();
        let (queued, limit) = self.queue();
        if queued >= limit {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Request;
    use crate::clock::Clock;
    use crate::telemetry::Events;

    /// Goal: what comes back goes before what this node's own agents have sent since; others' fences wait behind it, so many. Method: at a node
    /// whose agents turn, and at one where an agent is to arrive, for which what comes from `b` is late.
    #[test]
    fn what_comes_back_goes_first() {
        let clock = Clock::start_at(0);
        let dead = DeadLetters::new(clock, Events::new(clock, 16), 2);
        for stop in [Stop::Turning, Stop::Arriving(None)] {
            let halt = Halt::new(stop, 8, Arc::default());
            halt.hold_late(["b".into()].into());
            for (key, from) in [("own", None), ("back", Some("b")), ("own later", None)] {
                let request = Request::action(key, Payload::EMPTY);
                let letter = Letter { request, answer: Answer::Nobody };
                assert!(matches!(halt.push(letter, from, &dead), Halted::Sent(Sent::Done)));
            }
            for n in 0..=FENCES_MAX {
                let (answer, mut receiver) = Answer::channel();
                assert!(halt.fence(Fence { origin: "b".into(), answer }, "b").is_none());
                let refused = receiver.try_recv().is_ok_and(|reply| reply.is_err());
                assert_eq!(refused, n == FENCES_MAX, "fence {n}");
            }

            let popped = std::iter::from_fn(|| halt.pop(true)).map(|item| match item {
                Item::Letter(letter) => letter.request.key.to_string(),
                Item::Fence(fence) => format!("fence of {}", fence.origin),
            });
            let mut popped: Vec<_> = popped.collect();
            popped.dedup();
            assert_eq!(popped, ["back", "fence of b", "own", "own later"]);
            assert!(halt.is_empty());
        }
    }
}
