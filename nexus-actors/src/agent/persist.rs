//! The host of an agent whose state is written to the store.
//!
//! ```text
//! letter ─▶ admit ─▶ handled before? skipped                      after the batch: settle
//!             │      store degraded and each-update?                 each-update: commit, then the replies;
//!             │        asked or told: refused                          failed: back to the last commit, replies are errors
//!             │        from a feed: waits for the store               other policies: given to the store when due
//!             └────▶ handled as ever                               then grant: checkpoints that wait for the state
//! ```
//!
//! Under each-update a batch is either of requests that somebody may wait for or of a feed's, never both: a failed commit undoes the
//! first, whose senders hear of it, and never the second, which a feed sends once. What a feed's batch has changed stays, and is
//! written before anything more is changed.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::batch::Batch;
use super::behavior::AgentSpec;
use super::cell::Leaving;
use super::durable::Snapshot;
use super::host::{Agent, AgentState, Seat, caught};
use super::inbox::Letter;
use super::message::{AgentMessage, HostMessage};
use super::persisted::{Admit, not_stored};
use super::reply::{ReplyPort, is_refused, listen};
use crate::error::AgentError;
use crate::node::Node;
use crate::route::DeadLetterReason;
use crate::store::{Due, StoreError, Wish};
use crate::telemetry::Event;
use crate::text::{REASON_BYTES_MAX, cut};

/// How the serving of a batch ended.
#[derive(PartialEq, Eq)]
enum Served {
    /// Nothing is left.
    All,
    /// As many as one turn allows.
    Enough,
    /// The next letter waits for the store.
    Stalled,
}

/// An answer for those whose changes are gone with the actor.
fn cut_short() -> AgentError {
    AgentError::Crashed { reason: "the agent ended before the change was stored".into() }
}

