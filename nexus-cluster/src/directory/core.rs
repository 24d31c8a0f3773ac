//! One node's part of the directory. Pure: time and messages arrive as arguments, messages, answers and news leave as data.
//!
//! The algorithm is told in the module above; here are the state and what drives it. `client.rs` asks for the node's own agents,
//! `holder.rs` answers as one that holds entries, `repair.rs` compares with others, `heal.rs` decides duplicates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;
use serde::Serialize;

use super::cache::Cache;
use super::client::Pending;
use super::config::DirectoryConfig;
use super::heal::Duel;
use super::message::Message;
use super::repair::Repair;
use super::table::{EPOCH_MAX, Stamp, Table};
use crate::ring::{Ring, RingEpoch};
use crate::{NodeId, NodeName};

/// How far ahead of this node's clock the epoch of another's claim may be: one hour. What is further ahead is not taken.
const DRIFT_MAX: u64 = 60 * 60 * 1000;

/// Numbers a request of this node, unique while it runs.
pub type RequestId = u64;

/// One node says that an agent is at it. Of two claims to a name the higher wins, by epoch, then by node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Claim {
    /// When it was made: milliseconds since 1970 on a hybrid logical clock (Kulkarni et al., OPODIS 2014), so that a claim made by
    /// one who has heard of another is higher than that.
    pub epoch: u64,
    /// Who made it.
    pub node: NodeId,
}

/// What can happen to a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Membership has another view.
    RingChanged(Arc<Ring>),
    /// Whether this node is on the smaller side of a partition and the policy is `quorum`: it registers nothing then.
    Minority(bool),
    /// There is a connection to a node, or there is none any more: what was on its way may be lost.
    Link(NodeName),
    /// An agent wants to live here.
    Register {
        /// Answered by it.
        request: RequestId,
        /// Which agent.
        id: AgentId,
        /// Whose place it takes: a migration's last step.
        over: Option<NodeId>,
    },
    /// The agent does not live here any more.
    Unregister {
        /// Which agent.
        id: AgentId,
    },
    /// Where is it?
    Lookup {
        /// Answered by it.
        request: RequestId,
        /// Which agent.
        id: AgentId,
    },
    /// A node said that an agent is not where it was said to be.
    Stale {
        /// Which agent.
        id: AgentId,
        /// The node that does not have it.
        node: NodeId,
    },
    /// The agent is known to have moved there.
    Learned {
        /// Which agent.
        id: AgentId,
        /// Where it lives.
        node: NodeId,
    },
    /// What the behavior says to [`News::Merge`]: who goes on, or `None` if it does not care.
    Judged {
        /// Which agent.
        id: AgentId,
        /// The winner's node.
        winner: Option<NodeName>,
    },
    /// Another directory says something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
}

/// Work for the shell, to be done in the order returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this; it may get lost.
    Send {
        /// Whom.
        to: NodeName,
        /// What.
        message: Message,
    },
    /// The answer to a request; each gets one.
    Answer {
        /// Which.
        request: RequestId,
        /// What.
        answer: Answer,
    },
    /// From now on readers find the agent there.
    Publish {
        /// Which agent.
        id: AgentId,
        /// Where.
        at: Whereabouts,
    },
    /// From now on readers must ask.
    Retract {
        /// Which agent.
        id: AgentId,
    },
    /// Tell the rest of the node.
    Tell(News),
}

