//! `Agent<A>`: the host that decorates a behavior (design decision D1).
//!
//! Owns nothing but the behavior; inbox, counters and level live in the agent's route entry and outlive it. Supervised as its
//! topology says. A restart loses the behavior's state, and of its messages only the one being handled.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::batch::Batch;
use super::behavior::AgentSpec;
use super::cell::AgentCell;
use super::inbox::{Letter, Letters};
use super::level::LevelGranted;
use super::message::{AgentMessage, HostMessage, Operation, Request};
use super::reply::{Answer, Fate, ReplyPort, is_refused, listen};
use crate::error::AgentError;
use crate::node::Node;
use crate::route::DeadLetterReason;
use crate::telemetry::{Event, in_span};
use crate::text::{REASON_BYTES_MAX, cut};

/// How long a new incarnation waits for the old one to leave its last await point.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(5);

/// How often an agent whose inbox is empty looks again before it rests, at most.
const LOOKS_MAX: u8 = 32;

/// One in this many messages is timed.
const TIMED_EVERY: u64 = 64;

/// Decorates the behavior `A`: same mailbox, same task, no extra hop.
#[derive(Debug)]
pub struct Agent<A>(A);

impl<A> Agent<A> {
    /// The host of `behavior`.
    #[must_use]
    pub const fn new(behavior: A) -> Self {
        Self(behavior)
    }
}

/// The behavior's state and the host's own.
#[derive(Debug)]
pub struct AgentState<S> {
    inner: S,
    node: Node,
    cell: Arc<AgentCell>,
    fate: Arc<Fate>,
    incarnation: u64,
    handled: u64,
    /// How often to look again at an empty inbox, 1 to [`LOOKS_MAX`].
    looks_max: u8,
    /// Room for the next batch, kept while there is more to come.
    spare: Letters,
}

