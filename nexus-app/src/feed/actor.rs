//! Pump actor: hands a feed's requests to agents, in order, as fast as they take them or as the replay says.
//!
//! It owns nothing that matters: the place in the source lives in the [`FeedSlot`]. Supervised by `feeds.sup` as `transient`;
//! a restart goes on with the first unconfirmed request and starts the replay's clock anew. A feed that completes stops
//! normally. An error that would come again (a source that cannot be read, too many malformed records) is an orderly
//! shutdown, so that it is shown and not tried over and over; a crash is the supervisor's to answer.
//!
//! Work is done in slices, each started by a message to itself, and no slice waits long: a stop, a pause or a question is
//! handled between two of them, even while an agent's full inbox holds the feed up. A kill may drop a slice at any of its
//! awaits. None of them stands between a delivery and its confirmation, so nothing is lost and nothing is doubled.
//!
//! Where the feed's place is kept in the store, checkpoints are taken beside the pump: a task waits for each, so that a slow disk
//! or a busy agent holds nothing up. A feed that has delivered everything completes once its last checkpoint is kept: completed
//! means that the effect of all its records survives the process.
//!
//! In a cluster the pump runs on every node and pumps on the one that has claimed the feed. There a feed that is completed goes on being
//! claimed and looked after, as what its agents have may be lost with a node (`actor/relayed.rs`).

mod relayed;

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::clock::Millis;
use nexus_actors::telemetry::{Event, Events};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

pub use self::relayed::ClusterMsg;
use self::relayed::Relayed;
use super::deliver::Deliver;
use super::pace::Pace;
use super::redelivery::Input;
use super::seat::Seat;
use super::slot::{FeedSlot, Upcoming};
use super::status::{FeedState, FeedStatus};

/// A slice is over after so many requests …
const SLICE_REQUESTS: usize = 256;
/// … or this time, looked at between requests.
const SLICE: Duration = Duration::from_millis(5);
/// How long a slice waits for the source or for room in an inbox before other messages have their turn.
const WAIT: Duration = Duration::from_millis(25);
/// How often a feed that waits for the store looks whether it may go on.
const HELD: Duration = Duration::from_millis(100);
/// A feed that is far from due looks again after this long.
const REST_MAX: Duration = Duration::from_secs(5);

/// What a pump is told.
#[derive(Debug)]
pub enum FeedMsg {
    /// Does a slice of work; the actor sends it to itself.
    Pump,
    /// Deliver nothing until told to resume. A restart does not end a pause.
    Pause,
    /// Ends a pause. The replay's clock has stood still meanwhile.
    Resume,
    /// Takes a checkpoint if one is due; the actor sends it to itself.
    Checkpoint,
    /// A checkpoint has ended; the task that waited for it sends it.
    CheckpointEnded {
        /// Whether it is kept.
        is_kept: bool,
    },
    /// What is known of the feed; the same as [`FeedSlot::status`].
    Status(RpcReplyPort<FeedStatus>),
    /// Something of its cluster.
    Cluster(ClusterMsg),
}

impl ractor::Message for FeedMsg {}

/// What a pump starts with.
#[derive(Clone, Debug)]
pub struct FeedArgs<D = Node> {
    /// The feed.
    pub slot: Arc<FeedSlot>,
    /// Who takes its requests.
    pub agents: D,
    /// Where its start and its end are noted.
    pub events: Events,
    /// The cluster it runs in, if it is a feed that its cluster runs once.
    pub seat: Option<Arc<dyn Seat>>,
}

/// A running pump.
#[derive(Debug)]
pub struct FeedPumpState<D> {
    slot: Arc<FeedSlot>,
    agents: D,
    events: Events,
    pace: Pace,
    /// A `Pump` is on its way, now or after a rest: there is never more than one.
    is_scheduled: bool,
    paused_at: Option<Millis>,
    /// A look at whether a checkpoint is due is on its way.
    is_checkpoint_scheduled: bool,
    /// Everything is delivered; what remains is to keep it.
    is_finishing: bool,
    relayed: Option<Relayed>,
}

/// See the module.
#[derive(Debug)]
pub struct FeedActor<D = Node>(PhantomData<fn() -> D>);

impl<D> Default for FeedActor<D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// How a slice ended.
enum Slice {
    /// More can be done at once.
    More,
    /// Nothing is due before this has passed.
    Rest(Duration),
    Completed,
    Failed(Arc<str>),
    Broken,
}

