//! The seam to other nodes: what leaves this one for an agent elsewhere, and what comes from there for an agent here.
//!
//! A message without a local route is offered to the node's [`Remote`], which takes it if another node has the agent. What comes in
//! is [received](Node::receive) in bundles, with a [`Receipt`] in the last letter: whenever that is done with, however it ends, the receipt
//! gives the sender's node its credit back. So a flood is bounded by what agents have consumed, not by what was read from a socket.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::DeadLetterReason;
use super::passage::is_unclaimed;
use crate::agent::{AgentCell, AgentId, Answer, Letter, Letters, Reply, Request, Sent, Target};
use crate::error::AgentError;
use crate::node::Node;

/// What a cluster decides about agents. Never blocks.
pub trait Remote: fmt::Debug + Send + Sync + 'static {
    /// The way to the node that has the agent, or that is to start it; `None` if that is this node, or nobody knows it.
    fn way(&self, to: AgentId, name: Option<&str>) -> Option<Arc<dyn Way>>;

    /// Sends `request` to the group of this name on every other node: to how many it is on its way, and for how many too much waits
    /// already.
    fn publish(&self, group: &str, request: &Request) -> (u64, u64);

    /// The agent is about to be started on this node. Asked before every start.
    fn claim(&self, id: AgentId, name: &Arc<str>) -> BoxFuture<'static, Result<Claimed, AgentError>>;

    /// The agent has ended for good. One that sleeps has not.
    fn release(&self, id: AgentId);

    /// The way to the node of this name.
    fn way_to(&self, node: &str) -> Option<Arc<dyn Way>>;

    /// The node `sender` has sent to the agent by way of this one, which lives on the node `home`: it is to be told.
    fn redirect(&self, sender: &str, agent: &Arc<str>, home: &str);
}

/// What becomes of an agent that is to be started here.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// It lives here from now on.
    Here,
    /// It lives on another node: this is the way to it.
    Elsewhere(Arc<dyn Way>),
}

/// The way to another node. Never blocks.
pub trait Way: fmt::Debug + Send + Sync + 'static {
    /// Takes `parcel` for the agent. Parcels of one sender to one agent keep their order.
    fn forward(&self, to: AgentId, name: Option<&str>, parcel: Parcel) -> Forwarded;

    /// Sends a fence of the node `origin` after the agent's parcels: `asker` hears when all before it have arrived where the agent lives, or that the way is
    /// lost or has no room for it.
    fn fence(&self, to: AgentId, origin: &str, asker: Asker);

    /// Messages that wait for that node, and how many may.
    fn queue(&self) -> (u64, u64);

    /// Waits until there may be room for a message.
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Whether all that was sent on it has come: whoever goes another way now overtakes nothing.
    fn is_quiet(&self) -> bool;

    /// The node's name.
    fn node(&self) -> &str;
}

/// What became of a parcel.
#[derive(Debug)]
pub enum Forwarded {
    /// It is on its way, or counted and answered if it cannot be.
    Taken,
    /// As much as allowed waits for that node already.
    Full(Parcel),
    /// That node is gone: the agent may be elsewhere by now.
    Lost(Parcel, AgentError),
    /// It cannot go there, for this reason.
    Refused(Parcel, AgentError, DeadLetterReason),
}

/// A message on its way to another node.
#[derive(Debug)]
pub struct Parcel(Letter);

/// Whoever waits for the answer to a parcel, if anybody does. Dropping it answers nothing.
#[derive(Debug)]
pub struct Asker(Answer);

impl Parcel {
    /// What it says.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.0.request
    }

    /// Whether somebody waits for the answer.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.answer.is_wanted()
    }

    /// Its asker. The request has been written down.
    #[must_use]
    pub fn into_asker(self) -> Asker {
        // One of another node has its credit back: the letter is on its way.
        Asker(self.0.answer.handled())
    }

    pub(super) const fn of(letter: Letter) -> Self {
        Self(letter)
    }

    pub(super) fn into_letter(self) -> Letter {
        self.0
    }
}

impl Asker {
    pub(super) const fn of(answer: Answer) -> Self {
        Self(answer)
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.0.is_wanted()
    }

    /// Answers.
    pub fn answer(self, reply: Reply) {
        self.0.send(reply);
    }
}

/// Who waits, on another node, for the answer to an ask.
pub trait Ticket: fmt::Debug + Send + Sync + 'static {
    /// Whether it still waits.
    fn is_wanted(&self) -> bool;

    /// Sends the answer on its way.
    fn answer(&self, reply: Reply);
}

/// Messages from another node for one agent, in their order.
#[derive(Debug, Default)]
pub struct Bundle(Letters);

