//! Census: answers for this node, and asks the others.
//!
//! Supervised by `cluster.sup` as `permanent`. Owns nothing but the messages that wait: who has asked belongs to the [`Census`], and hears
//! in time that nobody answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use nexus_actors::Node;
use nexus_actors::agent::{AgentId, NamePattern};
use nexus_actors::route::FeedLoss;
use nexus_actors::supervision::ChildSpec;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use thiserror::Error;
use tokio::sync::oneshot;

use super::message::{Answer, Keys, Message, PAGE, Question};
use crate::membership::MembershipHandle;
use crate::transport::{ControlEvent, ControlLane, Gateway, Service};
use crate::{NodeId, NodeName};

/// How long a member may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Losses are gathered for so long before others are told.
const GATHER: Duration = Duration::from_millis(20);
/// Messages that may wait for the actor; further ones are lost, as on the way.
const QUEUE_MAX: usize = 1024;

/// A member did not answer in time, or not what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{node}` did not answer")]
pub struct Unheard {
    /// The member.
    pub node: NodeName,
}

/// What is told to those who subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Part of a feed did not reach an agent, on this node or another.
    Lost(FeedLoss),
    /// Another node says that what the cluster was started for is done.
    Finished(NodeId),
}

type Subscriber = Box<dyn Fn(&News) + Send>;

/// What a census is made of.
#[derive(Clone)]
pub struct CensusSetup {
    /// The node it answers for.
    pub node: Node,
    /// Who is asked.
    pub membership: MembershipHandle,
    /// The way to them.
    pub gateway: Arc<Gateway>,
}

/// A node's way to ask all others. Cheap to clone.
#[derive(Clone)]
pub struct Census {
    inner: Arc<Inner>,
}

struct Inner {
    setup: CensusSetup,
    next: AtomicU64,
    asked: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    subscribers: Mutex<Vec<Subscriber>>,
    actor: Mutex<Option<ActorRef<CensusMsg>>>,
    queued: AtomicU64,
    malformed: AtomicU64,
}

/// Forgets a question that nobody waits for any more.
struct Asked<'a> {
    inner: &'a Inner,
    request: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.inner.asked.lock().remove(&self.request);
    }
}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").field("node", &self.inner.setup.node).finish_non_exhaustive()
    }
}

impl Census {
    /// A census that answers once its [child](Self::child) runs.
    #[must_use]
    pub fn new(setup: CensusSetup) -> Self {
        let gateway = setup.gateway.clone();
        let inner = Arc::new(Inner {
            setup,
            next: AtomicU64::new(1),
            asked: Mutex::default(),
            subscribers: Mutex::default(),
            actor: Mutex::default(),
            queued: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        });
        let census = Arc::downgrade(&inner);
        gateway.register(
            Service::Census,
            Arc::new(move |event| {
                if let (ControlEvent::Message { from, bytes }, Some(inner)) = (event, census.upgrade()) {
                    inner.arrived(from, &bytes);
                }
            }),
        );
        Self { inner }
    }

