//! The gossiper's decisions, without time, sockets or tasks of its own: an input comes in, effects go out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::clock::Millis;
use nexus_actors::rng::Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::{GossipConfig, rounds};
use super::message::{BUCKETS, Change, Effect, Input, Message, Urgency, WriteError};
use super::overview::{Convergence, GossipCounts, GossipOverview, LAGGARDS_MAX, OwnerOverview};
use super::peers::Peers;
use super::state::{Applied, KEY_BYTES_MAX, NodeState, Update};
use crate::{NodeId, NodeName, OutOfRange};

/// How often news are heard again before they are pushed no more.
const HEARD_ENOUGH: u32 = 2;

/// One node's part in gossip: its own keys, and what it knows of all others'.
#[derive(Debug)]
pub struct Gossip {
    pub(super) me: NodeId,
    zone: String,
    pub(super) config: GossipConfig,
    rng: Rng,
    pub(super) nodes: BTreeMap<NodeName, Node>,
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
    pub(super) sums: Vec<u64>,
    pub(super) round: Round,
    pub(super) counts: GossipCounts,
}

/// What is known of a node.
#[derive(Debug)]
pub(super) struct Node {
    /// Shared with whoever was given it; written on a copy.
    pub(super) state: Arc<NodeState>,
    /// Whether it counts: it is a member, or ourselves.
    pub(super) counts: bool,
    /// The sum it told last.
    pub(super) heard: Option<u64>,
    /// Up to which version of ours it has shown to know.
    pub(super) acknowledged: u64,
}

impl Node {
    fn new(state: Arc<NodeState>) -> Self {
        Self { state, counts: false, heard: None, acknowledged: 0 }
    }
}

/// Updates of one owner that are pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// What peers are taken to know: in this life, up to this version.
    from: (u64, u64),
    since: Millis,
    pushes_left: u32,
    /// How often they were heard from others.
    pub(super) heard: u32,
    pub(super) urgent: bool,
}

/// What was spent since the round began.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) bytes: usize,
    pub(super) urgent: u32,
    pub(super) learned: bool,
    /// Rounds since sums were last sent.
    pub(super) quiet: u64,
    pub(super) answered: bool,
}

impl Gossip {
    /// The gossip of `me`, which stands in `zone` as long as it lives, and knows nobody yet. Its random choices come from `rng`.
    ///
    /// # Errors
    /// The config is out of range.
    pub fn new(me: NodeId, zone: String, config: GossipConfig, rng: Rng) -> Result<Self, OutOfRange> {
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

    pub(super) fn urgent_round(&mut self, out: &mut Vec<Effect>) {
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
    pub(super) fn heat(&mut self, now: Millis, owner: &NodeName, from: (u64, u64), urgent: bool) {
        let pushes_left = (rounds(self.peers.len() + 1).max(1) as u32) + self.config.extra_pushes;
        let fresh = Hot { from, since: now, pushes_left, heard: 0, urgent };
        let hot = self.hot.entry(owner.clone()).or_insert(fresh);
        *hot = Hot { from: hot.from.min(from), since: hot.since, urgent: hot.urgent || urgent, ..fresh };
    }

    pub(super) fn apply_all(
        &mut self,
        now: Millis,
        updates: &[Update],
        urgent: bool,
        out: &mut Vec<Effect>,
    ) -> bool {
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
    pub(super) fn change(&mut self, owner: &NodeName, change: impl FnOnce(&mut NodeState)) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        let sum = &mut self.sums[bucket(owner)];
        *sum ^= sum_of(owner, node);
        change(Arc::make_mut(&mut node.state));
        *sum ^= sum_of(owner, node);
    }

    pub(super) fn send(&mut self, to: &NodeName, message: &Message, out: &mut Vec<Effect>) -> bool {
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

pub(super) fn bucket(owner: &NodeName) -> usize {
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
