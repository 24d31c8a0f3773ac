//! Coordinator: draws the ring from who is there, gives up who is gone, and says where the node stands.
//!
//! Supervised by `cluster.sup` as `permanent`, last. Owns nothing that a restart loses: it begins with the members there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nexus_actors::Node;
use nexus_actors::agent::AgentId;
use nexus_actors::supervision::ChildSpec;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::REPORT_KEY;
use super::places::Places;
use super::standing::Standing;
use crate::NodeName;
use crate::directory::Directory;
use crate::gossip::{GossipHandle, Urgency};
use crate::membership::{Member, MembershipEvent, MembershipHandle, PartitionState};
use crate::migrate::{Migration, Report};
use crate::ring::{self, Ring};
use crate::transport::{Carrier, CloseReason, Gateway};

/// How often the coordinator looks whether something has come true.
const LOOK: Duration = Duration::from_millis(50);
/// Agents that are claimed at the same time.
const CLAIMED_AT_ONCE: usize = 64;
/// Routes to agents of other nodes that are kept although nothing is under way.
const WAYS_MAX: usize = 100_000;
/// Looks between two reports to the others.
const LOOKS_PER_REPORT: u64 = 20;
/// Looks between two at the routes.
const LOOKS_PER_SWEEP: u64 = 200;
/// A member's usual share, in hundredths.
const USUAL_WEIGHT: u32 = 100;

/// What the coordinator needs.
#[derive(Clone)]
pub(super) struct CoordinatorArgs {
    pub(super) node: Node,
    pub(super) gateway: Arc<Gateway>,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) membership: MembershipHandle,
    pub(super) directory: Directory,
    pub(super) places: Arc<Places>,
    pub(super) gossip: GossipHandle,
    pub(super) migration: Migration,
    /// The release of what runs here.
    pub(super) release: String,
    /// Members there must be before the node has joined.
    pub(super) needed: usize,
    pub(super) standing: Arc<watch::Sender<Standing>>,
    /// The current incarnation, for membership's events.
    pub(super) actor: Arc<Mutex<Option<ActorRef<CoordinatorMsg>>>>,
}

/// What it is told.
#[derive(Debug)]
pub(super) enum CoordinatorMsg {
    /// Something of membership.
    Membership(MembershipEvent),
    /// Time to look again; it sends this to itself.
    Look,
    /// So many of the agents that were here before are not claimed yet; from the task that claims them.
    Unclaimed(usize),
}

impl ractor::Message for CoordinatorMsg {}

/// See the module.
pub(super) struct Coordinator;

pub(super) struct State {
    args: CoordinatorArgs,
    members: BTreeMap<NodeName, Member>,
    drawn: Option<Arc<Ring>>,
    /// Those that are gone and whose links are not given up yet, with the reason.
    gone: BTreeMap<NodeName, &'static str>,
    partition: PartitionState,
    joined: bool,
    /// Agents that were here before and are not claimed yet; `None` before that has begun.
    unclaimed: Option<usize>,
    looks: u64,
    /// What was last told of this node.
    told: Option<Report>,
}

impl Coordinator {
    pub(super) fn child(args: CoordinatorArgs) -> ChildSpec {
        let actor = args.actor.clone();
        // Once for all lives of the actor: each begins with the members that there are then.
        args.membership.subscribe(move |event| {
            if let Some(actor) = &*actor.lock() {
                // Fails only when it has ended: its successor looks for itself.
                let _ = actor.cast(CoordinatorMsg::Membership(event.clone()));
            }
        });
        ChildSpec::actor("coordinator", || Self, args)
    }
}

impl Actor for Coordinator {
    type Msg = CoordinatorMsg;
    type State = State;
    type Arguments = CoordinatorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<CoordinatorMsg>,
        args: CoordinatorArgs,
    ) -> Result<State, ActorProcessingErr> {
        *args.actor.lock() = Some(myself.clone());
        let joined = args.standing.borrow().has_joined();
        let members = args.membership.members().into_iter().map(|member| (member.name().clone(), member));
        let mut state = State {
            members: members.collect(),
            drawn: None,
            gone: BTreeMap::new(),
            partition: args.membership.partition(),
            joined,
            unclaimed: None,
            looks: 0,
            told: None,
            args,
        };
        state.draw();
        state.on_look(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<CoordinatorMsg>,
        message: CoordinatorMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CoordinatorMsg::Membership(event) => state.on_membership(&myself, event),
            CoordinatorMsg::Look => state.on_look(&myself),
            CoordinatorMsg::Unclaimed(left) => {
                state.unclaimed = Some(left);
                state.stand(&myself);
            }
        }
        Ok(())
    }
}

impl State {
    fn on_membership(&mut self, myself: &ActorRef<CoordinatorMsg>, event: MembershipEvent) {
        match event {
            MembershipEvent::MemberUp(member) | MembershipEvent::MetadataChanged(member) => {
                self.gone.remove(member.name());
                self.members.insert(member.name().clone(), member);
            }
            MembershipEvent::MemberDown(member) => self.on_gone(&member, "it is down"),
            MembershipEvent::MemberLeft(member) => self.on_gone(&member, "it has left"),
            MembershipEvent::Partition(partition) => {
                self.partition = partition;
                self.args.directory.minority(matches!(partition, PartitionState::Minority { .. }));
            }
            MembershipEvent::MemberSuspect(_) => return,
            MembershipEvent::Rejoined(_) => {}
        }
        self.draw();
        self.stand(myself);
    }

