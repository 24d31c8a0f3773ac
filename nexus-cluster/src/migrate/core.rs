//! One node's part in moves, as their source, their target, and as a member that sends to the agents that move. Pure: time, messages and
//! what the node has done arrive as arguments; messages and work leave as data.
//!
//! The protocol is told in the module above. `source.rs` gives agents away, `target.rs` takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::config::MigrationConfig;
use super::error::{MoveError, Refusal};
use super::message::{Message, Passport};
use super::source::Departure;
use super::target::Arrival;
use crate::{NodeId, NodeName};

/// Members that are told to switch to another way for an agent, at a time; what is above is told again.
const SWITCHING_MAX: usize = 65_536;

/// A move of another node: its source and the number it has there.
pub type Key = (NodeId, u64);

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A node is a member.
    Member(NodeId),
    /// This life of a node is over.
    Gone(NodeId),
    /// Whether this node is being drained: it takes no agents then.
    Draining(bool),
    /// An agent of this node is to move.
    Move {
        /// Answered by it.
        request: u64,
        /// Which agent.
        agent: Arc<str>,
        /// Where.
        to: NodeId,
    },
    /// An agent of this node has lost to another node's: its state goes there to be merged.
    Yield {
        /// Which agent.
        agent: Arc<str>,
        /// Where it lives.
        to: NodeId,
    },
    /// An agent has left its place and waits to be sent: the end of [`Effect::Depart`].
    Departed {
        /// Of this node.
        number: u64,
        /// What it brings along; `None` if its behavior writes no state.
        passport: Option<Passport>,
        /// Its state.
        state: Bytes,
    },
    /// It has not left: the other end of [`Effect::Depart`].
    Stayed {
        /// Of this node.
        number: u64,
        /// What is in the way.
        why: String,
        /// Whether it is here at all.
        here: bool,
    },
    /// What the directory says to [`Effect::Reclaim`]: nothing, if the agent is this node's again, or who has it. An error: no answer.
    Reclaimed {
        /// Of this node.
        number: u64,
        /// See above.
        answer: Result<Option<NodeId>, ()>,
    },
    /// What waited for the agent is on its way: the end of [`Effect::Relay`].
    Relayed {
        /// Of this node.
        number: u64,
    },
    /// Whether there is a place for the agent: the end of [`Effect::Expect`].
    Expected {
        /// Which move.
        key: Key,
        /// Why not.
        result: Result<(), Refusal>,
    },
    /// Whether the agent is this node's: the end of [`Effect::Admit`] and [`Effect::Absorb`].
    Admitted {
        /// Which move.
        key: Key,
        /// Why not.
        result: Result<(), Refusal>,
    },
    /// The end of [`Effect::Switch`].
    Switched {
        /// Which move.
        key: Key,
    },
    /// A member has sent to an agent by way of this node, and the agent lives on another one: it is to send there.
    Passed {
        /// Who has sent.
        sender: NodeName,
        /// To which agent.
        agent: Arc<str>,
        /// Where that lives.
        home: NodeName,
    },
    /// Another node says something.
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
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Let the agent leave its place: it finishes the message at hand, writes its state down and ends; what comes for it waits. Answered
    /// by [`Input::Departed`] or [`Input::Stayed`].
    Depart {
        /// Of this node.
        number: u64,
        /// Which agent.
        agent: Arc<str>,
        /// Whether it must go, even if it cannot write its state.
        must: bool,
    },
    /// It takes too long: the agent stays, unless it has left meanwhile. Answered as above.
    Stay {
        /// Of this node.
        number: u64,
    },
    /// Register the agent here again, in the place of `over` if given. Answered by [`Input::Reclaimed`].
    Reclaim {
        /// Of this node.
        number: u64,
        /// Which agent.
        id: AgentId,
        /// Who is gone.
        over: Option<NodeId>,
    },
    /// The agent goes on here, from the state it left with, with all that waits for it.
    Return {
        /// Of this node.
        number: u64,
    },
    /// What waits for the agent and what comes goes to that node, in order. Answered by [`Input::Relayed`].
    Relay {
        /// Of this node.
        number: u64,
        /// Where it lives.
        to: NodeId,
    },
    /// Nobody sends to the agent by way of this node any more.
    Settle {
        /// Of this node.
        number: u64,
    },
    /// What was this move is another one from now on.
    Renumber {
        /// Of this node.
        number: u64,
        /// Its number from now on.
        fresh: u64,
    },
    /// A request has ended.
    Finished {
        /// Which.
        request: u64,
        /// Bytes of state that moved.
        result: Result<u64, MoveError>,
    },
    /// Keep what comes for the agent, and start it for nobody. Answered by [`Input::Expected`].
    Expect {
        /// Which move.
        key: Key,
        /// Who comes.
        passport: Passport,
    },
    /// Store the agent if its family is stored, and register it here over the source. Answered by [`Input::Admitted`].
    Admit {
        /// Which move.
        key: Key,
        /// Who comes.
        passport: Passport,
        /// Its state.
        state: Bytes,
    },
    /// Give the state to the agent that lives here, to be merged. Answered by [`Input::Admitted`].
    Absorb {
        /// Which move.
        key: Key,
        /// Whose state it is.
        passport: Passport,
        /// The state.
        state: Bytes,
    },
    /// The agent lives here: start it.
    Activate {
        /// Which move.
        key: Key,
    },
    /// It does not come: what was kept for it goes where it lives.
    Cancel {
        /// Which move.
        key: Key,
    },
    /// Send to the agent by way of its new node, behind all that was sent by way of the source. Answered by [`Input::Switched`].
    Switch {
        /// Which move.
        key: Key,
        /// Which agent.
        name: Arc<str>,
        /// Where it lives.
        to: NodeId,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    pub(super) config: MigrationConfig,
    pub(super) me: NodeId,
    pub(super) members: BTreeMap<NodeName, NodeId>,
    pub(super) draining: bool,
    // As a source.
    pub(super) next_number: u64,
    pub(super) departures: BTreeMap<u64, Departure>,
    // As a target.
    pub(super) arrivals: BTreeMap<Key, Arrival>,
    /// The lowest number of each source's moves that is not over.
    pub(super) floors: BTreeMap<NodeId, u64>,
    /// As a member: moves whose agents this node's senders are turning to.
    switching: BTreeSet<Key>,
    pub(super) effects: Vec<Effect>,
}