impl<S> AgentState<S> {
    /// What a batch borrows while the behavior has its state.
    fn handles(&self) -> (Node, Arc<AgentCell>, Arc<Fate>) {
        (self.node.clone(), self.cell.clone(), self.fate.clone())
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
        let inner = self.0.pre_start(myself.clone(), spec).await?;
        let incarnation = cell.attach(myself, node.clock().now());
        Ok(AgentState {
            inner,
            node,
            cell,
            fate: Arc::default(),
            incarnation,
            handled: 0,
            looks_max: 1,
            spare: Letters::new(),
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.0.post_start(myself.clone(), &mut state.inner).await?;
        state.node.events().emit(Event::AgentStarted {
            agent: state.cell.name.clone(),
            behavior: state.cell.behavior.clone(),
            incarnation: state.incarnation,
        });
        // Whatever came while nobody was here: pushes do not wake a scheduled agent.
        myself.cast(AgentMessage::Host(HostMessage::Wake))?;
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.0.post_stop(myself, &mut state.inner).await
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Host(HostMessage::Wake) => self.drain(myself, state).await,
            AgentMessage::Host(HostMessage::SetLevel(requested, reply)) => {
                let granted = requested.granted();
                state.cell.set_level(granted);
                state.node.events().emit(Event::AgentIntelligenceAdapted {
                    agent: state.cell.name.clone(),
                    requested: requested.name().into(),
                    granted: granted.name().into(),
                });
                // An operator that has given up is no error.
                let _ = reply.send(LevelGranted { requested, granted });
                Ok(())
            }
            AgentMessage::Inspect(reply) => {
                self.0.handle(myself, AgentMessage::Inspect(reply), &mut state.inner).await
            }
            AgentMessage::Request(request, reply) => {
                let (node, cell, fate) = state.handles();
                let letter = Letter { request, answer: reply.into_answer() };
                let mut batch = Batch::direct(&cell, node.dead_letters(), &fate, letter);
                self.one(&myself, state, &mut batch).await.map(drop)
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<AgentMessage>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.0.handle_supervisor_evt(myself, event, &mut state.inner).await
    }
}

impl<A> Agent<A>
where
    A: Actor<Msg = AgentMessage, Arguments = AgentSpec>,
{
    /// Handles up to a batch from the inbox; with more left, wakes itself, so that stop and control messages get their turn.
    ///
    /// Before it rests it lets every other runnable task of its thread run and looks again: a sender that keeps sending then
    /// finds it still scheduled and pays for a push only, not for a wake-up of a sleeping thread. How often it looks doubles
    /// when that was worth it and halves when it was not.
    async fn drain(
        &self,
        myself: ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
    ) -> Result<(), ActorProcessingErr> {
        let (node, cell, fate) = state.handles();
        let spare = std::mem::take(&mut state.spare);
        let mut batch = Batch::from_inbox(&cell, node.dead_letters(), &fate, spare);
        let mut left = node.batch();
        let mut looks = 0;
        loop {
            if self.one(&myself, state, &mut batch).await? {
                if looks > 0 {
                    state.looks_max = (state.looks_max * 2).min(LOOKS_MAX);
                    looks = 0;
                }
                left -= 1;
                if left == 0 {
                    state.spare = batch.finish();
                    // Fails only when the actor is about to end; its successor wakes itself.
                    let _ = myself.cast(AgentMessage::Host(HostMessage::Wake));
                    return Ok(());
                }
            } else if looks < state.looks_max {
                looks += 1;
                requeue().await;
            } else {
                state.looks_max = (state.looks_max / 2).max(1);
                if cell.inbox().rest() {
                    return Ok(());
                }
            }
        }
    }

    /// Hands the first request of the batch to the behavior and accounts for it, however it ends. `false` if there is none.
    async fn one(
        &self,
        myself: &ActorRef<AgentMessage>,
        state: &mut AgentState<A::State>,
        batch: &mut Batch<'_>,
    ) -> Result<bool, ActorProcessingErr> {
        let Some(Letter { request, answer }) = batch.first() else { return Ok(false) };
        if let Some((reason, error)) = expired(request, answer, &state.node) {
            batch.bury(reason, error);
            return Ok(true);
        }
        let asked = answer.is_wanted();
        let reply = if asked {
            state.fate.begin();
            let default = (request.operation == Operation::Query && !request.payload.is_empty())
                .then(|| request.payload.clone());
            ReplyPort::bound(answer.take(), default, &state.fate)
        } else {
            ReplyPort::nobody()
        };
        let started = (state.handled % TIMED_EVERY == 0).then(tokio::time::Instant::now);
        state.handled = state.handled.wrapping_add(1);
        let updates = request.operation == Operation::Update;
        let traced = request.trace().is_some();

        let message = AgentMessage::Request(request.clone(), reply);
        batch.begin();
        // Pinned here, so that the two ways to await it do not each hold a copy.
        let mut handling = pin!(self.0.handle(myself.clone(), message, &mut state.inner));
        listen();
        let result = if traced {
            in_span(&state.cell.name, batch.request(), handling.as_mut()).await
        } else {
            handling.as_mut().await
        };
        if let Err(error) = result {
            batch.failed(cut(&error.to_string(), REASON_BYTES_MAX).into_owned());
            return Err(error);
        }
        if is_refused() {
            state.cell.refused(batch.request(), &state.node);
        }
        batch.completed();
        if asked {
            state.fate.end(AgentError::NoReply);
        }
        if updates {
            state.node.metrics().updates.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(started) = started {
            let took = started.elapsed();
            state.node.metrics().message_duration(took);
            state.cell.served(took);
        }
        Ok(true)
    }
}

/// Goes to the back of the run queue, where another worker may take it. tokio's `yield_now` would wait for this worker's whole
/// queue and its driver, out of the others' reach.
async fn requeue() {
    let mut requeued = false;
    poll_fn(|context| {
        if std::mem::replace(&mut requeued, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Why a request should not be handled any more.
#[inline]
fn expired(request: &Request, answer: &Answer, node: &Node) -> Option<(DeadLetterReason, AgentError)> {
    if request.deadline().is_some_and(|deadline| node.clock().now() > deadline) {
        return Some((DeadLetterReason::Expired, AgentError::DeadlineExceeded));
    }
    answer.is_cancelled().then_some((DeadLetterReason::Cancelled, AgentError::NoReply))
}
