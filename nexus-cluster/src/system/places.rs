//! Where agents live and are to live: the directory first, then the ring.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::AgentError;
use nexus_actors::agent::AgentId;
use nexus_actors::telemetry::{ClusterEvent, Event, Events};
use tokio::sync::watch;

use super::standing::Standing;
use crate::directory::{Directory, Listener, News, Unavailable, Whereabouts};
use crate::ring::{Member, Ring};
use crate::transport::Locate;
use crate::{NodeId, NodeName};

/// How often a claim is repeated that nobody answered.
const ATTEMPTS: u32 = 5;

/// See the module.
pub(super) struct Places {
    me: NodeId,
    ring: ArcSwap<Ring>,
    directory: OnceLock<Directory>,
    standing: watch::Receiver<Standing>,
    events: Events,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Places {
    pub(super) fn new(me: NodeId, standing: watch::Receiver<Standing>, events: Events) -> Self {
        let ring = ArcSwap::from_pointee(Ring::new([Member::new(me.clone())]));
        Self { me, ring, directory: OnceLock::new(), standing, events }
    }

    /// Must come before anything is located.
    pub(super) fn bind(&self, directory: Directory) {
        let _ = self.directory.set(directory);
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    pub(super) fn set_ring(&self, ring: Arc<Ring>) {
        self.ring.store(ring);
    }

    /// The other node that is to start the agent; `None` if this one is.
    fn home(&self, agent: AgentId) -> Option<NodeName> {
        let ring = self.ring.load();
        let owner = ring.owner(agent)?;
        (owner.name != self.me.name).then(|| owner.name.clone())
    }

    fn directory(&self) -> Option<&Directory> {
        self.directory.get()
    }
}

/// One claim: waits until the node has joined, asks the directory, and says where the agent lives if that is not here.
async fn claim(
    me: NodeId,
    directory: Directory,
    home: impl Fn() -> Option<NodeName>,
    mut standing: watch::Receiver<Standing>,
    agent: AgentId,
) -> Result<Option<NodeName>, AgentError> {
    if directory.lookup(agent) == Some(Whereabouts::Here) {
        return Ok(None);
    }
    // Fails only when the node ends.
    let _ = standing.wait_for(Standing::has_joined).await;
    let mut attempt = 1;
    loop {
        let asked = match home() {
            None => directory.register(agent, None).await,
            Some(home) => match directory.find(agent).await {
                // Told of itself: it lives here.
                Ok(Some(node)) => Ok(Some(node)),
                Ok(None) => return Ok(Some(home)),
                Err(error) => Err(error),
            },
        };
        match asked {
            Ok(node) => return Ok(node.map(|node| node.name).filter(|name| *name != me.name)),
            // A ring that changes answers late.
            Err(Unavailable::TimedOut | Unavailable::Overloaded) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => {
                let reason = format!("it cannot be claimed: {error}");
                return Err(AgentError::Failed { reason });
            }
        }
    }
}

impl Locate for Arc<Places> {
    fn locate(&self, agent: AgentId, _: Option<&str>) -> Option<NodeName> {
        match self.directory()?.lookup(agent) {
            Some(Whereabouts::Here) => None,
            Some(Whereabouts::There(node)) => Some(node.name),
            None => self.home(agent),
        }
    }

    fn claim(
        &self,
        agent: AgentId,
        _: &Arc<str>,
    ) -> BoxFuture<'static, Result<Option<NodeName>, AgentError>> {
        let Some(directory) = self.directory().cloned() else { return async { Ok(None) }.boxed() };
        let (places, standing) = (self.clone(), self.standing.clone());
        let me = self.me.clone();
        claim(me, directory, move || places.home(agent), standing, agent).boxed()
    }

    fn release(&self, agent: AgentId) {
        if let Some(directory) = self.directory() {
            directory.unregister(agent);
        }
    }
}

impl Listener for Places {
    fn tell(&self, directory: &Directory, news: News) {
        match news {
            News::Merge { id, .. } => directory.judged(id, None),
            News::Duplicate { id, winner, loser } => {
                self.events.emit(Event::Cluster(ClusterEvent::DuplicateResolved {
                    agent: id.to_string().into(),
                    winner: winner.name.as_str().into(),
                    loser: loser.name.as_str().into(),
                }));
            }
            News::Yield { .. } | News::Prevailed { .. } | News::Orphaned { .. } => {}
        }
    }
}
