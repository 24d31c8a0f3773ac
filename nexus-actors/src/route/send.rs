//! The send path: at most once, in order per sender and target, accounted for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{
    AgentCell, AgentId, Answer, Family, GROUP_PREFIX, Letter, Reply, Request, Sent, Target, check_name,
};
use crate::error::AgentError;
use crate::node::Node;
use crate::route::DeadLetterReason;
use crate::route::again::Answering;
use crate::route::remote::Receipt;
use crate::telemetry::TraceContext;

/// How a published request fared: what is known when [`Node::publish`] returns. Members here are counted one by one. Those of other nodes
/// are not known here: it is on its way to each node once, and what becomes of it is counted there, by member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Members here that it was enqueued for.
    pub delivered: u64,
    /// Members here whose inbox was full.
    pub rejected: u64,
    /// Members here that have stopped meanwhile.
    pub stopped: u64,
    /// Other nodes that it is on its way to. If one of them is lost first, the request is in the dead letters here, under the group's name.
    #[serde(default)]
    pub nodes: u64,
    /// Other nodes that it is not on its way to: too much waits for them already.
    #[serde(default)]
    pub nodes_full: u64,
}

impl Node {
    /// Sends `request` to an agent, at most once, without waiting: it is in the agent's inbox when this returns `Ok`.
    ///
    /// Messages of one sender to one agent are handled in the order they were sent. An agent of a declared family is
    /// created if it does not exist. `group:` and a group's name reach one agent of the group, chosen by its strategy.
    ///
    /// # Errors
    /// [`Overloaded`](AgentError::Overloaded): the inbox is full, or the node is short of CPU and the request's priority is too
    /// low for it; nothing was enqueued.
    /// [`UnknownAgent`](AgentError::UnknownAgent), [`Stopped`](AgentError::Stopped),
    /// [`TooManyAgents`](AgentError::TooManyAgents), and for groups [`UnknownGroup`](AgentError::UnknownGroup),
    /// [`NotBalanced`](AgentError::NotBalanced), [`NoMember`](AgentError::NoMember), and for agents of other nodes
    /// [`NodeLost`](AgentError::NodeLost): the request is in the dead letters.
    ///
    /// To an agent of another node it is on its way when this returns `Ok`; what prevents it later is counted there, or, if that node is
    /// lost, among the dead letters here.
    #[inline]
    pub fn send<T: Target + ?Sized>(&self, to: &T, request: Request) -> Result<(), AgentError> {
        self.dispatch(to, letter(request, Answer::Nobody))
    }

    /// Sends `request` and waits for the answer, at most `timeout` (`None`: as long as it takes).
    ///
    /// Every request is answered: with a value, or with what prevented it. Dropping the future cancels the request if its
    /// turn has not come yet. One that is marked [`at_least_once`](Request::at_least_once) is tried again, after a pause that grows, as
    /// often as its answer is [`NodeLost`](AgentError::NodeLost); the time-out is that of all tries together.
    ///
    /// # Errors
    /// Those of [`Node::send`], [`TimedOut`](AgentError::TimedOut), [`Crashed`](AgentError::Crashed),
    /// [`NoReply`](AgentError::NoReply), or the behavior's own.
    pub fn ask<T, D>(
        &self,
        to: &T,
        request: Request,
        timeout: D,
    ) -> impl Future<Output = Reply> + Send + use<T, D>
    where
        T: Target + ?Sized,
        D: Into<Option<Duration>>,
    {
        let (dispatched, answering) = if request.is_at_least_once() {
            (Ok(()), self.ask_again(to, request))
        } else {
            let (answer, receiver) = Answer::channel();
            (self.dispatch(to, letter(request, answer)), Answering::Once(receiver))
        };
        let timeout = timeout.into();
        async move {
            dispatched?;
            match timeout {
                None => answering.await,
                Some(limit) => tokio::time::timeout(limit, answering).await.unwrap_or_else(|_| {
                    let after_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                    Err(AgentError::TimedOut { after_ms })
                }),
            }
        }
    }

    /// Like [`Node::send`], but waits while the inbox is full or the request's priority too low: back-pressure instead of `Overloaded`, and waiting counts as no
    /// rejection. Cancel-safe: a dropped future has sent nothing.
    ///
    /// # Errors
    /// Those of [`Node::send`] except `Overloaded`.
    pub async fn deliver<T: Target + ?Sized>(&self, to: &T, request: Request) -> Result<(), AgentError> {
        let mut pending = letter(request, Answer::Nobody);
        loop {
            if self.controls().sheds(&pending.request) {
                self.controls().admission(&pending.request).await;
            }
            pending = match self.try_deliver(to, pending) {
                Sent::Done => return Ok(()),
                Sent::Failed(error) => return Err(error),
                Sent::Full(letter) => letter,
            };
            // The inbox is asked for anew each time: the agent may have been replaced while this waited.
            if let Some(cell) = self.routes().get(to.id()) {
                cell.inbox().room(cell.limit()).await;
            } else if let Some(group) = group_of(to) {
                self.group_room(group).await;
            } else {
                self.remote_room(to).await;
            }
        }
    }

