//! Two nodes run one agent: after a partition, or because an owner was lost before it could tell. The name's owner asks both whether
//! that is so, lets the behavior judge, and tells both. If a word of that is lost, the next comparison brings the duplicate up again.

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::core::{Claim, Core, News, Whereabouts};
use super::message::Message;
use super::table::Stamp;
use crate::{NodeId, NodeName};

/// Duplicates decided at a time; others wait for the next comparison.
const DUELS_MAX: usize = 65_536;
/// For how many retries' time an answer is waited for, and a decision remembered.
const RETRIES: u32 = 5;

/// Two claims to one name.
#[derive(Debug)]
pub(crate) struct Duel {
    /// The higher first.
    claims: [Stamp; 2],
    stage: Stage,
    until: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Which of the claims their hosts have confirmed. A claim may be nothing but an old entry.
    Confirming([bool; 2]),
    /// The behavior is asked.
    Judging,
    /// This one has won.
    Decided(usize),
}

impl Core {
    pub(super) fn duel(&mut self, now: Millis, id: AgentId, higher: Stamp, lower: Stamp) {
        if let Some(duel) = self.duels.get(&id) {
            if let Stage::Decided(winner) = duel.stage
                && duel.claims == [higher, lower]
            {
                self.tell_both(id, duel.claims, winner);
            }
            return;
        }
        if self.duels.len() < DUELS_MAX {
            let until = now + self.config.retry * RETRIES;
            let stage = Stage::Confirming([false; 2]);
            self.duels.insert(id, Duel { claims: [higher, lower], stage, until });
            self.send_place(higher.place(), Message::Confirm { id });
            self.send_place(lower.place(), Message::Confirm { id });
        }
    }

    /// The owner's own agent has a name for which the owner holds a higher claim: nobody else would bring that up.
    pub(super) fn contest(&mut self, now: Millis, id: AgentId) {
        let local = self.local.get(id).map(Stamp::epoch);
        if let (Some(me), Some(epoch), Some(held)) = (self.place, local, self.held.get(id))
            && held.place() != me
            && self.is_owner(id, &self.me)
        {
            self.duel(now, id, held, Stamp::new(epoch, me));
        }
    }

    pub(super) fn on_confirm(&mut self, from: &NodeId, id: AgentId) {
        let epoch = self.local.get(id).map(Stamp::epoch);
        self.send(from, Message::Confirmed { id, epoch });
    }

    pub(super) fn on_confirmed(&mut self, now: Millis, from: &NodeId, id: AgentId, epoch: Option<u64>) {
        let place = self.place_of(from);
        let Some(duel) = self.duels.get_mut(&id) else { return };
        let Stage::Confirming(mut confirmed) = duel.stage else { return };
        let Some(which) = duel.claims.iter().position(|claim| Some(claim.place()) == place) else { return };
        if epoch != Some(duel.claims[which].epoch()) {
            // Not a duplicate, or no more: what is left is the other claim, unless there is something newer already.
            let [denied, other] = [duel.claims[which], duel.claims[1 - which]];
            self.duels.remove(&id);
            if self.held.get(id) == Some(denied) {
                self.hold(id, other);
            }
            return;
        }
        confirmed[which] = true;
        duel.stage = Stage::Confirming(confirmed);
        if confirmed == [true; 2] {
            duel.stage = Stage::Judging;
            duel.until = now + self.config.merge;
            let [higher, lower] = duel.claims.map(|stamp| self.claim(stamp));
            self.tell(News::Merge { id, higher, lower });
        }
    }

    pub(super) fn on_judged(&mut self, now: Millis, id: AgentId, winner: Option<&NodeName>) {
        let Some(duel) = self.duels.get(&id).filter(|duel| duel.stage == Stage::Judging) else { return };
        let claims = duel.claims;
        let chosen = claims.iter().position(|claim| Some(&self.node_at(claim.place()).name) == winner);
        self.decide(now, id, claims, chosen.unwrap_or(0));
    }

    /// Nobody judged: the higher claim wins. Nobody answered: the next comparison begins anew.
    pub(super) fn expire_duels(&mut self, now: Millis) {
        let late = self.duels.iter().filter(|(_, duel)| duel.until <= now);
        let late: Vec<_> = late.map(|(id, duel)| (*id, duel.claims, duel.stage)).collect();
        for (id, claims, stage) in late {
            match stage {
                Stage::Judging => self.decide(now, id, claims, 0),
                Stage::Confirming(_) | Stage::Decided(_) => {
                    self.duels.remove(&id);
                    self.contest(now, id);
                }
            }
        }
    }

    fn decide(&mut self, now: Millis, id: AgentId, claims: [Stamp; 2], winner: usize) {
        let until = now + self.config.retry * RETRIES;
        self.duels.insert(id, Duel { claims, stage: Stage::Decided(winner), until });
        let [winner_node, loser] =
            [claims[winner], claims[1 - winner]].map(|claim| self.node_at(claim.place()).clone());
        self.tell(News::Duplicate { id, winner: winner_node, loser });
        self.tell_both(id, claims, winner);
    }

    fn tell_both(&mut self, id: AgentId, claims: [Stamp; 2], winner: usize) {
        let [won, lost] = [claims[winner], claims[1 - winner]];
        let (to, over) = (self.node_at(won.place()).clone(), self.node_at(lost.place()).clone());
        let prevail = Message::Prevail { id, epoch: won.epoch(), over, over_epoch: lost.epoch() };
        self.send_place(won.place(), prevail);
        self.send_place(lost.place(), Message::Yield { id, epoch: lost.epoch(), to });
    }

    pub(super) fn on_yield(&mut self, now: Millis, id: AgentId, epoch: u64, to: NodeId) {
        if self.local.get(id).is_none_or(|stamp| stamp.epoch() != epoch) || to == self.me {
            return;
        }
        self.set_local(id, None);
        if self.held.get(id).is_some_and(|held| Some(held.place()) == self.place) {
            self.release(id);
        }
        match self.place_of(&to) {
            Some(place) => self.cache_answer(now, id, place),
            None => self.retract(id),
        }
        self.tell(News::Yield { id, to });
    }

    pub(super) fn on_prevail(&mut self, now: Millis, id: AgentId, epoch: u64, over: NodeId, over_epoch: u64) {
        if self.local.get(id).is_none_or(|stamp| stamp.epoch() != epoch) || !self.observe(now, over_epoch) {
            return;
        }
        let (own, other) = (Claim { epoch, node: self.me.clone() }, Claim { epoch: over_epoch, node: over });
        if let Some(me) = self.place.filter(|_| own < other) {
            // The lower one was chosen: with a new claim it is the higher one everywhere.
            let stamp = Stamp::new(self.next_epoch(now), me);
            self.set_local(id, Some(stamp.epoch()));
            self.hold_own(id, stamp);
            self.put(id, stamp);
        }
        self.publish(id, Whereabouts::Here);
        self.tell(News::Prevailed { id, over: other.node });
    }
}
