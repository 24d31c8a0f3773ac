//! How agents leave this node for another one, and how they arrive from there.
//!
//! ```text
//!   source                          target                          any other node
//!   depart ── left: its luggage ──▶ expect, store
//!                                   activate   (it lives there)
//!   relay  ── what waits ─────────▶
//!                                   join: behind a fence            switch: behind a fence
//!   settle ── nothing comes by way of the source any more
//! ```
//!
//! **Order.** Whoever has sent to the agent by way of its old node sends on by another way only when all that went the old one has arrived.
//! What is sent meanwhile waits, bounded like an inbox. A *fence* tells: it follows the letters, is queued and passed on where they are, and is
//! answered where the agent lives.
//!
//! Which node has the agent is not decided here: until a target activates it, the source can take it back.

mod adopt;
mod arrival;
mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::ActorStatus;
use tokio::sync::oneshot;

use super::halt::{Fence, Halt, Halted, Item};
use super::passage::{Left, is_unclaimed};
use super::remote::{Asker, Forwarded, Parcel, Ticket, Way};
use super::{DeadLetterReason, RouteTable};
use crate::agent::{
    AgentCell, AgentId, AgentMessage, Answer, Family, HostMessage, Leaving, Letter, Level, Payload, Phase,
    Record, Sent, Snapshot, Target,
};
use crate::error::AgentError;
use crate::node::Node;
use crate::store::Marks;

pub use self::arrival::Arrival;
pub use self::error::TravelError;

/// How long a fence may take. Then letters go on without it: a way that is stuck so long holds up whoever waits for it no longer.
const FENCE_MAX: Duration = Duration::from_secs(30);
/// How long one that did not get through waits before it is tried again.
const FENCE_PAUSE: Duration = Duration::from_millis(20);
/// Letters that are sent in one turn of a task.
const TURN: usize = 256;
/// How often and how long is waited for an agent to wake that is to take another's state.
const WAKE_PAUSE: Duration = Duration::from_millis(20);
const WAKE_PAUSES: usize = 250;
/// How often an agent that has come and ends over it is given what this node had of it.
const MERGES_MAX: usize = 8;

/// What an agent brings along.
#[derive(Clone, PartialEq, Eq)]
pub struct Luggage {
    /// Registered name of its behavior.
    pub behavior: Arc<str>,
    /// The level that serves it.
    pub level: Level,
    /// Starts so far.
    pub incarnation: u32,
    /// The version of its state's form.
    pub version: u32,
    /// How far it has handled each feed, by the feed's number.
    pub marks: Vec<(u16, u64)>,
    /// Its state in MessagePack.
    pub state: Bytes,
}

impl fmt::Debug for Luggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Luggage")
            .field("behavior", &self.behavior)
            .field("incarnation", &self.incarnation)
            .field("bytes", &self.state.len())
            .finish_non_exhaustive()
    }
}

impl Luggage {
    fn of(behavior: &Arc<str>, level: Level, incarnation: u32, snapshot: &Snapshot) -> Self {
        Self {
            behavior: behavior.clone(),
            level,
            incarnation,
            version: snapshot.version,
            marks: snapshot.marks.as_slice().to_vec(),
            state: Bytes::copy_from_slice(&snapshot.state),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: self.version,
            state: Box::from(&*self.state),
            marks: Marks::from(self.marks.clone()),
        }
    }
}

/// How the leaving of an agent ended: its luggage, if it could write any.
pub type Outcome = Result<Option<Luggage>, TravelError>;

/// An agent that leaves. If it is dropped, letters for the agent wait for ever: it [comes back](Self::come_back) or is
/// [settled](Self::settle).
#[derive(Clone, Debug)]
pub struct Departure {
    node: Node,
    name: Arc<str>,
    family: Arc<Family>,
    halt: Arc<Halt>,
    awake: Option<Arc<AgentCell>>,
    asleep: Option<Record>,
    luggage: Option<Luggage>,
}

