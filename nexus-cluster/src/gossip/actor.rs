//! Gossip actor: gives the core its rounds, messages and members, and tells what it learns.
//!
//! Supervised by the cluster's supervisor as `permanent`, after membership. A restart forgets what others said, which
//! comes back with the next rounds; this node's own keys are kept by the handle and said again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::clock::Clock;
use nexus_actors::rng::Seed;
use nexus_actors::supervision::ChildSpec;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, RactorErr, RpcReplyPort};

use super::config::GossipConfig;
use super::core::Gossip;
use super::message::{Change, Effect, Input, Urgency, WriteError};
use super::overview::{Convergence, GossipOverview};
use crate::NodeName;
use crate::OutOfRange;
use crate::membership::{MembershipEvent, MembershipHandle};
use crate::transport::{ControlEvent, ControlLane, Service};

/// What the gossip actor is told.
#[derive(Debug)]
pub enum GossipMsg {
    /// Something of the control lane.
    Control(ControlEvent),
    /// Something of membership.
    Membership(MembershipEvent),
    /// Time for a round; the actor sends it to itself.
    Round,
    /// Give one of this node's keys a value, or none.
    Write {
        /// Which key.
        key: String,
        /// Its value; `None` deletes it.
        value: Option<Bytes>,
        /// Whether it may wait.
        urgency: Urgency,
        /// Whether it was taken.
        reply: RpcReplyPort<Result<(), WriteError>>,
    },
    /// The value of a node's key, as far as is known here.
    Get(NodeName, String, RpcReplyPort<Option<Bytes>>),
    /// Whether all members know the same.
    Convergence(RpcReplyPort<Convergence>),
    /// Everything for the debug endpoint.
    Overview(RpcReplyPort<GossipOverview>),
}

impl ractor::Message for GossipMsg {}

type Subscriber = Box<dyn Fn(&Change) + Send>;

/// A node's gossip as the rest of the node sees it: the same handle over restarts of the actor. Cheap to clone.
#[derive(Clone, Default)]
pub struct GossipHandle {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    subscribers: Vec<Subscriber>,
    /// This node's own live keys.
    own: BTreeMap<String, Bytes>,
    actor: Option<ActorRef<GossipMsg>>,
}

impl GossipHandle {
    /// Tells `subscriber` of every change from now on, in order. It must neither block nor call the handle: it casts a message to an
    /// actor.
    pub fn subscribe(&self, subscriber: impl Fn(&Change) + Send + 'static) {
        self.shared.lock().subscribers.push(Box::new(subscriber));
    }

    /// What the control lane says to [`Service::Gossip`].
    pub fn control(&self, event: ControlEvent) {
        self.cast(GossipMsg::Control(event));
    }

    /// Gives one of this node's keys a value, or with `None` deletes it.
    ///
    /// # Errors
    /// The actor is not running; within, the key or the state would be too large.
    pub async fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        urgency: Urgency,
    ) -> Result<Result<(), WriteError>, RactorErr<GossipMsg>> {
        let (actor, key) = (self.actor()?, key.to_owned());
        ractor::call!(actor, |reply| GossipMsg::Write { key, value, urgency, reply })
    }

    /// The value of a node's key, as far as is known here.
    ///
    /// # Errors
    /// The actor is not running.
    pub async fn get(&self, owner: &NodeName, key: &str) -> Result<Option<Bytes>, RactorErr<GossipMsg>> {
        let (actor, owner, key) = (self.actor()?, owner.clone(), key.to_owned());
        ractor::call!(actor, |reply| GossipMsg::Get(owner, key, reply))
    }

    /// Whether all members have shown to know the same.
    ///
    /// # Errors
    /// The actor is not running.
    pub async fn convergence(&self) -> Result<Convergence, RactorErr<GossipMsg>> {
        let actor = self.actor()?;
        ractor::call!(actor, GossipMsg::Convergence)
    }

    /// Everything for the debug endpoint.
    ///
    /// # Errors
    /// The actor is not running.
    pub async fn overview(&self) -> Result<GossipOverview, RactorErr<GossipMsg>> {
        let actor = self.actor()?;
        ractor::call!(actor, GossipMsg::Overview)
    }

    fn actor(&self) -> Result<ActorRef<GossipMsg>, RactorErr<GossipMsg>> {
        let closed = || RactorErr::Messaging(MessagingErr::ChannelClosed);
        self.shared.lock().actor.clone().ok_or_else(closed)
    }

    fn tell(&self, change: &Change, me: &NodeName) {
        let mut shared = self.shared.lock();
        if change.owner == *me {
            match &change.value {
                Some(value) => shared.own.insert(change.key.clone(), value.clone()),
                None => shared.own.remove(&change.key),
            };
        }
        for subscriber in &shared.subscribers {
            subscriber(change);
        }
    }

    fn cast(&self, message: GossipMsg) {
        if let Ok(actor) = self.actor() {
            let _ = actor.cast(message);
        }
    }
}