impl<A> Agent<A>
where
    A: Actor<Msg = AgentMessage, Arguments = AgentSpec>,
{
    /// As `drain`, for an agent whose state is written to the store.
    pub(super) async fn drain_persisted(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        let Seat { node, cell, fate } = state.seat.clone();
        let spare = std::mem::take(&mut state.spare);
        // Dropped after the batch, which has its own last words for the letter at hand.
        let _withheld = state.persisted.as_ref().map(|persisted| persisted.ledger.guard(cut_short));
        let mut batch = Batch::from_inbox(&cell, node.dead_letters(), &fate, spare);
        let serving = self.serve(&myself, state, &mut batch);
        let served = caught(AssertUnwindSafe(serving).catch_unwind().await, &mut batch)?;
        self.settle(&myself, state).await?;
        state.spare = batch.finish();
        self.grant(state);
        let goes_on = match served {
            Served::Enough => true,
            Served::Stalled => !self.must_wait(state),
            Served::All => !cell.inbox().rest(),
        };
        if goes_on {
            // In another turn, so that stop and control messages get theirs. Fails only when the actor is about to end; its
            // successor wakes itself.
            let _ = myself.cast(AgentMessage::Host(HostMessage::Wake));
        } else if served == Served::All && state.hibernates_after().is_some() {
            cell.rested(node.clock().now());
        }
        Ok(())
    }

    /// Handles a letter that came past the inbox.
    pub(super) async fn direct_persisted(
        &self,
        myself: ActorRef<AgentMessage>,
        letter: Letter,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        let Seat { node, cell, fate } = state.seat.clone();
        let _withheld = state.persisted.as_ref().map(|persisted| persisted.ledger.guard(cut_short));
        let mut batch = Batch::direct(&cell, node.dead_letters(), &fate, letter);
        let serving = self.serve(&myself, state, &mut batch);
        if caught(AssertUnwindSafe(serving).catch_unwind().await, &mut batch)? == Served::Stalled {
            let reason = state.persisted.as_ref().and_then(|persisted| persisted.store.wrong());
            let error = not_stored(&reason.unwrap_or(StoreError::Closed));
            refuse(state, &mut batch, error);
        }
        self.settle(&myself, state).await?;
        self.grant(state);
        Ok(())
    }

    async fn serve(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
        batch: &mut Batch<'_>,
    ) -> Result<Served, ActorProcessingErr> {
        let mut left = state.seat.node.batch();
        while left > 0 {
            let Some(persisted) = &mut state.persisted else { return Ok(Served::All) };
            match persisted.admit(batch, |origin| state.seat.cell.is_poison(origin)) {
                Admit::Empty => return Ok(Served::All),
                Admit::Skip => {
                    state.seat.node.count_skipped();
                    batch.completed();
                }
                Admit::Early { mark } => too_early(&state.seat.node, batch, mark),
                Admit::Poison => pass_over(state, batch),
                Admit::Settle => {
                    self.settle(myself, state).await?;
                    batch.settled();
                    continue;
                }
                Admit::Refuse(error) => refuse(state, batch, error),
                Admit::Wait => return Ok(Served::Stalled),
                Admit::Handle => {
                    let (request, asked) = {
                        let letter = batch.first().expect("it was admitted");
                        (letter.request.clone(), letter.answer.is_wanted())
                    };
                    self.one::<true>(myself, &mut state.turn().0, batch).await?;
                    let clock = *state.seat.node.clock();
                    if let Some(persisted) = &mut state.persisted {
                        persisted.handled(&request, asked, || clock.now());
                    }
                    if let Some((origin, _)) = request.chained() {
                        state.seat.cell.advance_mark(origin);
                    }
                }
            }
            left -= 1;
            if state.seat.cell.leaving() != Leaving::No {
                break;
            }
        }
        Ok(Served::Enough)
    }

    /// Gives the state to the store if its policy says so, and answers those who wait for that.
    async fn settle(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.seat.node.clock().now();
        let Some(persisted) = &mut state.persisted else { return Ok(()) };
        match persisted.persist.due(persisted.changes, persisted.since, now) {
            Due::No => persisted.ledger.release(Ok(())),
            Due::At(at) => {
                if !std::mem::replace(&mut persisted.timer, true) {
                    // Runs out with the actor.
                    myself.send_after(at.since(now), || AgentMessage::Host(HostMessage::Save));
                }
            }
            Due::Now => {
                if let Err(error) = self.put_or_watch(state)
                    && !matches!(error, StoreError::Busy { .. })
                {
                    self.not_given(state, &error);
                }
            }
            Due::BeforeReplies => return self.commit(myself, state).await.map(drop),
        }
        Ok(())
    }

    /// Commits the state, then answers; or undoes what cannot be committed. Whether it is committed.
    pub(super) async fn commit(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<bool, ActorProcessingErr> {
        let written = self.snapshot(state);
        let Some(persisted) = &mut state.persisted else { return Ok(true) };
        let fed = persisted.fed;
        let result = match &written {
            Ok(snapshot) => persisted.store.commit(&state.seat.cell, snapshot.clone(), fed).await,
            Err(error) => Err(error.clone()),
        };
        match (result, written) {
            (Ok(()), Ok(snapshot)) => {
                state.seat.cell.set_snapshot(snapshot);
                persisted.given();
                persisted.ledger.release(Ok(()));
                Ok(true)
            }
            (Err(error), _) if !fed => self.undo(myself, state, &error).await.map(|()| false),
            (Err(error @ (StoreError::TooLarge { .. } | StoreError::Unwritable { .. })), _) => {
                Err(format!("a feed's request made a state that cannot be stored: {error}").into())
            }
            // A feed's changes stay, and are written before anything else is changed.
            _ => {
                if !self.must_wait(state) {
                    // Fails only when the actor is about to end; its successor wakes itself.
                    let _ = myself.cast(AgentMessage::Host(HostMessage::Wake));
                }
                Ok(false)
            }
        }
    }

    /// Goes back to what was stored last; those whose changes are undone hear why.
    async fn undo(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
        error: &StoreError,
    ) -> Result<(), ActorProcessingErr> {
        let (Some(persisted), Some(codec)) = (&mut state.persisted, &self.codec) else { return Ok(()) };
        let error = not_stored(error);
        let stored = state.seat.cell.snapshot().or_else(|| persisted.initial.clone());
        let snapshot = stored.ok_or("nothing was stored, and the state it began with is not known")?;
        persisted.marks = snapshot.marks.clone();
        persisted.changes = 0;
        let told = std::mem::take(&mut persisted.told);
        persisted.ledger.release(Err(&error));
        state.inner = (codec.wake)(&self.behavior, myself.clone(), persisted.spec.clone(), snapshot).await?;
        for request in told {
            state.seat.cell.undone(&request, &error, &state.seat.node);
        }
        Ok(())
    }

    /// The state as it is now, with its marks.
    fn snapshot(&self, state: &AgentState<A::State>) -> Result<Snapshot, StoreError> {
        let (Some(persisted), Some(codec)) = (&state.persisted, &self.codec) else {
            return Err(StoreError::NoStore);
        };
        let written = (codec.write)(&state.inner).map_err(|error| StoreError::Unwritable {
            agent: state.seat.cell.name.clone(),
            reason: cut(&error.to_string(), REASON_BYTES_MAX).into(),
        })?;
        Ok(Snapshot { marks: persisted.marks.clone(), ..written })
    }

    /// Gives the state to the store.
    fn put(&self, state: &mut AgentState<A::State>) -> Result<(), StoreError> {
        let snapshot = self.snapshot(state)?;
        let Some(persisted) = &mut state.persisted else { return Err(StoreError::NoStore) };
        persisted.store.put(&state.seat.cell, snapshot.clone())?;
        state.seat.cell.set_snapshot(snapshot);
        persisted.given();
        Ok(())
    }

    /// The same; where there is no room the agent is woken when there may be.
    fn put_or_watch(&self, state: &mut AgentState<A::State>) -> Result<(), StoreError> {
        match self.put(state) {
            Err(StoreError::Busy { .. }) => {}
            done => return done,
        }
        if let Some(persisted) = &state.persisted {
            persisted.store.watch(&state.seat.cell);
        }
        // Room may have come before the store knew whom to wake.
        self.put(state)
    }

    /// Tells of a state that the store does not take; it is tried again when the policy says so the next time.
    fn not_given(&self, state: &mut AgentState<A::State>, error: &StoreError) {
        let (agent, reason) = (state.seat.cell.name.clone(), error.to_string().into());
        state.seat.node.events().emit(Event::SnapshotFailed { agent, reason });
        if let Some(persisted) = &mut state.persisted {
            persisted.changes = 1;
            persisted.since = state.seat.node.clock().now();
        }
    }

    /// Whether the store still does not write, so that the agent has to wait; it is woken when it does.
    fn must_wait(&self, state: &AgentState<A::State>) -> bool {
        let Some(persisted) = &state.persisted else { return false };
        persisted.store.watch(&state.seat.cell);
        persisted.store.is_degraded()
    }

    /// Looks whether the state is to be given to the store: its time has come, or a checkpoint wants it.
    pub(super) async fn save(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(persisted) = &mut state.persisted {
            persisted.timer = false;
        }
        self.settle(myself, state).await?;
        self.grant(state);
        Ok(())
    }

    /// Answers the checkpoints whose requests are all handled, once the state was given to the store. If nothing waits in the
    /// inbox, whatever a checkpoint waits for has ended otherwise.
    fn grant(&self, state: &mut AgentState<A::State>) {
        let cell = state.seat.cell.clone();
        let Some(keeper) = cell.keeper().filter(|keeper| keeper.is_wished()) else { return };
        let Some(persisted) = &state.persisted else { return };
        let wishes = keeper.take_wishes();
        if let Some(error) = persisted.store.wrong() {
            return answer(wishes, &Err(error));
        }
        let idle = cell.inbox().queued() == 0;
        let reached = |wish: &Wish| idle || persisted.marks.of(wish.feed) >= wish.seq;
        let (reached, early): (Vec<_>, Vec<_>) = wishes.into_iter().partition(reached);
        early.into_iter().for_each(|wish| keeper.wish(wish));
        if reached.is_empty() {
            return;
        }
        let given = if persisted.is_changed() { self.put_or_watch(state) } else { Ok(()) };
        match given {
            Err(StoreError::Busy { .. }) => reached.into_iter().for_each(|wish| keeper.wish(wish)),
            given => answer(reached, &given),
        }
    }

    /// Before an agent sleeps: what has changed is given to the store.
    pub(super) fn give_before_sleep(
        &self,
        state: &mut AgentState<A::State>,
        snapshot: &mut Snapshot,
    ) -> Result<(), StoreError> {
        let Some(persisted) = &mut state.persisted else {
            snapshot.marks = state.seat.cell.marks();
            return Ok(());
        };
        snapshot.marks = persisted.marks.clone();
        if persisted.is_changed() {
            persisted.store.put(&state.seat.cell, snapshot.clone())?;
            persisted.given();
        }
        Ok(())
    }

    /// The last snapshot, on a graceful stop.
    pub(super) async fn give_before_stop(&self, state: &mut AgentState<A::State>) {
        if !state.persisted.as_ref().is_some_and(|persisted| persisted.is_changed()) {
            return;
        }
        let given = match (self.snapshot(state), &mut state.persisted) {
            (Ok(snapshot), Some(persisted)) => {
                state.seat.cell.set_snapshot(snapshot.clone());
                persisted.store.give(&state.seat.cell, snapshot).await
            }
            (written, _) => written.map(drop),
        };
        if let Err(error) = given {
            self.not_given(state, &error);
        }
    }
}

fn answer(wishes: Vec<Wish>, given: &Result<(), StoreError>) {
    for wish in wishes {
        // A checkpoint that has given up is no error.
        let _ = wish.done.send(given.clone());
    }
}

/// Does not handle the first request of the batch: the agent has handled its feed up to `mark` only, and lacks what comes before it.
#[cold]
pub(super) fn too_early(node: &Node, batch: &mut Batch<'_>, mark: u64) {
    let Some(Letter { request, .. }) = batch.first() else { return };
    let Some((origin, follows)) = request.chained() else { return };
    node.dead_letters().feed_losses().note(origin.feed(), follows.pass, mark);
    let reason = format!("it follows request {} of its feed, and the agent has come to {mark}", follows.seq);
    batch.bury(DeadLetterReason::OutOfTurn, AgentError::Invalid { reason });
}

/// Counts the first request of the batch, which has crashed the agent before, as handled: else its feed would deliver it for ever.
#[cold]
fn pass_over<S>(state: &mut AgentState<S>, batch: &mut Batch<'_>) {
    let Some(Letter { request, .. }) = batch.first() else { return };
    let request = request.clone();
    let reason = "it has crashed the agent before".to_owned();
    batch.bury(DeadLetterReason::Crashed, AgentError::Crashed { reason });
    let clock = *state.seat.node.clock();
    if let Some(persisted) = &mut state.persisted {
        persisted.handled(&request, false, || clock.now());
    }
    if let Some((origin, _)) = request.chained() {
        state.seat.cell.advance_mark(origin);
    }
}

/// Answers the first request of the batch with `error`, unhandled.
fn refuse<S>(state: &AgentState<S>, batch: &mut Batch<'_>, error: AgentError) {
    let Some(letter) = batch.first() else { return };
    let port = ReplyPort::bound(letter.answer.take(), None, &state.seat.fate);
    listen();
    port.error(error);
    if is_refused() {
        state.seat.cell.refused(batch.request(), &state.seat.node);
    }
    batch.completed();
}