impl Bundle {
    /// Adds a message; an ask has a `ticket`.
    pub fn add(&mut self, request: Request, ticket: Option<Arc<dyn Ticket>>) {
        self.0.push_back(Letter { request, answer: Answer::remote(ticket) });
    }

    /// Gives room back beyond that for so many messages.
    pub fn shrink(&mut self, messages: usize) {
        if self.0.capacity() > messages {
            self.0.shrink_to(messages);
        }
    }
}

/// Bytes that agents have consumed of what one peer sent.
#[derive(Debug)]
pub struct Credit {
    /// Signed: see [`Credit::owe`].
    consumed: AtomicI64,
    due: AtomicI64,
    work: Arc<Notify>,
}

impl Credit {
    /// Nothing is consumed. `work` is notified when the [due](Credit::set_due) mark is reached.
    #[must_use]
    pub fn new(work: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { consumed: AtomicI64::new(0), due: AtomicI64::new(i64::MAX), work })
    }

    /// What is consumed so far.
    #[must_use]
    pub fn consumed(&self) -> i64 {
        self.consumed.load(Ordering::SeqCst)
    }

    /// From now on `work` is notified once when `consumed` reaches `due`. Look at [`Credit::consumed`] afterwards: it may have already.
    pub fn set_due(&self, due: i64) {
        self.due.store(due, Ordering::SeqCst);
    }

    /// `bytes` are consumed.
    pub fn release(&self, bytes: u32) {
        let bytes = i64::from(bytes);
        let before = self.consumed.fetch_add(bytes, Ordering::SeqCst);
        let due = self.due.load(Ordering::SeqCst);
        if before < due && before + bytes >= due {
            self.work.notify_one();
        }
    }

    /// `bytes` that were released are in use after all, until a receipt releases them again: those of a message put together from
    /// parts.
    pub fn owe(&self, bytes: u32) {
        self.consumed.fetch_sub(i64::from(bytes), Ordering::SeqCst);
    }

    /// Released when it is dropped.
    #[must_use]
    pub fn receipt(self: &Arc<Self>, bytes: u32) -> Receipt {
        Receipt { credit: self.clone(), bytes, _niche: Niche::Only }
    }
}

/// Releases its bytes of credit when it is dropped.
#[derive(Debug)]
pub struct Receipt {
    credit: Arc<Credit>,
    bytes: u32,
    _niche: Niche,
}

/// A byte with 255 values that are never used: they tell the variants of an [`Answer`] apart, which is no larger for its receipt then.
#[derive(Debug)]
#[repr(u8)]
enum Niche {
    Only,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.credit.release(self.bytes);
    }
}

impl Node {
    /// Gives this node a way to other nodes. Only the first counts: a node has one for its life.
    pub fn set_remote(&self, remote: Arc<dyn Remote>) {
        // Tests and boots that do it twice meant the first.
        let _ = self.remote_slot().set(remote);
    }

    /// Takes messages from the node `from`, for an agent here or one that a family makes, out of `bundle`. They are never passed on: an agent
    /// that is not here is unknown. With `reject` they are rejected as if the agent's inbox were full. Whatever becomes of each is counted
    /// here, and said to whoever asked; the receipt is dropped when the last one that was taken is done with. Those of a feed that delivers
    /// again what is lost go past the inbox's limit: their feed waits for room on the way here, and what is on its way is bounded by
    /// the link's credit.
    pub fn receive<T: Target + ?Sized>(
        &self,
        to: &T,
        from: &str,
        bundle: &mut Bundle,
        receipt: Receipt,
        reject: bool,
    ) {
        let Bundle(letters) = bundle;
        letters.retain_mut(|letter| {
            let sheds = letter.request.chained().is_none() && self.controls().sheds(&letter.request);
            if sheds {
                letter.answer.take().send(Err(self.shed(to)));
            }
            !sheds
        });
        if let Some(last) = letters.back_mut() {
            last.answer.attach(receipt);
        }
        let id = to.id();
        while !letters.is_empty() {
            let full = self.routes().read(id).map(|cell| {
                if is_unclaimed(&cell) {
                    self.routes().note_sender(id, from);
                }
                if !reject {
                    cell.push_all(letters, self.dead_letters());
                    if !letters.is_empty() {
                        cell.push_chained(letters, self.dead_letters());
                    }
                }
                // Answered below, without the route's lock.
                (!letters.is_empty()).then(|| cell.clone())
            });
            match full {
                Some(Some(cell)) => {
                    for letter in letters.drain(..) {
                        self.dead_letters().feed_losses().note_request(&letter.request);
                        letter.answer.send(Err(cell.reject()));
                    }
                }
                Some(None) => {}
                None => self.receive_first(to, from, letters),
            }
        }
    }