    /// The actor, to be started after membership.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        ChildSpec::actor("census", || CensusActor, self.clone())
    }

    /// Tells `subscriber` of all news from now on. It must neither block nor call the handle: it casts a message to an actor.
    pub fn subscribe(&self, subscriber: impl Fn(&News) + Send + 'static) {
        self.inner.subscribers.lock().push(Box::new(subscriber));
    }

    /// The names of all agents of all nodes that match `pattern`, in order, at most `limit`. Agents that sleep are among them, those that
    /// have stopped are not.
    ///
    /// # Errors
    /// A member that was there at the beginning did not answer.
    pub async fn names(&self, pattern: &NamePattern, limit: usize) -> Result<Vec<Arc<str>>, Unheard> {
        let mut names = self.inner.setup.node.names(pattern, "", limit);
        let of_members = join_all(self.members().into_iter().map(|node| self.names_of(node, pattern, limit)));
        for found in of_members.await {
            names.extend(found?);
        }
        names.sort_unstable();
        // One that has moved meanwhile.
        names.dedup();
        names.truncate(limit);
        Ok(names)
    }

    async fn names_of(
        &self,
        node: NodeName,
        pattern: &NamePattern,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, Unheard> {
        let mut found: Vec<Arc<str>> = Vec::new();
        loop {
            let after = found.last().map(|name| name.to_string()).unwrap_or_default();
            let question = Question::Names { pattern: pattern.to_string(), after };
            match self.ask(&node, question).await? {
                // Pages only go on: one that does not is not worth another question.
                Answer::Names { names, is_all } => {
                    let goes_on = names.first().map(String::as_str) > found.last().map(|name| &**name);
                    found.extend(names.into_iter().map(Arc::from));
                    if is_all || !goes_on || found.len() >= limit {
                        return Ok(found);
                    }
                }
                _ => return Err(Unheard { node }),
            }
        }
    }

    /// How far each of `agents` has come in the feed with this number, wherever it lives: the place of the last request that it has handled.
    /// None if it is on no node; the lowest if it is on several.
    ///
    /// # Errors
    /// A member that was there at the beginning did not answer.
    pub async fn marks(&self, feed: u16, agents: &[AgentId]) -> Result<Vec<Option<u64>>, Unheard> {
        let node = &self.inner.setup.node;
        let mut marks: Vec<_> = agents.iter().map(|agent| node.feed_mark(*agent, feed)).collect();
        let of_members = join_all(self.members().into_iter().map(|node| self.marks_of(node, feed, agents)));
        for found in of_members.await {
            for (mark, found) in marks.iter_mut().zip(found?) {
                *mark = mark.iter().copied().chain(found).min();
            }
        }
        Ok(marks)
    }

    async fn marks_of(
        &self,
        node: NodeName,
        feed: u16,
        agents: &[AgentId],
    ) -> Result<Vec<Option<u64>>, Unheard> {
        let mut found = Vec::with_capacity(agents.len());
        for page in agents.chunks(PAGE) {
            match self.ask(&node, Question::Marks { feed, agents: Keys::of(page) }).await? {
                Answer::Marks(marks) if marks.len() == page.len() => found.extend(marks),
                _ => return Err(Unheard { node }),
            }
        }
        Ok(found)
    }

    /// Messages that wait for agents or are being handled, or are on their way between nodes, in all. What crosses the network at this
    /// moment may be counted twice or, between two answers, not at all. Looks at every agent.
    ///
    /// # Errors
    /// A member that was there at the beginning did not answer.
    pub async fn queued(&self) -> Result<u64, Unheard> {
        let own = self.inner.setup.queued();
        let of_members = join_all(self.members().into_iter().map(|node| async move {
            match self.ask(&node, Question::Queued).await? {
                Answer::Queued(queued) => Ok(queued),
                _ => Err(Unheard { node }),
            }
        }));
        of_members.await.into_iter().try_fold(own, |sum, queued| Ok(sum.saturating_add(queued?)))
    }

    /// Tells all members that what the cluster was started for is done. Returns when they have heard it, or did not answer in time.
    pub async fn finish(&self) {
        let told = self.members().into_iter().map(|node| async move {
            // Whoever does not hear it goes on, which is no harm.
            let _ = self.ask(&node, Question::Finished).await;
        });
        join_all(told).await;
    }

    fn members(&self) -> Vec<NodeName> {
        self.inner.setup.membership.members().iter().map(|member| member.name().clone()).collect()
    }

    async fn ask(&self, node: &NodeName, question: Question) -> Result<Answer, Unheard> {
        let inner = &*self.inner;
        let request = inner.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        inner.asked.lock().insert(request, sender);
        let _asked = Asked { inner, request };
        let unheard = || Unheard { node: node.clone() };
        inner.setup.send(node, &Message::Ask(request, question)).map_err(|_| unheard())?;
        match tokio::time::timeout(ANSWER_MAX, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(unheard()),
        }
    }
}

