//! The supervisor's decisions, after OTP's `supervisor.erl`. Pure: time and everything that happens arrive as arguments.
//!
//! OTP's supervisor does one thing at a time: while it terminates or starts a child, everything else waits in its mailbox.
//! So does this core, in *lanes*. A static supervisor has one lane; under `simple_one_for_one`, where children do not
//! concern each other, each child has its own, so that one child that is slow to start or to end does not hold up the others
//! (OTP would). In a lane there is at most one piece of [`Work`]: children to terminate, in reverse order, then children to
//! start, in order. What arrives meanwhile is queued. Only a shutdown of the whole supervisor does not wait.
//!
//! ```text
//!            Start              Started                 told to end
//!   Down ───────────▶ Starting ─────────▶ Up ──────────────────────▶ Stopping ──▶ Down
//!    ▲                   │                │ exit
//!    │                   │ fails          ▼
//!    └── not restarted ──┴──────────▶ Restarting ──▶ (terminate siblings, wait, start again)
//! ```
//!
//! A restart that fails is tried again as in OTP: the supervisor first looks at what else has arrived ([`Effect::TryAgain`]),
//! and each attempt counts against the intensity, so that a child that cannot start ends in escalation.

mod call;
mod close;
mod table;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::call::{NewChild, Request};
use self::close::Closing;
pub use self::table::ChildCounts;
pub(crate) use self::table::{Child, LastExit, State, Table};
use self::table::{Exited, Starting, Waiting};
use self::work::{Job, Lane, Task, Work};
use super::backoff::Backoff;
use super::error::SupervisorError;
use super::intensity::Intensity;
use super::reason::{Escalation, ExitReason};
use super::spec::ChildRules;
use super::strategy::{AutoShutdown, Group, Restart, Strategy};
use crate::clock::Millis;
use crate::telemetry::Event;

/// How long a killed child may take to reach an await point before its supervisor goes on without it.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(5);

/// A child's place in the start order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildKey(u64);

/// One attempt to start a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptId(u64);

/// A timer requested by [`Effect::Arm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimerId(u64);

/// One wait for a restart; a stale one is recognized by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitId(u64);

/// A request whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What runs for a child.
pub(crate) trait Process: Clone {
    /// Never reused.
    fn pid(&self) -> u64;
}

/// Why a start did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// OTP's `ignore`.
    Ignored,
    Failed(Arc<str>),
}

/// Everything that can happen to a supervisor.
pub(crate) enum Input<S, P> {
    /// Start the children.
    Boot,
    /// A process ended.
    ChildExited { pid: u64, reason: ExitReason },
    /// A process has ended, but nobody reported how.
    ChildGone { pid: u64 },
    /// A start is under way and its actor is already known.
    Spawned { key: ChildKey, attempt: AttemptId, process: P },
    /// A start succeeded.
    Started { key: ChildKey, attempt: AttemptId, process: P },
    /// A start did not.
    StartFailed { key: ChildKey, attempt: AttemptId, failure: StartFailure },
    /// An armed timer fired.
    TimerFired(TimerId),
    /// [`Effect::TryAgain`] came back.
    TryAgain { key: ChildKey, wait: WaitId },
    /// Somebody asks for something.
    Call { ticket: Ticket, request: Request<S> },
    /// End in order.
    Shutdown,
}

/// Work for the shell, in the order returned.
#[derive(Debug)]
pub(crate) enum Effect<S, P> {
    /// Start a child, and report the outcome with `attempt`.
    Start { key: ChildKey, attempt: AttemptId, id: Arc<str>, start: S, timeout: Option<Duration> },
    /// Drop that start and what it has spawned so far.
    AbortStart { attempt: AttemptId },
    /// Ask the process to end and report its exit. `mass`: one of all children of a `simple_one_for_one` supervisor.
    Stop { process: P, mass: bool },
    /// Kill the process.
    Kill { process: P },
    /// End a process that nobody waits for any more.
    Discard { process: P },
    /// Report [`Input::TimerFired`] after this time.
    Arm { timer: TimerId, after: Duration },
    /// Forget the timer.
    Disarm { timer: TimerId },
    /// Report [`Input::TryAgain`] after everything that has already arrived.
    TryAgain { key: ChildKey, wait: WaitId },
    /// Tell the node.
    Emit(Event),
    /// Tell what starts the child that it has exited; it may be started again.
    Exited { start: S, reason: ExitReason },
    /// Tell what starts the child that this supervisor will not start it again by itself.
    Ended { start: S },
    /// Answer a request; with the process, if there is one.
    Reply { ticket: Ticket, result: Result<Option<P>, SupervisorError> },
    /// All children are started.
    Booted,
    /// All children are stopped: end with this reason.
    Exit { reason: ExitReason },
}