    /// Hands what another node has published to the members of a group here. It is never passed on. What becomes of it is counted with each;
    /// the receipt is dropped when the last of them is done with it. A group that is unknown here makes it a dead letter.
    pub fn receive_published(&self, group: &str, request: Request, receipt: Receipt) {
        if let Err(error) = self.publish_here(group, &request, Some(receipt)) {
            let letter = Letter { request, answer: Answer::Nobody };
            let _ = self.unroutable(group, letter, error, DeadLetterReason::UnknownGroup);
        }
    }

    /// There is no route: the first letter makes the agent, if a family declares it.
    #[cold]
    fn receive_first<T: Target + ?Sized>(&self, to: &T, from: &str, letters: &mut Letters) {
        let Some(letter) = letters.pop_front() else { return };
        let chained = letter.request.chained().is_some();
        let sent = match self.try_local(to, letter, Some(from)) {
            Sent::Full(letter) if chained => self.push_unlimited(to, from, letter),
            sent => sent,
        };
        if let Sent::Full(mut letter) = sent {
            let answer = letter.answer.take();
            answer.send(Err(self.overloaded(to, letter)));
        }
    }

    /// Enqueues a letter for an agent here whose inbox is full.
    #[cold]
    fn push_unlimited<T: Target + ?Sized>(&self, to: &T, from: &str, letter: Letter) -> Sent {
        match self.routes().read(to.id()) {
            Some(cell) => cell.push_unlimited(letter, self.dead_letters()),
            // Gone between the two looks: what takes its place has room.
            None => self.try_local(to, letter, Some(from)),
        }
    }

    /// Letters that wait for an agent here or are being handled, and letters it has handled so far. `None` if it is not awake.
    #[must_use]
    pub fn progress(&self, agent: AgentId) -> Option<(u64, u64)> {
        self.routes().read(agent).map(|cell| cell.glance())
    }

    /// Counts a message that was on its way to another node when that was lost, and keeps it among the dead letters. The other node may
    /// have handled it.
    pub fn bury_lost<T: Target + ?Sized>(&self, to: &T, request: Request) {
        let error = AgentError::NoReply;
        let letter = Letter { request, answer: Answer::Nobody };
        let _ = self.unroutable(to, letter, error, DeadLetterReason::NodeLost);
    }

    /// Offers a letter without a route to the other nodes. The way is kept in the route table: whoever has sent that way goes on to,
    /// whatever the cluster would say by then, until the node is lost. Else letters could overtake each other.
    pub(super) fn seek<T: Target + ?Sized>(&self, to: &T, letter: Letter) -> Result<Sent, Letter> {
        let Some(remote) = self.remote_slot().get() else { return Err(letter) };
        // Between the look at halts and the one at ways it may have come to a halt.
        if self.routes().halt(to.id()).is_some() {
            return Ok(self.try_deliver(to, letter));
        }
        let Some(way) = remote.way(to.id(), to.name()) else { return Err(letter) };
        // Names that no family has are not worth an entry: anybody can invent them.
        let known = to.name().is_none_or(|name| self.family_of(name).is_some());
        if known && self.routes().ways() < self.agents_max() {
            self.routes().lead_away(to.id(), &way);
            // Perhaps along another way: another sender may have been faster.
            return Ok(self.try_deliver(to, letter));
        }
        let forwarded = way.forward(to.id(), to.name(), Parcel(letter));
        Ok(self.forwarded(to, &way, forwarded))
    }

    /// Sends a letter the way that its route leads, if it leads to another node.
    pub(super) fn along<T: Target + ?Sized>(
        &self,
        id: AgentId,
        to: &T,
        letter: Letter,
    ) -> Result<Sent, Letter> {
        let (forwarded, way) = {
            // Under the route's lock, like a push: a way that is forgotten has nobody on it.
            let Some(way) = self.routes().read_way(id) else { return Err(letter) };
            match way.forward(id, to.name(), Parcel(letter)) {
                Forwarded::Taken => return Ok(Sent::Done),
                other => (other, way.clone()),
            }
        };
        Ok(self.forwarded(to, &way, forwarded))
    }

    #[cold]
    fn forwarded<T: Target + ?Sized>(&self, to: &T, way: &Arc<dyn Way>, forwarded: Forwarded) -> Sent {
        match forwarded {
            Forwarded::Taken => Sent::Done,
            Forwarded::Full(Parcel(letter)) => Sent::Full(letter),
            Forwarded::Refused(Parcel(letter), error, reason) => {
                Sent::Failed(self.unroutable(to, letter, error, reason))
            }
            Forwarded::Lost(Parcel(letter), error) => {
                self.routes().forget_way(to.id(), way);
                let next = self.remote_slot().get().and_then(|remote| remote.way(to.id(), to.name()));
                if next.is_some_and(|next| next.node() == way.node()) {
                    return Sent::Failed(self.unroutable(to, letter, error, DeadLetterReason::NodeLost));
                }
                self.try_deliver(to, letter)
            }
        }
    }

