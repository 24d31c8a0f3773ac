//! Replies that always arrive.
//!
//! A [`ReplyPort`] that is dropped without an answer hands its channel back to the agent's [`Fate`]. If the host is handling
//! a message at that moment, it answers once it knows how the message ended: `Crashed` with the reason, or `NoReply`.
//! Otherwise (a port a behavior kept for later) the answer is `NoReply` at once. So an asker never waits for its time-out
//! just because an agent failed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ractor::RpcReplyPort;
use serde::Serialize;
use tokio::sync::oneshot;

use super::ledger::Ledger;
use super::payload::Payload;
use crate::clock::Clock;
use crate::error::AgentError;
use crate::route::balance::{Meter, Timed};
use crate::route::remote::{Receipt, Ticket};

thread_local! {
    /// Whether [`UNHEARD`] was set: looked at with every message, so it is a plain flag without a destructor.
    static IS_UNHEARD: Cell<bool> = const { Cell::new(false) };
    /// The last refusal of a request that nobody asked, said on this thread: see [`heard`].
    static UNHEARD: RefCell<Option<AgentError>> = const { RefCell::new(None) };
}

/// Forgets what was refused on this thread so far.
#[inline]
pub(crate) fn listen() {
    IS_UNHEARD.set(false);
}

/// Whether, since [`listen`], a request that was sent, not asked, was refused: nobody else would hear of it. A behavior that
/// refuses and then waits may be heard under the name of the agent that its thread serves next; the count is right in any case.
#[inline]
pub(crate) fn is_refused() -> bool {
    IS_UNHEARD.get()
}

/// What a request that nobody asked was refused with.
#[cold]
fn unheard(error: AgentError) {
    UNHEARD.set(Some(error));
    IS_UNHEARD.set(true);
}

/// That refusal.
#[cold]
pub(crate) fn heard() -> Option<AgentError> {
    IS_UNHEARD.set(false);
    UNHEARD.take()
}

/// A value, or why there is none.
pub type Reply = Result<Payload, AgentError>;

/// Answers one request, at most once. Made by `ask`; a request that was only sent has a port that goes nowhere.
#[derive(Debug)]
pub struct ReplyPort(
    /// None where nobody waits: most messages are sent, not asked, and their port is nothing to make, look at or drop.
    Option<Asked>,
);

/// Somebody waits.
#[derive(Debug)]
struct Asked {
    to: Answer,
    /// The default a query brought: what "no value" becomes.
    default: Option<Payload>,
    fate: Option<Arc<Fate>>,
}

/// Who waits for the answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nobody: the request was sent, not asked.
    Nobody,
    /// The same, and it came from another node, which hears when the letter is done with.
    Delivered(Receipt),
    /// An asker on another node, which hears that the letter is taken when it is. Boxed to keep the others small.
    Remote(Box<(Arc<dyn Ticket>, Option<Receipt>)>),
    /// A Nexus `ask`.
    Asker(oneshot::Sender<Reply>),
    /// The same, through a group that measures its members. Boxed to keep the others small.
    Timed(Box<Timed>),
    /// The answer waits until what it tells of is stored. Boxed to keep the others small.
    Withheld(Box<(Answer, Arc<Ledger>)>),
    /// A plain ractor `call`. Boxed to keep the port small for the others.
    Ractor(Box<RpcReplyPort<Reply>>),
}

