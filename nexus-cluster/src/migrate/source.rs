//! The source's part: an agent leaves, and is given away or taken back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::core::{Core, Effect};
use super::error::{MoveError, Refusal};
use super::message::{Message, Passport, Purpose};
use crate::{NodeId, NodeName};

/// An agent that leaves.
#[derive(Debug)]
pub(super) struct Departure {
    agent: Arc<str>,
    id: AgentId,
    to: NodeId,
    purpose: Purpose,
    /// Who waits for the end, if anybody does.
    request: Option<u64>,
    stage: Stage,
    retry_at: Millis,
    passport: Option<Passport>,
    state: Bytes,
    /// Why it is taken back.
    failure: Option<MoveError>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// It finishes what it does. `asked`: whether it was asked to stay, or to leave again.
    Leaving { until: Millis, asked: bool },
    /// The target gets its state; the last part that was sent, if any was.
    Offering { sent: Option<u64> },
    /// It comes back, once the directory says so; `lost` to whom, if it has said meanwhile that it lives there.
    Reclaiming { over: Option<NodeId>, asked: bool, lost: Option<NodeId> },
    /// It lives there. The members that have not said yet that nothing comes this way any more, and whether what waited has gone.
    Handing { waiting: BTreeSet<NodeName>, relayed: bool },
}

impl Core {
    pub(super) fn on_move(&mut self, now: Millis, request: u64, agent: Arc<str>, to: NodeId) {
        let id = AgentId::of(&agent);
        let name = || agent.to_string();
        let refused = if to == self.me {
            Some(MoveError::Already { agent: name(), node: to.name.clone() })
        } else if !self.is_member(&to) {
            Some(MoveError::NoMember { node: to.name.clone() })
        } else if self.departures.values().any(|departure| departure.id == id) || self.is_arriving(id) {
            Some(MoveError::NotYet { agent: name() })
        } else {
            None
        };
        match refused {
            Some(error) => self.effects.push(Effect::Finished { request, result: Err(error) }),
            None => self.depart(now, agent, to, Purpose::Move, Some(request)),
        }
    }

    pub(super) fn on_yield(&mut self, now: Millis, agent: Arc<str>, to: NodeId) {
        let id = AgentId::of(&agent);
        if to == self.me {
            return;
        }
        let Some(departure) = self.departures.values_mut().find(|departure| departure.id == id) else {
            return self.depart(now, agent, to, Purpose::Merge, None);
        };
        // One that is on its way has lost its claim because it moves. That it is to come back may have been said before this.
        if let Stage::Reclaiming { lost, .. } = &mut departure.stage {
            *lost = Some(to);
        }
    }

    fn depart(&mut self, now: Millis, agent: Arc<str>, to: NodeId, purpose: Purpose, request: Option<u64>) {
        let number = self.next_number;
        self.next_number += 1;
        let departure = Departure {
            id: AgentId::of(&agent),
            agent: agent.clone(),
            to,
            purpose,
            request,
            stage: Stage::Leaving { until: now + self.config.depart, asked: false },
            retry_at: now + self.config.retry,
            passport: None,
            state: Bytes::new(),
            failure: None,
        };
        self.departures.insert(number, departure);
        self.effects.push(Effect::Depart { number, agent, must: purpose == Purpose::Merge });
    }