    /// The agent has ended for good.
    pub(crate) fn release(&self, id: AgentId) {
        if let Some(remote) = self.remote_slot().get() {
            remote.release(id);
        }
    }

    /// Another node has the agent: its letters go there, in order and before any other, and its route leads there from now on.
    pub(crate) fn send_away(&self, cell: &Arc<AgentCell>, way: &Arc<dyn Way>) {
        self.unwatch_idle(cell);
        let mut retired = self.retired().lock();
        let mut left = Vec::new();
        let gone = self.routes().turn_away(cell, way, |letter| {
            match way.forward(cell.id, Some(&cell.name), Parcel(letter)) {
                Forwarded::Taken => {}
                Forwarded::Full(Parcel(letter)) => {
                    let (queued, limit) = way.queue();
                    let error = AgentError::Overloaded { queued, limit, shed_below_percent: None };
                    left.push((letter, error, None));
                }
                Forwarded::Lost(Parcel(letter), error) => {
                    left.push((letter, error, Some(DeadLetterReason::NodeLost)));
                }
                Forwarded::Refused(Parcel(letter), error, reason) => left.push((letter, error, Some(reason))),
            }
        });
        let Some(tally) = gone else { return };
        *retired += tally;
        drop(retired);
        self.follow_groups(cell);
        for (letter, error, reason) in left {
            match reason {
                Some(reason) => drop(self.unroutable(&cell.name, letter, error, reason)),
                None => {
                    self.count_remote_rejected();
                    letter.answer.send(Err(error));
                }
            }
        }
    }

    /// Counts a message for which there is no room on its way to another node. `None` if its agent is no other node's.
    pub(super) fn remote_overloaded<T: Target + ?Sized>(&self, to: &T) -> Option<AgentError> {
        let halted = self.routes().halt(to.id()).filter(|halt| halt.way().is_none()).map(|halt| halt.queue());
        let (queued, limit) = halted.or_else(|| Some(self.way(to)?.queue()))?;
        self.count_remote_rejected();
        Some(AgentError::Overloaded { queued, limit, shed_below_percent: None })
    }

    /// Waits for room on the way to the agent's node. Returns at once if it is no other node's.
    pub(super) async fn remote_room<T: Target + ?Sized>(&self, to: &T) {
        if let Some(halt) = self.routes().halt(to.id()).filter(|halt| halt.way().is_none()) {
            return halt.room().await;
        }
        let room = self.way(to).map(|way| way.room());
        if let Some(room) = room {
            room.await;
        }
    }

    fn way<T: Target + ?Sized>(&self, to: &T) -> Option<Arc<dyn Way>> {
        let passing = self.routes().halt(to.id()).and_then(|halt| halt.way());
        let kept = passing.or_else(|| self.routes().way(to.id()));
        kept.or_else(|| self.remote_slot().get()?.way(to.id(), to.name()))
    }

    /// The node that messages from here to the agent go to; `None` if none have gone to another.
    #[must_use]
    pub fn leads_to<T: Target + ?Sized>(&self, to: &T) -> Option<Arc<str>> {
        self.routes().way(to.id()).map(|way| way.node().into())
    }

    /// Forgets the ways to agents of other nodes on which nothing is under way, if there are more than `max`. Looks at all routes.
    pub fn forget_ways(&self, max: usize) {
        if self.routes().ways() > max {
            self.routes().forget_ways(|way| way.is_quiet());
        }
    }

    /// The agents that sleep here, in order of their keys: for a cluster to claim those that were here before it was joined.
    pub fn for_each_dormant_agent(&self, look: impl FnMut(AgentId)) {
        let mut ids = Vec::new();
        self.routes().for_each_dormant(|record| ids.push(AgentId::of(&self.name_of(record))));
        ids.sort_unstable();
        ids.into_iter().for_each(look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: credit comes back whatever becomes of the letter, and the one who waits for it is told once.
    #[tokio::test]
    async fn credit_is_released_by_dropping() {
        let work = Arc::new(Notify::new());
        let credit = Credit::new(work.clone());
        credit.set_due(100);
        let receipts = [credit.receipt(60), credit.receipt(40), credit.receipt(900)];
        credit.release(900);
        credit.owe(900);
        work.notified().await;
        let mut receipts = receipts.into_iter();
        drop(receipts.next());
        assert_eq!(credit.consumed(), 60);
        let notified = work.notified();
        drop(receipts.next());
        notified.await;
        drop(receipts);
        assert_eq!(credit.consumed(), 1000);
    }
}
