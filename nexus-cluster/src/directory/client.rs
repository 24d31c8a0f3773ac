//! Registrations and look-ups for this node's own agents: asked of the ring's owner, again and again until they are answered or too
//! late.

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::core::{Answer, Core, RequestId, Unavailable, Whereabouts};
use super::message::Message;
use super::table::Stamp;
use crate::NodeId;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Pending {
    id: AgentId,
    kind: Kind,
    until: Millis,
    retry_at: Millis,
    /// How often it was asked.
    attempts: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Register { epoch: u64, over: Option<NodeId> },
    Lookup,
}

impl Core {
    pub(super) fn register(&mut self, now: Millis, request: RequestId, id: AgentId, over: Option<NodeId>) {
        if self.local.get(id).is_some() {
            return self.answer(request, Answer::Registered);
        }
        if self.minority {
            return self.answer(request, Answer::Unavailable(Unavailable::Minority));
        }
        let epoch = self.next_epoch(now);
        self.begin(now, request, id, Kind::Register { epoch, over });
    }

    pub(super) fn lookup(&mut self, now: Millis, request: RequestId, id: AgentId) {
        if self.local.get(id).is_some() {
            return self.answer(request, Answer::Found(self.me.clone()));
        }
        // An own entry is as true as the owner's; this node's name in it is not, since the agent is not here.
        let held = self.held.get(id).map(Stamp::place).filter(|place| Some(*place) != self.place);
        match held.or_else(|| self.cache.get(id)) {
            Some(place) => self.found(now, request, id, place),
            None => self.begin(now, request, id, Kind::Lookup),
        }
    }

    pub(super) fn unregister(&mut self, now: Millis, id: AgentId) {
        let cancelled: Vec<RequestId> = self.registering(id).collect();
        if self.local.get(id).is_none() && cancelled.is_empty() {
            return;
        }
        self.set_local(id, None);
        for request in cancelled {
            self.finish(request, Answer::Unavailable(Unavailable::Cancelled));
        }
        self.retract(id);
        let epoch = self.next_epoch(now);
        self.withdraw(id, epoch);
    }

    /// Tells all who hold the entry that claims of this node up to `epoch` are over. Who does not hear of it learns it when it
    /// compares.
    fn withdraw(&mut self, id: AgentId, epoch: u64) {
        for place in self.responsible(id) {
            self.send_place(place, Message::Unregister { id, epoch });
        }
    }

    pub(super) fn stale(&mut self, id: AgentId, node: &NodeId) {
        if self.cache.get(id).is_some_and(|place| self.node_at(place) == node) {
            self.cache.remove(id);
            self.retract(id);
        }
    }

    pub(super) fn on_registered(
        &mut self,
        now: Millis,
        from: &NodeId,
        request: RequestId,
        id: AgentId,
        epoch: u64,
    ) {
        if self.is_pending(request, id, epoch) {
            // Somebody who was the owner a moment ago does not count: the owner would not know.
            if self.is_owner(id, from) {
                self.settle_here(id, epoch);
                self.finish(request, Answer::Registered);
            }
            return;
        }
        if self.local.get(id).is_none_or(|stamp| stamp.epoch() != epoch)
            && self.registering(id).next().is_none()
        {
            // Answered too late: nobody lives here by that name.
            let _ = self.observe(now, epoch);
            self.send(from, Message::Unregister { id, epoch });
        }
    }

    /// The agent lives here from now on, by the claim of this epoch.
    fn settle_here(&mut self, id: AgentId, epoch: u64) {
        let known = self.local.get(id).map_or(0, Stamp::epoch);
        self.set_local(id, Some(epoch.max(known)));
        self.cache.remove(id);
        self.publish(id, Whereabouts::Here);
        if let Some(me) = self.place {
            self.hold_own(id, Stamp::new(epoch, me));
        }
    }

    pub(super) fn on_at(&mut self, now: Millis, request: RequestId, node: NodeId, epoch: u64) {
        let Some(place) = self.place_of(&node).filter(|_| self.observe(now, epoch)) else { return };
        let Some((id, kind)) = self.pending.get(&request).map(|pending| (pending.id, pending.kind.clone()))
        else {
            return;
        };
        match kind {
            // What the owner holds of this node is older, or was not withdrawn yet: ask again with a higher claim.
            Kind::Register { over, .. } if node == self.me || over.as_ref() == Some(&node) => {
                let epoch = self.next_epoch(now);
                if let Some(pending) = self.pending.get_mut(&request) {
                    pending.kind = Kind::Register { epoch, over };
                }
            }
            Kind::Register { .. } => {
                self.finish(request, Answer::AlreadyAt(node));
                self.cache_answer(now, id, place);
            }
            // It is not here, so the owner is behind.
            Kind::Lookup if node == self.me => {}
            Kind::Lookup => self.found(now, request, id, place),
        }
    }

