//! Requests at run time, with OTP's answers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::work::{Job, Work};
use super::{Child, ChildKey, Core, Effect, Phase, Process, State, Ticket};
use crate::supervision::error::{SpecError, SupervisorError};
use crate::supervision::spec::ChildRules;

/// A child as it is handed to the core.
pub(crate) struct NewChild<S> {
    pub(crate) id: Arc<str>,
    pub(crate) start: S,
    pub(crate) rules: ChildRules,
}

/// What may be asked of a supervisor at run time.
pub(crate) enum Request<S> {
    StartChild(NewChild<S>),
    StartDynamic { id: Arc<str>, start: S },
    TerminateChild(Arc<str>),
    RestartChild(Arc<str>),
    DeleteChild(Arc<str>),
    CycleChild(Arc<str>),
}

impl<S> Request<S> {
    pub(super) fn id(&self) -> &Arc<str> {
        match self {
            Self::StartChild(child) => &child.id,
            Self::StartDynamic { id, .. }
            | Self::TerminateChild(id)
            | Self::RestartChild(id)
            | Self::DeleteChild(id)
            | Self::CycleChild(id) => id,
        }
    }
}

impl<S: Clone, P: Process> Core<S, P> {
    pub(super) fn run_call(&mut self, ticket: Ticket, request: Request<S>) {
        let result = match request {
            _ if matches!(self.phase, Phase::Closing(_) | Phase::Closed) => {
                Err(SupervisorError::ShuttingDown)
            }
            Request::StartChild(child) => self.call_start(ticket, child),
            Request::StartDynamic { id, start } => self.call_start_dynamic(ticket, id, start),
            Request::TerminateChild(id) => self.call_terminate(ticket, &id),
            Request::RestartChild(id) => self.call_restart(ticket, &id),
            Request::DeleteChild(id) => self.call_delete(ticket, &id),
            Request::CycleChild(id) => self.call_cycle(ticket, &id),
        };
        if let Err(error) = result {
            self.out.push(Effect::Reply { ticket, result: Err(error) });
        }
    }

    fn call_start(&mut self, ticket: Ticket, child: NewChild<S>) -> Result<(), SupervisorError> {
        if self.is_dynamic() {
            return Err(SupervisorError::SimpleOneForOne);
        }
        if child.id.is_empty() {
            return Err(SpecError::EmptyId.into());
        }
        child.rules.validate(&child.id, self.auto_shutdown)?;
        self.start_new(ticket, child.id, child.start, Arc::new(child.rules))
    }

    fn call_start_dynamic(&mut self, ticket: Ticket, id: Arc<str>, start: S) -> Result<(), SupervisorError> {
        let Some(template) = &self.template else { return Err(SupervisorError::NotSimpleOneForOne) };
        if id.is_empty() {
            return Err(SpecError::EmptyId.into());
        }
        self.start_new(ticket, id, start, template.clone())
    }

    fn start_new(
        &mut self,
        ticket: Ticket,
        id: Arc<str>,
        start: S,
        rules: Arc<ChildRules>,
    ) -> Result<(), SupervisorError> {
        if let Some(child) = self.table.find(&id).and_then(|key| self.table.get(key)) {
            return Err(match child.state() {
                State::Up(_) | State::Starting(_) | State::Stopping(_) => SupervisorError::AlreadyStarted(id),
                State::Down | State::Exited(_) | State::Restarting(_) => SupervisorError::AlreadyPresent(id),
            });
        }
        let key = self.table.push(id, start, rules);
        self.begin(self.lane_of(key), Work::new(Job::Start { ticket }, Vec::new(), [key].into()));
        Ok(())
    }

    fn call_terminate(&mut self, ticket: Ticket, id: &Arc<str>) -> Result<(), SupervisorError> {
        let key = self.find(id)?;
        self.begin(self.lane_of(key), Work::new(Job::Terminate { ticket }, vec![key], VecDeque::new()));
        Ok(())
    }

    fn call_restart(&mut self, ticket: Ticket, id: &Arc<str>) -> Result<(), SupervisorError> {
        let key = self.find_down(id)?;
        self.begin(self.lane_of(key), Work::new(Job::RestartCall { ticket }, Vec::new(), [key].into()));
        Ok(())
    }

    fn call_delete(&mut self, ticket: Ticket, id: &Arc<str>) -> Result<(), SupervisorError> {
        let key = self.find_down(id)?;
        self.table.remove(key);
        self.out.push(Effect::Reply { ticket, result: Ok(None) });
        Ok(())
    }

    fn call_cycle(&mut self, ticket: Ticket, id: &Arc<str>) -> Result<(), SupervisorError> {
        let key = self.find(id)?;
        self.begin(self.lane_of(key), Work::new(Job::Cycle { ticket }, vec![key], [key].into()));
        Ok(())
    }

    fn find(&self, id: &Arc<str>) -> Result<ChildKey, SupervisorError> {
        self.table.find(id).ok_or_else(|| SupervisorError::NotFound(id.clone()))
    }

    /// A child with a specification of its own that does not run.
    fn find_down(&self, id: &Arc<str>) -> Result<ChildKey, SupervisorError> {
        if self.is_dynamic() {
            return Err(SupervisorError::SimpleOneForOne);
        }
        let key = self.find(id)?;
        match self.table.get(key).map(Child::state) {
            Some(State::Down) => Ok(key),
            Some(State::Restarting(_)) => Err(SupervisorError::Restarting(id.clone())),
            _ => Err(SupervisorError::Running(id.clone())),
        }
    }
}
