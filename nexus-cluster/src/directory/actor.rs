//! Directory: hands its core what happens, and carries out what it says.
//!
//! Supervised by `cluster.sup` as `permanent`. Owns nothing: core and readers' view belong to the [`Directory`], so a restart forgets
//! nothing but what waits for the actor: its requests are answered as of one that has stopped. Requests and their answers do not even wait for it, as long as nothing else does: whoever brings them
//! takes the step, and a look-up at another node costs three changes of tasks less.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Clock;
use nexus_actors::supervision::ChildSpec;
use parking_lot::{Mutex, MutexGuard};
use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus};
use tokio::sync::oneshot;

use super::config::{DirectoryConfig, DirectoryConfigError};
use super::core::{
    Answer, Core, DirectoryOverview, Effect, Input, News, RequestId, Unavailable, Whereabouts,
};
use super::message::Message;
use super::view::View;
use crate::ring::Ring;
use crate::transport::{ControlEvent, ControlLane, Service};
use crate::{NodeId, NodeName};

/// Requests and messages that may wait for the actor. Further messages are lost, as on the way; requests are refused.
const QUEUE_MAX: usize = 65_536;
/// The actor looks at the time so often within a retry's time.
const TICKS_PER_RETRY: u32 = 4;

/// Who hears the directory's news: whoever knows the agents. Never blocks.
pub trait Listener: Send + Sync + 'static {
    /// Something that concerns agents. [`News::Merge`] is answered by [`Directory::judged`], or not at all.
    fn tell(&self, directory: &Directory, news: News);
}

/// A node's directory. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    core: Mutex<Core>,
    view: View,
    asked: AtomicU64,
    /// Of the requests that the core knows.
    ports: Mutex<BTreeMap<RequestId, Port>>,
    actor: Mutex<Option<ActorRef<DirectoryMsg>>>,
    /// What waits for the actor.
    queued: AtomicUsize,
    lost: AtomicUsize,
    tick: std::time::Duration,
    clock: Clock,
    lane: Arc<dyn ControlLane>,
    listener: Arc<dyn Listener>,
}

type Port = oneshot::Sender<Answer>;

impl Directory {
    /// The directory of the node `me`. It works while its [child](Self::child) runs and knows a ring.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(
        me: NodeId,
        config: DirectoryConfig,
        clock: Clock,
        lane: Arc<dyn ControlLane>,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, DirectoryConfigError> {
        config.validate()?;
        let inner = Inner {
            tick: config.retry / TICKS_PER_RETRY,
            core: Mutex::new(Core::new(me, config)),
            view: View::default(),
            asked: AtomicU64::new(0),
            ports: Mutex::default(),
            actor: Mutex::new(None),
            queued: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            clock,
            lane,
            listener,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The actor, to be started after the transport.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        ChildSpec::actor("directory", || DirectoryActor, self.clone())
    }

    /// Where the agent is, if that is known here: one map read. A cached answer may be as old as
    /// [`cache_ttl`](DirectoryConfig::cache_ttl).
    #[must_use]
    pub fn lookup(&self, id: AgentId) -> Option<Whereabouts> {
        self.inner.view.get(id)
    }

    /// Where the agent is, asked of its owner if need be; `None` if it is nowhere.
    ///
    /// # Errors
    /// Nobody who could know answered in time.
    pub async fn find(&self, id: AgentId) -> Result<Option<NodeId>, Unavailable> {
        match self.ask(|request| Input::Lookup { request, id }).await {
            Answer::Found(node) => Ok(Some(node)),
            Answer::Unavailable(why) => Err(why),
            _ => Ok(None),
        }
    }

    /// Registers an agent here, before it is started; in the place of `over`'s, if given. `Ok(Some(node))`: it lives there already, and
    /// must not be started. Registering what is registered here does no harm.
    ///
    /// # Errors
    /// It is not registered.
    pub async fn register(&self, id: AgentId, over: Option<NodeId>) -> Result<Option<NodeId>, Unavailable> {
        match self.ask(|request| Input::Register { request, id, over }).await {
            Answer::AlreadyAt(node) => Ok(Some(node)),
            Answer::Unavailable(why) => Err(why),
            _ => Ok(None),
        }
    }

    /// The agent does not live here any more.
    pub fn unregister(&self, id: AgentId) {
        self.cast(Input::Unregister { id });
    }

    /// `node` says that it does not have the agent, which was cached here.
    pub fn stale(&self, id: AgentId, node: NodeId) {
        self.cast(Input::Stale { id, node });
    }

    /// The agent is known to have moved to `node`.
    pub fn learn(&self, id: AgentId, node: NodeId) {
        self.cast(Input::Learned { id, node });
    }

    /// Membership has another view.
    pub fn ring_changed(&self, ring: Arc<Ring>) {
        self.cast(Input::RingChanged(ring));
    }

    /// Whether this node is in a minority under the policy `quorum`.
    pub fn minority(&self, minority: bool) {
        self.cast(Input::Minority(minority));
    }

    /// What the behavior says to [`News::Merge`].
    pub fn judged(&self, id: AgentId, winner: Option<NodeName>) {
        self.cast(Input::Judged { id, winner });
    }

    /// Something has come on the control lane for [`Service::Directory`]. Messages are lost if too many wait, as they may be on their
    /// way.
    pub fn control(&self, event: ControlEvent) {
        match event {
            ControlEvent::Connected(node) | ControlEvent::Disconnected(node, _) => {
                self.cast(Input::Link(node.name));
            }
            ControlEvent::Message { .. } if self.inner.queued.load(Ordering::Relaxed) >= QUEUE_MAX => {
                self.inner.lost.fetch_add(1, Ordering::Relaxed);
            }
            ControlEvent::Message { from, bytes } => match Message::decode(&bytes) {
                Ok(message) if message.is_brief() => self.step_now(Input::Message { from, message }, None),
                Ok(message) => self.cast(Input::Message { from, message }),
                Err(error) => {
                    self.inner.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%from, %error, "a message for the directory is dropped");
                }
            },
        }
    }

