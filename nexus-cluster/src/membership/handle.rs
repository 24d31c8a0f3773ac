//! Membership as the rest of the node sees it: the same handle over restarts of the actor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::{ActorRef, MessagingErr, RactorErr};

use super::actor::MembershipMsg;
use super::member::{Member, Metadata};
use super::message::MembershipEvent;
use super::overview::MembershipOverview;
use super::quorum::PartitionState;
use crate::NodeName;
use crate::transport::ControlEvent;

/// Who is told of every event, in order. It must neither block nor call the handle: it casts a message to an actor.
pub type Subscriber = Box<dyn Fn(&MembershipEvent) + Send>;

/// A node's membership. Cheap to clone.
#[derive(Clone)]
pub struct MembershipHandle {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    me: Member,
    members: BTreeMap<NodeName, Member>,
    partition: PartitionState,
    subscribers: Vec<Subscriber>,
    actor: Option<ActorRef<MembershipMsg>>,
}

impl MembershipHandle {
    /// The membership of `me`, whose actor is not started yet.
    #[must_use]
    pub fn new(me: Member) -> Self {
        let shared = Shared {
            me,
            members: BTreeMap::new(),
            partition: PartitionState::Whole,
            subscribers: Vec::new(),
            actor: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// This node, with the identity that it has now.
    #[must_use]
    pub fn me(&self) -> Member {
        self.shared.lock().me.clone()
    }

    /// The other members, by name.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared.lock().members.values().cloned().collect()
    }

    /// On which side of a partition this node is.
    #[must_use]
    pub fn partition(&self) -> PartitionState {
        self.shared.lock().partition
    }

    /// Tells `subscriber` of all that are members now, as [`MembershipEvent::MemberUp`], and of every event from now on.
    pub fn subscribe(&self, subscriber: impl Fn(&MembershipEvent) + Send + 'static) {
        let mut shared = self.shared.lock();
        for member in shared.members.values() {
            subscriber(&MembershipEvent::MemberUp(member.clone()));
        }
        shared.subscribers.push(Box::new(subscriber));
    }

    /// What the control lane says to [`Service::Membership`](crate::transport::Service::Membership).
    pub fn control(&self, event: ControlEvent) {
        self.cast(MembershipMsg::Control(event));
    }

    /// From now on this node tells something else of itself. What is out of range is dropped: see [`Metadata::validate`].
    pub fn set_metadata(&self, metadata: Metadata) {
        self.cast(MembershipMsg::SetMetadata(metadata));
    }

    /// Leaves the cluster. Returns when the members had time to hear it and connections may end.
    ///
    /// # Errors
    /// The actor is not running.
    pub async fn leave(&self) -> Result<(), RactorErr<MembershipMsg>> {
        let actor = self.actor()?;
        ractor::call!(actor, MembershipMsg::Leave)
    }

    /// Everything for the debug endpoint.
    ///
    /// # Errors
    /// The actor is not running.
    pub async fn overview(&self) -> Result<MembershipOverview, RactorErr<MembershipMsg>> {
        let actor = self.actor()?;
        ractor::call!(actor, MembershipMsg::Overview)
    }

    fn actor(&self) -> Result<ActorRef<MembershipMsg>, RactorErr<MembershipMsg>> {
        let closed = || RactorErr::Messaging(MessagingErr::ChannelClosed);
        self.shared.lock().actor.clone().ok_or_else(closed)
    }

    /// What is for an actor that is not running is lost, as a datagram may be; a new one asks for the connections itself.
    fn cast(&self, message: MembershipMsg) {
        if let Ok(actor) = self.actor() {
            let _ = actor.cast(message);
        }
    }

    pub(super) fn started(&self, actor: ActorRef<MembershipMsg>) {
        self.shared.lock().actor = Some(actor);
    }

    /// The identity to begin with after a restart.
    pub(super) fn renewed(&self, me: &Member) {
        let mut shared = self.shared.lock();
        if shared.me != *me {
            shared.me = me.clone();
        }
    }

    /// Brings an event in and tells it, unless a restarted actor has found out what was known before.
    pub(super) fn tell(&self, event: &MembershipEvent) {
        let mut shared = self.shared.lock();
        let news = match event {
            MembershipEvent::MemberUp(member) | MembershipEvent::MetadataChanged(member) => {
                let before = shared.members.insert(member.name().clone(), member.clone());
                before.as_ref() != Some(member)
            }
            MembershipEvent::MemberDown(member) | MembershipEvent::MemberLeft(member) => {
                shared.members.remove(member.name()).is_some()
            }
            MembershipEvent::Partition(state) => std::mem::replace(&mut shared.partition, *state) != *state,
            MembershipEvent::MemberSuspect(_) | MembershipEvent::Rejoined(_) => true,
        };
        if news {
            for subscriber in &shared.subscribers {
                subscriber(event);
            }
        }
    }
}

impl fmt::Debug for MembershipHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.lock();
        let members = shared.members.len();
        f.debug_struct("MembershipHandle").field("me", &shared.me).field("members", &members).finish()
    }
}
