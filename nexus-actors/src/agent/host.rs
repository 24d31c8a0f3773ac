//! `Agent<A>`: the host that decorates a behavior (design decision D1).
//!
//! Owns nothing but the behavior; inbox, counters and level live in the agent's route entry and outlive it. Supervised as its
//! topology says. A restart loses the behavior's state, and of its messages only the one being handled.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::batch::Batch;
use super::behavior::AgentSpec;
use super::cell::{AgentCell, Leaving, Sent};
use super::durable::{Codec, Durable};
use super::family::Family;
use super::hibernate::lifecycle::Phase;
use super::inbox::{Letter, Letters};
use super::level::LevelGranted;
use super::message::{AgentMessage, HostMessage, Operation, Request};
use super::pace::{LINGER, Pace, Wait};
use super::payload::Payload;
use super::persist::too_early;
use super::persisted::Persisted;
use super::reply::{Answer, Fate, ReplyPort, is_refused, listen};
use super::wait::lingered;
use crate::error::AgentError;
use crate::node::Node;
use crate::route::DeadLetterReason;
use crate::route::travel::{Luggage, TravelError};
use crate::scheduler::requeue;
use crate::store::{Standing, StoreError};
use crate::supervision::ExitReason;
use crate::telemetry::{Event, in_span};
use crate::text::{self, REASON_BYTES_MAX, cut};

/// How long a new incarnation waits for the old one to leave its last await point.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(5);

/// One in this many messages is timed.
const TIMED_EVERY: u32 = 64;

/// Why an idle agent does not sleep.
enum Unslept {
    /// The store has no room for its state now.
    Busy,
    Unwritable(String),
}

/// Decorates the behavior `A`: same mailbox, same task, no extra hop.
#[derive(Debug)]
pub struct Agent<A: Actor> {
    pub(super) behavior: A,
    /// How its state is written down, if that can be done.
    pub(super) codec: Option<Codec<A>>,
}

impl<A: Actor> Agent<A> {
    /// The host of `behavior`.
    #[must_use]
    pub const fn new(behavior: A) -> Self {
        Self { behavior, codec: None }
    }

    /// The host of a behavior whose agents can hibernate.
    #[must_use]
    pub const fn durable(behavior: A) -> Self
    where
        A: Durable,
    {
        Self { behavior, codec: Some(Codec::new()) }
    }
}

/// The behavior's state and the host's own.
#[derive(Debug)]
pub struct AgentState<S> {
    pub(super) inner: S,
    pub(super) seat: Seat,
    incarnation: u32,
    /// Wraps.
    handled: u32,
    pace: Pace,
    /// Room for the next batch, kept while there is more to come.
    pub(super) spare: Letters,
    /// Only members of a family hibernate.
    family: Option<Arc<Family>>,
    /// Only of agents whose state is written to the store.
    pub(super) persisted: Option<Box<Persisted>>,
}

/// What a batch borrows while the behavior has its state.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) node: Node,
    pub(super) cell: Arc<AgentCell>,
    pub(super) fate: Arc<Fate>,
}

/// What it takes to handle a letter.
pub(super) struct Turn<'a, S> {
    seat: &'a Seat,
    inner: &'a mut S,
    handled: &'a mut u32,
    /// Whether somebody waited for the answer to the last letter.
    asked: bool,
    persisted: Option<&'a Persisted>,
}

impl<S> AgentState<S> {
    /// What it takes to handle letters, how to wait for more, and room for them.
    pub(super) fn turn(&mut self) -> (Turn<'_, S>, &mut Pace, &mut Letters) {
        let Self { inner, seat, handled, persisted, pace, spare, .. } = self;
        (Turn { seat, inner, handled, asked: false, persisted: persisted.as_deref() }, pace, spare)
    }

    /// How long it is idle before it hibernates, if it does.
    pub(super) fn hibernates_after(&self) -> Option<Duration> {
        self.family.as_ref()?.hibernate_after
    }