    pub(super) fn on_departed(&mut self, now: Millis, number: u64, passport: Option<Passport>, state: Bytes) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        if !matches!(departure.stage, Stage::Leaving { .. }) {
            return;
        }
        departure.passport = passport.map(|passport| Passport { purpose: departure.purpose, ..passport });
        departure.state = state;
        if departure.passport.is_none() {
            // There is nothing to be merged.
            return self.hand(now, number);
        }
        self.offer(now, number);
    }

    /// Begins to send the state, unless its target is gone.
    fn offer(&mut self, now: Millis, number: u64) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        departure.stage = Stage::Offering { sent: None };
        let to = departure.to.clone();
        if self.is_member(&to) { self.say(now, number) } else { self.target_lost(now, number) }
    }

    /// Says again what the target should answer.
    fn say(&mut self, now: Millis, number: u64) {
        let floor = self.floor();
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let Stage::Offering { sent } = departure.stage else { return };
        let Some(passport) = &departure.passport else { return };
        departure.retry_at = now + self.config.retry;
        let message = match sent {
            None => Message::Offer { number, floor, passport: passport.clone() },
            Some(offset) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(departure.state.len());
                let to = departure.state.len().min(from + self.config.part_bytes);
                Message::Part { number, offset, bytes: departure.state.slice(from..to) }
            }
        };
        let to = departure.to.clone();
        self.send(&to, message);
    }

    pub(super) fn on_want(&mut self, now: Millis, from: &NodeId, number: u64, offset: u64) {
        let floor = self.floor();
        let Some(departure) = self.departures.get_mut(&number).filter(|departure| departure.to == *from)
        else {
            return self.send(from, Message::Over { number, floor });
        };
        let bytes = departure.state.len() as u64;
        match &mut departure.stage {
            Stage::Offering { sent } => {
                if offset >= bytes && sent.is_some() {
                    // It is all there and being taken.
                    departure.retry_at = now + self.config.retry;
                } else if *sent != Some(offset) && offset <= bytes {
                    *sent = Some(offset);
                    self.say(now, number);
                }
            }
            Stage::Reclaiming { .. } => self.send(from, Message::Over { number, floor }),
            Stage::Leaving { .. } | Stage::Handing { .. } => {}
        }
    }

    pub(super) fn on_taken(&mut self, now: Millis, from: &NodeId, number: u64) {
        match self.departures.get(&number) {
            Some(departure) if departure.to == *from && matches!(departure.stage, Stage::Offering { .. }) => {
                self.hand(now, number);
            }
            Some(_) => {}
            None => {
                let floor = self.floor();
                self.send(from, Message::Over { number, floor });
            }
        }
    }

    pub(super) fn on_refused(&mut self, now: Millis, from: &NodeId, number: u64, why: Refusal) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        if departure.to != *from || !matches!(departure.stage, Stage::Offering { .. }) {
            return;
        }
        let (agent, node) = (departure.agent.to_string(), from.name.clone());
        let failure = MoveError::Refused { agent, node, why };
        departure.failure.get_or_insert(failure);
        // Its claim may have been displaced, by the target that could not keep its own.
        self.reclaim(now, number, None);
    }

    fn target_lost(&mut self, now: Millis, number: u64) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let (agent, node) = (departure.agent.to_string(), departure.to.clone());
        departure.failure.get_or_insert(MoveError::TargetLost { agent, node: node.clone() });
        self.reclaim(now, number, Some(node));
    }

    fn reclaim(&mut self, now: Millis, number: u64, over: Option<NodeId>) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        departure.stage = Stage::Reclaiming { over: over.clone(), asked: true, lost: None };
        departure.retry_at = now + self.config.retry;
        self.effects.push(Effect::Reclaim { number, id: departure.id, over });
    }

    pub(super) fn on_reclaimed(&mut self, now: Millis, number: u64, answer: Result<Option<NodeId>, ()>) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let Stage::Reclaiming { asked, lost, .. } = &mut departure.stage else { return };
        match answer.map(|home| home.or(lost.take())) {
            Err(()) => {
                *asked = false;
                departure.retry_at = now + self.config.retry;
            }
            Ok(None) => {
                let (to, failure) = (departure.to.clone(), departure.failure.take());
                self.effects.push(Effect::Return { number });
                self.finish(number, failure.map_or(Ok(0), Err));
                self.over(&to, number);
            }
            // The target is not lost after all. It may have taken the agent, or have had one of this name before: it is asked.
            Ok(Some(node))
                if node == departure.to
                    && matches!(departure.failure, Some(MoveError::TargetLost { .. })) =>
            {
                if self.members.get(&node.name) == Some(&node) {
                    departure.failure = None;
                    self.offer(now, number);
                } else {
                    *asked = false;
                    departure.retry_at = now + self.config.retry;
                }
            }
            Ok(Some(node)) => self.merge_into(now, number, node),
        }
    }

    /// The agent lives there, and not because it has moved. To give it the state is another move: the target before may still remember
    /// the number.
    fn merge_into(&mut self, now: Millis, number: u64, node: NodeId) {
        let Some(mut departure) = self.departures.remove(&number) else { return };
        let fresh = self.next_number;
        self.next_number += 1;
        let before = std::mem::replace(&mut departure.to, node.clone());
        departure.purpose = Purpose::Merge;
        if let Some(passport) = &mut departure.passport {
            passport.purpose = Purpose::Merge;
        }
        departure.failure = Some(MoveError::Merged { agent: departure.agent.to_string(), node });
        // A little later: it may have been refused a moment ago.
        departure.stage = Stage::Offering { sent: None };
        departure.retry_at = now + self.config.retry;
        self.departures.insert(fresh, departure);
        self.effects.push(Effect::Renumber { number, fresh });
        self.over(&before, number);
    }

    /// It lives there: everybody is told, and what waits follows.
    fn hand(&mut self, now: Millis, number: u64) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let to = departure.to.clone();
        let waiting: BTreeSet<_> = self.members.keys().filter(|name| **name != to.name).cloned().collect();
        departure.stage = Stage::Handing { waiting, relayed: false };
        departure.state = Bytes::new();
        self.effects.push(Effect::Relay { number, to });
        self.announce(now, number);
    }

    fn announce(&mut self, now: Millis, number: u64) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let Stage::Handing { waiting, .. } = &departure.stage else { return };
        departure.retry_at = now + self.config.retry;
        let moved = Message::Moved { number, name: departure.agent.clone(), to: departure.to.clone() };
        let told: Vec<_> = waiting.iter().filter_map(|name| self.members.get(name).cloned()).collect();
        for node in told {
            self.send(&node, moved.clone());
        }
    }

    pub(super) fn on_switched(&mut self, from: &NodeId, number: u64) {
        if let Some(departure) = self.departures.get_mut(&number)
            && let Stage::Handing { waiting, .. } = &mut departure.stage
        {
            waiting.remove(&from.name);
            self.settle(number);
        }
    }

    pub(super) fn on_relayed(&mut self, number: u64) {
        if let Some(departure) = self.departures.get_mut(&number)
            && let Stage::Handing { relayed, .. } = &mut departure.stage
        {
            *relayed = true;
            self.settle(number);
        }
    }

    /// Ends the move if nothing comes by way of this node any more.
    fn settle(&mut self, number: u64) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let Stage::Handing { waiting, relayed: true } = &departure.stage else { return };
        if !waiting.is_empty() {
            return;
        }
        let bytes = departure.passport.as_ref().map_or(0, |passport| passport.bytes);
        let (to, failure) = (departure.to.clone(), departure.failure.take());
        let result = match departure.purpose {
            Purpose::Move => Ok(bytes),
            Purpose::Merge => failure.map_or(Ok(bytes), Err),
        };
        self.effects.push(Effect::Settle { number });
        self.finish(number, result);
        self.over(&to, number);
    }

    fn finish(&mut self, number: u64, result: Result<u64, MoveError>) {
        if let Some(request) = self.departures.remove(&number).and_then(|departure| departure.request) {
            self.effects.push(Effect::Finished { request, result });
        }
    }

    fn over(&mut self, to: &NodeId, number: u64) {
        let floor = self.floor();
        self.send(to, Message::Over { number, floor });
    }

    pub(super) fn on_stayed(&mut self, now: Millis, number: u64, why: String, here: bool) {
        let Some(departure) = self.departures.get_mut(&number) else { return };
        let Stage::Leaving { asked, .. } = &mut departure.stage else { return };
        if here && departure.purpose == Purpose::Merge {
            // It must go: again, a little later.
            *asked = true;
            departure.retry_at = now + self.config.retry;
            return;
        }
        let agent = departure.agent.to_string();
        self.finish(number, Err(MoveError::Stays { agent, why }));
    }

    /// A node is gone that was a target, or that was to switch.
    pub(super) fn target_gone(&mut self, now: Millis, node: &NodeId) {
        for number in self.departures.keys().copied().collect::<Vec<_>>() {
            let Some(departure) = self.departures.get_mut(&number) else { continue };
            let is_target = departure.to == *node;
            match &mut departure.stage {
                Stage::Offering { .. } if is_target => {
                    self.target_lost(now, number);
                }
                Stage::Handing { .. } if is_target => {
                    let agent = departure.agent.to_string();
                    self.effects.push(Effect::Settle { number });
                    self.finish(number, Err(MoveError::Lost { agent, node: node.clone() }));
                }
                Stage::Handing { waiting, .. } => {
                    waiting.remove(&node.name);
                    self.settle(number);
                }
                _ => {}
            }
        }
    }

    pub(super) fn tick_departures(&mut self, now: Millis) {
        for number in self.departures.keys().copied().collect::<Vec<_>>() {
            let Some(departure) = self.departures.get_mut(&number) else { continue };
            let due = departure.retry_at <= now;
            match &mut departure.stage {
                Stage::Leaving { until, asked } => {
                    // One that must go and has not is told again; one that takes too long stays.
                    let must = departure.purpose == Purpose::Merge;
                    let agent = departure.agent.clone();
                    let again = must && due && std::mem::take(asked);
                    let stays = !must && *until <= now && !std::mem::replace(asked, true);
                    if again {
                        self.effects.push(Effect::Depart { number, agent, must });
                    } else if stays {
                        self.effects.push(Effect::Stay { number });
                    }
                }
                Stage::Offering { sent: None } if due => self.offer(now, number),
                Stage::Offering { .. } if due => self.say(now, number),
                Stage::Reclaiming { over, asked: false, .. } if due => {
                    let over = over.clone();
                    self.reclaim(now, number, over);
                }
                Stage::Handing { .. } if due => self.announce(now, number),
                _ => {}
            }
        }
    }

    /// The lowest number that is not over.
    fn floor(&self) -> u64 {
        self.departures.keys().next().copied().unwrap_or(self.next_number)
    }
}
