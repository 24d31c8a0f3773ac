//! What a node does with each message: takes the news, and finds and levels the differences.

use std::collections::BTreeMap;

use nexus_actors::clock::Millis;

use super::core::{Gossip, bucket};
use super::message::{BUCKETS, Effect, Message, Position};
use super::state::Update;
use crate::{NodeId, NodeName};

/// Rounds without an exchange of sums after which one is begun even while news come in.
const PATIENCE_ROUNDS: u64 = 4;

impl Gossip {
    pub(super) fn on_message(&mut self, now: Millis, from: &NodeId, bytes: &[u8], out: &mut Vec<Effect>) {
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
            // As many buckets as there are: each costs a look at all nodes.
            Message::Digest { buckets, .. } => {
                buckets.len() <= BUCKETS && buckets.iter().all(|bucket| usize::from(*bucket) < BUCKETS)
            }
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
}
