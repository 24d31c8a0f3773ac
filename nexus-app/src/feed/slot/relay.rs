//! What of a feed belongs to its cluster: it runs on one node at a time, and delivers again what is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use nexus_actors::AgentError;
use nexus_actors::agent::{AgentId, GROUP_PREFIX};
use nexus_actors::clock::Millis;
use nexus_actors::store::{Follows, Origin};
use parking_lot::Mutex;
use ractor::ActorRef;

use super::FeedSlot;
use crate::feed::actor::{ClusterMsg, FeedMsg};
use crate::feed::chain::{Audit, Chain};
use crate::feed::pipeline::Next;
use crate::feed::redelivery::Input;
use crate::feed::status::{FeedState, FeedStatus, ReplayStatus};

/// Is told of each request that a feed skips on its way back: its target and its place.
type Skipping = dyn FnMut(&Arc<str>, u64) + Send;

/// Another node tells of a change within this time.
const TOLD_MAX: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Relay {
    number: u16,
    /// What was given, by agent. Locked after the pipeline, never before it.
    chain: Arc<Mutex<Chain>>,
    pass: AtomicU8,
    /// Whether this node runs the feed.
    is_seated: AtomicBool,
    /// The node that runs it, and what it says.
    elsewhere: Mutex<Option<(Arc<str>, Option<FeedStatus>)>>,
    progress: Mutex<Progress>,
    /// Whatever may have taken from an agent what it had handled.
    disturbances: AtomicU64,
    /// When the last one was.
    disturbed_at: AtomicU64,
    /// How many there had been when the agents were asked last, and when they were and nobody lacked anything.
    asked_at: AtomicU64,
    settled_at: AtomicU64,
    actor: Mutex<Option<ActorRef<FeedMsg>>>,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct Progress {
    replays: u64,
    /// Until the place is reached again.
    replay: Option<ReplayStatus>,
    behind: u64,
}

impl Relay {
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            chain: Arc::default(),
            pass: AtomicU8::new(0),
            is_seated: AtomicBool::new(false),
            elsewhere: Mutex::default(),
            progress: Mutex::default(),
            disturbances: AtomicU64::new(0),
            disturbed_at: AtomicU64::new(0),
            asked_at: AtomicU64::new(0),
            settled_at: AtomicU64::new(u64::MAX),
            actor: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The feed's number in the cluster, by which agents know its requests.
    pub(crate) const fn number(&self) -> u16 {
        self.number
    }

    /// Whether the node stops: nobody is to take the feed up here.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The delivery at hand.
    pub(crate) fn pass(&self) -> u8 {
        self.pass.load(Ordering::Relaxed)
    }

    /// Whether this node runs the feed.
    pub(crate) fn is_seated(&self) -> bool {
        self.is_seated.load(Ordering::Acquire)
    }

    /// Another node runs the feed, and says this of it.
    pub(crate) fn set_elsewhere(&self, node: Arc<str>, status: Option<FeedStatus>) {
        *self.elsewhere.lock() = Some((node, status));
    }

    /// Agents to be asked now how far they have come.
    pub(crate) fn agents(&self) -> Vec<AgentId> {
        self.asked_at.store(self.disturbances.load(Ordering::Acquire), Ordering::Release);
        self.chain.lock().agents()
    }

    /// What it means that they have come so far.
    pub(crate) fn audit(&self, marks: Vec<(AgentId, Option<u64>)>, queued: u64) -> Audit {
        self.chain.lock().audit(marks, queued)
    }

    /// The current incarnation of the feed's actor, for events of the cluster.
    pub(crate) fn attach(&self, actor: ActorRef<FeedMsg>) {
        *self.actor.lock() = Some(actor);
    }

    /// Tells the actor, unless the node stops.
    fn tell(&self, input: Input) {
        if let Some(actor) = self.actor.lock().as_ref().filter(|_| !self.is_closed()) {
            // Fails only when it has ended: its successor asks all nodes.
            let _ = actor.cast(FeedMsg::Cluster(ClusterMsg::Input(input)));
        }
    }

    /// Something may have taken from an agent what it had handled.
    fn disturb(&self, now: Millis) {
        self.disturbed_at.store(now.get(), Ordering::Release);
        self.disturbances.fetch_add(1, Ordering::AcqRel);
    }

    /// Nobody lacked anything but these when they were asked; whether nothing has happened since.
    pub(crate) fn completed(&self, behind: u64) -> bool {
        let mut progress = self.progress.lock();
        (progress.behind, progress.replay) = (behind, None);
        drop(progress);
        self.settled_at.store(self.asked_at.load(Ordering::Acquire), Ordering::Release);
        self.is_settled()
    }

    /// Whether nothing has happened since nobody lacked anything.
    fn is_settled(&self) -> bool {
        self.settled_at.load(Ordering::Acquire) == self.disturbances.load(Ordering::Acquire)
    }

    /// Begins to build the chain of what is skipped.
    pub(super) fn skipping(&self) -> Box<Skipping> {
        let chain = self.chain.clone();
        *chain.lock() = Chain::default();
        Box::new(move |target, place| {
            if !is_group(target) {
                chain.lock().advance(AgentId::of(target), place);
            }
        })
    }

    /// The request with its place and what it follows. One to a group goes to whoever is chosen, each time.
    pub(super) fn stamped(&self, next: Next, place: u64) -> Next {
        let Some(origin) = Origin::new(self.number, place).filter(|_| !is_group(&next.target)) else {
            return next;
        };
        let seq = self.chain.lock().last(AgentId::of(&next.target));
        let pass = self.pass();
        Next { request: next.request.from_feed_after(origin, Follows { seq, pass }), ..next }
    }

    /// The request in this place was given to its agent, or is among the dead letters.
    pub(super) fn given(&self, target: &Arc<str>, place: u64, outcome: &Result<AgentId, AgentError>) {
        let is_over = outcome.as_ref().is_err_and(is_final);
        if !is_over && !is_group(target) {
            self.chain.lock().advance(AgentId::of(target), place);
        }
        let mut progress = self.progress.lock();
        if progress.replay.as_ref().is_some_and(|replay| place >= replay.until) {
            progress.replay = None;
        }
    }

    /// Completes what is known on this node.
    pub(super) fn complete(&self, status: FeedStatus) -> FeedStatus {
        if self.is_seated() {
            let progress = self.progress.lock();
            let (replays, behind) = (progress.replays, progress.behind);
            return FeedStatus { replays, behind, replay: progress.replay.clone(), ..status };
        }
        match &*self.elsewhere.lock() {
            Some((node, Some(seen))) => FeedStatus { node: Some(node.clone()), ..seen.clone() },
            Some((node, None)) => FeedStatus { node: Some(node.clone()), ..status },
            None => status,
        }
    }
}

fn is_group(target: &str) -> bool {
    target.starts_with(GROUP_PREFIX)
}

/// Whether the request could not be delivered another time either, so that the agent's next one does not follow it.
const fn is_final(error: &AgentError) -> bool {
    matches!(
        error,
        AgentError::UnknownAgent { .. }
            | AgentError::Invalid { .. }
            | AgentError::TooManyAgents { .. }
            | AgentError::UnknownGroup { .. }
            | AgentError::NotBalanced { .. }
            | AgentError::NoMember { .. }
    )
}

impl FeedSlot {
    /// What belongs to the cluster; `None` without one, and of a feed that can be read only once.
    pub(crate) const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// What may have taken from agents what they had handled, so far: the same number twice, and the feed completed in between, say that
    /// they had all of it.
    pub(crate) fn disturbances(&self) -> u64 {
        self.relay.as_ref().map_or(0, |relay| relay.disturbances.load(Ordering::Acquire))
    }

    /// The feed's number in its cluster.
    pub(crate) fn number(&self) -> Option<u16> {
        self.relay.as_ref().map(Relay::number)
    }

    /// Whether this node runs it; `None` of a feed that each node runs for itself.
    pub(crate) fn runs_here(&self) -> Option<bool> {
        self.relay.as_ref().map(Relay::is_seated)
    }

    /// Something has happened in the cluster. What `is_loss` may have taken something from its agents.
    pub(crate) fn hear(&self, input: Input, is_loss: bool) {
        let Some(relay) = &self.relay else { return };
        if is_loss {
            relay.disturb(self.clock().now());
        }
        relay.tell(input);
    }

    /// The node stops.
    pub(crate) fn close(&self) {
        if let Some(relay) = &self.relay {
            relay.is_closed.store(true, Ordering::Release);
        }
    }

    /// Whether the feed is over, on whatever node it runs. What is told of another node is believed once it is newer than the last loss.
    pub(crate) fn is_over(&self) -> bool {
        let Some(relay) = &self.relay else { return self.state().is_over() };
        if relay.is_seated() {
            return match self.state() {
                FeedState::Completed => relay.is_settled(),
                state => state.is_over(),
            };
        }
        let disturbed = Millis::new(relay.disturbed_at.load(Ordering::Acquire));
        self.status().state.is_over() && self.clock().now().since(disturbed) >= TOLD_MAX
    }

    /// Whether it gives again what it had given.
    pub(crate) fn is_replaying(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.progress.lock().replay.is_some())
    }

    /// This node runs the feed from now on, from its beginning: agents know what they have.
    pub(crate) fn take_seat(&self, pass: u8) {
        let Some(relay) = &self.relay else { return };
        relay.pass.store(pass, Ordering::Relaxed);
        let before = relay.elsewhere.lock().take();
        let until =
            before.as_ref().and_then(|(_, status)| status.as_ref()).map_or(0, |status| status.confirmed);
        let cause = || format!("the loss of {}", before.map_or_else(Arc::default, |(node, _)| node)).into();
        let replay = (until > 0).then(|| ReplayStatus { cause: cause(), from: 0, until });
        *relay.progress.lock() = Progress { replay, ..Progress::default() };
        self.restart_at(0);
        relay.is_seated.store(true, Ordering::Release);
        self.enter(FeedState::Waiting, None);
        self.start();
    }

    /// Another node runs it.
    pub(crate) fn leave_seat(&self) {
        let Some(relay) = &self.relay else { return };
        relay.is_seated.store(false, Ordering::Release);
        relay.disturb(self.clock().now());
        self.restart_at(0);
        self.enter(FeedState::Waiting, None);
    }

    /// Everything after the place `to` is given again.
    pub(crate) fn rewind(&self, to: u64, pass: u8, cause: Arc<str>) {
        let Some(relay) = &self.relay else { return };
        let until = self.confirmed();
        relay.pass.store(pass, Ordering::Relaxed);
        relay.disturb(self.clock().now());
        self.restart_at(to);
        {
            let mut progress = relay.progress.lock();
            let before = progress.replay.take().map_or(0, |replay| replay.until);
            progress.replays += 1;
            progress.behind = 0;
            progress.replay = Some(ReplayStatus { cause, from: to, until: until.max(before) });
        }
        if self.state() != FeedState::Paused {
            self.enter(FeedState::Running, None);
        }
        self.open();
    }
}
