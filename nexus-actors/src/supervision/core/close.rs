//! The end of a supervisor: all children in reverse start order, or all at once under `simple_one_for_one`.

use std::sync::Arc;

use super::{ChildKey, Core, Effect, KILL_GRACE, Phase, Process, State, Task, Timer, TimerId};
use crate::supervision::error::SupervisorError;
use crate::supervision::reason::ExitReason;
use crate::supervision::spec::Shutdown;

pub(super) struct Closing {
    /// What the supervisor ends with.
    reason: ExitReason,
    /// What its children are told.
    pub(super) why: Arc<str>,
    /// Still to be stopped, from the end.
    stops: Vec<ChildKey>,
    /// Those being stopped.
    left: usize,
    /// The common time-out of dynamic children.
    timer: Option<TimerId>,
}

impl<S: Clone, P: Process> Core<S, P> {
    /// Begins to end: drops what is under way, answers what waits, and stops the children. OTP: `terminate/2`.
    pub(super) fn close(&mut self, reason: ExitReason, why: Arc<str>) {
        for (_, lane) in std::mem::take(&mut self.lanes) {
            let waiting = lane.queue.into_iter().filter_map(|task| match task {
                Task::Call(ticket, _) => Some(ticket),
                Task::Exit { .. } | Task::TryAgain { .. } | Task::Resume { .. } => None,
            });
            for ticket in lane.work.and_then(|work| work.job.ticket()).into_iter().chain(waiting) {
                self.out.push(Effect::Reply { ticket, result: Err(SupervisorError::ShuttingDown) });
            }
        }
        self.ready.clear();
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        // A child that is already being stopped comes first, as it would have if the shutdown had waited for it.
        let left = keys.iter().filter(|&&key| self.is_stopping(key)).count();
        self.phase = Phase::Closing(Closing { reason, why, stops: keys, left, timer: None });
        if self.is_dynamic() {
            self.mass_stop();
        }
        self.proceed_closing();
    }

    fn is_stopping(&self, key: ChildKey) -> bool {
        self.table.get(key).is_some_and(|child| matches!(child.state(), State::Stopping(_)))
    }

    /// Stops the next child, if none is being stopped; when none is left, ends.
    fn proceed_closing(&mut self) {
        loop {
            let Phase::Closing(closing) = &mut self.phase else { return };
            if closing.left > 0 {
                return;
            }
            let why = closing.why.clone();
            match closing.stops.pop() {
                Some(key) if self.begin_stop(key, &why, false) => {}
                Some(_) => self.add_left(1),
                None => return self.closed(),
            }
        }
    }

    fn closed(&mut self) {
        if let Phase::Closing(closing) = std::mem::replace(&mut self.phase, Phase::Closed) {
            self.disarm(closing.timer);
            for timer in std::mem::take(&mut self.timers).into_keys() {
                self.out.push(Effect::Disarm { timer });
            }
            self.out.push(Effect::Exit { reason: closing.reason });
        }
    }

    pub(super) fn closing_stopped(&mut self) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.left -= 1;
        }
        self.proceed_closing();
    }

    fn add_left(&mut self, count: usize) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.left += count;
        }
    }

    /// Tells all dynamic children to end, with one timer for all. OTP: `terminate_dynamic_children/1`.
    fn mass_stop(&mut self) {
        let Phase::Closing(closing) = &mut self.phase else { return };
        let why = closing.why.clone();
        for key in std::mem::take(&mut closing.stops) {
            if !self.is_stopping(key) && !self.begin_stop(key, &why, true) {
                self.add_left(1);
            }
        }
        let timer = match self.template.as_ref().map(|template| template.shutdown) {
            Some(Shutdown::BrutalKill) => Some(self.arm(KILL_GRACE, Timer::MassKill)),
            Some(Shutdown::Timeout(time)) => Some(self.arm(time, Timer::MassStop)),
            Some(Shutdown::Infinity) | None => None,
        };
        if let Phase::Closing(closing) = &mut self.phase {
            closing.timer = timer;
        }
    }

    /// The common shutdown time is over.
    pub(super) fn mass_kill(&mut self) {
        let stopping = self.table.iter().filter_map(|(_, child)| match child.state() {
            State::Stopping(stopping) if !stopping.killed => Some(stopping.process.clone()),
            _ => None,
        });
        let kills: Vec<_> = stopping.map(|process| Effect::Kill { process }).collect();
        self.out.extend(kills);
        let timer = Some(self.arm(KILL_GRACE, Timer::MassKill));
        if let Phase::Closing(closing) = &mut self.phase {
            closing.timer = timer;
        }
    }

    /// Children that were killed together still have not ended: go on without them.
    pub(super) fn mass_give_up(&mut self) {
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.give_up(key);
        }
    }
}