impl<D: Deliver> Actor for FeedActor<D> {
    type Msg = FeedMsg;
    type State = FeedPumpState<D>;
    type Arguments = FeedArgs<D>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        FeedArgs { slot, agents, events, seat }: FeedArgs<D>,
    ) -> Result<Self::State, ActorProcessingErr> {
        let relayed = slot.relay().and(seat).map(|seat| Relayed::new(seat, &slot));
        let is_new = slot.state() != FeedState::Completed;
        if relayed.as_ref().is_none_or(|relayed| relayed.redelivery.is_some()) {
            slot.start();
        }
        let pace = Pace::new(slot.config().replay);
        let paused_at = (slot.state() == FeedState::Paused).then(|| slot.clock().now());
        let mut state = FeedPumpState {
            slot,
            agents,
            events,
            pace,
            is_scheduled: false,
            paused_at,
            is_checkpoint_scheduled: false,
            is_finishing: false,
            relayed,
        };
        if state.relayed.is_some() {
            state.start_relayed(&myself)?;
            return Ok(state);
        }
        if is_new {
            state.emit_started();
        }
        state.schedule(&myself)?;
        state.schedule_checkpoint(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FeedMsg::Pump => state.on_pump(&myself).await?,
            FeedMsg::Pause => state.on_pause(),
            FeedMsg::Resume => state.on_resume(&myself)?,
            FeedMsg::Checkpoint => state.on_checkpoint(&myself),
            FeedMsg::CheckpointEnded { is_kept } => state.on_checkpoint_ended(&myself, is_kept),
            FeedMsg::Status(reply) => state.on_status(reply),
            FeedMsg::Cluster(message) => state.on_cluster(&myself, message)?,
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.release();
        if state.slot.state() == FeedState::Running {
            state.slot.enter(FeedState::Waiting, None);
        }
        // Agents stop after the feeds, so they still answer for what they were given. If this fails or takes too long, a restart
        // has more to repeat, and no more than that.
        state.slot.checkpoint_ended().await;
        if let Some(checkpoint) = state.slot.begin_checkpoint(true) {
            let under_way = UnderWay(Some(state.slot.clone()));
            under_way.end(state.agents.keep(&state.slot, checkpoint).await);
        }
        Ok(())
    }
}

impl<D: Deliver> FeedPumpState<D> {
    async fn on_pump(&mut self, myself: &ActorRef<FeedMsg>) -> Result<(), ActorProcessingErr> {
        self.is_scheduled = false;
        if self.paused_at.is_some() || self.relayed.as_ref().is_some_and(|relayed| !relayed.may_pump()) {
            return Ok(());
        }
        match self.slice().await {
            Slice::More => self.schedule(myself)?,
            Slice::Rest(span) => {
                self.is_scheduled = true;
                myself.send_after(span, || FeedMsg::Pump);
            }
            Slice::Completed if self.relayed.is_some() => self.redeliver(myself, Input::Given)?,
            Slice::Completed => {
                self.is_finishing = true;
                if !self.finish(myself) {
                    self.schedule_checkpoint(myself);
                }
            }
            Slice::Failed(error) => self.fail(myself, error),
            Slice::Broken => return Err("the feed's reader crashed".into()),
        }
        Ok(())
    }

    fn on_pause(&mut self) {
        if !self.slot.state().is_over() {
            self.paused_at.get_or_insert(self.slot.clock().now());
            self.slot.enter(FeedState::Paused, None);
        }
    }

    fn on_resume(&mut self, myself: &ActorRef<FeedMsg>) -> Result<(), ActorProcessingErr> {
        let Some(paused_at) = self.paused_at.take() else {
            return Ok(());
        };
        self.pace.shift(self.slot.clock().now().since(paused_at));
        self.slot.enter(FeedState::Running, None);
        self.schedule(myself)
    }

    fn on_checkpoint(&mut self, myself: &ActorRef<FeedMsg>) {
        self.is_checkpoint_scheduled = false;
        let begun = if self.is_finishing { self.finish(myself) } else { self.take_checkpoint(myself) };
        if !begun {
            self.schedule_checkpoint(myself);
        }
    }

    fn on_checkpoint_ended(&mut self, myself: &ActorRef<FeedMsg>, is_kept: bool) {
        // The last one waits for no interval, but a failed one does.
        if !(self.is_finishing && is_kept && self.finish(myself)) {
            self.schedule_checkpoint(myself);
        }
    }

    /// Completes the feed, or takes the checkpoint that it completes with. Whether either has begun.
    fn finish(&self, myself: &ActorRef<FeedMsg>) -> bool {
        if self.slot.is_kept() {
            self.complete(myself);
            return true;
        }
        self.take_checkpoint(myself)
    }