impl ReplyPort {
    /// A port that goes nowhere: the request was sent, not asked.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(None)
    }

    /// A port and the receiver of its answer. The receiver sees an error if the port is dropped outside any agent.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<Reply>) {
        let (to, receiver) = Answer::channel();
        (Self(Some(Asked { to, default: None, fate: None })), receiver)
    }

    /// The port through which the agent that shares `fate` answers a request that brought `default`.
    #[inline]
    pub(crate) fn bound(to: Answer, default: Option<Payload>, fate: &Arc<Fate>) -> Self {
        let asked = |to| Asked { to, default, fate: Some(fate.clone()) };
        Self(to.is_asked().then(|| asked(to.handled())))
    }

    /// Whoever waits at this port, which answers nobody from now on.
    pub(crate) fn into_answer(self) -> Answer {
        self.0.map_or(Answer::Nobody, |mut asked| asked.to.take())
    }

    /// Whether an answer would reach somebody: `false` for a request that was only sent and for an asker that gave up.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| asked.to.is_wanted())
    }

    /// Answers. [`AgentError::NotFound`] becomes the query's default where it brought one. An asker that has given up is no
    /// error.
    #[inline]
    pub fn send(self, reply: Reply) {
        match (self.0, reply) {
            (Some(asked), reply) => asked.send(reply),
            (None, Ok(_)) => {}
            (None, Err(error)) => unheard(error),
        }
    }

    /// Answers with `value` encoded, or with the encoder's error.
    pub fn value<T: Serialize + ?Sized>(self, value: &T) {
        // An answer nobody waits for is not encoded.
        if self.is_wanted() {
            self.send(Payload::encode(value));
        } else {
            self.send(Ok(Payload::EMPTY));
        }
    }

    /// Answers with an empty value: done.
    pub fn done(self) {
        self.send(Ok(Payload::EMPTY));
    }

    /// Answers with an error.
    pub fn error(self, error: AgentError) {
        self.send(Err(error));
    }
}

impl From<RpcReplyPort<Reply>> for ReplyPort {
    fn from(port: RpcReplyPort<Reply>) -> Self {
        Self(Some(Asked { to: Answer::Ractor(Box::new(port)), default: None, fate: None }))
    }
}

impl Asked {
    fn send(mut self, reply: Reply) {
        let reply = match (reply, self.default.take()) {
            (Err(AgentError::NotFound { .. }), Some(default)) => Ok(default),
            (reply, _) => reply,
        };
        self.to.take().send(reply);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.to.is_asked() {
            return;
        }
        let answer = self.to.take();
        match self.fate.take() {
            Some(fate) => fate.orphan(answer),
            None => answer.send(Err(AgentError::NoReply)),
        }
    }
}

impl Answer {
    pub(crate) fn channel() -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Asker(sender), receiver)
    }

    /// For an asker on another node, or nobody there.
    pub(crate) fn remote(ticket: Option<Arc<dyn Ticket>>) -> Self {
        ticket.map_or(Self::Nobody, |ticket| Self::Remote(Box::new((ticket, None))))
    }

    /// The letter of this [remote](Self::remote) answer brings `receipt` along, which is dropped with whatever has no place for it.
    pub(crate) fn attach(&mut self, receipt: Receipt) {
        match self {
            Self::Nobody => *self = Self::Delivered(receipt),
            Self::Remote(remote) => remote.1 = Some(receipt),
            _ => {}
        }
    }

    /// The receipt that its letter brought along, which it no longer does.
    pub(crate) fn detach(&mut self) -> Option<Receipt> {
        match self.take() {
            Self::Delivered(receipt) => Some(receipt),
            Self::Remote(mut remote) => {
                let receipt = remote.1.take();
                *self = Self::Remote(remote);
                receipt
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Whether somebody asked, who may have stopped waiting.
    #[inline]
    pub(crate) const fn is_asked(&self) -> bool {
        !matches!(self, Self::Nobody | Self::Delivered(_))
    }

    /// Whether somebody waits.
    pub(crate) fn is_wanted(&self) -> bool {
        match self {
            Self::Nobody | Self::Delivered(_) => false,
            Self::Remote(remote) => remote.0.is_wanted(),
            Self::Asker(sender) => !sender.is_closed(),
            Self::Timed(timed) => !timed.is_closed(),
            Self::Withheld(withheld) => withheld.0.is_wanted(),
            Self::Ractor(port) => !port.is_closed(),
        }
    }

    /// Whether somebody asked and then stopped waiting.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_asked() && !self.is_wanted()
    }

    /// The same for a port: a behavior may keep it for long, and the letter it came with is no more.
    #[inline]
    pub(crate) fn handled(self) -> Self {
        match self {
            Self::Delivered(_) => Self::Nobody,
            Self::Remote(mut remote) => {
                remote.1 = None;
                Self::Remote(remote)
            }
            other => other,
        }
    }

    /// Whoever waits; nobody from now on.
    #[inline]
    pub(crate) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nobody)
    }

    /// The same asker, whose wait from now on is that for the agent with this meter.
    pub(crate) fn timed(self, meter: &Arc<Meter>, clock: Clock) -> Self {
        match self {
            Self::Asker(sender) => Self::Timed(Box::new(Timed::new(sender, meter.clone(), clock))),
            other => other,
        }
    }

    /// The same asker, who hears the answer when `ledger` says so.
    pub(crate) fn withheld(self, ledger: &Arc<Ledger>) -> Self {
        match self {
            Self::Nobody | Self::Delivered(_) => Self::Nobody,
            asker => Self::Withheld(Box::new((asker, ledger.clone()))),
        }
    }

    /// The same asker, whom nobody measures: the agent did not take the request.
    pub(crate) fn untimed(self) -> Self {
        match self {
            Self::Timed(timed) => timed.into_asker().map_or(Self::Nobody, Self::Asker),
            other => other,
        }
    }

    pub(crate) fn send(self, reply: Reply) {
        match self {
            Self::Nobody | Self::Delivered(_) => {}
            Self::Remote(remote) => remote.0.answer(reply),
            // Fails only when the asker has given up.
            Self::Asker(sender) => drop(sender.send(reply)),
            Self::Timed(timed) => timed.send(reply),
            Self::Withheld(withheld) => {
                let (to, ledger) = *withheld;
                ledger.send(to, reply);
            }
            Self::Ractor(port) => drop(port.send(reply)),
        }
    }
}