/// What an armed timer is for.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The child's shutdown time is over.
    Stop(ChildKey),
    /// The killed child's grace is over.
    Kill(ChildKey),
    /// The child's back-off is over.
    Backoff(ChildKey, WaitId),
    /// The shutdown time of all children of a `simple_one_for_one` supervisor is over.
    MassStop,
    /// Their grace is.
    MassKill,
}

enum Phase {
    /// Nothing was started yet.
    New,
    /// The children are being started.
    Booting,
    Running,
    /// The children are being stopped.
    Closing(Closing),
    Closed,
}

/// A supervisor's flags, checked before.
pub(crate) struct Flags {
    pub(crate) path: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) backoff: Option<Backoff>,
    /// The rules of the children of a `simple_one_for_one` supervisor.
    pub(crate) template: Option<ChildRules>,
}

/// A supervisor.
pub(crate) struct Core<S, P> {
    path: Arc<str>,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    backoff: Option<Backoff>,
    template: Option<Arc<ChildRules>>,
    intensity: Intensity,
    phase: Phase,
    table: Table<S, P>,
    /// Lanes with work or a queue.
    lanes: BTreeMap<ChildKey, Lane<S>>,
    /// Lanes that may have become idle in this step.
    ready: VecDeque<ChildKey>,
    timers: BTreeMap<TimerId, Timer>,
    /// The last id given to an attempt, timer or wait.
    last_id: u64,
    now: Millis,
    out: Vec<Effect<S, P>>,
}

impl<S: Clone, P: Process> Core<S, P> {
    pub(crate) fn new(flags: Flags, children: impl IntoIterator<Item = NewChild<S>>) -> Self {
        let mut table = Table::new();
        for child in children {
            table.push(child.id, child.start, Arc::new(child.rules));
        }
        Self {
            path: flags.path,
            strategy: flags.strategy,
            auto_shutdown: flags.auto_shutdown,
            backoff: flags.backoff,
            template: flags.template.map(Arc::new),
            intensity: Intensity::new(flags.intensity, flags.period),
            phase: Phase::New,
            table,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeMap::new(),
            last_id: 0,
            now: Millis::ZERO,
            out: Vec::new(),
        }
    }

    /// Takes in what happened at `now` and returns what to do about it.
    #[must_use]
    pub(crate) fn step(&mut self, now: Millis, input: Input<S, P>) -> Vec<Effect<S, P>> {
        self.now = now;
        match input {
            Input::Boot => self.on_boot(),
            Input::ChildExited { pid, reason } => self.on_exit(pid, Some(reason)),
            Input::ChildGone { pid } => self.on_exit(pid, None),
            Input::Spawned { key, attempt, process } => self.on_spawned(key, attempt, process),
            Input::Started { key, attempt, process } => self.on_started(key, attempt, process),
            Input::StartFailed { key, attempt, failure } => self.on_start_failed(key, attempt, failure),
            Input::TimerFired(timer) => self.on_timer(timer),
            Input::TryAgain { key, wait } => self.offer(Task::TryAgain { key, wait }),
            Input::Call { ticket, request } => self.offer(Task::Call(ticket, request)),
            Input::Shutdown => self.on_shutdown(),
        }
        self.drain_ready_lanes();
        std::mem::take(&mut self.out)
    }

    pub(crate) const fn table(&self) -> &Table<S, P> {
        &self.table
    }