    /// Begins a checkpoint if there is one to take; its end is a message. Whether it has begun.
    fn take_checkpoint(&self, myself: &ActorRef<FeedMsg>) -> bool {
        let Some(checkpoint) = self.slot.begin_checkpoint(self.is_finishing) else { return false };
        let under_way = UnderWay(Some(self.slot.clone()));
        let keeping = self.agents.keep(&self.slot, checkpoint);
        let myself = myself.clone();
        tokio::spawn(async move {
            let is_kept = under_way.end(keeping.await);
            // A pump that has ended meanwhile left the slot to its successor, which looks by itself.
            let _ = myself.cast(FeedMsg::CheckpointEnded { is_kept });
        });
        true
    }

    fn schedule_checkpoint(&mut self, myself: &ActorRef<FeedMsg>) {
        if let Some(every) = self.slot.checkpoint_every()
            && !std::mem::replace(&mut self.is_checkpoint_scheduled, true)
        {
            myself.send_after(every, || FeedMsg::Checkpoint);
        }
    }

    fn on_status(&self, reply: RpcReplyPort<FeedStatus>) {
        // The asker may have gone.
        let _ = reply.send(self.slot.status());
    }

    fn schedule(&mut self, myself: &ActorRef<FeedMsg>) -> Result<(), ActorProcessingErr> {
        if !self.is_scheduled {
            self.is_scheduled = true;
            myself.cast(FeedMsg::Pump)?;
        }
        Ok(())
    }

    async fn slice(&mut self) -> Slice {
        self.slot.sample();
        if self.slot.has_place() && self.agents.is_held() {
            return Slice::Rest(HELD);
        }
        let clock = *self.slot.clock();
        let began = clock.now();
        for _ in 0..SLICE_REQUESTS {
            let next = match soon(poll_fn(|cx| self.slot.poll_next(cx))).await {
                None => return Slice::More,
                Some(Upcoming::Request(next)) => next,
                Some(Upcoming::Completed) => return Slice::Completed,
                Some(Upcoming::Failed(error)) => return Slice::Failed(error),
                Some(Upcoming::Broken) => return Slice::Broken,
            };
            let now = clock.now();
            // What was given before is not paced a second time.
            let due = if self.slot.is_replaying() { now } else { self.pace.due(now, next.record, next.at) };
            if due > now {
                return Slice::Rest(due.since(now).min(REST_MAX));
            }
            let Some(outcome) = soon(self.agents.deliver(&next.target, next.request)).await else {
                return Slice::More;
            };
            // No await here: a delivery that was made is a delivery that counts.
            self.slot.confirm(&next.target, outcome);
            if now.since(began) >= SLICE {
                break;
            }
        }
        Slice::More
    }

    fn complete(&self, myself: &ActorRef<FeedMsg>) {
        if self.slot.enter(FeedState::Completed, None) {
            self.emit_completed();
        }
        myself.stop(None);
    }

    fn emit_started(&self) {
        let (feed, resumed_at) = (self.slot.name().clone(), self.slot.confirmed());
        self.events.emit(Event::FeedStarted { feed, resumed_at });
    }

    fn emit_completed(&self) {
        let status = self.slot.status();
        self.events.emit(Event::FeedCompleted {
            feed: status.name,
            records: status.records,
            requests: status.confirmed,
            malformed: status.malformed,
        });
    }

    fn fail(&self, myself: &ActorRef<FeedMsg>, error: Arc<str>) {
        tracing::error!(feed = %self.slot.name(), "feed failed: {error}");
        self.slot.enter(FeedState::Failed, Some(error.clone()));
        self.events.emit(Event::FeedFailed { feed: self.slot.name().clone(), error: error.clone() });
        myself.stop(Some(format!("shutdown: feed failed: {error}")));
    }
}

/// A checkpoint under way. However its task ends, the slot is told: dropped, it has failed.
struct UnderWay(Option<Arc<FeedSlot>>);

impl UnderWay {
    /// Tells the slot; whether the checkpoint is kept.
    fn end(mut self, outcome: Result<(), Arc<str>>) -> bool {
        let is_kept = outcome.is_ok();
        if let Some(slot) = self.0.take() {
            slot.end_checkpoint(outcome);
        }
        is_kept
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.end_checkpoint(Err("it was cut short".into()));
        }
    }
}

/// The future's output if it comes within [`WAIT`]. A timer is only made for a future that is not ready at once.
async fn soon<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => tokio::time::timeout(WAIT, future).await.ok(),
    }
}

#[cfg(test)]
#[path = "actor_test.rs"]
mod tests;