/// Where unanswered ports of one agent wait until the host knows how the message that held them ended.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Whether the host is handling a message that somebody asked. Every access that matters is ordered by the lock.
    handling: AtomicBool,
    /// Boxed: hardly ever there, and there is a fate for every live agent.
    orphans: Mutex<Option<Box<Orphans>>>,
}

#[derive(Debug, Default)]
struct Orphans(Vec<Answer>);

impl Fate {
    /// The host starts handling a message that somebody asked.
    pub(crate) fn begin(&self) {
        self.handling.store(true, Ordering::Relaxed);
    }

    /// That message has ended; those it left unanswered hear `error`.
    pub(crate) fn end(&self, error: AgentError) {
        // Cleared before the lock is taken: whoever takes it later sees that nobody will settle his answer.
        self.handling.store(false, Ordering::Relaxed);
        let Some(orphans) = self.orphans.lock().take() else { return };
        for answer in orphans.0 {
            answer.send(Err(error.clone()));
        }
    }

    fn orphan(&self, answer: Answer) {
        let mut orphans = self.orphans.lock();
        if self.handling.load(Ordering::Relaxed) {
            orphans.get_or_insert_default().0.push(answer);
        } else {
            drop(orphans);
            answer.send(Err(AgentError::NoReply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fate: &Arc<Fate>) -> (ReplyPort, oneshot::Receiver<Reply>) {
        let (answer, receiver) = Answer::channel();
        (ReplyPort::bound(answer, None, fate), receiver)
    }

    /// Goal: a dropped port is answered with the end of the message that held it. Method: drop within a batch, then end it.
    #[test]
    fn a_dropped_port_shares_its_messages_fate() {
        let fate = Arc::new(Fate::default());
        let crashed = AgentError::Crashed { reason: "boom".into() };
        fate.begin();
        let (port, mut receiver) = asked(&fate);
        drop(port);
        assert!(receiver.try_recv().is_err(), "the host has not said yet how it ended");
        fate.end(crashed.clone());
        assert_eq!(receiver.try_recv(), Ok(Err(crashed)));

        let (kept_for_later, mut receiver) = asked(&fate);
        drop(kept_for_later);
        assert_eq!(receiver.try_recv(), Ok(Err(AgentError::NoReply)));
    }

    /// Goal: a fate with its reference counts fits an allocator's class of 48 bytes.
    #[test]
    fn fates_are_small() {
        assert!(size_of::<Fate>() + 2 * size_of::<usize>() <= 48, "{} bytes", size_of::<Fate>());
    }

    /// Goal: "no value" becomes the query's default, other errors do not.
    #[test]
    fn defaults_answer_only_missing_values() {
        let default = Payload::encode(&7).unwrap();
        let ask = |error: AgentError| {
            let (answer, mut receiver) = Answer::channel();
            ReplyPort::bound(answer, Some(default.clone()), &Arc::default()).error(error);
            receiver.try_recv().unwrap()
        };
        assert_eq!(ask(AgentError::NotFound { key: "x".into() }), Ok(default.clone()));
        assert_eq!(ask(AgentError::NoReply), Err(AgentError::NoReply));
    }
}