impl Node {
    /// Lets the agent leave: what is sent to it waits from now on, and it ends when it has handled the message at hand. The receiver hears
    /// what it brings along: nothing, if it `must` leave and cannot write its state.
    ///
    /// # Errors
    /// [`TravelError`]: it stays as it is.
    pub fn depart(
        &self,
        name: &Arc<str>,
        must: bool,
    ) -> Result<(Departure, oneshot::Receiver<Outcome>), TravelError> {
        let id = AgentId::of(name);
        let (sender, receiver) = oneshot::channel();
        let Some(family) = self.family_of(name) else {
            let here = self.routes().contains(id);
            return Err(if here {
                TravelError::OneByOne(name.clone())
            } else {
                TravelError::NotHere(name.clone())
            });
        };
        if !must && !family.durable && self.routes().contains(id) {
            let behavior = family.template.behavior.clone();
            return Err(TravelError::NotDurable { agent: name.clone(), behavior });
        }
        let limit = u64::from(family.template.inbox.max(1));
        let Some((halt, left)) = self.routes().halt_leaving(id, limit, sender) else {
            return Err(if self.routes().is_on_its_way(id) {
                TravelError::OnItsWay(name.clone())
            } else {
                TravelError::NotHere(name.clone())
            });
        };
        let mut departure = Departure {
            node: self.clone(),
            name: name.clone(),
            family,
            halt,
            awake: None,
            asleep: None,
            luggage: None,
        };
        match left {
            Left::Awake(cell) => {
                departure.awake = Some(cell.clone());
                cell.wake();
            }
            Left::Asleep(record) => {
                let parts = record.parts();
                let behavior = &departure.family.template.behavior;
                let luggage = Luggage::of(behavior, parts.level, parts.incarnation, &record.snapshot());
                departure.asleep = Some(record);
                self.follow_groups_named(name);
                departure.halt.has_left(Ok(Some(luggage)));
            }
        }
        Ok((departure, receiver))
    }

    /// The agents that are between two places, whose letters wait here, and what for: for the trace of a simulation.
    #[must_use]
    pub fn between_places(&self) -> Vec<(AgentId, String)> {
        self.routes().describe_halts()
    }

    /// The actor of an agent that was to leave has ended for good. `false` if it was not.
    pub(crate) fn left(&self, cell: &Arc<AgentCell>) -> bool {
        let Some(halt) = self.routes().halt(cell.id).filter(|halt| halt.leads_to(cell)) else { return false };
        let leaving = cell.leaving();
        if leaving == Leaving::No {
            return false;
        }
        self.unwatch_idle(cell);
        {
            let mut retired = self.retired().lock();
            let mut letters = Vec::new();
            *retired += cell.vacate(|letter| letters.push(letter));
            self.routes().forget_live(cell);
            halt.put_before(letters);
            halt.vacated();
        }
        self.follow_groups(cell);
        // One that went to sleep at that moment, or did not wake, has left from there.
        let outcome = if leaving == Leaving::Gone || (cell.phase() != Phase::Live && cell.has_snapshot()) {
            let snapshot = cell.snapshot();
            Ok(snapshot
                .map(|snapshot| Luggage::of(&cell.behavior, cell.level(), cell.incarnation(), &snapshot)))
        } else {
            self.give_up(&cell.name, &halt, DeadLetterReason::AgentStopped);
            self.release(cell.id);
            Err(TravelError::Ended(cell.name.clone()))
        };
        halt.has_left(outcome);
        true
    }

    /// An agent that was to leave goes on here.
    pub(crate) fn stays(&self, cell: &Arc<AgentCell>, why: TravelError) {
        if let Some(halt) = self.routes().halt(cell.id).filter(|halt| halt.leads_to(cell)) {
            self.routes().resume(&halt, cell);
            halt.has_left(Err(why));
        }
    }

    /// What waits becomes dead letters, and the route is gone.
    fn give_up(&self, name: &Arc<str>, halt: &Arc<Halt>, reason: DeadLetterReason) {
        loop {
            while let Some(item) = halt.pop(true) {
                match item {
                    Item::Letter(letter) => {
                        let error =
                            AgentError::Stopped { name: name.to_string(), reason: reason.to_string() };
                        let _ = self.unroutable(name, letter, error, reason);
                    }
                    Item::Fence(fence) => fence.has_passed(),
                }
            }
            if self.routes().turn(halt, AgentId::of(name), None)
                || self.routes().halt(AgentId::of(name)).is_none()
            {
                return;
            }
        }
    }

    /// A new cell for an agent with `luggage`, to be given to its family's supervisor.
    fn cell_of(&self, name: &Arc<str>, family: &Family, luggage: Option<&Luggage>) -> Arc<AgentCell> {
        let template = &family.template;
        let cell = match luggage {
            Some(luggage) => {
                let (level, incarnation) = (luggage.level.granted(), luggage.incarnation);
                let record = Record::of(family, name, level, incarnation, &luggage.snapshot());
                AgentCell::woken(name.clone(), template, &record)
            }
            None => AgentCell::new(name.clone(), template),
        };
        Arc::new(cell.that_can_sleep(family.durable))
    }

    /// The route leads to `cell` from now on, with all that waits.
    fn resume(&self, halt: &Arc<Halt>, family: &Arc<Family>, cell: &Arc<AgentCell>) {
        self.routes().note_live(cell);
        if self.routes().resume(halt, cell) {
            self.follow_groups(cell);
            self.activate(family, cell);
        } else {
            self.routes().forget_live(cell);
        }
    }

    /// The way to the node of this name.
    fn way_to(&self, node: &str) -> Option<Arc<dyn Way>> {
        self.remote_slot().get()?.way_to(node)
    }