/// What the rest of the node hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Two nodes run one agent: ask its behavior who goes on. Its answer must depend on its arguments alone, since two owners may ask
    /// while a ring changes.
    Merge {
        /// Which agent.
        id: AgentId,
        /// The claim that wins if the behavior does not care.
        higher: Claim,
        /// The other.
        lower: Claim,
    },
    /// A duplicate was decided here: an event for operators.
    Duplicate {
        /// Which agent.
        id: AgentId,
        /// Who goes on.
        winner: NodeId,
        /// Who stops.
        loser: NodeId,
    },
    /// This node's agent has lost, or its place was taken: hand its state over to be merged, and stop it.
    Yield {
        /// Which agent.
        id: AgentId,
        /// Where it lives now.
        to: NodeId,
    },
    /// This node's agent has won over another. Told again if the loser did not hear of it.
    Prevailed {
        /// Which agent.
        id: AgentId,
        /// Who lost.
        over: NodeId,
    },
    /// These agents were on a node that is gone, and this node is their owner: they may be started anew somewhere.
    Orphaned {
        /// Which, by key.
        ids: Vec<AgentId>,
    },
}

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this node.
    Here,
    /// On another.
    There(NodeId),
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The agent may live here.
    Registered,
    /// It lives on that node.
    AlreadyAt(NodeId),
    /// Its node is this.
    Found(NodeId),
    /// It is nowhere.
    Unknown,
    /// Nothing is known, and nothing was registered.
    Unavailable(Unavailable),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nobody who could know answered in time. Try again.
    #[error("the name's owner did not answer in time")]
    TimedOut,
    /// This node is in a minority, and the policy is `quorum`.
    #[error("this node is in the minority of a partition and registers nothing")]
    Minority,
    /// As much as allowed is under way.
    #[error("too many registrations and look-ups are under way")]
    Overloaded,
    /// The owner holds as many names as it may.
    #[error("the name's owner holds as many names as it may")]
    Full,
    /// The agent was unregistered meanwhile.
    #[error("unregistered while it was being registered")]
    Cancelled,
    /// The directory has stopped.
    #[error("the directory has stopped")]
    Stopped,
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectoryOverview {
    /// The ring it goes by.
    pub ring: RingEpoch,
    /// Whether it has heard from all members since the ring changed.
    pub settled: bool,
    /// Agents that live here.
    pub local: usize,
    /// Entries held as an owner or a successor.
    pub held: usize,
    /// Answers kept.
    pub cached: usize,
    /// Requests under way.
    pub pending: usize,
    /// Duplicates being decided.
    pub duels: usize,
    /// Bytes of its tables.
    pub bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    pub(super) config: DirectoryConfig,
    pub(super) me: NodeId,
    pub(super) ring: Arc<Ring>,
    /// This node's place in the ring, if it is a member.
    pub(super) place: Option<u16>,
    pub(super) minority: bool,
    /// The highest epoch made or heard of.
    pub(super) clock: u64,
    /// Agents that live here: the truth about them. Stamps have no place.
    pub(super) local: Table,
    /// Entries that this node holds as an owner or a successor.
    pub(super) held: Table,
    pub(super) cache: Cache,
    pub(super) pending: BTreeMap<RequestId, Pending>,
    /// Those of them that register.
    pub(super) registering: BTreeSet<(AgentId, RequestId)>,
    pub(super) repair: Repair,
    pub(super) duels: BTreeMap<AgentId, Duel>,
    pub(super) effects: Vec<Effect>,
    /// What this node says to itself.
    inbox: VecDeque<Message>,
}

impl Core {
    /// The part of `me`, which knows no ring yet.
    #[must_use]
    pub fn new(me: NodeId, config: DirectoryConfig) -> Self {
        Self {
            cache: Cache::new(config.cache_ttl, config.cache_max),
            config,
            me,
            ring: Arc::new(Ring::new([])),
            place: None,
            minority: false,
            clock: 0,
            local: Table::new(),
            held: Table::new(),
            pending: BTreeMap::new(),
            registering: BTreeSet::new(),
            repair: Repair::default(),
            duels: BTreeMap::new(),
            effects: Vec::new(),
            inbox: VecDeque::new(),
        }
    }