    pub(crate) const fn is_booting(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Booting)
    }

    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn on_boot(&mut self) {
        assert!(matches!(self.phase, Phase::New), "a supervisor boots once");
        self.phase = Phase::Booting;
        let starts = self.table.iter().map(|(key, _)| key).collect();
        self.begin(ChildKey(0), Work::new(Job::Boot, Vec::new(), starts));
    }

    fn on_shutdown(&mut self) {
        if !matches!(self.phase, Phase::Closing(_) | Phase::Closed) {
            self.close(ExitReason::Shutdown(None), "its supervisor ends".into());
        }
    }

    /// A process ended; `None` when only that is known. Unknown processes were ended earlier and already dealt with.
    fn on_exit(&mut self, pid: u64, reason: Option<ExitReason>) {
        let Some(key) = self.table.by_pid(pid) else { return };
        let Some(child) = self.table.get(key) else { return };
        match child.state() {
            State::Stopping(stopping) => {
                let inferred = if stopping.killed { ExitReason::Killed } else { ExitReason::Shutdown(None) };
                self.stopped(key, reason.unwrap_or(inferred));
            }
            State::Up(_) => {
                let reason = reason.unwrap_or_else(|| ExitReason::Error("the exit was not reported".into()));
                self.table.set_state(key, State::Exited(Box::new(Exited { pid, reason })));
                self.offer(Task::Exit { key, pid });
            }
            State::Down | State::Starting(_) | State::Exited(_) | State::Restarting(_) => {}
        }
    }

    /// A child ended by itself and its turn has come. OTP: `restart_child/3`, `do_restart/3`.
    fn run_exit(&mut self, key: ChildKey, pid: u64) {
        let Some(child) = self.table.get(key) else { return };
        let State::Exited(exited) = child.state() else { return };
        // It may have been consumed by a termination and the child started again since.
        if exited.pid != pid {
            return;
        }
        let reason = exited.reason.clone();
        let (id, restart) = (child.id.clone(), child.rules.restart);
        self.record_exit(key, &reason);
        self.emit(Event::ChildExited {
            supervisor: self.path.clone(),
            child: id.clone(),
            reason: reason.clone(),
        });
        if restart.applies_to(&reason) {
            self.restart(key, id, reason);
        } else {
            self.child_is_done(key, &id, &reason);
        }
    }

    /// A child ended for good. OTP: `del_child/2`, `do_auto_shutdown/2`.
    fn child_is_done(&mut self, key: ChildKey, id: &Arc<str>, reason: &ExitReason) {
        let significant = self.table.get(key).is_some_and(|child| child.rules.significant);
        self.ended(key);
        self.forget(key);
        let ends = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => significant,
            AutoShutdown::AllSignificant => significant && !self.any_significant_left(),
        };
        if ends {
            let why: Arc<str> = format!("significant child `{id}` ended: {reason}").into();
            self.close(ExitReason::Shutdown(Some(why.clone())), why);
        }
    }

    fn any_significant_left(&self) -> bool {
        if self.is_dynamic() {
            return !self.table.is_empty();
        }
        self.table.iter().any(|(_, child)| child.rules.significant && !matches!(child.state(), State::Down))
    }

    /// Counts a restart of `key` and carries it out, or gives up. OTP: `restart/2`.
    fn restart(&mut self, key: ChildKey, cause: Arc<str>, reason: ExitReason) {
        if !self.intensity.record(self.now) {
            self.escalate(key, cause, reason);
            return;
        }
        let backoff = self.backoff;
        let delay = self.table.get_mut(key).and_then(|child| {
            let delay = child.rules.backoff.or(backoff).map(|backoff| backoff.delay(child.streak));
            child.streak = child.streak.saturating_add(1);
            delay
        });
        self.restart_group(key, cause, reason, delay);
    }

    /// Terminates the children concerned by the end of `key`, waits for `delay` and starts them again.
    fn restart_group(&mut self, key: ChildKey, cause: Arc<str>, reason: ExitReason, delay: Option<Duration>) {
        let token = WaitId(self.next_id());
        let waiting = Waiting { token, cause: cause.clone(), reason: reason.clone(), timer: None };
        self.table.set_state(key, State::Restarting(Box::new(waiting)));
        let starts = match self.strategy.group() {
            Group::Alone => vec![key],
            Group::Rest => self.table.keys_from(key),
            Group::All => self.table.keys_from(ChildKey(0)),
        };
        let stops = starts.iter().copied().filter(|&other| other != key).collect();
        let mut work = Work::new(Job::Restart { key, cause, reason }, stops, starts.into());
        work.delay = delay;
        self.begin(self.lane_of(key), work);
    }

    /// More restarts than the intensity allows: OTP's `reached_max_restart_intensity`.
    fn escalate(&mut self, key: ChildKey, child: Arc<str>, reason: ExitReason) {
        self.table.set_state(key, State::Down);
        let reason = ExitReason::Escalated(Arc::new(Escalation {
            supervisor: self.path.clone(),
            intensity: self.intensity.max(),
            period_ms: self.intensity.period_ms(),
            child,
            reason,
        }));
        self.emit(Event::Escalated { supervisor: self.path.clone(), reason: reason.clone() });
        self.close(reason, "its supervisor gives up".into());
    }

    fn on_spawned(&mut self, key: ChildKey, attempt: AttemptId, process: P) {
        if self.is_attempt(key, attempt) {
            let starting = Starting { attempt, process: Some(process) };
            self.table.set_state(key, State::Starting(Box::new(starting)));
        }
    }

    fn on_started(&mut self, key: ChildKey, attempt: AttemptId, process: P) {
        if !self.is_attempt(key, attempt) {
            self.out.push(Effect::Discard { process });
            return;
        }
        self.table.set_state(key, State::Up(process));
        if let Some(child) = self.table.get_mut(key) {
            child.started_at = Some(self.now);
        }
        self.work_started(self.lane_of(key), key);
    }

    fn on_start_failed(&mut self, key: ChildKey, attempt: AttemptId, failure: StartFailure) {
        if self.is_attempt(key, attempt) {
            self.table.set_state(key, State::Down);
            self.work_start_failed(self.lane_of(key), key, failure);
        }
    }

    fn is_attempt(&self, key: ChildKey, attempt: AttemptId) -> bool {
        self.table.get(key).is_some_and(
            |child| matches!(child.state(), State::Starting(starting) if starting.attempt == attempt),
        )
    }

    fn on_timer(&mut self, id: TimerId) {
        match self.timers.remove(&id) {
            None => {}
            Some(Timer::Stop(key)) => self.kill(key),
            Some(Timer::Kill(key)) => self.give_up(key),
            Some(Timer::Backoff(key, wait)) => self.offer(Task::Resume { key, wait }),
            Some(Timer::MassStop) => self.mass_kill(),
            Some(Timer::MassKill) => self.mass_give_up(),
        }
    }

    fn run_try_again(&mut self, key: ChildKey, wait: WaitId) {
        if let Some((cause, reason)) = self.take_wait(key, wait) {
            self.restart(key, cause, reason);
        }
    }

    fn run_resume(&mut self, key: ChildKey, wait: WaitId) {
        if let Some((cause, reason)) = self.take_wait(key, wait) {
            self.restart_group(key, cause, reason, None);
        }
    }

    /// Why `key` is to be restarted, if it still waits for that with `wait`.
    fn take_wait(&self, key: ChildKey, wait: WaitId) -> Option<(Arc<str>, ExitReason)> {
        match self.table.get(key)?.state() {
            State::Restarting(waiting) if waiting.token == wait => {
                Some((waiting.cause.clone(), waiting.reason.clone()))
            }
            _ => None,
        }
    }

    /// OTP's `del_child/2`: the child does not run any more; a temporary or dynamic one is not kept.
    fn forget(&mut self, key: ChildKey) {
        let temporary = self.table.get(key).is_some_and(|child| child.rules.restart == Restart::Temporary);
        if temporary || self.is_dynamic() {
            self.table.remove(key);
        } else {
            self.table.set_state(key, State::Down);
        }
    }

    /// Says that the child will not be started again unless somebody asks for it.
    fn ended(&mut self, key: ChildKey) {
        if let Some(child) = self.table.get(key) {
            self.out.push(Effect::Ended { start: child.start.clone() });
        }
    }

    /// Keeps how the child ended, and ends its row of failures if it had been up for long.
    fn record_exit(&mut self, key: ChildKey, reason: &ExitReason) {
        let (now, period) = (self.now, self.intensity.period());
        if let Some(child) = self.table.get_mut(key) {
            self.out.push(Effect::Exited { start: child.start.clone(), reason: reason.clone() });
            child.last_exit = Some(Box::new(LastExit { reason: reason.clone(), at: now }));
            if child.started_at.is_some_and(|started| now.since(started) > period) {
                child.streak = 0;
            }
        }
    }

    /// Keeps why the child is not running. Its row of failures goes on.
    fn record_failed_start(&mut self, key: ChildKey, reason: &ExitReason) {
        let now = self.now;
        if let Some(child) = self.table.get_mut(key) {
            child.last_exit = Some(Box::new(LastExit { reason: reason.clone(), at: now }));
        }
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.strategy == Strategy::SimpleOneForOne
    }

    fn arm(&mut self, after: Duration, what: Timer) -> TimerId {
        let timer = TimerId(self.next_id());
        self.timers.insert(timer, what);
        self.out.push(Effect::Arm { timer, after });
        timer
    }

    fn disarm(&mut self, timer: Option<TimerId>) {
        if let Some(timer) = timer.filter(|timer| self.timers.remove(timer).is_some()) {
            self.out.push(Effect::Disarm { timer });
        }
    }

    const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn emit(&mut self, event: Event) {
        self.out.push(Effect::Emit(event));
    }
}
