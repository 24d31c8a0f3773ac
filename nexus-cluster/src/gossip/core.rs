//! The gossiper's decisions, without time, sockets or tasks of its own: an input comes in, effects go out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::clock::Millis;
use nexus_actors::rng::Rng;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::{GossipConfig, GossipConfigError, rounds};
use super::message::{BUCKETS, Change, Effect, Input, Message, Position, Urgency, WriteError};
use super::overview::{Convergence, GossipOverview, LAGGARDS_MAX, OwnerOverview};
use super::peers::Peers;
use super::state::{Applied, KEY_BYTES_MAX, NodeState, Update};
use crate::{NodeId, NodeName};

/// How often news are heard again before they are pushed no more.
const HEARD_ENOUGH: u32 = 2;

/// Rounds without an exchange of sums after which one is begun even while news come in.
const PATIENCE_ROUNDS: u64 = 4;

/// Counts of what came, went and was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GossipCounts {
    /// Rounds of its own, the immediate ones included.
    pub rounds: u64,
    /// Messages sent.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Messages that the round's budget had no room for.
    pub deferred: u64,
    /// Messages taken.
    pub received: u64,
    /// Updates that brought something new.
    pub applied: u64,
    /// Updates that did not.
    pub known: u64,
    /// Updates whose beginning was missing.
    pub gaps: u64,
    /// Updates about nodes that are no members here yet.
    pub unknown: u64,
    /// Messages that no honest node sends; nothing of them was taken.
    pub malformed: u64,
}

/// One node's part in gossip: its own keys, and what it knows of all others'.
#[derive(Debug)]
pub struct Gossip {
    me: NodeId,
    zone: String,
    config: GossipConfig,
    rng: Rng,
    nodes: BTreeMap<NodeName, Node>,
    /// The state of all that have said nothing.
    silent: Arc<NodeState>,
    /// Members among `nodes`, to choose from.
    peers: Peers,
    /// Those that are no members any more, and since when.
    gone: BTreeMap<NodeName, Millis>,
    /// News that are still pushed.
    hot: BTreeMap<NodeName, Hot>,
    /// When our own tombstones were written.
    tombs: BTreeMap<u64, Millis>,
    /// One sum for each bucket of owners.
    sums: Vec<u64>,
    round: Round,
    counts: GossipCounts,
}

/// What is known of a node.
#[derive(Debug)]
struct Node {
    /// Shared with whoever was given it; written on a copy.
    state: Arc<NodeState>,
    /// Whether it counts: it is a member, or ourselves.
    counts: bool,
    /// The sum it told last.
    heard: Option<u64>,
    /// Up to which version of ours it has shown to know.
    acknowledged: u64,
}

impl Node {
    fn new(state: Arc<NodeState>) -> Self {
        Self { state, counts: false, heard: None, acknowledged: 0 }
    }
}

/// Updates of one owner that are pushed.
#[derive(Clone, Copy, Debug)]
struct Hot {
    /// What peers are taken to know: in this life, up to this version.
    from: (u64, u64),
    since: Millis,
    pushes_left: u32,
    /// How often they were heard from others.
    heard: u32,
    urgent: bool,
}

/// What was spent since the round began.
#[derive(Debug, Default)]
struct Round {
    bytes: usize,
    urgent: u32,
    learned: bool,
    /// Rounds since sums were last sent.
    quiet: u64,
    answered: bool,
}

impl Gossip {
    /// The gossip of `me`, which stands in `zone` and knows nobody yet. Its random choices come from `rng`.
    ///
    /// # Errors
    /// The config is out of range.
    pub fn new(me: NodeId, zone: String, config: GossipConfig, rng: Rng) -> Result<Self, GossipConfigError> {
        config.validate()?;
        let own = Node { counts: true, ..Node::new(Arc::new(NodeState::new(me.incarnation))) };
        Ok(Self {
            nodes: BTreeMap::from([(me.name.clone(), own)]),
            me,
            zone,
            config,
            rng,
            silent: Arc::default(),
            peers: Peers::default(),
            gone: BTreeMap::new(),
            hot: BTreeMap::new(),
            tombs: BTreeMap::new(),
            sums: vec![0; BUCKETS],
            round: Round::default(),
            counts: GossipCounts::default(),
        })
    }