    /// Sends `request` to every agent that is in `group` now, on this node and the others it is connected to, and a copy to whoever
    /// [listens](Node::listen), here and there. It goes to each node once.
    ///
    /// # Errors
    /// [`UnknownGroup`](AgentError::UnknownGroup): this node does not know it. Nothing was sent. All nodes of a cluster know the same groups.
    pub fn publish(&self, group: &str, request: Request) -> Result<Published, AgentError> {
        let mut request = request;
        if let Some(trace) = TraceContext::current() {
            request.join(trace);
        }
        let mut published = self.publish_here(group, &request, None)?;
        if let Some(remote) = self.remote_slot().get() {
            (published.nodes, published.nodes_full) = remote.publish(group, &request);
        }
        Ok(published)
    }

    /// The same on this node alone. The last member it is enqueued for has the receipt.
    pub(super) fn publish_here(
        &self,
        group: &str,
        request: &Request,
        mut receipt: Option<Receipt>,
    ) -> Result<Published, AgentError> {
        let members = self
            .groups()
            .present(group)
            .ok_or_else(|| AgentError::UnknownGroup { name: group.to_owned() })?;
        self.groups().tell_listeners(group, request);
        let mut published = Published::default();
        let last = members.len().saturating_sub(1);
        for (number, member) in members.into_iter().enumerate() {
            let mut letter = letter(request.clone(), Answer::Nobody);
            if let Some(receipt) = receipt.take_if(|_| number == last) {
                letter.answer.attach(receipt);
            }
            match self.dispatch(&member, letter) {
                Ok(()) => published.delivered += 1,
                Err(AgentError::Overloaded { .. }) => published.rejected += 1,
                Err(_) => published.stopped += 1,
            }
        }
        Ok(published)
    }

    /// Enqueues or says why not; a full inbox counts as a rejection.
    #[inline]
    pub(crate) fn dispatch<T: Target + ?Sized>(&self, to: &T, letter: Letter) -> Result<(), AgentError> {
        if self.controls().sheds(&letter.request) {
            return Err(self.shed(to));
        }
        match self.try_deliver(to, letter) {
            Sent::Done => Ok(()),
            Sent::Failed(error) => Err(error),
            Sent::Full(letter) => Err(self.overloaded(to, letter)),
        }
    }

    /// A request of too low a priority: counted like one that found the inbox full. It wakes and makes nobody.
    #[cold]
    pub(super) fn shed<T: Target + ?Sized>(&self, to: &T) -> AgentError {
        let rejected = self.routes().read(to.id()).map(|cell| {
            let limit = cell.limit();
            cell.inbox().reject();
            (cell.inbox().queued(), limit)
        });
        self.controls().count_shed(rejected.is_some());
        let (queued, limit) = rejected.unwrap_or_default();
        AgentError::Overloaded { queued, limit, shed_below_percent: Some(self.controls().shed_below()) }
    }

    #[cold]
    pub(super) fn overloaded<T: Target + ?Sized>(&self, to: &T, letter: Letter) -> AgentError {
        if let Some(group) = group_of(to) {
            return self.group_overloaded(group, letter);
        }
        let rejected = self.routes().read(to.id()).map(|cell| cell.reject());
        rejected.or_else(|| self.remote_overloaded(to)).unwrap_or_else(|| {
            // Gone between the two looks.
            let error = AgentError::UnknownAgent { name: display(to) };
            self.unroutable(to, letter, error, DeadLetterReason::UnknownAgent)
        })
    }

    #[inline]
    pub(super) fn try_deliver<T: Target + ?Sized>(&self, to: &T, letter: Letter) -> Sent {
        let id = to.id();
        if let Some(cell) = self.routes().read(id) {
            return cell.push(letter, self.dead_letters());
        }
        self.miss(id, to, letter)
    }

    /// The same for a letter of the node `from`: it goes to a third only when the agent is found there as it is claimed.
    pub(super) fn try_local<T: Target + ?Sized>(&self, to: &T, letter: Letter, from: Option<&str>) -> Sent {
        if let Some(cell) = self.routes().read(to.id()) {
            return cell.push(letter, self.dead_letters());
        }
        let letter = match self.halted(to, letter, from) {
            Ok(sent) => return sent,
            Err(letter) => letter,
        };
        let letter = match self.adopts(to) {
            true => self.halted(to, letter, from),
            false => Err(letter),
        };
        letter.unwrap_or_else(|letter| self.make(to, letter, from))
    }