    /// Messages that were malformed, or too many.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// Whether it has heard from all members since the ring has changed, or has waited for them long enough.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.inner.core.lock().is_settled(self.inner.clock.now())
    }

    /// What the directory holds. Looks at all of its tables.
    #[must_use]
    pub fn overview(&self) -> DirectoryOverview {
        self.inner.core.lock().overview(self.inner.clock.now())
    }

    async fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Answer {
        if self.inner.queued.load(Ordering::Relaxed) >= QUEUE_MAX {
            return Answer::Unavailable(Unavailable::Overloaded);
        }
        let (port, answer) = oneshot::channel();
        let request = self.inner.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.step_now(input(request), Some((request, port)));
        // A port is dropped without an answer only when the actor does not run, or ends.
        answer.await.unwrap_or(Answer::Unavailable(Unavailable::Stopped))
    }

    fn cast(&self, input: Input) {
        self.send(input, None);
    }

    /// Takes the step here if the actor runs, nothing waits for it and nobody else takes one; else it is the actor's.
    fn step_now(&self, input: Input, port: Option<(RequestId, Port)>) {
        let runs = |actor: &ActorRef<_>| actor.get_status() == ActorStatus::Running;
        let idle = self.inner.actor.lock().as_ref().is_some_and(runs)
            && self.inner.queued.load(Ordering::Acquire) == 0;
        match idle.then(|| self.inner.core.try_lock()).flatten() {
            Some(core) => self.step_in(core, input, port),
            None => self.send(input, port),
        }
    }

    fn send(&self, input: Input, port: Option<(RequestId, Port)>) {
        let actor = self.inner.actor.lock().clone();
        self.inner.queued.fetch_add(1, Ordering::AcqRel);
        if actor.is_none_or(|actor| actor.cast(DirectoryMsg::Input(input, port)).is_err()) {
            self.is_done();
        }
    }

    /// One less waits. What was sent to the life before is not counted in this one.
    fn is_done(&self) {
        let less = |queued: usize| queued.checked_sub(1);
        let _ = self.inner.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    fn step(&self, input: Input, port: Option<(RequestId, Port)>) {
        let ring_changed = matches!(input, Input::RingChanged(_));
        self.step_in(self.inner.core.lock(), input, port);
        if ring_changed {
            self.inner.view.tidy();
        }
    }

    /// What follows from a step is done before the next step is taken; only news are told after it: whoever hears them may ask something.
    fn step_in(&self, mut core: MutexGuard<'_, Core>, input: Input, port: Option<(RequestId, Port)>) {
        self.inner.ports.lock().extend(port);
        let mut news = Vec::new();
        for effect in core.step(self.inner.clock.now(), input) {
            match effect {
                Effect::Send { to, message } => {
                    // What is not sent is asked or compared again.
                    if let Err(error) = self.inner.lane.send(&to, Service::Directory, message.encode()) {
                        tracing::debug!(%error, "a message of the directory was not sent");
                    }
                }
                Effect::Answer { request, answer } => {
                    if let Some(port) = self.inner.ports.lock().remove(&request) {
                        // Fails only when nobody waits any more.
                        let _ = port.send(answer);
                    }
                }
                Effect::Publish { id, at } => self.inner.view.publish(id, at),
                Effect::Retract { id } => self.inner.view.retract(id),
                Effect::Tell(told) => news.push(told),
            }
        }
        drop(core);
        for told in news {
            self.inner.listener.tell(self, told);
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("overview", &self.overview()).finish_non_exhaustive()
    }
}

/// See the module.
struct DirectoryActor;

/// What it is told.
#[derive(Debug)]
enum DirectoryMsg {
    /// Time to look at the clock.
    Tick,
    /// Something has happened; a request comes with who is to be answered.
    Input(Input, Option<(RequestId, Port)>),
}

impl ractor::Message for DirectoryMsg {}

impl Actor for DirectoryActor {
    type Msg = DirectoryMsg;
    type State = Directory;
    type Arguments = Directory;

    async fn pre_start(
        &self,
        myself: ActorRef<DirectoryMsg>,
        directory: Directory,
    ) -> Result<Directory, ActorProcessingErr> {
        directory.inner.queued.store(0, Ordering::Relaxed);
        {
            // The actor may have ended within a step.
            let core = directory.inner.core.lock();
            directory.inner.ports.lock().retain(|request, _| core.is_asked(*request));
        }
        *directory.inner.actor.lock() = Some(myself.clone());
        myself.send_after(directory.inner.tick, || DirectoryMsg::Tick);
        Ok(directory)
    }

    async fn handle(
        &self,
        myself: ActorRef<DirectoryMsg>,
        message: DirectoryMsg,
        directory: &mut Directory,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DirectoryMsg::Tick => {
                directory.step(Input::Tick, None);
                // Runs out with the actor.
                myself.send_after(directory.inner.tick, || DirectoryMsg::Tick);
            }
            DirectoryMsg::Input(input, port) => {
                directory.step(input, port);
                directory.is_done();
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<DirectoryMsg>,
        directory: &mut Directory,
    ) -> Result<(), ActorProcessingErr> {
        *directory.inner.actor.lock() = None;
        directory.inner.ports.lock().clear();
        Ok(())
    }
}

#[cfg(test)]
#[path = "actor_test.rs"]
mod tests;