    /// Takes one input.
    #[must_use]
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick => self.on_tick(now),
            Input::RingChanged(ring) => self.on_ring(now, ring),
            Input::Minority(minority) => self.minority = minority,
            Input::Link(name) => self.on_link(&name),
            Input::Register { request, id, over } => self.register(now, request, id, over),
            Input::Unregister { id } => self.unregister(now, id),
            Input::Lookup { request, id } => self.lookup(now, request, id),
            Input::Stale { id, node } => self.stale(id, &node),
            Input::Learned { id, node } => {
                if let Some(place) = self.place_of(&node) {
                    self.cache_answer(now, id, place);
                }
            }
            Input::Judged { id, winner } => self.on_judged(now, id, winner.as_ref()),
            Input::Message { from, message } => self.on_message(now, &from, message),
        }
        while let Some(message) = self.inbox.pop_front() {
            self.on_message(now, &self.me.clone(), message);
        }
        std::mem::take(&mut self.effects)
    }

    /// What is held, for whoever wants to see it.
    #[must_use]
    pub fn overview(&self, now: Millis) -> DirectoryOverview {
        DirectoryOverview {
            ring: self.ring.epoch(),
            settled: self.is_settled(now),
            local: self.local.len(),
            held: self.held.len(),
            cached: self.cache.len(),
            pending: self.pending.len(),
            duels: self.duels.len(),
            bytes: self.local.bytes() + self.held.bytes() + self.cache.bytes() + self.repair.bytes(),
        }
    }

    /// The claim for `id` that this node holds as its owner or a successor.
    #[must_use]
    pub fn held(&self, id: AgentId) -> Option<Claim> {
        self.held.get(id).map(|stamp| self.claim(stamp))
    }

    /// Whether the agent lives here.
    #[must_use]
    pub fn is_local(&self, id: AgentId) -> bool {
        self.local.get(id).is_some()
    }

    fn on_message(&mut self, now: Millis, from: &NodeId, message: Message) {
        match message {
            Message::Register { request, id, epoch, over } => {
                self.on_register(now, from, request, id, epoch, over.as_ref());
            }
            Message::Registered { request, id, epoch } => self.on_registered(now, from, request, id, epoch),
            Message::Lookup { request, id } => self.on_lookup(now, from, request, id),
            Message::At { request, node, epoch } => self.on_at(now, request, node, epoch),
            Message::Absent { request } => self.on_absent(from, request),
            // The retry comes with its time.
            Message::NotYet { .. } => {}
            Message::Full { request } => self.on_full(request),
            Message::Unregister { id, epoch } => self.on_unregister(from, id, epoch),
            Message::Confirm { id } => self.on_confirm(from, id),
            Message::Confirmed { id, epoch } => self.on_confirmed(now, from, id, epoch),
            Message::Yield { id, epoch, to } => self.on_yield(now, id, epoch, to),
            Message::Prevail { id, epoch, over, over_epoch } => {
                self.on_prevail(now, id, epoch, over, over_epoch)
            }
            Message::Put { ring, .. }
            | Message::Root { ring, .. }
            | Message::InSync { ring, .. }
            | Message::Differs { ring, .. }
            | Message::Entries { ring, .. } => {
                // Places mean something only among those with the same ring. Whoever has the older one will hear of the newer, and
                // both begin to compare anew then.
                if ring == self.ring.epoch()
                    && let Some(place) = self.place_of(from)
                {
                    self.on_shared(now, place, message);
                }
            }
        }
    }

    fn on_tick(&mut self, now: Millis) {
        self.expire_pending(now);
        for id in self.cache.expire(now) {
            self.retract(id);
        }
        self.expire_duels(now);
        self.compare(now);
    }

    /// Entries of nodes that are gone go, and entries for which others are responsible now; those of this node's agents come.
    fn on_ring(&mut self, now: Millis, ring: Arc<Ring>) {
        if ring.epoch() == self.ring.epoch() {
            return;
        }
        let old = std::mem::replace(&mut self.ring, ring);
        let ring = self.ring.clone();
        self.place = self.place_of(&self.me);
        let places: Vec<Option<u16>> =
            old.members().iter().map(|member| self.place_of(&member.node)).collect();
        let place_now = |place: u16| places.get(usize::from(place)).copied().flatten();
        let mut orphans = Vec::new();
        let (me, copies) = (self.place, 1 + self.config.successors);
        self.held.retain(|id, stamp| {
            let responsible = ring.preference_places(id, copies);
            let host = place_now(stamp.place());
            if host.is_none() && me.is_some() && responsible.first().copied() == me {
                orphans.push(id);
            }
            let mine = me.is_some_and(|me| responsible.contains(&me));
            host.filter(|_| mine).map(|place| Stamp::new(stamp.epoch(), place))
        });
        let gone =
            self.cache.retain(|id, place| place_now(place).filter(|_| old.owner(id) == ring.owner(id)));
        gone.into_iter().for_each(|id| self.retract(id));
        // What is decided refers to places of the old ring; what is still double will be found again.
        self.duels.clear();
        self.repair.begin(now, ring.members().len(), self.place, &self.config);
        if let Some(me) = self.place {
            let own: Vec<_> =
                self.local.iter().map(|(id, stamp)| (id, Stamp::new(stamp.epoch(), me))).collect();
            own.into_iter().for_each(|(id, stamp)| self.hold_own(id, stamp));
        }
        if !orphans.is_empty() {
            self.tell(News::Orphaned { ids: orphans });
        }
        self.retry_all(now);
        self.compare(now);
    }

    /// Takes a claim of this node into what it holds, if it is responsible for the name and has no higher one.
    pub(super) fn hold_own(&mut self, id: AgentId, stamp: Stamp) {
        if self.is_mine(id) && self.held.get(id).is_none_or(|held| held < stamp) {
            self.hold(id, stamp);
        }
    }

    /// The places of those who hold the entry of `id`, the owner's first.
    pub(super) fn responsible(&self, id: AgentId) -> Vec<u16> {
        self.ring.preference_places(id, 1 + self.config.successors)
    }

    pub(super) fn is_mine(&self, id: AgentId) -> bool {
        self.place.is_some_and(|me| self.responsible(id).contains(&me))
    }

    pub(super) fn is_owner(&self, id: AgentId, node: &NodeId) -> bool {
        self.ring.owner(id) == Some(node)
    }

    /// The place of exactly this life of a node.
    pub(super) fn place_of(&self, node: &NodeId) -> Option<u16> {
        let place = self.ring.place(&node.name)?;
        (self.ring.members()[place].node == *node).then(|| u16::try_from(place).ok()).flatten()
    }

    pub(super) fn node_at(&self, place: u16) -> &NodeId {
        &self.ring.members()[usize::from(place)].node
    }

    pub(super) fn claim(&self, stamp: Stamp) -> Claim {
        Claim { epoch: stamp.epoch(), node: self.node_at(stamp.place()).clone() }
    }

    pub(super) fn send(&mut self, to: &NodeId, message: Message) {
        if *to == self.me {
            self.inbox.push_back(message);
        } else {
            self.effects.push(Effect::Send { to: to.name.clone(), message });
        }
    }

    pub(super) fn send_place(&mut self, place: u16, message: Message) {
        let to = self.node_at(place).clone();
        self.send(&to, message);
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        self.effects.push(Effect::Answer { request, answer });
    }

    pub(super) fn publish(&mut self, id: AgentId, at: Whereabouts) {
        self.effects.push(Effect::Publish { id, at });
    }

    pub(super) fn retract(&mut self, id: AgentId) {
        self.effects.push(Effect::Retract { id });
    }

    pub(super) fn tell(&mut self, news: News) {
        self.effects.push(Effect::Tell(news));
    }

    /// This node's wall time in milliseconds since 1970, from its start's and the time since.
    fn wall(&self, now: Millis) -> u64 {
        self.me.incarnation.saturating_add(now.get()).min(EPOCH_MAX - DRIFT_MAX)
    }

    /// An epoch above all that were made or heard of.
    pub(super) fn next_epoch(&mut self, now: Millis) -> u64 {
        self.clock = (self.clock + 1).max(self.wall(now)).min(EPOCH_MAX);
        self.clock
    }

    /// Whether another's epoch can be true. If so, ours are higher from now on.
    pub(super) fn observe(&mut self, now: Millis, epoch: u64) -> bool {
        let plausible = epoch <= self.wall(now) + DRIFT_MAX;
        if plausible {
            self.clock = self.clock.max(epoch);
        }
        plausible
    }
}