    fn on_gone(&mut self, member: &Member, reason: &'static str) {
        let name = member.name();
        self.members.remove(name);
        self.args.carrier.close(name, CloseReason::Closed(reason.into()));
        self.gone.insert(name.clone(), reason);
        self.give_up();
    }

    /// A link is given up once its connection has ended.
    fn give_up(&mut self) {
        let gateway = &self.args.gateway;
        self.gone.retain(|name, reason| !gateway.give_up(name, reason));
    }

    /// Draws the ring anew if somebody has come or gone.
    fn draw(&mut self) {
        let own = self.args.membership.me();
        self.args.places.set_members(self.members.values().chain([&own]).cloned().collect());
        let members = self.members.values().chain([&own]).map(|member| ring::Member {
            node: member.id().clone(),
            weight: u16::try_from(member.metadata().weight.div_ceil(USUAL_WEIGHT)).unwrap_or(u16::MAX),
            zone: member.metadata().zone.as_str().into(),
        });
        let ring = Ring::new(members);
        if self.drawn.as_deref() != Some(&ring) {
            let ring = Arc::new(ring);
            self.drawn = Some(ring.clone());
            self.args.places.set_ring(ring.clone());
            self.args.directory.ring_changed(ring);
        }
    }

    fn on_look(&mut self, myself: &ActorRef<CoordinatorMsg>) {
        self.looks += 1;
        self.give_up();
        self.stand(myself);
        self.report();
        if self.looks.is_multiple_of(LOOKS_PER_SWEEP) {
            self.args.node.forget_ways(WAYS_MAX);
        }
        myself.send_after(LOOK, || CoordinatorMsg::Look);
    }

    /// Tells the others of this node: at once whether it takes agents, the rest now and then.
    fn report(&mut self) {
        let report = self.args.migration.report(&self.args.release);
        let urgent = self.told.as_ref().is_none_or(|told| told.drain.draining != report.drain.draining);
        if self.told.as_ref() == Some(&report) || !(urgent || self.looks.is_multiple_of(LOOKS_PER_REPORT)) {
            return;
        }
        // Numbers and texts: there is nothing in it that could not be encoded.
        let Ok(value) = rmp_serde::to_vec_named(&report) else { return };
        self.told = Some(report);
        let gossip = self.args.gossip.clone();
        let urgency = if urgent { Urgency::Urgent } else { Urgency::Routine };
        tokio::spawn(async move {
            if let Ok(Err(error)) = gossip.write(REPORT_KEY, Some(value.into()), urgency).await {
                tracing::warn!(%error, "what this node tells of itself is not told");
            }
        });
    }

    /// Says where the node stands, and begins to claim its agents when it has joined.
    fn stand(&mut self, myself: &ActorRef<CoordinatorMsg>) {
        let members = self.members.len() + 1;
        self.joined |= members >= self.args.needed;
        if self.joined && self.unclaimed.is_none() {
            self.claim_all(myself);
        }
        let standing = match self.partition {
            _ if !self.joined => Standing::Joining { members, expected: self.args.needed },
            PartitionState::Minority { reachable, agreed } => Standing::Minority { reachable, agreed },
            PartitionState::Whole if !self.args.directory.is_settled() => Standing::Synchronizing,
            PartitionState::Whole => match self.unclaimed {
                Some(0) => Standing::Ready,
                left => Standing::Claiming { left: left.unwrap_or_default() },
            },
        };
        self.args.standing.send_if_modified(|told| {
            let news = *told != standing;
            *told = standing;
            news
        });
    }

    /// Claims the agents that were restored from the store, so that others find them here. Those that live elsewhere by now yield: what
    /// they were goes there to be merged.
    fn claim_all(&mut self, myself: &ActorRef<CoordinatorMsg>) {
        let mut agents: Vec<AgentId> = Vec::new();
        self.args.node.for_each_dormant_agent(|id| agents.push(id));
        self.unclaimed = Some(agents.len());
        if agents.is_empty() {
            return;
        }
        let (directory, places, myself) =
            (self.args.directory.clone(), self.args.places.clone(), myself.clone());
        let me = self.args.membership.me().name().clone();
        tokio::spawn(async move {
            let left = agents.len();
            let claims = futures::stream::iter(agents).map(|id| {
                let directory = directory.clone();
                async move { (id, directory.register(id, None).await) }
            });
            let mut claims = claims.buffered(CLAIMED_AT_ONCE).enumerate();
            while let Some((done, (id, claimed))) = claims.next().await {
                match claimed {
                    Ok(Some(node)) if node.name != me => places.give_up(id, node),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "an agent of the store is not claimed yet"),
                }
                let left = left - done - 1;
                if left.is_multiple_of(1024) && myself.cast(CoordinatorMsg::Unclaimed(left)).is_err() {
                    return;
                }
            }
        });
    }
}
