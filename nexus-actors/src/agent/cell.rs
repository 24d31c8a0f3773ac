//! The route entry of one agent: its name, inbox, counters and the way to its actor. It outlives the actor's incarnations.

mod rare;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorStatus};
use serde::{Deserialize, Serialize};

use self::rare::Rare;
use super::durable::Snapshot;
use super::family::{AgentTemplate, Family};
use super::hibernate::lifecycle::Phase;
use super::hibernate::{Record, Turn};
use super::id::AgentId;
use super::inbox::{Inbox, Letter, Letters};
use super::keeper::Keeper;
use super::level::Level;
use super::message::{AgentMessage, HostMessage, Request};
use super::reply::heard;
use super::tally::Tally;
use crate::clock::Millis;
use crate::error::AgentError;
use crate::node::Node;
use crate::route::balance::smooth;
use crate::route::{DeadLetterReason, DeadLetters};
use crate::supervision::ExitReason;

mod push;

/// Exits remembered per agent.
const EXITS_KEPT: usize = 8;

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Known, its actor not yet up; its inbox already takes messages.
    Starting,
    /// Handling messages.
    Running,
    /// Its actor has ended and its supervisor has not yet started another; its inbox waits.
    Down,
    /// Ended for good: its inbox has been emptied into the dead letters.
    Stopped,
    /// Asleep: a message wakes it.
    Dormant,
    /// It leaves for another node: messages wait.
    Moving,
}

impl AgentStatus {
    /// The status's name in endpoints and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Dormant => "dormant",
            Self::Moving => "moving",
        }
    }
}

/// One exit of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentExit {
    /// When, on the node's clock.
    pub at: Millis,
    /// Why.
    pub reason: ExitReason,
}

/// What is known of an agent without asking it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentOverview {
    /// Its name.
    pub name: Arc<str>,
    /// Registered name of its behavior.
    pub behavior: Arc<str>,
    /// Where it stands.
    pub status: AgentStatus,
    /// The intelligence level that serves it.
    pub level: Level,
    /// Starts so far, beginning with 1.
    pub incarnation: u64,
    /// Messages waiting or being handled.
    pub queued: u64,
    /// The inbox's limit.
    pub inbox_limit: u64,
    /// Messages sent to it: `processed + rejected + dead_lettered + queued`.
    pub sent: u64,
    /// Messages its behavior has handled to the end.
    pub processed: u64,
    /// Messages refused because the inbox was full or their priority too low.
    pub rejected: u64,
    /// Messages that were accepted but not handled to the end.
    pub dead_lettered: u64,
    /// Messages among the processed ones that were sent, not asked, and that its behavior answered with an error.
    pub refused: u64,
    /// Milliseconds since its actor started; 0 if it is not running.
    pub uptime_ms: u64,
    /// Its last exits, newest last.
    pub exits: Vec<AgentExit>,
}

/// Whether an agent is to leave this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Leaving {
    /// It is not.
    No,
    /// When it has handled the message at hand.
    Asked,
    /// Its state is written, and its actor ends.
    Gone,
    /// Its supervisor has let it go before all that was sent to it by way of its old node had come.
    Ended,
}

/// What became of a letter.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It is in the inbox.
    Done,
    /// It is not: the inbox is full.
    Full(Letter),
    /// It is among the dead letters.
    Failed(AgentError),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct AgentCell {
    pub(crate) id: AgentId,
    pub(crate) name: Arc<str>,
    pub(crate) behavior: Arc<str>,
    pub(crate) inbox_limit: u32,
    level: AtomicU8,
    /// Allocated by the first message.
    inbox: OnceLock<Box<Inbox>>,
    /// The current incarnation, or the last one.
    actor: ArcSwapOption<ActorRef<AgentMessage>>,
    incarnation: AtomicU32,
    started_at: AtomicU64,
    /// Messages that came past the inbox (by plain ractor, or to a stopped agent) and were handled to the end.
    direct_processed: AtomicU64,
    /// The same, not handled to the end.
    direct_dead: AtomicU64,
    /// Requests that were sent, not asked, and that the behavior answered with an error.
    refused: AtomicU64,
    retired: AtomicBool,
    leaving: AtomicU8,
    /// Its place among the live ones; theirs to write.
    live_at: AtomicU32,
    /// Whether it may sleep: a member of a family whose behavior is durable.
    can_sleep: bool,
    phase: AtomicU8,
    /// Its turn with the hibernator.
    turn: Mutex<Option<Turn>>,
    /// What its next incarnation starts from.
    snapshot: Mutex<Option<Snapshot>>,
    /// The mean time a message takes in the behavior, sampled by the host; 0 until it was. At most 4.2 s.
    service_ns: AtomicU32,
    /// For an agent whose state is written to the store.
    keeper: Option<Box<Keeper>>,
    rare: Mutex<Option<Box<Rare>>>,
}

