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

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nexus_actors::agent::Request;
use nexus_actors::clock::Millis;
use nexus_actors::telemetry::{Event, Events};
use nexus_actors::{AgentError, Node};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::pace::Pace;
use super::slot::{FeedSlot, Upcoming};
use super::status::{FeedState, FeedStatus};

/// A slice is over after so many requests …
const SLICE_REQUESTS: usize = 256;
/// … or this time, looked at between requests.
const SLICE: Duration = Duration::from_millis(5);
/// How long a slice waits for the source or for room in an inbox before other messages have their turn.
const WAIT: Duration = Duration::from_millis(25);
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
    /// What is known of the feed; the same as [`FeedSlot::status`].
    Status(RpcReplyPort<FeedStatus>),
}

impl ractor::Message for FeedMsg {}

/// Where a feed's requests go: a [`Node`], or what stands for it in a test.
pub trait Deliver: Clone + fmt::Debug + Send + Sync + 'static {
    /// Puts `request` into the inbox of `target`, waiting while that is full. It is there when this returns `Ok`, and a dropped
    /// future has sent nothing.
    ///
    /// # Errors
    /// The request is in the dead letters.
    fn deliver(
        &self,
        target: &Arc<str>,
        request: Request,
    ) -> impl Future<Output = Result<(), AgentError>> + Send;
}

impl Deliver for Node {
    fn deliver(
        &self,
        target: &Arc<str>,
        request: Request,
    ) -> impl Future<Output = Result<(), AgentError>> + Send {
        Self::deliver(self, target, request)
    }
}

/// What a pump starts with.
#[derive(Clone, Debug)]
pub struct FeedArgs<D = Node> {
    /// The feed.
    pub slot: Arc<FeedSlot>,
    /// Who takes its requests.
    pub agents: D,
    /// Where its start and its end are noted.
    pub events: Events,
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
        FeedArgs { slot, agents, events }: FeedArgs<D>,
    ) -> Result<Self::State, ActorProcessingErr> {
        let is_new = slot.state() != FeedState::Completed;
        slot.start();
        if is_new {
            events.emit(Event::FeedStarted { feed: slot.name().clone(), resumed_at: slot.confirmed() });
        }
        let pace = Pace::new(slot.config().replay);
        let paused_at = (slot.state() == FeedState::Paused).then(|| slot.clock().now());
        let mut state = FeedPumpState { slot, agents, events, pace, is_scheduled: false, paused_at };
        state.schedule(&myself)?;
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
            FeedMsg::Status(reply) => state.on_status(reply),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if state.slot.state() == FeedState::Running {
            state.slot.enter(FeedState::Waiting, None);
        }
        Ok(())
    }
}

impl<D: Deliver> FeedPumpState<D> {
    async fn on_pump(&mut self, myself: &ActorRef<FeedMsg>) -> Result<(), ActorProcessingErr> {
        self.is_scheduled = false;
        if self.paused_at.is_some() {
            return Ok(());
        }
        match self.slice().await {
            Slice::More => self.schedule(myself)?,
            Slice::Rest(span) => {
                self.is_scheduled = true;
                myself.send_after(span, || FeedMsg::Pump);
            }
            Slice::Completed => self.complete(myself),
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
            let due = self.pace.due(now, next.record, next.at);
            if due > now {
                return Slice::Rest(due.since(now).min(REST_MAX));
            }
            let Some(outcome) = soon(self.agents.deliver(&next.target, next.request)).await else {
                return Slice::More;
            };
            // No await here: a delivery that was made is a delivery that counts.
            self.slot.confirm(outcome.is_err());
            if now.since(began) >= SLICE {
                break;
            }
        }
        Slice::More
    }

    fn complete(&self, myself: &ActorRef<FeedMsg>) {
        if self.slot.enter(FeedState::Completed, None) {
            let status = self.slot.status();
            self.events.emit(Event::FeedCompleted {
                feed: status.name,
                records: status.records,
                requests: status.confirmed,
                malformed: status.malformed,
            });
        }
        myself.stop(None);
    }

    fn fail(&self, myself: &ActorRef<FeedMsg>, error: Arc<str>) {
        tracing::error!(feed = %self.slot.name(), "feed failed: {error}");
        self.slot.enter(FeedState::Failed, Some(error.clone()));
        self.events.emit(Event::FeedFailed { feed: self.slot.name().clone(), error: error.clone() });
        myself.stop(Some(format!("shutdown: feed failed: {error}")));
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