impl Core {
    /// The part of `me`, which knows no members yet.
    #[must_use]
    pub const fn new(me: NodeId, config: MigrationConfig) -> Self {
        Self {
            config,
            me,
            members: BTreeMap::new(),
            draining: false,
            next_number: 1,
            departures: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            floors: BTreeMap::new(),
            switching: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// Takes one input.
    #[must_use]
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick => {
                self.tick_departures(now);
                self.remind_sources(now);
            }
            Input::Member(node) => self.on_member(node),
            Input::Gone(node) => self.on_gone(now, &node),
            Input::Draining(draining) => self.draining = draining,
            Input::Move { request, agent, to } => self.on_move(now, request, agent, to),
            Input::Yield { agent, to } => self.on_yield(now, agent, to),
            Input::Departed { number, passport, state } => self.on_departed(now, number, passport, state),
            Input::Stayed { number, why, here } => self.on_stayed(now, number, why, here),
            Input::Reclaimed { number, answer } => self.on_reclaimed(now, number, answer),
            Input::Relayed { number } => self.on_relayed(number),
            Input::Expected { key, result } => self.on_expected(key, result),
            Input::Admitted { key, result } => self.on_admitted(now, key, result),
            Input::Switched { key } => {
                if self.switching.remove(&key) {
                    self.send(&key.0, Message::Switched { number: key.1 });
                }
            }
            Input::Passed { sender, agent, home } => self.on_passed(&sender, agent, &home),
            Input::Message { from, message } => self.on_message(now, from, message),
        }
        std::mem::take(&mut self.effects)
    }

    /// Agents that are leaving, and agents that are coming.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        let coming = self.arrivals.values().filter(|arrival| arrival.is_open()).count();
        (self.departures.len(), coming)
    }

    fn on_message(&mut self, now: Millis, from: NodeId, message: Message) {
        match message {
            Message::Offer { number, floor, passport } => self.on_offer(now, from, number, floor, passport),
            Message::Part { number, offset, bytes } => self.on_part((from, number), offset, &bytes),
            Message::Over { number, floor } => self.on_over(from, number, floor),
            Message::Want { number, offset } => self.on_want(now, &from, number, offset),
            Message::Taken { number } => self.on_taken(now, &from, number),
            Message::Refused { number, why } => self.on_refused(now, &from, number, why),
            Message::Moved { number, name, to } => {
                let key = (from, number);
                if self.switching.len() < SWITCHING_MAX && self.switching.insert(key.clone()) {
                    self.effects.push(Effect::Switch { key, name, to });
                }
            }
            Message::Switched { number } => self.on_switched(&from, number),
            // The shell's.
            Message::Drain { .. } => {}
        }
    }

    /// Like the end of a move that this node has no further part in: what is lost of it is said again with the next letter that passes.
    fn on_passed(&mut self, sender: &NodeName, agent: Arc<str>, home: &NodeName) {
        if let (Some(sender), Some(home)) = (self.members.get(sender), self.members.get(home)) {
            let (sender, to, number) = (sender.clone(), home.clone(), self.next_number);
            self.next_number += 1;
            self.send(&sender, Message::Moved { number, name: agent, to });
        }
    }

    fn on_member(&mut self, node: NodeId) {
        // What an older life of it gave away is settled between it and this node.
        let older = |key: &Key| key.0.name == node.name && key.0.incarnation < node.incarnation;
        self.arrivals.retain(|key, arrival| !older(key) || arrival.is_open());
        self.floors.retain(|from, _| from.name != node.name || from.incarnation >= node.incarnation);
        self.members.insert(node.name.clone(), node);
    }

    fn on_gone(&mut self, now: Millis, node: &NodeId) {
        if self.members.get(&node.name) == Some(node) {
            self.members.remove(&node.name);
        }
        self.source_gone(node);
        self.target_gone(now, node);
    }

    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.members.get(&node.name) == Some(node)
    }

    pub(super) fn send(&mut self, to: &NodeId, message: Message) {
        self.effects.push(Effect::Send { to: to.clone(), message });
    }
}

#[cfg(test)]
#[path = "core_test.rs"]
mod tests;
