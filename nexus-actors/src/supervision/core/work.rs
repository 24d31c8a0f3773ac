//! Lanes and their work: terminate children in reverse order, start children in order, one at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Starting, Stopping, Waiting};
use super::{
    AttemptId, ChildKey, Core, Effect, KILL_GRACE, Phase, Process, Request, StartFailure, State, Ticket,
    Timer, WaitId,
};
use crate::supervision::error::SupervisorError;
use crate::supervision::reason::ExitReason;
use crate::supervision::spec::Shutdown;
use crate::supervision::strategy::Restart;
use crate::telemetry::Event;
use crate::text::{REASON_BYTES_MAX, cut};

/// One thing at a time, and what waits for it.
pub(super) struct Lane<S> {
    pub(super) work: Option<Work>,
    pub(super) queue: VecDeque<Task<S>>,
}

/// Something that waits for its lane.
pub(super) enum Task<S> {
    /// The exit of a child by itself.
    Exit {
        key: ChildKey,
        pid: u64,
    },
    /// A failed restart, to be tried again and counted.
    TryAgain {
        key: ChildKey,
        wait: WaitId,
    },
    /// A restart that was counted before its back-off, which is over.
    Resume {
        key: ChildKey,
        wait: WaitId,
    },
    Call(Ticket, Request<S>),
}

/// What a piece of work is for.
pub(super) enum Job {
    Boot,
    Restart { key: ChildKey, cause: Arc<str>, reason: ExitReason },
    Start { ticket: Ticket },
    Terminate { ticket: Ticket },
    RestartCall { ticket: Ticket },
    Cycle { ticket: Ticket },
}

impl Job {
    pub(super) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Start { ticket }
            | Self::Terminate { ticket }
            | Self::RestartCall { ticket }
            | Self::Cycle { ticket } => Some(*ticket),
            Self::Boot | Self::Restart { .. } => None,
        }
    }

    /// Why a child is terminated for this.
    fn why(&self) -> Arc<str> {
        match self {
            Self::Restart { cause, reason, .. } => format!("`{cause}` ended: {reason}").into(),
            Self::Terminate { .. } => "on request".into(),
            Self::Cycle { .. } => "restart on request".into(),
            Self::Boot | Self::Start { .. } | Self::RestartCall { .. } => "start".into(),
        }
    }
}

pub(super) struct Work {
    pub(super) job: Job,
    /// To be terminated, from the end.
    stops: Vec<ChildKey>,
    /// To wait between terminating and starting.
    pub(super) delay: Option<Duration>,
    /// To be started, from the front.
    starts: VecDeque<ChildKey>,
    /// The child being terminated or started.
    pub(super) current: Option<ChildKey>,
}

impl Work {
    pub(super) const fn new(job: Job, stops: Vec<ChildKey>, starts: VecDeque<ChildKey>) -> Self {
        Self { job, stops, delay: None, starts, current: None }
    }
}

impl<S: Clone, P: Process> Core<S, P> {
    /// The lane a child's work is done in.
    pub(super) fn lane_of(&self, key: ChildKey) -> ChildKey {
        if self.is_dynamic() { key } else { ChildKey(0) }
    }

    /// Does a task now if its lane is idle, else later.
    pub(super) fn offer(&mut self, task: Task<S>) {
        let lane = match &task {
            Task::Exit { key, .. } | Task::TryAgain { key, .. } | Task::Resume { key, .. } => {
                Some(self.lane_of(*key))
            }
            // A dynamic child that does not exist yet has no lane and nothing to wait for.
            Task::Call(_, request) if self.is_dynamic() => self.table.find(request.id()),
            Task::Call(..) => Some(ChildKey(0)),
        };
        let busy = lane.and_then(|lane| self.lanes.get_mut(&lane)).filter(|lane| lane.work.is_some());
        match busy {
            Some(lane) => lane.queue.push_back(task),
            None => self.run(task),
        }
    }