impl fmt::Debug for GossipHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipHandle").field("actor", &self.shared.lock().actor).finish_non_exhaustive()
    }
}

/// What the actor needs.
#[derive(Clone)]
pub struct GossipSetup {
    /// The handle that the rest of the node has.
    pub handle: GossipHandle,
    /// Who is in the cluster.
    pub membership: MembershipHandle,
    /// Its parameters.
    pub config: GossipConfig,
    /// The node's seed.
    pub seed: Seed,
    /// The node's clock.
    pub clock: Clock,
    /// Where messages go.
    pub lane: Arc<dyn ControlLane>,
}

impl GossipSetup {
    /// The actor, for the cluster's supervisor.
    ///
    /// # Errors
    /// The config is out of range.
    pub fn child(self) -> Result<ChildSpec, OutOfRange> {
        self.config.validate()?;
        let (handle, membership) = (self.handle.clone(), self.membership.clone());
        // Once for all lives of the actor: each begins with the members that there are then.
        membership.subscribe(move |event| handle.cast(GossipMsg::Membership(event.clone())));
        Ok(ChildSpec::actor("gossip", || GossipActor, self))
    }
}

struct GossipActor;

struct State {
    core: Gossip,
    setup: GossipSetup,
}

impl Actor for GossipActor {
    type Msg = GossipMsg;
    type State = State;
    type Arguments = GossipSetup;

    async fn pre_start(
        &self,
        myself: ActorRef<GossipMsg>,
        setup: GossipSetup,
    ) -> Result<State, ActorProcessingErr> {
        let me = setup.membership.me();
        let rng = setup.seed.stream("gossip");
        let core = Gossip::new(me.id().clone(), me.metadata().zone.clone(), setup.config.clone(), rng)?;
        let mut state = State { core, setup };
        // Events first, then who is there: whoever comes in between is told twice, and nobody never.
        state.setup.handle.shared.lock().actor = Some(myself.clone());
        state.step(&myself, Input::Start);
        state.write_again(&myself)?;
        for member in state.setup.membership.members() {
            state.on_membership(&myself, MembershipEvent::MemberUp(member));
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<GossipMsg>,
        message: GossipMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GossipMsg::Control(ControlEvent::Message { from, bytes }) => {
                state.step(&myself, Input::Message { from, bytes });
            }
            // Who can be reached is membership's to find out.
            GossipMsg::Control(_) => {}
            GossipMsg::Membership(event) => state.on_membership(&myself, event),
            GossipMsg::Round => state.step(&myself, Input::Round),
            GossipMsg::Write { key, value, urgency, reply } => {
                let written = state.core.write(state.setup.clock.now(), &key, value, urgency);
                let _ = reply.send(written.map(|effects| state.run(&myself, effects)));
            }
            GossipMsg::Get(owner, key, reply) => {
                let _ = reply.send(state.core.get(&owner, &key).cloned());
            }
            GossipMsg::Convergence(reply) => {
                let _ = reply.send(state.core.convergence());
            }
            GossipMsg::Overview(reply) => {
                let _ = reply.send(state.core.overview());
            }
        }
        Ok(())
    }
}

impl State {
    fn write_again(&mut self, myself: &ActorRef<GossipMsg>) -> Result<(), WriteError> {
        let own = self.setup.handle.shared.lock().own.clone();
        for (key, value) in own {
            let effects = self.core.write(self.setup.clock.now(), &key, Some(value), Urgency::Routine)?;
            self.run(myself, effects);
        }
        Ok(())
    }

    fn on_membership(&mut self, myself: &ActorRef<GossipMsg>, event: MembershipEvent) {
        let input = match event {
            MembershipEvent::MemberUp(member) | MembershipEvent::MetadataChanged(member) => {
                Input::MemberUp { node: member.id().clone(), zone: member.metadata().zone.clone() }
            }
            MembershipEvent::MemberDown(member) | MembershipEvent::MemberLeft(member) => {
                Input::MemberDown(member.name().clone())
            }
            _ => return,
        };
        self.step(myself, input);
    }

    fn step(&mut self, myself: &ActorRef<GossipMsg>, input: Input) {
        let effects = self.core.step(self.setup.clock.now(), input);
        self.run(myself, effects);
    }

    fn run(&self, myself: &ActorRef<GossipMsg>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // What is lost now is said again by the exchange of sums.
                Effect::Send { to, bytes } => drop(self.setup.lane.send(&to, Service::Gossip, bytes)),
                Effect::Arm(after) => {
                    myself.send_after(after, || GossipMsg::Round);
                }
                Effect::Changed(change) => self.setup.handle.tell(&change, self.setup.membership.me().name()),
            }
        }
    }
}