    /// Leaves a message that came past the inbox to the next incarnation: this one's state is written already.
    fn put_off(&self, letter: Letter) -> Result<(), ActorProcessingErr> {
        match self.seat.cell.push(letter, self.seat.node.dead_letters()) {
            Sent::Done | Sent::Failed(_) => {}
            Sent::Full(letter) => letter.answer.send(Err(self.seat.cell.reject())),
        }
        Ok(())
    }
}

impl<A> Actor for Agent<A>
where
    A: Actor<Msg = AgentMessage, Arguments = AgentSpec>,
{
    type Msg = AgentMessage;
    type State = AgentState<A::State>;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        myself: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (node, cell) = (spec.node.clone(), spec.cell.clone());
        if let Some(predecessor) = cell.actor()
            && predecessor.get_cell().wait(Some(PREDECESSOR_WAIT)).await.is_err()
        {
            return Err(format!(
                "the previous incarnation of `{}` has not ended within {PREDECESSOR_WAIT:?}: it does not reach an await point",
                cell.name
            )
            .into());
        }
        let family = spec.family.clone();
        let keeper = cell.keeper().map(|keeper| (keeper, spec.clone()));
        let snapshot = cell.snapshot();
        let marks = snapshot.as_ref().map(|snapshot| snapshot.marks.clone());
        let inner = match (&self.codec, snapshot) {
            (Some(codec), Some(snapshot)) => {
                (codec.wake)(&self.behavior, myself.clone(), spec, snapshot).await?
            }
            _ => self.behavior.pre_start(myself.clone(), spec).await?,
        };
        let persisted = match (keeper, &self.codec) {
            (Some((keeper, spec)), Some(codec)) => {
                // It goes on from what was stored, which may be less than it had handled.
                cell.reset_marks(marks.clone().unwrap_or_default());
                Persisted::start(spec, keeper, marks, codec, &inner)?
            }
            _ => None,
        };
        let incarnation = cell.attach(myself, node.clock().now());
        Ok(AgentState {
            inner,
            seat: Seat { node, cell, fate: Arc::default() },
            incarnation,
            handled: 0,
            pace: Pace::new(),
            spare: Letters::new(),
            family,
            persisted,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.behavior.post_start(myself.clone(), &mut state.inner).await?;
        state.seat.node.events().emit(Event::AgentStarted {
            agent: state.seat.cell.name.clone(),
            behavior: state.seat.cell.behavior.clone(),
            incarnation: state.incarnation.into(),
        });
        if let Some(after) = state.hibernates_after() {
            state.seat.node.watch_idle(&state.seat.cell, after);
        }
        // Whatever came while nobody was here: pushes do not wake a scheduled agent.
        myself.cast(AgentMessage::Host(HostMessage::Wake))?;
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let stopped = self.behavior.post_stop(myself, &mut state.inner).await;
        if state.persisted.is_some() {
            self.give_before_stop(state).await;
        }
        stopped
    }

    /// Boxed: ractor keeps room for two and a half of these futures in every actor, busy or not, and most are not.
    async fn handle(
        &self,
        myself: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.deal(myself, message, state).boxed().await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<AgentMessage>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.behavior.handle_supervisor_evt(myself, event, &mut state.inner).await
    }
}

impl<A> Agent<A>
where
    A: Actor<Msg = AgentMessage, Arguments = AgentSpec>,
{
    async fn deal(
        &self,
        myself: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Host(HostMessage::Wake) => self.drain(myself, state).await,
            AgentMessage::Host(HostMessage::Hibernate) => {
                self.hibernate(&myself, state);
                Ok(())
            }
            AgentMessage::Host(HostMessage::Save) => {
                if state.persisted.is_some() && state.seat.cell.phase() != Phase::Settling {
                    self.save(&myself, state).boxed().await?;
                }
                Ok(())
            }
            AgentMessage::Host(HostMessage::Absorb(luggage, reply)) => {
                // Boxed: rare, and larger than all that is not.
                let merged = self.absorb(&myself, *luggage, state).boxed().await?;
                // Whoever sent it may be gone.
                let _ = reply.send(merged);
                Ok(())
            }
            AgentMessage::Host(HostMessage::SetLevel(requested, reply)) => {
                let granted = requested.granted();
                state.seat.cell.set_level(granted);
                state.seat.node.events().emit(Event::AgentIntelligenceAdapted {
                    agent: state.seat.cell.name.clone(),
                    requested: requested.name().into(),
                    granted: granted.name().into(),
                });
                // An operator that has given up is no error.
                let _ = reply.send(LevelGranted { requested, granted });
                Ok(())
            }
            AgentMessage::Inspect(reply) => {
                self.behavior.handle(myself, AgentMessage::Inspect(reply), &mut state.inner).await
            }
            AgentMessage::Request(request, reply) => {
                let letter = Letter { request, answer: reply.into_answer() };
                if state.seat.cell.phase() == Phase::Settling {
                    return state.put_off(letter);
                }
                if state.persisted.is_some() {
                    return self.direct_persisted(myself, letter, state).boxed().await;
                }
                let (mut turn, ..) = state.turn();
                let Seat { node, cell, fate } = turn.seat;
                let mut batch = Batch::direct(cell, node.dead_letters(), fate, letter);
                let serving = self.one::<true>(&myself, &mut turn, &mut batch);
                caught(AssertUnwindSafe(serving).catch_unwind().await, &mut batch).map(drop)
            }
        }
    }

    /// Handles up to a batch from the inbox; with more left, wakes itself, so that stop and control messages get their turn.
    async fn drain(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        if state.seat.cell.phase() == Phase::Settling {
            return Ok(());
        }
        if state.seat.cell.leaving() == Leaving::Asked {
            return self.leave(&myself, state);
        }
        if state.persisted.is_some() {
            return self.drain_persisted(myself, state).boxed().await;
        }
        let (mut turn, pace, spare) = state.turn();
        let Seat { node, cell, fate } = turn.seat;
        let mut batch = Batch::from_inbox(cell, node.dead_letters(), fate, std::mem::take(spare));
        let serving = self.serve_all(&myself, &mut turn, pace, &mut batch);
        let more = caught(AssertUnwindSafe(serving).catch_unwind().await, &mut batch)?;
        if more {
            *spare = batch.finish();
            // Fails only when the actor is about to end; its successor wakes itself.
            let _ = myself.cast(AgentMessage::Host(HostMessage::Wake));
        }
        Ok(())
    }

    /// Handles letters until none come any more, and rests; or as many as one turn allows: then it is `true`.
    async fn serve_all(
        &self,
        myself: &ActorRef<AgentMessage>,
        turn: &mut Turn<'_, A::State>,
        pace: &mut Pace,
        batch: &mut Batch<'_>,
    ) -> Result<bool, ActorProcessingErr> {
        let Seat { node, cell, .. } = turn.seat;
        let mut left = node.batch();
        let mut over = pin!(None);
        let mut left_then = left;
        pace.begin(node.clock().now());
        loop {
            if self.one::<false>(myself, turn, batch).await? {
                pace.found();
                left -= 1;
                if left == 0 || cell.leaving() == Leaving::Asked {
                    return Ok(true);
                }
                continue;
            }
            let rests = match pace.wait(turn.asked) {
                Wait::Look => {
                    requeue().await;
                    false
                }
                Wait::Linger => {
                    if over.is_none() {
                        left_then = left;
                        over.set(Some(tokio::time::sleep(LINGER)));
                    }
                    let is_over = lingered(cell.inbox(), over.as_mut()).await;
                    if is_over && pace.over(left < left_then) {
                        return Ok(true);
                    }
                    is_over
                }
                Wait::Rest => true,
            };
            if rests && cell.inbox().rest() {
                let now = node.clock().now();
                pace.rest(now);
                if cell.can_sleep() {
                    cell.rested(now);
                }
                return Ok(false);
            }
        }
    }

    /// Writes the state down and ends, unless there is something to do. Whatever comes from now on waits in the inbox for
    /// the next incarnation.
    fn hibernate(&self, myself: &ActorRef<AgentMessage>, state: &mut AgentState<A::State>) {
        let (cell, node) = (state.seat.cell.clone(), state.seat.node.clone());
        let Some(codec) = &self.codec else { return };
        if state.family.is_none()
            || cell.phase() != Phase::Live
            || cell.leaving() != Leaving::No
            // One that has not wholly come has no place to sleep in.
            || !node.routes().leads_to(&cell)
            || !cell.inbox().seal()
        {
            return;
        }
        let given = (codec.write)(&state.inner)
            .map_err(|error| Unslept::Unwritable(error.to_string()))
            .and_then(|mut snapshot| match self.give_before_sleep(state, &mut snapshot) {
                Ok(()) => Ok(snapshot),
                // It is asked again later.
                Err(StoreError::Busy { .. }) => Err(Unslept::Busy),
                Err(error) => Err(Unslept::Unwritable(error.to_string())),
            });
        match given {
            Ok(snapshot) => {
                cell.settle(snapshot);
                myself.stop(Some(ExitReason::Hibernated.stop_text()));
                return;
            }
            Err(Unslept::Busy) => {}
            Err(Unslept::Unwritable(reason)) => {
                let reason = cut(&reason, REASON_BYTES_MAX).into();
                node.events().emit(Event::AgentNotHibernated { agent: cell.name.clone(), reason });
            }
        }
        cell.inbox().open();
        // Fails only when the actor is about to end; its successor wakes itself.
        let _ = myself.cast(AgentMessage::Host(HostMessage::Wake));
    }

    /// Writes the state down and ends, for another node to go on. Whatever waits in the inbox goes along.
    fn leave(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, node) = (state.seat.cell.clone(), state.seat.node.clone());
        if !cell.set_leaving(Leaving::Asked, Leaving::Gone) {
            return Ok(());
        }
        let written = self.codec.as_ref().map(|codec| (codec.write)(&state.inner)).transpose();
        match written {
            Ok(snapshot) => {
                if let Some(mut snapshot) = snapshot {
                    snapshot.marks = match &state.persisted {
                        Some(persisted) => persisted.marks.clone(),
                        None => cell.marks(),
                    };
                    cell.set_snapshot(snapshot);
                }
                cell.set_phase(Phase::Settling);
                myself.stop(Some(ExitReason::Hibernated.stop_text()));
            }
            Err(error) => {
                cell.set_leaving(Leaving::Gone, Leaving::No);
                let reason = cut(&error.to_string(), REASON_BYTES_MAX).into_owned();
                node.stays(&cell, TravelError::Unwritable { agent: cell.name.clone(), reason });
                myself.cast(AgentMessage::Host(HostMessage::Wake))?;
            }
        }
        Ok(())
    }

    /// Merges another agent's state into this one's.
    async fn absorb(
        &self,
        myself: &ActorRef<AgentMessage>,
        luggage: Luggage,
        state: &mut AgentState<A::State>,
    ) -> Result<Result<(), AgentError>, ActorProcessingErr> {
        let name = &state.seat.cell.name;
        if state.seat.cell.phase() == Phase::Settling {
            let reason = "it is going to sleep, or to another node".into();
            return Ok(Err(AgentError::Stopped { name: name.to_string(), reason }));
        }
        let Some(codec) = &self.codec else {
            let what = format!("to merge `{name}`: its behavior is not durable");
            return Ok(Err(AgentError::Unsupported { what }));
        };
        let merged = (codec.merge)(&mut state.inner, luggage.snapshot());
        if merged.is_ok()
            && let Some(persisted) = &mut state.persisted
        {
            let now = state.seat.node.clock().now();
            persisted.handled(&Request::action("merge", Payload::EMPTY), true, || now);
            // Whatever its policy: what it has taken over is forgotten where it was.
            if !self.commit(myself, state).await? {
                let reason = "what it has taken over could not be stored".to_owned();
                return Ok(Err(AgentError::Failed { reason }));
            }
        }
        Ok(merged)
    }

    /// Hands the first request of the batch to the behavior and accounts for it, however it ends. `false` if there is none.
    ///
    /// Made twice, `APART` for all callers but one: what has a single caller becomes a part of it, which saves the usual letter a tenth of
    /// its time.
    pub(super) async fn one<const APART: bool>(
        &self,
        myself: &ActorRef<AgentMessage>,
        turn: &mut Turn<'_, A::State>,
        batch: &mut Batch<'_>,
    ) -> Result<bool, ActorProcessingErr> {
        let Some(Letter { request, answer }) = batch.first() else { return Ok(false) };
        if let Some((reason, error)) = expired(request, answer, &turn.seat.node) {
            batch.bury(reason, error);
            return Ok(true);
        }
        // From then on it counts as handled, whatever becomes of it: what crashes an agent would crash it again.
        if let Some((origin, follows)) = request.chained()
            && turn.persisted.is_none()
            && let standing @ (Standing::Handled | Standing::Early { .. }) =
                turn.seat.cell.take_turn(origin, follows)
        {
            out_of_turn(&turn.seat.node, batch, standing);
            return Ok(true);
        }
        let asked = answer.is_asked();
        turn.asked = asked;
        let reply = if asked {
            turn.seat.fate.begin();
            let default = (request.operation == Operation::Query && !request.payload.is_empty())
                .then(|| request.payload.clone());
            let answer = match turn.persisted.and_then(Persisted::withholds) {
                Some(ledger) => answer.take().withheld(ledger),
                None => answer.take(),
            };
            ReplyPort::bound(answer, default, &turn.seat.fate)
        } else {
            ReplyPort::nobody()
        };
        let started = (*turn.handled % TIMED_EVERY == 0).then(tokio::time::Instant::now);
        *turn.handled = turn.handled.wrapping_add(1);
        let updates = request.operation == Operation::Update;
        let traced = request.trace().is_some();

        // The copy is what stays: it is written in parts, which a processor is slow to read as a whole.
        let copy = request.clone();
        let message = AgentMessage::Request(std::mem::replace(request, copy), reply);
        batch.begin();
        // Pinned here, so that the two ways to await it do not each hold a copy.
        let mut handling = pin!(self.behavior.handle(myself.clone(), message, turn.inner));
        listen();
        let result = if traced {
            in_span(&turn.seat.cell.name, batch.request(), handling.as_mut()).await
        } else {
            handling.as_mut().await
        };
        if let Err(error) = result {
            batch.failed(cut(&error.to_string(), REASON_BYTES_MAX).into_owned());
            return Err(error);
        }
        if is_refused() {
            turn.seat.cell.refused(batch.request(), &turn.seat.node);
        }
        batch.completed();
        if asked {
            turn.seat.fate.end(AgentError::NoReply);
        }
        if updates {
            turn.seat.node.metrics().updates.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(started) = started {
            let took = started.elapsed();
            turn.seat.node.metrics().message_duration(took);
            turn.seat.cell.served(took);
        }
        Ok(true)
    }
}