    /// Sends what waits along `way`, in order, until nothing is left and `done`.
    async fn drain(
        &self,
        name: &Arc<str>,
        halt: &Arc<Halt>,
        way: &Arc<dyn Way>,
        done: impl Fn(&RouteTable) -> bool,
    ) {
        self.drain_if(name, halt, way, true, done).await;
    }

    /// The same, only with what is `late` if that is wanted.
    async fn drain_if(
        &self,
        name: &Arc<str>,
        halt: &Arc<Halt>,
        way: &Arc<dyn Way>,
        late: bool,
        done: impl Fn(&RouteTable) -> bool,
    ) {
        loop {
            match self.drain_some(name, halt, way, late) {
                Drained::Full => way.room().await,
                Drained::Some => tokio::task::yield_now().await,
                Drained::All if done(self.routes()) => return,
                Drained::All => {}
            }
        }
    }

    fn drain_some(&self, name: &Arc<str>, halt: &Arc<Halt>, way: &Arc<dyn Way>, late: bool) -> Drained {
        let id = AgentId::of(name);
        for _ in 0..TURN {
            let Some(item) = halt.pop(late) else { return Drained::All };
            match item {
                Item::Fence(Fence { origin, answer }) => way.fence(id, &origin, Asker::of(answer)),
                Item::Letter(letter) => match way.forward(id, Some(name), Parcel::of(letter)) {
                    Forwarded::Taken => {}
                    Forwarded::Full(parcel) => {
                        halt.put_before(vec![parcel.into_letter()]);
                        return Drained::Full;
                    }
                    Forwarded::Lost(parcel, error) => {
                        let _ =
                            self.unroutable(name, parcel.into_letter(), error, DeadLetterReason::NodeLost);
                    }
                    Forwarded::Refused(parcel, error, reason) => {
                        let _ = self.unroutable(name, parcel.into_letter(), error, reason);
                    }
                },
            }
        }
        Drained::Some
    }

    /// Waits until all that went along `way` has arrived, or is lost.
    async fn fence(&self, id: AgentId, way: &Arc<dyn Way>) {
        let fenced = async {
            loop {
                let (answer, receiver) = Answer::channel();
                way.fence(id, self.name(), Asker::of(answer));
                match receiver.await {
                    Ok(Ok(_)) | Ok(Err(AgentError::NodeLost { .. })) | Err(_) => return,
                    Ok(Err(_)) => tokio::time::sleep(FENCE_PAUSE).await,
                }
            }
        };
        if tokio::time::timeout(FENCE_MAX, fenced).await.is_err() {
            tracing::warn!(agent = %id, way = way.node(), "letters may overtake each other: the way was stuck for {FENCE_MAX:?}");
        }
    }

    /// A fence has come from the node `from`, behind letters; the node `origin` waits for it. One of this node's own has come round, with
    /// all that went before it.
    pub fn receive_fence(&self, id: AgentId, from: &str, origin: &str, ticket: Arc<dyn Ticket>) {
        let answer = Answer::Remote(Box::new((ticket, None)));
        if *origin == **self.name() {
            return answer.send(Ok(Payload::EMPTY));
        }
        if let Some(cell) = self.routes().get(id) {
            // What waits for a claim may go on to another node: it is to be asked again.
            let not_yet = AgentError::Overloaded { queued: 0, limit: 0, shed_below_percent: None };
            return answer.send(if is_unclaimed(&cell) { Err(not_yet) } else { Ok(Payload::EMPTY) });
        }
        let fence = Fence { origin: origin.into(), answer };
        let onward = match self.routes().read_halt(id) {
            Some(halt) => halt.fence(fence, from),
            None => match self.routes().way(id) {
                Some(way) => Some((way, fence)),
                None => return fence.has_passed(),
            },
        };
        if let Some((way, Fence { origin, answer })) = onward {
            way.fence(id, &origin, Asker::of(answer));
        }
    }

    /// From now on this node's agents send to `name` by way of `to`, behind all that they sent by way of `from`. Returns when they do,
    /// or at once if they never sent that way.
    pub async fn switch(&self, name: &Arc<str>, from: &str, to: &str) {
        let id = AgentId::of(name);
        let limit = self.family_of(name).map_or(1024, |family| u64::from(family.template.inbox.max(1)));
        let retire = |_: &AgentCell, tally| *self.retired().lock() += tally;
        let Some((halt, way)) = self.routes().halt_turning(id, from, limit, retire) else { return };
        if let Some(way) = way.or_else(|| self.way_to(from)) {
            self.fence(id, &way).await;
        }
        halt.fence_has_passed();
        match self.way_to(to) {
            Some(way) => self.drain(name, &halt, &way, |routes| routes.turn(&halt, id, Some(&way))).await,
            None => self.give_up(name, &halt, DeadLetterReason::NodeLost),
        }
    }