    pub(super) fn on_absent(&mut self, from: &NodeId, request: RequestId) {
        if self
            .pending
            .get(&request)
            .is_some_and(|pending| matches!(pending.kind, Kind::Lookup) && self.is_owner(pending.id, from))
        {
            self.finish(request, Answer::Unknown);
        }
    }

    pub(super) fn on_full(&mut self, request: RequestId) {
        if self.pending.get(&request).is_some_and(|pending| matches!(pending.kind, Kind::Register { .. })) {
            self.finish(request, Answer::Unavailable(Unavailable::Full));
        }
    }

    /// Whether the request is under way: it will be answered.
    pub(super) fn is_asked(&self, request: RequestId) -> bool {
        self.pending.contains_key(&request)
    }

    /// Asks again what was not answered, and gives up what is too late.
    pub(super) fn expire_pending(&mut self, now: Millis) {
        let due = self.pending.iter().filter(|(_, pending)| pending.until <= now || pending.retry_at <= now);
        let due: Vec<(RequestId, bool)> =
            due.map(|(request, pending)| (*request, pending.until <= now)).collect();
        for (request, late) in due {
            if !late {
                self.attempt(now, request);
                continue;
            }
            let pending = self.pending.get(&request).map(|pending| (pending.id, pending.kind.clone()));
            self.finish(request, Answer::Unavailable(Unavailable::TimedOut));
            if let Some((id, Kind::Register { epoch, .. })) = pending {
                self.withdraw(id, epoch);
            }
        }
    }

    /// Asks the new ring's owners what is under way.
    pub(super) fn retry_all(&mut self, now: Millis) {
        for pending in self.pending.values_mut() {
            pending.attempts = 0;
            pending.retry_at = now;
        }
        self.expire_pending(now);
    }

    /// This node's claims up to this epoch are complete in `local`: those under way come later.
    pub(super) fn complete_up_to(&self) -> u64 {
        let epochs = self.pending.values().filter_map(|pending| match pending.kind {
            Kind::Register { epoch, .. } => Some(epoch - 1),
            Kind::Lookup => None,
        });
        epochs.min().unwrap_or(self.clock)
    }

    fn begin(&mut self, now: Millis, request: RequestId, id: AgentId, kind: Kind) {
        if self.pending.len() >= self.config.pending_max {
            return self.answer(request, Answer::Unavailable(Unavailable::Overloaded));
        }
        if matches!(kind, Kind::Register { .. }) {
            self.registering.insert((id, request));
        }
        let until = now + self.config.timeout;
        self.pending.insert(request, Pending { id, kind, until, retry_at: now, attempts: 0 });
        self.attempt(now, request);
    }

    fn attempt(&mut self, now: Millis, request: RequestId) {
        let Some(pending) = self.pending.get_mut(&request) else { return };
        pending.retry_at = now + self.config.retry;
        let (id, kind, attempts) = (pending.id, pending.kind.clone(), pending.attempts);
        pending.attempts += 1;
        let places = self.responsible(id);
        if places.is_empty() {
            return;
        }
        match kind {
            Kind::Register { epoch, over } => {
                self.send_place(places[0], Message::Register { request, id, epoch, over });
            }
            Kind::Lookup => self.send_place(places[attempts % places.len()], Message::Lookup { request, id }),
        }
    }

    fn found(&mut self, now: Millis, request: RequestId, id: AgentId, place: u16) {
        self.finish(request, Answer::Found(self.node_at(place).clone()));
        self.cache_answer(now, id, place);
    }

    pub(super) fn cache_answer(&mut self, now: Millis, id: AgentId, place: u16) {
        // An answer that is used often is asked for again when it is old, not kept for ever.
        if self.cache.get(id) == Some(place) || self.local.get(id).is_some() {
            return;
        }
        let at = Whereabouts::There(self.node_at(place).clone());
        if let Some(gone) = self.cache.insert(now, id, place) {
            self.retract(gone);
        }
        self.publish(id, at);
    }

    fn finish(&mut self, request: RequestId, answer: Answer) {
        if let Some(pending) = self.pending.remove(&request) {
            self.registering.remove(&(pending.id, request));
        }
        self.answer(request, answer);
    }

    fn is_pending(&self, request: RequestId, id: AgentId, epoch: u64) -> bool {
        self.pending.get(&request).is_some_and(|pending| {
            pending.id == id && matches!(pending.kind, Kind::Register { epoch: own, .. } if own == epoch)
        })
    }

    fn registering(&self, id: AgentId) -> impl Iterator<Item = RequestId> + '_ {
        self.registering.range((id, 0)..=(id, RequestId::MAX)).map(|(_, request)| *request)
    }
}