    /// No route: perhaps it is a group's name, or another node has the agent.
    #[inline(never)]
    fn miss<T: Target + ?Sized>(&self, id: AgentId, to: &T, letter: Letter) -> Sent {
        if let Some(group) = group_of(to) {
            return self.offer_to_group(group, letter);
        }
        let letter = match self.halted(to, letter, None) {
            Ok(sent) => return sent,
            Err(letter) => letter,
        };
        let letter = match self.along(id, to, letter) {
            Ok(sent) => return sent,
            Err(letter) => letter,
        };
        // One that sleeps here is here.
        if self.routes().contains(id) {
            return self.make(to, letter, None);
        }
        self.seek(to, letter).unwrap_or_else(|letter| self.make(to, letter, None))
    }

    /// No route anywhere: perhaps a family makes the agent.
    #[cold]
    fn make<T: Target + ?Sized>(&self, to: &T, letter: Letter, from: Option<&str>) -> Sent {
        match self.create(to) {
            Ok((family, cell)) => {
                // Under the route's lock, like every push: a route that goes takes the agent's counters with it.
                let route = self.routes().read(cell.id);
                let sent = match route {
                    Some(present) => present.push(letter, self.dead_letters()),
                    None => self.halted(to, letter, from).unwrap_or_else(|letter| {
                        let reason = DeadLetterReason::AgentStopped;
                        let error = AgentError::Stopped { name: display(to), reason: reason.to_string() };
                        Sent::Failed(self.unroutable(to, letter, error, reason))
                    }),
                };
                self.activate(&family, &cell);
                sent
            }
            Err((error, reason)) => Sent::Failed(self.unroutable(to, letter, error, reason)),
        }
    }

    /// Makes the agent `to` names, if a family declares it.
    #[cold]
    fn create<T: Target + ?Sized>(
        &self,
        to: &T,
    ) -> Result<(Arc<Family>, Arc<AgentCell>), (AgentError, DeadLetterReason)> {
        if let Some((family, name, _)) = self.dormant(to.id()) {
            return self.member(&name, family);
        }
        let unknown = || (AgentError::UnknownAgent { name: display(to) }, DeadLetterReason::UnknownAgent);
        let name = to.name().filter(|name| check_name(name).is_ok()).ok_or_else(unknown)?;
        let family = self.family_of(name).ok_or_else(unknown)?;
        self.member(name, family)
    }

    /// Makes or wakes the agent `name` of `family`.
    fn member(
        &self,
        name: &str,
        family: Arc<Family>,
    ) -> Result<(Arc<Family>, Arc<AgentCell>), (AgentError, DeadLetterReason)> {
        if family.is_stopped() {
            let reason = format!("the supervisor of `{}` is stopped", family.pattern);
            let error = AgentError::Stopped { name: name.to_owned(), reason };
            return Err((error, DeadLetterReason::AgentStopped));
        }
        match self.declare_member(name.into(), &family) {
            Ok(cell) => Ok((family, cell)),
            Err(_) => {
                let limit = self.agents_max() as u64;
                let error = AgentError::TooManyAgents { name: name.to_owned(), limit };
                Err((error, DeadLetterReason::TooManyAgents))
            }
        }
    }

    #[cold]
    pub(super) fn unroutable<T: Target + ?Sized>(
        &self,
        to: &T,
        letter: Letter,
        error: AgentError,
        reason: DeadLetterReason,
    ) -> AgentError {
        let again = matches!(error, AgentError::NodeLost { .. }) && letter.request.request_id().is_some();
        if again && letter.answer.is_wanted() {
            // No message of its own: its asker tries again.
            letter.answer.send(Err(error.clone()));
            return error;
        }
        self.count_unroutable();
        self.dead_letters().push(&display(to).into(), letter.request, reason);
        letter.answer.send(Err(error.clone()));
        error
    }
}

/// The group that a target names: `desks` of `group:desks`.
fn group_of<T: Target + ?Sized>(to: &T) -> Option<&str> {
    to.name()?.strip_prefix(GROUP_PREFIX)
}

/// What to call a target in errors: its name, or its key where only that is known.
fn display<T: Target + ?Sized>(to: &T) -> String {
    to.name().map_or_else(|| to.id().to_string(), str::to_owned)
}

/// A letter with `request`, which carries the context of the request being handled unless it brings its own.
#[inline]
pub(super) fn letter(mut request: Request, answer: Answer) -> Letter {
    if let Some(trace) = TraceContext::current() {
        request.join(trace);
    }
    Letter { request, answer }
}