    /// A letter for an agent that is between two places; of the node `from`, or of this one's own agents.
    pub(super) fn halted<T: Target + ?Sized>(
        &self,
        to: &T,
        letter: Letter,
        from: Option<&str>,
    ) -> Result<Sent, Letter> {
        let forwarded = {
            let Some(halt) = self.routes().read_halt(to.id()) else { return Err(letter) };
            match halt.push(letter, from, self.dead_letters()) {
                Halted::Sent(sent) => return Ok(sent),
                Halted::Along(way, letter) => way.forward(to.id(), to.name(), Parcel::of(letter)),
            }
        };
        Ok(match forwarded {
            Forwarded::Taken => Sent::Done,
            Forwarded::Full(parcel) => Sent::Full(parcel.into_letter()),
            Forwarded::Lost(parcel, error) => {
                Sent::Failed(self.unroutable(to, parcel.into_letter(), error, DeadLetterReason::NodeLost))
            }
            Forwarded::Refused(parcel, error, reason) => {
                Sent::Failed(self.unroutable(to, parcel.into_letter(), error, reason))
            }
        })
    }

    /// Gives the agent, which lives here, another one's state to be [merged](crate::agent::Durable::merge) into its own.
    ///
    /// # Errors
    /// It is not here or does not wake, or its behavior cannot read the state: nothing is changed.
    pub async fn absorb(&self, name: &Arc<str>, luggage: Luggage) -> Result<(), AgentError> {
        let id = AgentId::of(name);
        let stopped = |reason: &str| AgentError::Stopped { name: name.to_string(), reason: reason.into() };
        if !self.routes().contains(id) && self.routes().present(id).is_none() {
            return Err(AgentError::UnknownAgent { name: name.to_string() });
        }
        if let Some((family, ..)) = self.dormant(id)
            && let Ok(cell) = self.declare_member(name.clone(), &family)
        {
            self.activate(&family, &cell);
        }
        for _ in 0..WAKE_PAUSES {
            let Some(cell) = self.routes().present(id) else { return Err(stopped("it has gone meanwhile")) };
            // The last incarnation's is still there while the next one wakes.
            if let Some(actor) = cell.actor().filter(|actor| actor.get_status() == ActorStatus::Running) {
                let (sender, receiver) = oneshot::channel();
                let message = AgentMessage::Host(HostMessage::Absorb(Box::new(luggage), sender.into()));
                actor.cast(message).map_err(|_| stopped("it is not running"))?;
                return receiver.await.unwrap_or_else(|_| Err(stopped("it ended meanwhile")));
            }
            tokio::time::sleep(WAKE_PAUSE).await;
        }
        Err(stopped("it did not wake"))
    }
}

enum Drained {
    /// Nothing is left.
    All,
    /// There may be more.
    Some,
    /// There is no room on the way.
    Full,
}

impl Departure {
    /// The agent's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it brings along: kept, in case it comes back.
    pub fn keep(&mut self, luggage: Option<Luggage>) {
        self.luggage = luggage;
    }

    /// It takes too long: the agent stays, unless it has left already. What was to be heard of it says so.
    pub fn stay(&self) {
        if let Some(cell) = &self.awake
            && cell.set_leaving(Leaving::Asked, Leaving::No)
        {
            self.node.stays(cell, TravelError::Stays(self.name.clone()));
        }
    }

    /// The agent goes on here from what it left with, and handles what waits.
    pub fn come_back(self) {
        let Self { node, name, family, halt, asleep, luggage, .. } = self;
        if let Some(record) = asleep
            && node.routes().resume_asleep(&halt, AgentId::of(&name), record)
        {
            return node.follow_groups_named(&name);
        }
        let cell = node.cell_of(&name, &family, luggage.as_ref());
        node.resume(&halt, &family, &cell);
    }

    /// The agent lives on the node `to`: what waits goes there, in order, and what comes follows. Returns when nothing waits any more.
    /// What is stored of it here is erased.
    pub async fn relay(&self, to: &str) {
        if self.family.template.persist.is_some()
            && let Some(store) = self.node.store()
        {
            store.erase(&self.name);
        }
        let Some(way) = self.node.way_to(to) else { return };
        self.node.drain(&self.name, &self.halt, &way, |_| self.halt.pass(&way)).await;
    }

    /// Nobody sends to the agent by way of this node any more: its own agents send to the node `to`.
    pub fn settle(self, to: &str) {
        // Everybody has heard: what came by way of this node has arrived.
        self.halt.forget_senders();
        let way = self.node.way_to(to);
        if !self.node.routes().turn(&self.halt, AgentId::of(&self.name), way.as_ref()) {
            // The node was lost before all had gone there.
            self.node.give_up(&self.name, &self.halt, DeadLetterReason::NodeLost);
        }
    }
}
