//! Migration as the rest of the node sees it: the same handle over restarts of the actor.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Clock;
use nexus_actors::route::travel::{Arrival, Departure, Luggage, TravelError};
use nexus_actors::supervision::ChildSpec;
use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::actor::{MigrationActor, MigrationMsg};
use super::config::MigrationConfig;
use super::core::{Core, Input, Key};
use super::drain::Progress;
use super::error::{MoveError, Refusal};
use crate::directory::Directory;
use crate::membership::{MembershipEvent, MembershipHandle};
use crate::transport::{ControlEvent, ControlLane};
use crate::{NodeId, NodeName, OutOfRange};

/// Messages of others that may wait for the actor. Further ones are lost, as on the way.
const QUEUE_MAX: usize = 16_384;
/// The actor looks at the time so often within a retry's time.
const TICKS_PER_RETRY: u32 = 4;

/// A node's part in moves. Cheap to clone.
#[derive(Clone)]
pub struct Migration {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) core: Mutex<Core>,
    pub(super) config: MigrationConfig,
    pub(super) me: NodeId,
    pub(super) node: Node,
    pub(super) directory: Directory,
    pub(super) lane: Arc<dyn ControlLane>,
    pub(super) clock: Clock,
    pub(super) tick: Duration,
    pub(super) actor: Mutex<Option<ActorRef<MigrationMsg>>>,
    /// What has happened and was not taken in yet, and whether the actor was told.
    pub(super) happened: Mutex<VecDeque<Happened>>,
    pub(super) told: AtomicBool,
    asked: Mutex<Asked>,
    /// Agents that leave, by the numbers of their moves.
    pub(super) leavers: Mutex<BTreeMap<u64, Leaver>>,
    pub(super) arrivals: Mutex<BTreeMap<Key, Arrival>>,
    pub(super) drain: watch::Sender<Progress>,
    /// Where agents of this node go when it is drained.
    pub(super) place: OnceLock<Box<Place>>,
}

/// Says which node is to have an agent, if any may.
pub type Place = dyn Fn(AgentId, &str) -> Option<NodeId> + Send + Sync;

/// An agent that leaves.
pub(super) struct Leaver {
    pub(super) departure: Departure,
    /// Where its letters go, once that is known.
    pub(super) to: Option<NodeId>,
}

/// What has happened.
pub(super) enum Happened {
    /// To the core as it is.
    Input(Input),
    /// Something of the control lane.
    Control(ControlEvent),
    /// An agent has left its place, or stays.
    Left(u64, Result<Option<Luggage>, TravelError>),
    /// An agent was stored and registered, or not.
    Admitted(Key, Box<Arrival>, Result<(), Refusal>),
}

#[derive(Default)]
struct Asked {
    next: u64,
    ports: BTreeMap<u64, oneshot::Sender<Result<u64, MoveError>>>,
}

impl Migration {
    /// The part of the node `me`. It works while its [child](Self::child) runs.
    ///
    /// # Errors
    /// A value of the configuration is out of range.
    pub fn new(
        me: NodeId,
        config: MigrationConfig,
        node: Node,
        directory: Directory,
        lane: Arc<dyn ControlLane>,
        membership: &MembershipHandle,
    ) -> Result<Self, OutOfRange> {
        config.validate()?;
        let clock = *node.clock();
        let inner = Inner {
            core: Mutex::new(Core::new(me.clone(), config.clone())),
            tick: config.retry / TICKS_PER_RETRY,
            config,
            me,
            node,
            directory,
            lane,
            clock,
            actor: Mutex::default(),
            happened: Mutex::default(),
            told: AtomicBool::new(false),
            asked: Mutex::default(),
            leavers: Mutex::default(),
            arrivals: Mutex::default(),
            drain: watch::Sender::new(Progress::default()),
            place: OnceLock::new(),
        };
        let migration = Self { inner: Arc::new(inner) };
        let weak = Arc::downgrade(&migration.inner);
        membership.subscribe(move |event| {
            let input = match event {
                MembershipEvent::MemberUp(member) => Input::Member(member.id().clone()),
                MembershipEvent::MemberDown(member) | MembershipEvent::MemberLeft(member) => {
                    Input::Gone(member.id().clone())
                }
                _ => return,
            };
            if let Some(inner) = weak.upgrade() {
                Self { inner }.happened(Happened::Input(input));
            }
        });
        Ok(migration)
    }

    /// Agents go where `place` says when this node is drained. Only the first counts.
    pub fn set_place(&self, place: impl Fn(AgentId, &str) -> Option<NodeId> + Send + Sync + 'static) {
        // An assembly that does it twice means the first.
        let _ = self.inner.place.set(Box::new(place));
    }

    /// The actor, to be started after the directory.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        ChildSpec::actor("migration", || MigrationActor, self.clone())
    }

    /// Moves an agent of this node to the node `to`. Answers the bytes of its state once it lives there and nothing is on its way to it by
    /// way of this node any more. Dropping the future calls nothing off.
    ///
    /// # Errors
    /// [`MoveError`]: except for [`MoveError::Lost`] and [`MoveError::Merged`] it lives here as before.
    pub async fn migrate(&self, agent: &str, to: NodeId) -> Result<u64, MoveError> {
        let (port, answer) = oneshot::channel();
        let request = {
            let mut asked = self.inner.asked.lock();
            asked.next += 1;
            let request = asked.next;
            asked.ports.insert(request, port);
            request
        };
        self.happened(Happened::Input(Input::Move { request, agent: agent.into(), to }));
        // A port is dropped without an answer only when the node ends.
        answer.await.unwrap_or(Err(MoveError::Stopped))
    }

    /// This node's agent has lost to the one of the node `to`: its state goes there to be merged, and what waits for it follows.
    pub fn yield_to(&self, id: AgentId, to: NodeId) {
        // One that is leaving is not here any more.
        let leaving = || {
            let leavers = self.inner.leavers.lock();
            let names = leavers.values().map(|leaver| leaver.departure.name());
            names.into_iter().find(|name| AgentId::of(name) == id).cloned()
        };
        if let Some(agent) = self.inner.node.agent_name(id).or_else(leaving) {
            self.happened(Happened::Input(Input::Yield { agent, to }));
        }
    }

    /// All that is under way, with the agents' states: for the trace of a simulation.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{:?}", self.inner.core.lock())
    }

    /// The node `sender` has sent to the agent by way of this one: it is told that the agent lives on the node `home`.
    pub fn redirect(&self, sender: NodeName, agent: Arc<str>, home: NodeName) {
        self.happened(Happened::Input(Input::Passed { sender, agent, home }));
    }

    /// Something has come on the control lane for [`Service::Migration`](crate::transport::Service::Migration).
    pub fn control(&self, event: ControlEvent) {
        if self.inner.happened.lock().len() < QUEUE_MAX {
            self.happened(Happened::Control(event));
        }
    }

    /// Agents that are leaving this node, and agents that are coming.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        self.inner.core.lock().under_way()
    }

    pub(super) fn happened(&self, happened: Happened) {
        self.inner.happened.lock().push_back(happened);
        if !self.inner.told.swap(true, Ordering::SeqCst)
            && let Some(actor) = &*self.inner.actor.lock()
        {
            // Fails only when it has ended: its successor looks by itself.
            let _ = actor.cast(MigrationMsg::Look);
        }
    }

    pub(super) fn finished(&self, request: u64, result: Result<u64, MoveError>) {
        if let Some(port) = self.inner.asked.lock().ports.remove(&request) {
            // Fails only when nobody waits any more.
            let _ = port.send(result);
        }
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}