impl AgentCell {
    pub(crate) fn new(name: Arc<str>, template: &AgentTemplate) -> Self {
        let AgentTemplate { behavior, inbox, level, persist, .. } = template;
        Self {
            id: AgentId::of(&name),
            name,
            behavior: behavior.clone(),
            inbox_limit: (*inbox).max(1),
            level: AtomicU8::new(level.granted() as u8),
            inbox: OnceLock::new(),
            actor: ArcSwapOption::empty(),
            incarnation: AtomicU32::new(0),
            started_at: AtomicU64::new(0),
            direct_processed: AtomicU64::new(0),
            direct_dead: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            leaving: AtomicU8::new(Leaving::No as u8),
            live_at: AtomicU32::new(0),
            can_sleep: false,
            phase: AtomicU8::new(Phase::Live as u8),
            turn: Mutex::default(),
            snapshot: Mutex::default(),
            service_ns: AtomicU32::new(0),
            keeper: persist.is_some().then(|| Box::new(Keeper::new(*persist))),
            rare: Mutex::default(),
        }
    }

    /// The same, of an agent that may sleep or may not.
    pub(crate) const fn that_can_sleep(mut self, can_sleep: bool) -> Self {
        self.can_sleep = can_sleep;
        self
    }

    pub(crate) const fn can_sleep(&self) -> bool {
        self.can_sleep
    }