    /// Takes one input at `now`.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Start => out.push(Effect::Arm(self.config.interval)),
            Input::Round => self.on_round(now, &mut out),
            Input::Message { from, bytes } => self.on_message(now, &from, &bytes, &mut out),
            Input::MemberUp { node, zone } => self.on_up(node, &zone),
            Input::MemberDown(name) => self.on_down(now, name),
        }
        out
    }

    /// Gives one of this node's own keys a value, or with `None` deletes it.
    ///
    /// # Errors
    /// The key or the state would be too large. Deleting always succeeds.
    pub fn write(
        &mut self,
        now: Millis,
        key: &str,
        value: Option<Bytes>,
        urgency: Urgency,
    ) -> Result<Vec<Effect>, WriteError> {
        let own = &self.nodes[&self.me.name].state;
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(WriteError::Key { bytes: key.len(), limit: KEY_BYTES_MAX });
        }
        let (bytes, limit) = (own.bytes_with(key, value.as_ref()), self.config.node_bytes);
        if value.is_some() && bytes > limit {
            return Err(WriteError::Full { bytes, limit });
        }
        let mut out = Vec::new();
        // What is not there is not deleted, and what is the same is not news.
        if own.get(key) == value.as_ref() {
            return Ok(out);
        }
        let before = own.at();
        let deleted = value.is_none();
        self.change(&self.me.name.clone(), |state| state.write(key, value.clone()));
        let own = &self.nodes[&self.me.name].state;
        if deleted {
            self.tombs.insert(own.version, now);
        }
        let change = (key.to_owned(), own.version, value);
        self.changed(&self.me.name.clone(), vec![change], &mut out);
        self.heat(now, &self.me.name.clone(), before, urgency == Urgency::Urgent);
        if urgency == Urgency::Urgent {
            self.urgent_round(&mut out);
        }
        Ok(out)
    }

    /// The value of a node's key, as far as is known here.
    #[must_use]
    pub fn get(&self, owner: &NodeName, key: &str) -> Option<&Bytes> {
        self.nodes.get(owner)?.state.get(key)
    }

    /// All live keys of a node, in order.
    pub fn keys(&self, owner: &NodeName) -> impl Iterator<Item = (&str, &Bytes)> {
        let entries = self.nodes.get(owner).into_iter().flat_map(|node| &node.state.entries);
        entries.filter_map(|(key, entry)| Some((key.as_str(), entry.value.as_ref()?)))
    }

    /// Where a node's state stands here: incarnation and version. Two nodes that say the same have the same keys of it.
    #[must_use]
    pub fn position(&self, owner: &NodeName) -> (u64, u64) {
        self.nodes.get(owner).map_or((0, 0), |node| node.state.at())
    }

    /// A sum over where everything stands: equal on two nodes that know the same of the same members.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sums.iter().fold(0, |sum, bucket| sum ^ bucket)
    }

    /// Takes over from `other` all that it knows of members here: a node that is started beside a converged one.
    pub fn restore(&mut self, other: &Self) {
        for (name, node) in &mut self.nodes {
            let Some(known) = other.nodes.get(name) else { continue };
            if *name == self.me.name || known.state.at() <= node.state.at() {
                continue;
            }
            let sum = &mut self.sums[bucket(name)];
            *sum ^= sum_of(name, node);
            node.state = known.state.clone();
            *sum ^= sum_of(name, node);
        }
    }

    /// Whether all members have shown to know the same. It is heard by and by: in a large cluster it takes N over fan-out rounds.
    #[must_use]
    pub fn convergence(&self) -> Convergence {
        let sum = self.sum();
        let lags = |(name, node): &(&NodeName, &Node)| {
            node.counts && **name != self.me.name && node.heard != Some(sum)
        };
        let mut lagging = self.nodes.iter().filter(lags);
        let named: Vec<_> = lagging.by_ref().take(LAGGARDS_MAX).map(|(name, _)| name.clone()).collect();
        if named.is_empty() {
            Convergence::Converged { sum }
        } else {
            Convergence::NotConverged { sum, more: lagging.count(), lagging: named }
        }
    }

    /// What came, went and was dropped.
    #[must_use]
    pub fn counts(&self) -> &GossipCounts {
        &self.counts
    }

    /// Everything for the debug endpoint, owners by name; not their values.
    #[must_use]
    pub fn overview(&self) -> GossipOverview {
        let owner = |(name, node): (&NodeName, &Node)| OwnerOverview {
            name: name.clone(),
            member: node.counts,
            incarnation: node.state.incarnation,
            version: node.state.version,
            keys: node.state.entries.values().filter(|entry| entry.value.is_some()).count(),
            tombstones: node.state.entries.values().filter(|entry| entry.value.is_none()).count(),
            bytes: node.state.bytes,
            acknowledged: node.acknowledged,
        };
        GossipOverview {
            me: self.me.clone(),
            convergence: self.convergence(),
            fanout: self.config.fanout(self.peers.len() + 1),
            hot: self.hot.len(),
            counts: self.counts.clone(),
            owners: self.nodes.iter().map(owner).collect(),
        }
    }

    fn on_up(&mut self, node: NodeId, zone: &str) {
        if node.name == self.me.name {
            return;
        }
        self.gone.remove(&node.name);
        if self.nodes.get(&node.name).is_some_and(|known| known.counts) {
            self.peers.remove(&node.name);
        }
        self.peers.insert(node.name.clone(), zone == self.zone);
        self.count_in(node.name, true);
    }

    fn on_down(&mut self, now: Millis, name: NodeName) {
        if name == self.me.name || !self.nodes.get(&name).is_some_and(|node| node.counts) {
            return;
        }
        self.peers.remove(&name);
        self.hot.remove(&name);
        self.count_in(name.clone(), false);
        self.gone.insert(name, now);
    }

    fn count_in(&mut self, name: NodeName, counts: bool) {
        let at = bucket(&name);
        let new = || Node::new(self.silent.clone());
        let node = self.nodes.entry(name.clone()).or_insert_with(new);
        self.sums[at] ^= sum_of(&name, node);
        (node.counts, node.heard) = (counts, None);
        self.sums[at] ^= sum_of(&name, node);
    }

    fn on_round(&mut self, now: Millis, out: &mut Vec<Effect>) {
        out.push(Effect::Arm(self.config.interval));
        self.round = Round { quiet: self.round.quiet + 1, ..Round::default() };
        self.forget(now);
        self.collect(now);
        self.push(false, out);
        self.hot.retain(|_, hot| hot.pushes_left > 0);
    }

    fn forget(&mut self, now: Millis) {
        let over = |since: &Millis| now.since(*since) >= self.config.forget_after;
        let over: Vec<_> =
            self.gone.iter().filter(|(_, since)| over(since)).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.gone.remove(&name);
            self.nodes.remove(&name);
        }
    }

    /// Gives up the tombstones of ours that all members know, or that have waited long enough.
    fn collect(&mut self, now: Millis) {
        if self.tombs.is_empty() {
            return;
        }
        let others = self.nodes.iter().filter(|(name, node)| node.counts && **name != self.me.name);
        let known = others.map(|(_, node)| node.acknowledged).min().unwrap_or(0);
        let old = |(_, at): &(&u64, &Millis)| now.since(**at) >= self.config.tombstone_after;
        let waited = self.tombs.iter().take_while(old).last().map_or(0, |(version, _)| *version);
        let (up_to, before) = (known.max(waited), self.nodes[&self.me.name].state.at());
        self.tombs = self.tombs.split_off(&(up_to + 1));
        let me = self.me.name.clone();
        let mut collected = false;
        self.change(&me, |state| collected = state.collect(up_to));
        if collected {
            self.heat(now, &me, before, false);
        }
    }

    /// One round: the same message to each chosen peer.
    fn push(&mut self, urgent: bool, out: &mut Vec<Effect>) {
        self.counts.rounds += 1;
        let fanout = self.config.fanout(self.peers.len() + 1);
        let to = self.peers.choose(&mut self.rng, fanout, self.config.across_percent);
        if to.is_empty() {
            return;
        }
        // Half the budget, so that answers have the other half.
        let updates = self.news(urgent, self.config.budget_bytes / 2 / to.len());
        let message = Message::Push { sum: self.sum(), urgent, updates };
        let bytes = encode(&message);
        for to in to {
            self.send_bytes(to, bytes.clone(), out);
        }
    }

    fn urgent_round(&mut self, out: &mut Vec<Effect>) {
        if self.round.urgent < self.config.urgent_rounds {
            self.round.urgent += 1;
            self.push(true, out);
        }
    }

    /// What is hot and fits, the oldest first.
    fn news(&mut self, urgent: bool, limit: usize) -> Vec<Update> {
        let mut turn: Vec<_> = self.hot.iter().filter(|(_, hot)| hot.urgent || !urgent).collect();
        turn.sort_by_key(|(_, hot)| hot.since);
        let turn: Vec<_> = turn.into_iter().map(|(name, hot)| (name.clone(), hot.from)).collect();
        let mut room = limit.saturating_sub(32);
        let mut updates = Vec::new();
        for (name, from) in turn {
            let Some(update) = self.nodes[&name].state.since(&name, from) else { continue };
            let size = update.size();
            // What never fits a push is left to the exchange of digests.
            if (size <= room || size > limit)
                && let Some(hot) = self.hot.get_mut(&name)
            {
                hot.pushes_left = hot.pushes_left.saturating_sub(1);
            }
            if size <= room {
                room -= size;
                updates.push(update);
            }
        }
        updates
    }

    /// `owner` has changed since it stood at `from`: push it for as many rounds as news need to reach everyone.
    fn heat(&mut self, now: Millis, owner: &NodeName, from: (u64, u64), urgent: bool) {
        let pushes_left = (rounds(self.peers.len() + 1).max(1) as u32) + self.config.extra_pushes;
        let fresh = Hot { from, since: now, pushes_left, heard: 0, urgent };
        let hot = self.hot.entry(owner.clone()).or_insert(fresh);
        *hot = Hot { from: hot.from.min(from), since: hot.since, urgent: hot.urgent || urgent, ..fresh };
    }

    fn on_message(&mut self, now: Millis, from: &NodeId, bytes: &[u8], out: &mut Vec<Effect>) {
        let Some(message) = self.decode(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        if !self.nodes.get(&from.name).is_some_and(|node| node.counts) || from.name == self.me.name {
            self.counts.unknown += 1;
            return;
        }
        self.counts.received += 1;
        match message {
            Message::Push { sum, urgent, updates } => {
                self.on_push(now, &from.name, (sum, urgent), &updates, out)
            }
            Message::Sums(sums) => self.on_sums(&from.name, &sums, out),
            Message::Digest { buckets, positions } => {
                self.on_digest(now, &from.name, &buckets, &positions, out)
            }
            Message::Delta { updates, wants } => self.on_delta(now, &from.name, &updates, &wants, out),
        }
    }

    /// A whole, sound message or nothing.
    fn decode(&self, bytes: &[u8]) -> Option<Message> {
        if bytes.len() > self.config.budget_bytes {
            return None;
        }
        let mut rest = bytes;
        let message: Message = rmp_serde::from_read(&mut rest).ok()?;
        let sound = match &message {
            Message::Push { updates, .. } | Message::Delta { updates, .. } => {
                updates.iter().all(|update| update.is_sound(self.config.node_bytes))
            }
            Message::Sums(sums) => sums.len() == BUCKETS,
            Message::Digest { buckets, .. } => buckets.iter().all(|bucket| usize::from(*bucket) < BUCKETS),
        };
        (sound && rest.is_empty()).then_some(message)
    }

    fn on_push(
        &mut self,
        now: Millis,
        from: &NodeName,
        (sum, urgent): (u64, bool),
        updates: &[Update],
        out: &mut Vec<Effect>,
    ) {
        let learned = self.apply_all(now, updates, urgent, out);
        self.hear(from, sum);
        if urgent && learned {
            self.urgent_round(out);
        }
        // While news come in sums differ anyway: look closer once it is quiet, or has not been for long.
        let calm = !self.round.learned || self.round.quiet >= PATIENCE_ROUNDS;
        if sum != self.sum() && calm && !self.round.answered {
            self.round.answered = self.send(from, &Message::Sums(self.sums.clone()), out);
            self.round.quiet = 0;
        }
    }

    fn hear(&mut self, from: &NodeName, sum: u64) {
        let (same, version) = (sum == self.sum(), self.nodes[&self.me.name].state.version);
        let Some(node) = self.nodes.get_mut(from) else { return };
        node.heard = Some(sum);
        if same {
            node.acknowledged = version;
        }
    }

    fn on_sums(&mut self, from: &NodeName, sums: &[u64], out: &mut Vec<Effect>) {
        self.hear(from, sums.iter().fold(0, |sum, bucket| sum ^ bucket));
        let differ: Vec<u8> =
            (0..BUCKETS).filter(|at| sums[*at] != self.sums[*at]).map(|at| at as u8).collect();
        // Where not all fit, another beginning each time lets all have their turn.
        let turn = self.counts.received as usize % differ.len().max(1);
        let mut room = self.digest_room();
        let (mut buckets, mut positions) = (Vec::new(), Vec::new());
        for bucket in differ[turn..].iter().chain(&differ[..turn]) {
            let here = self.positions(*bucket);
            let size: usize = 2 + here.iter().map(|(name, ..)| name.as_str().len() + 24).sum::<usize>();
            if size > room && !buckets.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            buckets.push(*bucket);
            positions.extend(here);
        }
        if !buckets.is_empty() {
            self.send(from, &Message::Digest { buckets, positions }, out);
        }
    }

    fn digest_room(&self) -> usize {
        self.config.budget_bytes.saturating_sub(self.round.bytes) / 4
    }

    fn positions(&self, of: u8) -> Vec<Position> {
        let here = self.nodes.iter().filter(|(name, node)| node.counts && bucket(name) == usize::from(of));
        here.map(|(name, node)| (name.clone(), node.state.incarnation, node.state.version)).collect()
    }

    fn on_digest(
        &mut self,
        now: Millis,
        from: &NodeName,
        buckets: &[u8],
        positions: &[Position],
        out: &mut Vec<Effect>,
    ) {
        let theirs: BTreeMap<_, _> =
            positions.iter().map(|(name, life, version)| (name, (*life, *version))).collect();
        self.acknowledge(now, from, &theirs);
        let in_buckets = |name: &NodeName| buckets.iter().any(|of| usize::from(*of) == bucket(name));
        let (mut behind, mut wants) = (Vec::new(), Vec::new());
        for (name, node) in self.nodes.iter().filter(|(name, node)| node.counts && in_buckets(name)) {
            let there = theirs.get(name).copied().unwrap_or((0, 0));
            if there < node.state.at() {
                behind.push((name.clone(), there));
            } else if there > node.state.at() && *name != self.me.name {
                wants.push((name.clone(), node.state.incarnation, node.state.version));
            }
        }
        self.answer(from, behind, wants, out);
    }

    /// `from` has shown where it stands: with our own state that is an acknowledgement, or tells that we were started anew.
    fn acknowledge(&mut self, now: Millis, from: &NodeName, theirs: &BTreeMap<&NodeName, (u64, u64)>) {
        let (me, own) = (self.me.name.clone(), self.position(&self.me.name));
        let Some(&(life, version)) = theirs.get(&me).filter(|there| there.0 == own.0) else { return };
        if version > own.1 && version < u64::MAX / 2 {
            self.change(&me, |state| state.write_above(version));
            self.heat(now, &me, (life, 0), false);
        } else if let Some(node) = self.nodes.get_mut(from) {
            node.acknowledged = node.acknowledged.max(version.min(own.1));
        }
    }

    fn on_delta(
        &mut self,
        now: Millis,
        from: &NodeName,
        updates: &[Update],
        wants: &[Position],
        out: &mut Vec<Effect>,
    ) {
        self.apply_all(now, updates, false, out);
        let wanted = wants.iter().filter(|(name, ..)| self.nodes.get(name).is_some_and(|node| node.counts));
        let behind: Vec<_> = wanted.map(|(name, life, version)| (name.clone(), (*life, *version))).collect();
        if !behind.is_empty() {
            self.answer(from, behind, Vec::new(), out);
        }
    }

    /// Sends what the other lacks, those it is most behind with first, as far as the budget goes, and asks for what we lack.
    fn answer(
        &mut self,
        to: &NodeName,
        behind: Vec<(NodeName, (u64, u64))>,
        wants: Vec<Position>,
        out: &mut Vec<Effect>,
    ) {
        let mut lacks: Vec<_> =
            behind.iter().filter_map(|(name, at)| self.nodes.get(name)?.state.since(name, *at)).collect();
        lacks.sort_by_key(|update| std::cmp::Reverse(update.to - update.from));
        let mut room = self.config.budget_bytes.saturating_sub(self.round.bytes + 64);
        let mut fits = |size: usize| {
            let fits = size <= room;
            room -= if fits { size } else { 0 };
            fits
        };
        let wants: Vec<_> = wants.into_iter().filter(|(name, ..)| fits(name.as_str().len() + 24)).collect();
        let updates: Vec<_> = lacks.into_iter().filter(|update| fits(update.size())).collect();
        if updates.is_empty() && wants.is_empty() {
            self.counts.deferred += 1;
        } else {
            self.send(to, &Message::Delta { updates, wants }, out);
        }
    }

    fn apply_all(&mut self, now: Millis, updates: &[Update], urgent: bool, out: &mut Vec<Effect>) -> bool {
        let mut learned = false;
        for update in updates {
            learned |= self.apply(now, update, urgent, out);
        }
        self.round.learned |= learned;
        learned
    }

    fn apply(&mut self, now: Millis, update: &Update, urgent: bool, out: &mut Vec<Effect>) -> bool {
        let owner = &update.owner;
        let Some(node) = self.nodes.get(owner).filter(|node| node.counts && *owner != self.me.name) else {
            self.counts.unknown += u64::from(*owner != self.me.name);
            return false;
        };
        let (before, node_bytes) = (node.state.at(), self.config.node_bytes);
        let mut applied = Applied::Known;
        if (update.incarnation, update.to) > before {
            self.change(owner, |state| applied = state.apply(update, node_bytes));
        }
        match applied {
            Applied::Changed(keys) => {
                self.counts.applied += 1;
                self.changed(owner, keys, out);
                self.heat(now, owner, before, urgent);
                return true;
            }
            Applied::Gap => self.counts.gaps += 1,
            Applied::Known => {
                self.counts.known += 1;
                if (update.incarnation, update.to) == before {
                    self.cool(owner);
                }
            }
        }
        false
    }

    /// News that come back are known: after a few times they need no pushing.
    fn cool(&mut self, owner: &NodeName) {
        if let Some(hot) = self.hot.get_mut(owner) {
            hot.heard += 1;
            if hot.heard >= HEARD_ENOUGH {
                self.hot.remove(owner);
            }
        }
    }

    fn changed(&self, owner: &NodeName, keys: Vec<(String, u64, Option<Bytes>)>, out: &mut Vec<Effect>) {
        let incarnation = self.position(owner).0;
        out.extend(keys.into_iter().map(|(key, version, value)| {
            Effect::Changed(Change { owner: owner.clone(), incarnation, version, key, value })
        }));
    }

    /// Every change of a state goes through here, so that the sums are right.
    fn change(&mut self, owner: &NodeName, change: impl FnOnce(&mut NodeState)) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        let sum = &mut self.sums[bucket(owner)];
        *sum ^= sum_of(owner, node);
        change(Arc::make_mut(&mut node.state));
        *sum ^= sum_of(owner, node);
    }

    fn send(&mut self, to: &NodeName, message: &Message, out: &mut Vec<Effect>) -> bool {
        self.send_bytes(to.clone(), encode(message), out)
    }

    /// Sends if the round's budget has room for it.
    fn send_bytes(&mut self, to: NodeName, bytes: Bytes, out: &mut Vec<Effect>) -> bool {
        let fits = self.round.bytes + bytes.len() <= self.config.budget_bytes;
        if fits {
            self.round.bytes += bytes.len();
            self.counts.sent += 1;
            self.counts.sent_bytes += bytes.len() as u64;
            out.push(Effect::Send { to, bytes });
        } else {
            self.counts.deferred += 1;
        }
        fits
    }
}

fn encode(message: &Message) -> Bytes {
    rmp_serde::to_vec(message).expect("no map, nothing that fails to serialize").into()
}

fn bucket(owner: &NodeName) -> usize {
    xxh3_64_with_seed(owner.as_str().as_bytes(), 0) as usize % BUCKETS
}

fn sum_of(name: &NodeName, node: &Node) -> u64 {
    if node.counts { position_sum(name, node.state.at()) } else { 0 }
}

/// Who has said nothing adds nothing, so that it does not matter who knows of it.
fn position_sum(name: &NodeName, (incarnation, version): (u64, u64)) -> u64 {
    if version == 0 {
        return 0;
    }
    let seed = incarnation.rotate_left(32) ^ version.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    xxh3_64_with_seed(name.as_str().as_bytes(), seed)
}