/// Is done with a request of a feed that is not the agent's next one of it.
#[cold]
fn out_of_turn(node: &Node, batch: &mut Batch<'_>, standing: Standing) {
    match standing {
        Standing::Early { mark } => too_early(node, batch, mark),
        Standing::Handled | Standing::Next => {
            node.count_skipped();
            batch.completed();
        }
    }
}

/// How the serving of `batch` ended. A panic is caught close to where it comes from, and the agent ends with it as with an error: ractor
/// would catch it too, after unwinding all that is between.
pub(super) fn caught<T>(
    served: Result<Result<T, ActorProcessingErr>, Box<dyn Any + Send>>,
    batch: &mut Batch<'_>,
) -> Result<T, ActorProcessingErr> {
    served.unwrap_or_else(|panic| {
        let said = text::of_panic(&*panic);
        batch.failed(cut(said, REASON_BYTES_MAX).into_owned());
        Err(said.into())
    })
}

/// Why a request should not be handled any more.
#[inline]
fn expired(request: &Request, answer: &Answer, node: &Node) -> Option<(DeadLetterReason, AgentError)> {
    if request.deadline().is_some_and(|deadline| node.clock().now() > deadline) {
        return Some((DeadLetterReason::Expired, AgentError::DeadlineExceeded));
    }
    // An error is not free to drop: it is not made before it is needed.
    if answer.is_cancelled() { Some((DeadLetterReason::Cancelled, AgentError::NoReply)) } else { None }
}
