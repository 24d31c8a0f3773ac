//! The member's decisions, without time, sockets or tasks of their own: an input comes in, effects go out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use foca::{Foca, NoCustomBroadcast, OwnedNotification, PostcardCodec, State};
use nexus_actors::clock::Millis;
use nexus_actors::rng::Rng;
use serde::Serialize;

use super::config::{MembershipConfig, MembershipConfigError};
use super::datagram::{Refusal, inspect};
use super::member::{Member, Metadata, MetadataError};
use super::message::{Due, Effect, Input, MembershipEvent, Timer};
use super::outbox::{FocaRng, Note, Outbox};
use super::overview::{MemberOverview, MemberState, MembershipOverview};
use super::quorum::{PartitionState, Quorum};
use crate::{NodeId, NodeName};

/// Connected nodes that are spoken to at a time because they are no members.
const INTRODUCTIONS: usize = 3;

/// Counts of what came and what was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MembershipCounts {
    /// Datagrams that were taken.
    pub datagrams: u64,
    /// Datagrams that were dropped, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Steps that foca found fault with: zero, unless timers are lost.
    pub faults: u64,
}

/// One member of the cluster.
pub struct Membership {
    foca: Foca<Member, PostcardCodec, FocaRng, NoCustomBroadcast>,
    config: MembershipConfig,
    /// The cluster's size, as a power of two, that foca is configured for.
    sized_for: u32,
    seeds: Vec<String>,
    started: bool,
    gone: bool,
    /// Whether a member is known to know this identity.
    joined: bool,
    /// Connected and no members: they are spoken to, in turn.
    strangers: BTreeMap<NodeName, NodeId>,
    connected: BTreeMap<NodeName, NodeId>,
    last_introduced: Option<NodeName>,
    suspects: BTreeSet<NodeName>,
    /// Since when each of those is suspected that foca has as suspects, whoever began it, or was told so again.
    suspected: BTreeMap<NodeName, Millis>,
    quorum: Quorum,
    counts: MembershipCounts,
}