    fn run(&mut self, task: Task<S>) {
        match task {
            Task::Call(ticket, request) => self.run_call(ticket, request),
            // While the supervisor ends, the exit of a child is taken note of when its turn to be stopped comes.
            _ if matches!(self.phase, Phase::Closing(_) | Phase::Closed) => {}
            Task::Exit { key, pid } => self.run_exit(key, pid),
            Task::TryAgain { key, wait } => self.run_try_again(key, wait),
            Task::Resume { key, wait } => self.run_resume(key, wait),
        }
    }

    /// Gives an idle lane its work.
    pub(super) fn begin(&mut self, lane: ChildKey, work: Work) {
        let entry = self.lanes.entry(lane).or_insert_with(|| Lane { work: None, queue: VecDeque::new() });
        assert!(entry.work.is_none(), "a lane does one thing at a time");
        entry.work = Some(work);
        self.advance(lane);
    }

    /// Does the lane's work up to the next thing it has to wait for.
    fn advance(&mut self, lane: ChildKey) {
        let Some(mut work) = self.lanes.get_mut(&lane).and_then(|lane| lane.work.take()) else { return };
        if self.proceed(&mut work) {
            self.finish(lane, work);
        } else if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.work = Some(work);
        }
    }

    /// False if the work waits for `work.current`.
    fn proceed(&mut self, work: &mut Work) -> bool {
        while let Some(key) = work.stops.pop() {
            if !self.begin_stop(key, &work.job.why(), false) {
                work.current = Some(key);
                return false;
            }
            self.after_stop(&work.job, key);
        }
        if let Some(delay) = work.delay.take() {
            self.delay_restart(&work.job, delay);
            return true;
        }
        while let Some(key) = work.starts.pop_front() {
            // Temporary siblings are gone by now.
            if self.begin_start(key) {
                work.current = Some(key);
                return false;
            }
        }
        true
    }

    fn finish(&mut self, lane: ChildKey, work: Work) {
        match work.job {
            Job::Boot => {
                self.phase = Phase::Running;
                self.out.push(Effect::Booted);
            }
            Job::Restart { .. } => {}
            Job::Terminate { ticket } => self.out.push(Effect::Reply { ticket, result: Ok(None) }),
            Job::Start { ticket } | Job::RestartCall { ticket } | Job::Cycle { ticket } => {
                let child = work.current.and_then(|key| self.table.get(key));
                let process = child.and_then(|child| child.state().process().cloned());
                self.out.push(Effect::Reply { ticket, result: Ok(process) });
            }
        }
        self.ready.push_back(lane);
    }

    /// Ends a lane's work before its end.
    fn abandon(&mut self, lane: ChildKey) -> Option<Work> {
        self.ready.push_back(lane);
        self.lanes.get_mut(&lane).and_then(|lane| lane.work.take())
    }

    /// Lets what waited for a lane go on, until it is busy again or nothing waits.
    pub(super) fn drain_ready_lanes(&mut self) {
        while let Some(key) = self.ready.pop_front() {
            while let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.work.is_none()) {
                match lane.queue.pop_front() {
                    Some(task) => self.offer(task),
                    None => {
                        self.lanes.remove(&key);
                    }
                }
            }
        }
    }

    fn begin_start(&mut self, key: ChildKey) -> bool {
        let attempt = AttemptId(self.next_id());
        let Some(child) = self.table.get(key) else { return false };
        let start = Effect::Start {
            key,
            attempt,
            id: child.id.clone(),
            start: child.start.clone(),
            timeout: child.rules.start_timeout,
        };
        self.out.push(start);
        self.table.set_state(key, State::Starting(Box::new(Starting { attempt, process: None })));
        true
    }

    /// The start that a lane was waiting for succeeded.
    pub(super) fn work_started(&mut self, lane: ChildKey, key: ChildKey) {
        let supervisor = self.path.clone();
        let Some(work) = self.lanes.get(&lane).and_then(|lane| lane.work.as_ref()) else { return };
        let Some(child) = self.table.get_mut(key) else { return };
        let id = child.id.clone();
        let cause = match &work.job {
            Job::Restart { cause, reason, .. } => Some((cause.clone(), reason.clone())),
            Job::Cycle { .. } => Some((id.clone(), ExitReason::Shutdown(Some("restart on request".into())))),
            _ => None,
        };
        let event = match cause {
            None => Event::ChildStarted { supervisor, child: id },
            Some((cause, reason)) => {
                child.restarts = child.restarts.saturating_add(1);
                let restarts = u64::from(child.restarts);
                Event::ChildRestarted { supervisor, child: id, restarts, cause, reason }
            }
        };
        self.emit(event);
        self.advance(lane);
    }

    /// The start that a lane was waiting for did not succeed; the child is down.
    pub(super) fn work_start_failed(&mut self, lane: ChildKey, key: ChildKey, failure: StartFailure) {
        let StartFailure::Failed(error) = failure else { return self.start_ignored(lane, key) };
        let Some(child) = self.table.get(key) else { return };
        let (id, temporary) = (child.id.clone(), child.rules.restart == Restart::Temporary);
        let boot_error = format!("child `{id}`: {error}");
        let reason = ExitReason::StartFailed(cut(&error, REASON_BYTES_MAX).into());
        self.record_failed_start(key, &reason);
        let supervisor = self.path.clone();
        self.emit(Event::StartFailed { supervisor, child: id.clone(), reason: reason.clone() });
        let Some(work) = self.abandon(lane) else { return };
        if let Some(ticket) = work.job.ticket() {
            let error = SupervisorError::StartFailed { id: id.clone(), reason: reason.clone() };
            self.out.push(Effect::Reply { ticket, result: Err(error) });
        }
        match work.job {
            Job::Boot => {
                let why: Arc<str> = format!("`{id}` did not start").into();
                self.close(ExitReason::StartFailed(boot_error.into()), why);
            }
            Job::Start { .. } => self.discard(key),
            Job::Cycle { .. } if temporary => self.discard(key),
            Job::Cycle { .. } | Job::Restart { .. } => {
                let token = WaitId(self.next_id());
                let waiting = Waiting { token, cause: id, reason, timer: None };
                self.table.set_state(key, State::Restarting(Box::new(waiting)));
                self.out.push(Effect::TryAgain { key, wait: token });
            }
            Job::RestartCall { .. } | Job::Terminate { .. } => {}
        }
    }

    fn discard(&mut self, key: ChildKey) {
        self.ended(key);
        self.table.remove(key);
    }

    /// There is nothing to run: the child stays down, or goes if it is not kept.
    fn start_ignored(&mut self, lane: ChildKey, key: ChildKey) {
        self.ended(key);
        self.forget(key);
        self.advance(lane);
    }

    /// The back-off begins: until it is over the lane is free for everything else.
    fn delay_restart(&mut self, job: &Job, delay: Duration) {
        let Job::Restart { key, reason, .. } = job else { return };
        let (key, reason) = (*key, reason.clone());
        let Some(child) = self.table.get(key) else { return };
        let State::Restarting(waiting) = child.state() else { return };
        let (id, token, cause) = (child.id.clone(), waiting.token, waiting.cause.clone());
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let supervisor = self.path.clone();
        self.emit(Event::RestartDelayed { supervisor, child: id, delay_ms, reason: reason.clone() });
        let timer = Some(self.arm(delay, Timer::Backoff(key, token)));
        self.table.set_state(key, State::Restarting(Box::new(Waiting { token, cause, reason, timer })));
    }

    /// Tells a child to end. True if it has ended already. OTP: `do_terminate/2`, `shutdown/1`.
    pub(super) fn begin_stop(&mut self, key: ChildKey, why: &Arc<str>, mass: bool) -> bool {
        let Some(child) = self.table.get(key) else { return true };
        let shutdown = child.rules.shutdown;
        match child.state() {
            State::Down => return true,
            State::Stopping(_) => return false,
            State::Up(process) => {
                let process = process.clone();
                self.tell_to_end(key, process, shutdown, mass);
                return false;
            }
            State::Starting(starting) => match starting.process.clone() {
                // A nested supervisor that is starting its children can still end in order.
                Some(process) => {
                    self.tell_to_end(key, process, shutdown, mass);
                    return false;
                }
                None => {
                    let attempt = starting.attempt;
                    self.out.push(Effect::AbortStart { attempt });
                }
            },
            State::Restarting(waiting) => {
                let timer = waiting.timer;
                self.disarm(timer);
            }
            State::Exited(exited) => {
                let reason = exited.reason.clone();
                self.terminated(key, reason, why.clone());
            }
        }
        self.table.set_state(key, State::Down);
        true
    }

    fn tell_to_end(&mut self, key: ChildKey, process: P, shutdown: Shutdown, mass: bool) {
        let killed = shutdown == Shutdown::BrutalKill;
        let timer = match shutdown {
            // One timer for all.
            _ if mass => None,
            Shutdown::BrutalKill => Some(self.arm(KILL_GRACE, Timer::Kill(key))),
            Shutdown::Timeout(time) => Some(self.arm(time, Timer::Stop(key))),
            Shutdown::Infinity => None,
        };
        let order = process.clone();
        self.out.push(match killed {
            true => Effect::Kill { process: order },
            false => Effect::Stop { process: order, mass },
        });
        let stopping = Stopping { process, timer, killed };
        self.table.set_state(key, State::Stopping(Box::new(stopping)));
    }

    /// The shutdown time is over.
    pub(super) fn kill(&mut self, key: ChildKey) {
        let Some(State::Stopping(stopping)) = self.table.get(key).map(super::Child::state) else { return };
        let process = stopping.process.clone();
        let timer = Some(self.arm(KILL_GRACE, Timer::Kill(key)));
        self.out.push(Effect::Kill { process: process.clone() });
        let stopping = Stopping { process, timer, killed: true };
        self.table.set_state(key, State::Stopping(Box::new(stopping)));
    }

    /// A killed child still has not ended: go on without it.
    pub(super) fn give_up(&mut self, key: ChildKey) {
        let Some(child) = self.table.get(key) else { return };
        let State::Stopping(_) = child.state() else { return };
        let waited_ms = u64::try_from(KILL_GRACE.as_millis()).unwrap_or(u64::MAX);
        let (supervisor, child) = (self.path.clone(), child.id.clone());
        self.emit(Event::ChildUnresponsive { supervisor, child, waited_ms });
        self.stopped(key, ExitReason::Killed);
    }

    /// A child that was told to end has ended.
    pub(super) fn stopped(&mut self, key: ChildKey, reason: ExitReason) {
        let Some(State::Stopping(stopping)) = self.table.get(key).map(super::Child::state) else { return };
        let timer = stopping.timer;
        self.disarm(timer);
        self.table.set_state(key, State::Down);
        if let Phase::Closing(closing) = &self.phase {
            let why = closing.why.clone();
            self.terminated(key, reason, why);
            self.closing_stopped();
            return;
        }
        let lane = self.lane_of(key);
        let Some(mut work) = self.lanes.get_mut(&lane).and_then(|lane| lane.work.take()) else { return };
        self.terminated(key, reason, work.job.why());
        self.after_stop(&work.job, key);
        work.current = None;
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.work = Some(work);
        }
        self.advance(lane);
    }

    fn after_stop(&mut self, job: &Job, key: ChildKey) {
        match job {
            Job::Terminate { .. } => {
                self.ended(key);
                self.forget(key);
            }
            Job::Restart { .. } => {
                // A temporary sibling is terminated, but not started again.
                if self.table.get(key).is_some_and(|child| child.rules.restart == Restart::Temporary) {
                    self.ended(key);
                }
                self.forget(key);
            }
            // The specification is needed for the start that follows.
            Job::Cycle { .. } | Job::Boot | Job::Start { .. } | Job::RestartCall { .. } => {}
        }
    }

    fn terminated(&mut self, key: ChildKey, reason: ExitReason, why: Arc<str>) {
        self.record_exit(key, &reason);
        if let Some(child) = self.table.get(key) {
            let (supervisor, child) = (self.path.clone(), child.id.clone());
            self.emit(Event::ChildTerminated { supervisor, child, why, reason });
        }
    }
}