    /// Its place among the live ones.
    pub(crate) fn live_at(&self) -> usize {
        self.live_at.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn set_live_at(&self, at: usize) {
        self.live_at.store(u32::try_from(at).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The cell of an agent that wakes.
    pub(crate) fn woken(name: Arc<str>, template: &AgentTemplate, record: &Record) -> Self {
        let parts = record.parts();
        let mut cell = Self::new(name, template);
        *cell.level.get_mut() = parts.level as u8;
        *cell.phase.get_mut() = Phase::Waking as u8;
        *cell.incarnation.get_mut() = parts.incarnation;
        let snapshot = record.snapshot();
        if !snapshot.marks.as_slice().is_empty() && cell.keeper.is_none() {
            *cell.rare.get_mut() = Some(Box::new(Rare::marked(snapshot.marks.clone())));
        }
        *cell.snapshot.get_mut() = Some(snapshot);
        cell
    }

    /// What is left of it when it sleeps; `None` without a snapshot.
    pub(crate) fn record(&self, family: &Family) -> Option<Record> {
        let snapshot = self.snapshot.lock();
        Some(Record::of(family, &self.name, self.level(), self.incarnation(), snapshot.as_ref()?))
    }

    /// Starts so far.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// What the store knows of it, before its first start.
    pub(crate) fn restore(&self, incarnation: u32, level: Level, snapshot: Snapshot) {
        self.incarnation.store(incarnation, Ordering::Relaxed);
        self.set_level(level);
        self.bring_marks(&snapshot.marks);
        self.set_snapshot(snapshot);
    }

    /// What its next incarnation starts from.
    pub(crate) fn set_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.lock() = Some(snapshot);
    }

    /// For an agent whose state is written to the store.
    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_deref()
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Acquire))
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Its state is written and its inbox sealed: its actor is to end.
    pub(crate) fn settle(&self, snapshot: Snapshot) {
        self.set_snapshot(snapshot);
        self.set_phase(Phase::Settling);
    }

    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.snapshot.lock().clone()
    }

    /// Whether it would start again from a snapshot.
    pub(crate) fn has_snapshot(&self) -> bool {
        self.snapshot.lock().is_some()
    }

    /// The size of the state it would start again from.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshot.lock().as_ref().map_or(0, |snapshot| snapshot.state.len() as u64)
    }

    /// It has another turn with the hibernator, or none; answers the one it had.
    pub(crate) fn set_turn(&self, turn: Option<Turn>) -> Option<Turn> {
        std::mem::replace(&mut *self.turn.lock(), turn)
    }

    /// It has nothing to do.
    pub(crate) fn rested(&self, now: Millis) {
        self.inbox().rested(now);
    }

    pub(crate) fn rested_at(&self) -> Millis {
        self.inbox.get().map_or(Millis::ZERO, |inbox| inbox.rested_at())
    }

    #[inline]
    pub(crate) fn inbox(&self) -> &Inbox {
        self.inbox.get_or_init(|| Box::new(Inbox::new()))
    }

    /// Letters waiting or being handled, and letters handled so far; makes no inbox where none is.
    pub(crate) fn glance(&self) -> (u64, u64) {
        self.inbox.get().map_or((0, 0), |inbox| inbox.glance())
    }

    /// Gives back the room that an empty inbox keeps, and says how many bytes it was.
    pub(crate) fn shrink(&self) -> usize {
        self.inbox.get().map_or(0, |inbox| inbox.shrink())
    }

    pub(crate) fn limit(&self) -> u64 {
        u64::from(self.inbox_limit)
    }

    /// A message took this long in the behavior.
    pub(crate) fn served(&self, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mean = smooth(u64::from(self.service_ns()), sample);
        self.service_ns.store(u32::try_from(mean).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The mean time a message takes in the behavior; 0 until one was timed.
    pub(crate) fn service_ns(&self) -> u32 {
        self.service_ns.load(Ordering::Relaxed)
    }

    #[cold]
    fn refuse(&self, letter: Letter, dead: &DeadLetters) -> AgentError {
        self.bury_direct(letter.request, dead, DeadLetterReason::AgentStopped);
        let error = self.stopped(DeadLetterReason::AgentStopped);
        letter.answer.send(Err(error.clone()));
        error
    }

    fn stopped(&self, reason: DeadLetterReason) -> AgentError {
        AgentError::Stopped { name: self.name.to_string(), reason: reason.to_string() }
    }

    /// Counts a message that found the inbox full and says so.
    pub(crate) fn reject(&self) -> AgentError {
        self.inbox().reject();
        let (queued, limit) = (self.inbox().queued(), self.limit());
        AgentError::Overloaded { queued, limit, shed_below_percent: None }
    }

    pub(crate) fn wake(&self) {
        if let Some(actor) = &*self.actor.load() {
            // Fails only when the actor has ended: its successor wakes itself.
            let _ = actor.cast(AgentMessage::Host(HostMessage::Wake));
        }
    }

    /// The actor of the current incarnation, or of the last one.
    pub(crate) fn actor(&self) -> Option<Arc<ActorRef<AgentMessage>>> {
        self.actor.load_full()
    }

    /// A new incarnation takes the inbox over, which opens again if the agent had been stopped. Returns its number.
    pub(crate) fn attach(&self, actor: ActorRef<AgentMessage>, now: Millis) -> u32 {
        self.started_at.store(now.get(), Ordering::Relaxed);
        self.retired.store(false, Ordering::SeqCst);
        self.rested(now);
        self.set_phase(Phase::Live);
        // One that was killed while it left leaves again.
        self.set_leaving(Leaving::Gone, Leaving::Asked);
        self.inbox().open();
        self.actor.store(Some(Arc::new(actor)));
        self.incarnation.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Takes letters from the inbox in exchange for the empty buffer `letters`.
    pub(crate) fn take(&self, letters: &mut Letters) {
        self.inbox().take(letters, self.limit());
    }

    /// Puts letters that were taken back in front of the others. `false` if the inbox is closed: they stay where they are.
    pub(crate) fn give_back(&self, letters: &mut Letters) -> bool {
        self.inbox().give_back(letters, self.limit())
    }

    /// A letter from the inbox was handled to the end.
    #[inline]
    pub(crate) fn processed(&self) {
        self.inbox().processed();
    }

    /// A message came past the inbox and ended.
    pub(crate) fn direct(&self, handled: bool) {
        let counter = if handled { &self.direct_processed } else { &self.direct_dead };
        counter.fetch_add(1, Ordering::AcqRel);
    }

    /// The behavior refused a request that nobody waits for.
    #[cold]
    #[inline(never)]
    pub(crate) fn refused(&self, request: &Request, node: &Node) {
        if let Some(refusal) = heard() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            node.note_refusal(&self.name, request, &refusal);
        }
    }

    /// What a request that nobody waits for has changed is undone.
    #[cold]
    pub(crate) fn undone(&self, request: &Request, why: &AgentError, node: &Node) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        node.note_refusal(&self.name, request, why);
    }

    /// The agent ended for good. Idempotent: only the first call empties the inbox.
    pub(crate) fn retire(&self, dead: &DeadLetters, reason: DeadLetterReason) -> bool {
        if self.retired.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.inbox().close();
        self.drain_dead(dead, reason);
        if let Some(keeper) = self.keeper() {
            // Unanswered: whoever waits looks again and finds it stopped.
            drop(keeper.take_wishes());
        }
        true
    }

    /// Another node has the agent: hands its letters over, in order, and answers the counters of the rest. Nobody may push meanwhile.
    pub(crate) fn vacate(&self, mut forward: impl FnMut(Letter)) -> Tally {
        self.retired.store(true, Ordering::SeqCst);
        self.inbox().close();
        let mut tally = self.tally();
        let mut letters = Letters::new();
        loop {
            self.take(&mut letters);
            if letters.is_empty() {
                return tally;
            }
            for letter in letters.drain(..) {
                // Counted where it ends.
                tally.sent -= 1;
                tally.queued -= 1;
                forward(letter);
            }
        }
    }

    /// Whether it is to leave this node, and how far it is.
    pub(crate) fn leaving(&self) -> Leaving {
        match self.leaving.load(Ordering::Acquire) {
            1 => Leaving::Asked,
            2 => Leaving::Gone,
            3 => Leaving::Ended,
            _ => Leaving::No,
        }
    }

    /// From one stage of leaving to another; `false` if it is not at the first.
    pub(crate) fn set_leaving(&self, from: Leaving, to: Leaving) -> bool {
        let (from, to) = (from as u8, to as u8);
        self.leaving.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn drain_dead(&self, dead: &DeadLetters, reason: DeadLetterReason) {
        loop {
            let mut letters = Letters::new();
            self.take(&mut letters);
            if letters.is_empty() {
                return;
            }
            self.bury_all(letters, dead, reason);
        }
    }

    pub(super) fn bury_all(&self, letters: Letters, dead: &DeadLetters, reason: DeadLetterReason) {
        for letter in letters {
            self.bury(letter.request, dead, reason);
            letter.answer.send(Err(self.stopped(reason)));
        }
    }

    /// Dead-letters a request from the inbox and counts it.
    pub(crate) fn bury(&self, request: Request, dead: &DeadLetters, reason: DeadLetterReason) {
        // Counted before it is visible, so that nobody sees a dead letter that the agent's tally lacks.
        self.inbox().dead_lettered();
        dead.push(&self.name, request, reason);
    }

    /// Dead-letters a request that came past the inbox and counts it.
    pub(crate) fn bury_direct(&self, request: Request, dead: &DeadLetters, reason: DeadLetterReason) {
        self.direct(false);
        dead.push(&self.name, request, reason);
    }

    pub(crate) fn note_exit(&self, at: Millis, reason: ExitReason) {
        let mut rare = self.rare.lock();
        let exits = &mut rare.get_or_insert_default().exits;
        if exits.len() == EXITS_KEPT {
            exits.remove(0);
        }
        exits.push(AgentExit { at, reason });
    }

    pub(crate) fn status(&self) -> AgentStatus {
        if self.is_retired() {
            return AgentStatus::Stopped;
        }
        if self.leaving() != Leaving::No {
            return AgentStatus::Moving;
        }
        match self.actor.load().as_ref().map(|actor| actor.get_status()) {
            None => AgentStatus::Starting,
            Some(ActorStatus::Unstarted | ActorStatus::Starting) => AgentStatus::Starting,
            Some(ActorStatus::Running | ActorStatus::Upgrading) => AgentStatus::Running,
            Some(ActorStatus::Draining | ActorStatus::Stopping | ActorStatus::Stopped) => AgentStatus::Down,
        }
    }

    /// The agent's counters. `sent` is counted on the senders' side (accepted and rejected), the rest where messages end.
    pub(crate) fn tally(&self) -> Tally {
        let processed = self.direct_processed.load(Ordering::Acquire);
        let dead_lettered = self.direct_dead.load(Ordering::Acquire);
        let mut tally =
            Tally { sent: processed + dead_lettered, processed, dead_lettered, ..Tally::default() };
        if let Some(inbox) = self.inbox.get() {
            tally += inbox.tally();
        }
        tally
    }

    pub(crate) fn overview(&self, now: Millis) -> AgentOverview {
        let status = self.status();
        let tally = self.tally();
        let uptime_ms = match status {
            AgentStatus::Running => now.get().saturating_sub(self.started_at.load(Ordering::Relaxed)),
            _ => 0,
        };
        AgentOverview {
            name: self.name.clone(),
            behavior: self.behavior.clone(),
            status,
            level: self.level(),
            incarnation: u64::from(self.incarnation.load(Ordering::Relaxed)),
            queued: tally.queued,
            inbox_limit: self.limit(),
            sent: tally.sent,
            processed: tally.processed,
            rejected: tally.rejected,
            dead_lettered: tally.dead_lettered,
            refused: self.refused.load(Ordering::Relaxed),
            uptime_ms,
            exits: self.rare.lock().as_ref().map(|rare| rare.exits.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a cell with its reference counts fits an allocator's class of 256 bytes: there is one for every live agent.
    #[test]
    fn cells_are_small() {
        assert!(size_of::<AgentCell>() + 2 * size_of::<usize>() <= 256, "{} bytes", size_of::<AgentCell>());
        // What an agent that a cluster's feed reaches has beside: a box, a list and its one entry.
        assert_eq!(size_of::<Rare>() + size_of::<Vec<(u16, u64)>>() + size_of::<(u16, u64)>(), 96);
    }
}