impl Inner {
    /// Called by the carrier: does not block.
    fn arrived(&self, from: NodeId, bytes: &[u8]) {
        let Ok(message) = Message::decode(bytes) else {
            self.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if let Message::Answer(request, answer) = message {
            if let Some(asker) = self.asked.lock().remove(&request) {
                // It may have given up at this moment.
                let _ = asker.send(answer);
            }
            return;
        }
        if self.queued.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX as u64 {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let sent = self.actor.lock().as_ref().is_some_and(|actor| {
            // Fails only while there is no actor: what is asked then is lost, as on the way.
            actor.cast(CensusMsg::Arrived(from, message)).is_ok()
        });
        if !sent {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, news: &News) {
        for subscriber in &*self.subscribers.lock() {
            subscriber(news);
        }
    }
}

impl CensusSetup {
    fn send(&self, to: &NodeName, message: &Message) -> Result<(), crate::transport::ControlError> {
        ControlLane::send(&*self.gateway, to, Service::Census, message.encode())
    }

    fn queued(&self) -> u64 {
        let links = self.gateway.links();
        let under_way = links.iter().map(|(_, link)| link.queued + link.unacknowledged).sum::<u64>();
        self.node.tally().queued + under_way
    }

    fn answer(&self, question: &Question) -> Option<Answer> {
        Some(match question {
            Question::Names { pattern, after } => {
                // One more than a page, so that a full last page is known for the last.
                let mut names = self.node.names(&pattern.parse().ok()?, after, PAGE + 1);
                let is_all = names.len() <= PAGE;
                names.truncate(PAGE);
                Answer::Names { names: names.iter().map(|name| name.to_string()).collect(), is_all }
            }
            Question::Marks { feed, agents } => {
                Answer::Marks(agents.iter().map(|agent| self.node.feed_mark(agent, *feed)).collect())
            }
            Question::Queued => Answer::Queued(self.queued()),
            Question::Finished => Answer::Heard,
        })
    }
}

#[derive(Debug)]
enum CensusMsg {
    /// A question, or a loss, of another node.
    Arrived(NodeId, Message),
    /// There may be losses on this node; from the task that waits for them.
    Losses,
}

impl ractor::Message for CensusMsg {}

struct CensusActor;

impl Actor for CensusActor {
    type Msg = CensusMsg;
    type State = Census;
    type Arguments = Census;

    async fn pre_start(
        &self,
        myself: ActorRef<CensusMsg>,
        census: Census,
    ) -> Result<Census, ActorProcessingErr> {
        census.inner.queued.store(0, Ordering::Relaxed);
        *census.inner.actor.lock() = Some(myself.clone());
        let node = census.inner.setup.node.clone();
        tokio::spawn(async move {
            loop {
                node.dead_letters().feed_losses().noted().await;
                tokio::time::sleep(GATHER).await;
                if myself.cast(CensusMsg::Losses).is_err() {
                    return;
                }
            }
        });
        Ok(census)
    }

    async fn handle(
        &self,
        _: ActorRef<CensusMsg>,
        message: CensusMsg,
        census: &mut Census,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CensusMsg::Arrived(from, message) => census.on_arrived(from, message),
            CensusMsg::Losses => census.on_losses(),
        }
        Ok(())
    }
}

impl Census {
    fn on_arrived(&self, from: NodeId, message: Message) {
        self.inner.queued.fetch_sub(1, Ordering::Relaxed);
        match message {
            Message::Ask(request, question) => {
                if let Some(answer) = self.inner.setup.answer(&question) {
                    // Whoever is not connected any more has given up.
                    let _ = self.inner.setup.send(&from.name, &Message::Answer(request, answer));
                }
                if question == Question::Finished {
                    self.inner.tell(&News::Finished(from));
                }
            }
            Message::Lost(loss) => self.inner.tell(&News::Lost(loss.into())),
            Message::Answer(..) => {}
        }
    }

    fn on_losses(&self) {
        for loss in self.inner.setup.node.dead_letters().feed_losses().take() {
            self.inner.tell(&News::Lost(loss));
            for node in self.members() {
                // A member that does not hear it finds out at the feed's end.
                let _ = self.inner.setup.send(&node, &Message::Lost(loss.into()));
            }
        }
    }
}
