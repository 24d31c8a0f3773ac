//! The route entry of one agent: its name, inbox, counters and the way to its actor. It outlives the actor's incarnations.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorStatus};
use serde::{Deserialize, Serialize};

use super::id::AgentId;
use super::inbox::{Inbox, Letter, Pushed};
use super::level::Level;
use super::message::{AgentMessage, HostMessage, Request};
use super::reply::{Fate, ReplyPort, heard};
use crate::clock::Millis;
use crate::error::AgentError;
use crate::node::Node;
use crate::route::{DeadLetterReason, DeadLetters};
use crate::supervision::ExitReason;

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
    /// Messages refused because the inbox was full.
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

/// Message counters; sums of them obey `sent = processed + rejected + dead_lettered + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Every attempt to send.
    pub sent: u64,
    /// Handled to the end.
    pub processed: u64,
    /// Refused: inbox full.
    pub rejected: u64,
    /// Accepted or addressed to nobody, and not handled to the end.
    pub dead_lettered: u64,
    /// Waiting or being handled.
    pub queued: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.processed += other.processed;
        self.rejected += other.rejected;
        self.dead_lettered += other.dead_lettered;
        self.queued += other.queued;
    }
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
    /// The last ones, newest last; few, so the oldest is taken from the front.
    exits: Mutex<Vec<AgentExit>>,
}

impl AgentCell {
    pub(crate) fn new(name: Arc<str>, behavior: Arc<str>, inbox_limit: u32, level: Level) -> Self {
        Self {
            id: AgentId::of(&name),
            name,
            behavior,
            inbox_limit: inbox_limit.max(1),
            level: AtomicU8::new(level as u8),
            inbox: OnceLock::new(),
            actor: ArcSwapOption::empty(),
            incarnation: AtomicU32::new(0),
            started_at: AtomicU64::new(0),
            direct_processed: AtomicU64::new(0),
            direct_dead: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            exits: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn inbox(&self) -> &Inbox {
        self.inbox.get_or_init(|| Box::new(Inbox::new()))
    }

    pub(crate) fn limit(&self) -> u64 {
        u64::from(self.inbox_limit)
    }

    /// Enqueues a letter and wakes the agent (`Ok(Ok)`); dead-letters it if the agent has stopped (`Ok(Err)`); gives it back
    /// if the inbox is full.
    #[inline]
    pub(crate) fn push(&self, letter: Letter, dead: &DeadLetters) -> Result<Result<(), AgentError>, Letter> {
        let inbox = self.inbox();
        if inbox.is_closed() {
            return Ok(Err(self.refuse(letter, dead)));
        }
        match inbox.push(letter, self.limit())? {
            Pushed::Queued => {}
            Pushed::Wake => self.wake(),
            Pushed::Closed => self.drain_dead(dead, DeadLetterReason::AgentStopped),
        }
        Ok(Ok(()))
    }

    #[cold]
    fn refuse(&self, letter: Letter, dead: &DeadLetters) -> AgentError {
        self.direct(false);
        dead.push(&self.name, letter.request, DeadLetterReason::AgentStopped);
        let error = self.stopped(DeadLetterReason::AgentStopped);
        letter.reply.error(error.clone());
        error
    }

    fn stopped(&self, reason: DeadLetterReason) -> AgentError {
        AgentError::Stopped { name: self.name.to_string(), reason: reason.to_string() }
    }

    /// Counts a message that found the inbox full and says so.
    pub(crate) fn reject(&self) -> AgentError {
        self.inbox().reject();
        AgentError::Overloaded { queued: self.inbox().queued(), limit: self.limit() }
    }

    fn wake(&self) {
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
    pub(crate) fn attach(&self, actor: ActorRef<AgentMessage>, now: Millis) -> u64 {
        self.started_at.store(now.get(), Ordering::Relaxed);
        self.retired.store(false, Ordering::SeqCst);
        self.inbox().open();
        self.actor.store(Some(Arc::new(actor)));
        u64::from(self.incarnation.fetch_add(1, Ordering::Relaxed)) + 1
    }

    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// A letter from the inbox was handled to the end.
    pub(crate) fn processed(&self) {
        self.inbox().processed(self.limit());
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

    /// The agent ended for good. Idempotent: only the first call empties the inbox.
    pub(crate) fn retire(&self, dead: &DeadLetters, reason: DeadLetterReason) -> bool {
        if self.retired.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.inbox().close();
        self.drain_dead(dead, reason);
        true
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    fn drain_dead(&self, dead: &DeadLetters, reason: DeadLetterReason) {
        while let Some(letter) = self.inbox().pop() {
            self.bury(letter.request, dead, reason);
            letter.reply.error(self.stopped(reason));
        }
    }

    /// Dead-letters a request from the inbox and counts it.
    pub(crate) fn bury(&self, request: Request, dead: &DeadLetters, reason: DeadLetterReason) {
        // Counted before it is visible, so that nobody sees a dead letter that the agent's tally lacks.
        self.inbox().dead_lettered(self.limit());
        dead.push(&self.name, request, reason);
    }

    pub(crate) fn note_exit(&self, at: Millis, reason: ExitReason) {
        let mut exits = self.exits.lock();
        if exits.len() == EXITS_KEPT {
            exits.remove(0);
        }
        exits.push(AgentExit { at, reason });
    }

    pub(crate) fn status(&self) -> AgentStatus {
        if self.is_retired() {
            return AgentStatus::Stopped;
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
            exits: self.exits.lock().clone(),
        }
    }
}

/// The message being handled. Dropped without [`InFlight::completed`] (an error, a panic, a kill), it dead-letters its request
/// and answers everybody the behavior left waiting.
pub(crate) struct InFlight<'a> {
    cell: &'a AgentCell,
    dead: &'a DeadLetters,
    fate: &'a Fate,
    /// A copy, whose parts are reference-counted or small.
    request: Option<Request>,
    from_inbox: bool,
    error: Option<String>,
}

impl<'a> InFlight<'a> {
    pub(crate) fn new(
        cell: &'a AgentCell,
        dead: &'a DeadLetters,
        fate: &'a Fate,
        request: Request,
        from_inbox: bool,
    ) -> Self {
        Self { cell, dead, fate, request: Some(request), from_inbox, error: None }
    }

    /// The request being handled.
    pub(crate) fn request(&self) -> &Request {
        self.request.as_ref().expect("present until the guard is consumed")
    }

    /// The behavior handled the message to the end.
    #[inline]
    pub(crate) fn completed(mut self) {
        self.request = None;
        if self.from_inbox {
            self.cell.processed();
        } else {
            self.cell.direct(true);
        }
    }

    /// The behavior returned an error.
    pub(crate) fn failed(mut self, error: String) {
        self.error = Some(error);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        if self.from_inbox {
            self.cell.bury(request, self.dead, DeadLetterReason::Crashed);
        } else {
            self.cell.direct(false);
            self.dead.push(&self.cell.name, request, DeadLetterReason::Crashed);
        }
        let reason = self.error.take().unwrap_or_else(|| "it was killed or panicked".into());
        self.fate.end(AgentError::Crashed { reason });
    }
}

/// Makes a letter of a request and its reply port.
pub(crate) const fn letter(request: Request, reply: ReplyPort) -> Letter {
    Letter { request, reply }
}