/// Why there is no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// A parameter.
    #[error(transparent)]
    Config(#[from] MembershipConfigError),
    /// What the node tells of itself.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Membership {
    /// The member `me`, alone so far. Its random choices come from `rng`.
    ///
    /// # Errors
    /// The config or the metadata is out of range.
    pub fn new(me: Member, config: MembershipConfig, rng: Rng) -> Result<Self, MembershipError> {
        config.validate()?;
        me.metadata().validate()?;
        Ok(Self {
            foca: Foca::new(me, config.foca(1), FocaRng(rng), PostcardCodec),
            sized_for: 0,
            seeds: Vec::new(),
            started: false,
            gone: false,
            joined: false,
            strangers: BTreeMap::new(),
            connected: BTreeMap::new(),
            last_introduced: None,
            suspects: BTreeSet::new(),
            suspected: BTreeMap::new(),
            quorum: Quorum::new(config.partition, config.agree_after),
            counts: MembershipCounts::default(),
            config,
        })
    }

    /// Takes one input at `now`.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut out = Outbox::default();
        if self.gone {
            return out.effects;
        }
        match input {
            Input::Join { seeds } => self.on_join(seeds, &mut out),
            Input::Datagram { from, bytes } => self.on_datagram(&from, &bytes, &mut out),
            Input::Timer(Timer(Due::Introduce)) => self.on_introduce(now, &mut out),
            Input::Timer(Timer(Due::Foca(timer))) => self.on_timer(timer, &mut out),
            Input::SetMetadata(metadata) => self.on_metadata(metadata, &mut out),
            Input::Connected(node) => self.on_connected(node, &mut out),
            Input::Disconnected(node) => self.on_disconnected(&node),
            Input::Restore(members) => {
                let known = members.into_iter().map(foca::Member::alive);
                let done = self.foca.apply_many(known, false, &mut out);
                self.count(done);
            }
            Input::Leave => self.on_leave(&mut out),
        }
        self.tell(&mut out);
        self.resize();
        self.count_sides(now, &mut out);
        out.effects
    }

    /// This node as it is a member now.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.foca.identity()
    }

    /// The members, this node not among them, in no order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// How many members there are, this node included unless it has left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.foca.num_members() + usize::from(!self.gone)
    }

    /// Whether this node has left and knows of nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a member is known to know this node.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// On which side of a partition this node is.
    #[must_use]
    pub fn partition(&self) -> PartitionState {
        self.quorum.state()
    }

    /// What came and what was dropped.
    #[must_use]
    pub fn counts(&self) -> &MembershipCounts {
        &self.counts
    }

    /// Everything for the debug endpoint, members by name.
    #[must_use]
    pub fn overview(&self) -> MembershipOverview {
        let mut members: Vec<_> = self.foca.iter_membership_state().map(overview_of).collect();
        let own = if self.gone { MemberState::Left } else { MemberState::Alive };
        members.push(MemberOverview::new(self.me(), own));
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        MembershipOverview {
            me: self.me().id().clone(),
            joined: self.joined,
            partition: self.quorum.state(),
            connected: self.connected.len(),
            strangers: self.strangers.len(),
            updates_queued: self.foca.updates_backlog(),
            counts: self.counts.clone(),
            members,
        }
    }

    fn on_join(&mut self, seeds: Vec<String>, out: &mut Outbox) {
        self.seeds = seeds;
        self.connect_seeds(out);
        if !std::mem::replace(&mut self.started, true) {
            out.arm(Due::Introduce, self.config.introduce_interval);
        }
    }

    fn connect_seeds(&self, out: &mut Outbox) {
        let own = &self.me().metadata().address;
        let others = self.seeds.iter().filter(|seed| *seed != own);
        out.effects.extend(others.map(|seed| Effect::Connect { address: seed.clone() }));
    }

    fn on_datagram(&mut self, from: &NodeId, bytes: &[u8], out: &mut Outbox) {
        let room = self.config.members_max.saturating_sub(self.foca.iter_membership_state().len());
        let inspected = match inspect(bytes, from, self.config.datagram_bytes) {
            Ok(_) if from.name == *self.me().name() => Err(Refusal::Impostor),
            // Most of what it tells of is known: count exactly only where it matters.
            Ok(told) if told.len() > room && self.unknown(&told) > room => Err(Refusal::TooMany),
            other => other,
        };
        match inspected {
            Err(refusal) => *self.counts.refused.entry(refusal).or_default() += 1,
            Ok(_) => {
                self.counts.datagrams += 1;
                let done = self.foca.handle_data(bytes, &mut *out);
                self.count(done);
            }
        }
    }

    fn unknown(&self, told: &[Member]) -> usize {
        let known: BTreeSet<_> = self.foca.iter_membership_state().map(|member| member.id().name()).collect();
        let new: BTreeSet<_> = told.iter().map(Member::name).filter(|name| !known.contains(name)).collect();
        new.len()
    }

    fn on_timer(&mut self, timer: foca::Timer<Member>, out: &mut Outbox) {
        let forgotten = match &timer {
            foca::Timer::RemoveDown(member) => Some(member.clone()),
            foca::Timer::ChangeSuspectToDown { member_id, .. } => {
                self.suspects.remove(member_id.name());
                None
            }
            _ => None,
        };
        let before = self.foca.iter_membership_state().len();
        let done = self.foca.handle_timer(timer, &mut *out);
        self.count(done);
        if let Some(member) = forgotten
            && self.foca.iter_membership_state().len() < before
        {
            out.disconnect(&member);
        }
    }

    /// Speaks to connected nodes that are no members, and to members as long as none is known to know us: any of these words may
    /// have been lost before.
    fn on_introduce(&mut self, now: Millis, out: &mut Outbox) {
        out.arm(Due::Introduce, self.config.introduce_interval);
        self.remind_suspects(now, out);
        if self.foca.num_members() == 0 {
            self.connect_seeds(out);
        }
        let mut to: Vec<Member> = self.next_strangers();
        if !self.joined {
            to.extend(self.foca.iter_members().take(INTRODUCTIONS).map(|member| member.id().clone()));
        }
        for member in to {
            let done = self.foca.announce(member, &mut *out);
            self.count(done);
        }
    }

    /// Tells suspects again who have neither defended themselves nor been declared down. Word of a suspicion is passed on a few times only,
    /// and who suspected forgets to judge when it gets a new identity meanwhile: so both may be lost, as in a partition. The suspicion is
    /// of the next incarnation, for foca passes on nothing that it knows; who is alive answers with the one after that.
    fn remind_suspects(&mut self, now: Millis, out: &mut Outbox) {
        let patience = 2 * self.config.suspicion(self.len());
        let suspects = self.foca.iter_membership_state().filter(|member| member.state() == State::Suspect);
        let before = std::mem::take(&mut self.suspected);
        let mut again = Vec::new();
        for member in suspects {
            let name = member.id().name();
            // This node is to judge by its own probe: a reminder would make that the judgement of an older incarnation.
            let judges = self.suspects.contains(name);
            let mut since = before.get(name).copied().filter(|_| !judges).unwrap_or(now);
            if now.since(since) >= patience {
                since = now;
                let next = member.incarnation().saturating_add(1);
                again.push(foca::Member::new(member.id().clone(), next, State::Suspect));
            }
            self.suspected.insert(name.clone(), since);
        }
        let done = self.foca.apply_many(again.into_iter(), true, &mut *out);
        self.count(done);
    }

    /// What is left of a suspicion whose word and whose end are lost.
    #[cfg(test)]
    pub(super) fn suspect_in_secret(&mut self, whom: Member) {
        let suspicion = foca::Member::new(whom, 0, State::Suspect);
        let done = self.foca.apply_many([suspicion].into_iter(), false, &mut Outbox::default());
        self.count(done);
    }

    fn next_strangers(&mut self) -> Vec<Member> {
        let after = self.last_introduced.take();
        let (behind, ahead): (Vec<_>, Vec<_>) =
            self.strangers.values().partition(|node| after.as_ref().is_some_and(|after| node.name <= *after));
        let turn: Vec<_> = ahead.into_iter().chain(behind).take(INTRODUCTIONS).collect();
        self.last_introduced = turn.last().map(|node| node.name.clone());
        turn.into_iter().map(|node| Member::new(node.clone(), Metadata::default())).collect()
    }

    fn on_metadata(&mut self, metadata: Metadata, out: &mut Outbox) {
        if *self.me().metadata() == metadata || metadata.validate().is_err() {
            return;
        }
        if let Some(next) = self.me().renewed(metadata, false) {
            // Members learn it from the sender of whatever we send next; until one answers we go on telling.
            self.joined = false;
            let done = self.foca.change_identity(next, &mut *out);
            self.count(done);
        }
    }

    fn on_connected(&mut self, node: NodeId, out: &mut Outbox) {
        if node.name == *self.me().name() {
            return;
        }
        self.connected.insert(node.name.clone(), node.clone());
        if !self.foca.iter_members().any(|member| *member.id().id() == node) {
            self.strangers.insert(node.name.clone(), node.clone());
            let done = self.foca.announce(Member::new(node, Metadata::default()), &mut *out);
            self.count(done);
        }
    }

    fn on_disconnected(&mut self, node: &NodeId) {
        // Word of an old connection does not end a newer life's.
        if self.connected.get(&node.name) == Some(node) {
            self.connected.remove(&node.name);
            self.strangers.remove(&node.name);
        }
    }

    fn on_leave(&mut self, out: &mut Outbox) {
        let known: Vec<Member> = self.members().cloned().collect();
        // The last identity says that the end is on purpose; its word goes to a few members and from there to all.
        if let Some(last) = self.me().renewed(self.me().metadata().clone(), true) {
            let done = self.foca.change_identity(last, &mut *out);
            self.count(done);
        }
        let done = self.foca.leave_cluster(&mut *out);
        self.count(done);
        (self.gone, self.joined) = (true, false);
        for member in known {
            out.disconnect(&member);
        }
    }

    /// Turns what foca has noted into events.
    fn tell(&mut self, out: &mut Outbox) {
        while let Some(note) = out.notes.pop_front() {
            match note {
                Note::Foca(OwnedNotification::MemberUp(member)) => self.on_up(member, out),
                Note::Foca(OwnedNotification::MemberDown(member)) => self.on_down(member, out),
                Note::Foca(OwnedNotification::Rename(old, new)) => self.on_renamed(&old, new, out),
                Note::Foca(OwnedNotification::Active) => self.joined = true,
                Note::Foca(OwnedNotification::Rejoin(me)) => {
                    self.joined = false;
                    out.event(MembershipEvent::Rejoined(me));
                }
                Note::Foca(_) => {}
                Note::Suspect(member) => {
                    if self.suspects.insert(member.name().clone()) {
                        out.event(MembershipEvent::MemberSuspect(member));
                    }
                }
            }
        }
    }

    fn on_up(&mut self, member: Member, out: &mut Outbox) {
        self.strangers.remove(member.name());
        out.connect(&member);
        out.event(MembershipEvent::MemberUp(member));
    }

    fn on_down(&mut self, member: Member, out: &mut Outbox) {
        self.suspects.remove(member.name());
        if member.left() {
            self.quorum.left(member.name());
            self.strangers.remove(member.name());
            out.disconnect(&member);
            return out.event(MembershipEvent::MemberLeft(member));
        }
        if let Some(node) = self.connected.get(member.name()) {
            self.strangers.insert(node.name.clone(), node.clone());
        }
        out.event(MembershipEvent::MemberDown(member));
    }

    /// `new` has taken the place of `old`. Where one of them is up and the other is not, foca notes that next.
    fn on_renamed(&mut self, old: &Member, new: Member, out: &mut Outbox) {
        let (before, after) = (&old.metadata().address, &new.metadata().address);
        if before != after && !before.is_empty() {
            out.effects.push(Effect::Disconnect { address: before.clone() });
        }
        let noted_next = match out.notes.front() {
            Some(Note::Foca(OwnedNotification::MemberUp(next) | OwnedNotification::MemberDown(next))) => {
                *next == new
            }
            _ => false,
        };
        if noted_next || !self.foca.iter_members().any(|member| *member.id() == new) {
            return;
        }
        self.suspects.remove(new.name());
        if old.id() != new.id() {
            out.event(MembershipEvent::MemberDown(old.clone()));
            self.on_up(new, out);
        } else if old.metadata() != new.metadata() {
            out.connect(&new);
            out.event(MembershipEvent::MetadataChanged(new));
        }
    }

    /// Patience and retransmissions go with the cluster's size.
    fn resize(&mut self) {
        let members = self.foca.num_members() + 1;
        let power = members.ilog2();
        if std::mem::replace(&mut self.sized_for, power) != power {
            let done = self.foca.set_config(self.config.foca(members));
            self.count(done);
        }
    }

    fn count_sides(&mut self, now: Millis, out: &mut Outbox) {
        if !self.quorum.counts() || self.gone {
            return;
        }
        let mut alive: BTreeSet<_> = self.members().map(|member| member.name().clone()).collect();
        alive.insert(self.me().name().clone());
        if let Some(state) = self.quorum.observe(now, &alive) {
            out.event(MembershipEvent::Partition(state));
        }
    }

    fn count(&mut self, done: Result<(), foca::Error>) {
        self.counts.faults += u64::from(done.is_err());
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("me", self.me()).field("len", &self.len()).finish_non_exhaustive()
    }
}

fn overview_of(member: &foca::Member<Member>) -> MemberOverview {
    let state = match member.state() {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down if member.id().left() => MemberState::Left,
        State::Down => MemberState::Down,
    };
    MemberOverview::new(member.id(), state)
}
