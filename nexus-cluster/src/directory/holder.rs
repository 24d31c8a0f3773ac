//! Answers of one that holds entries: as the owner it decides who may register, as a successor it knows what the owner told it.

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::core::{Core, RequestId};
use super::message::{CHUNK_RECORDS, Message, Records};
use super::table::Stamp;
use crate::NodeId;

impl Core {
    pub(super) fn on_register(
        &mut self,
        now: Millis,
        from: &NodeId,
        request: RequestId,
        id: AgentId,
        epoch: u64,
        over: Option<&NodeId>,
    ) {
        let Some(place) = self.place_of(from).filter(|_| self.is_owner(id, &self.me) && !self.minority)
        else {
            return self.send(from, Message::NotYet { request });
        };
        if !self.observe(now, epoch) {
            return;
        }
        let stamp = Stamp::new(epoch, place);
        match self.held.get(id) {
            None if !self.is_settled(now) => self.send(from, Message::NotYet { request }),
            None => self.admit(from, request, id, stamp),
            Some(held) if held == stamp => self.send(from, Message::Registered { request, id, epoch }),
            // An older claim of the same node, or one that the sender takes over.
            Some(held)
                if held < stamp && (held.place() == place || over == Some(self.node_at(held.place()))) =>
            {
                if held.place() != place {
                    let message = Message::Yield { id, epoch: held.epoch(), to: from.clone() };
                    self.send_place(held.place(), message);
                }
                self.admit(from, request, id, stamp);
            }
            Some(held) => {
                let claim = self.claim(held);
                self.send(from, Message::At { request, node: claim.node, epoch: claim.epoch });
            }
        }
    }

    fn admit(&mut self, from: &NodeId, request: RequestId, id: AgentId, stamp: Stamp) {
        if !self.hold(id, stamp) {
            return self.send(from, Message::Full { request });
        }
        self.send(from, Message::Registered { request, id, epoch: stamp.epoch() });
        self.put(id, stamp);
    }

    /// Tells the others who hold the entry.
    pub(super) fn put(&mut self, id: AgentId, stamp: Stamp) {
        let others = self.responsible(id).into_iter().filter(|place| Some(*place) != self.place);
        let (ring, records) = (self.ring.epoch(), Records::pack(&[(id, stamp)]));
        for place in others.collect::<Vec<_>>() {
            self.send_place(place, Message::Put { ring, records: records.clone() });
        }
    }

    pub(super) fn on_lookup(&mut self, now: Millis, from: &NodeId, request: RequestId, id: AgentId) {
        let local = self.local.get(id).map(|stamp| (self.me.clone(), stamp.epoch()));
        let known = local.or_else(|| {
            let claim = self.claim(self.held.get(id)?);
            Some((claim.node, claim.epoch))
        });
        let answer = match known {
            Some((node, epoch)) => Message::At { request, node, epoch },
            None if self.is_owner(id, &self.me) && self.is_settled(now) => Message::Absent { request },
            None => Message::NotYet { request },
        };
        self.send(from, answer);
    }

    pub(super) fn on_unregister(&mut self, from: &NodeId, id: AgentId, epoch: u64) {
        let place = self.place_of(from);
        if self.held.get(id).is_some_and(|held| Some(held.place()) == place && held.epoch() <= epoch) {
            self.release(id);
        }
    }

    pub(super) fn on_put(&mut self, now: Millis, records: &Records) {
        for (id, stamp) in records.iter().take(CHUNK_RECORDS) {
            self.absorb(now, id, stamp);
        }
    }

    /// Takes another's record of a claim. Of two claims the higher is kept: so all who hold the entry come to the same, in whatever
    /// order they hear. The owner looks into it if both may be true.
    pub(super) fn absorb(&mut self, now: Millis, id: AgentId, stamp: Stamp) {
        let known = usize::from(stamp.place()) < self.ring.members().len();
        // Nobody tells this node about its own agents.
        if !known
            || Some(stamp.place()) == self.place
            || !self.observe(now, stamp.epoch())
            || !self.is_mine(id)
        {
            return;
        }
        let held = self.held.get(id);
        if held.is_none_or(|held| held < stamp) {
            self.hold(id, stamp);
        }
        if let Some(held) = held
            && held.place() != stamp.place()
            && self.is_owner(id, &self.me)
        {
            self.duel(now, id, held.max(stamp), held.min(stamp));
        }
    }

    /// Keeps an entry, if there is room for it.
    pub(super) fn hold(&mut self, id: AgentId, stamp: Stamp) -> bool {
        let room =
            self.held.get(id).is_some() || (self.held.len() < self.config.held_max && self.held.has_room(id));
        if room {
            self.set_held(id, Some(stamp));
        }
        room
    }

    pub(super) fn release(&mut self, id: AgentId) {
        self.set_held(id, None);
        // What stood above a claim of this node does not any more.
        if let (Some(me), Some(local)) = (self.place, self.local.get(id)) {
            self.hold_own(id, Stamp::new(local.epoch(), me));
        }
    }
}
