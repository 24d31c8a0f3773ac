//! Carrier core: whom to dial and when, and which of two connections to one peer is kept. Pure.
//!
//! **One decides.** Of two nodes the one with the lower name admits connections between them, one after the other, and numbers them; the
//! other follows. A new connection is admitted if the decider has none. If it has one, the new one is
//!
//! - refused as *outdated* if it is of an earlier life of the peer,
//! - admitted if it is of a later life: the former's owner is gone,
//! - refused as *duplicate* if the peer still holds the one that stands, or began the new one before that was admitted (both dialled at
//!   once),
//! - admitted otherwise: the peer has lost the former, and we have not noticed yet.
//!
//! The follower closes what it had when it hears of an admission with a higher number and ignores one with a lower number: admissions
//! travel on different streams and may overtake each other. So both ends keep the same one.
//!
//! **Dialling.** Each address that is kept has at most one dial on its way. After a failure or a loss the next waits, from
//! `redial_min` doubling up to `redial_max`, less a random part of up to a half. An address whose peer is connected, whoever dialled, waits
//! for the loss of that connection.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_actors::rng::Rng;
use rand::Rng as _;

use super::refusal::Refusal;
use crate::transport::CloseReason;
use crate::{NodeId, NodeName};

/// A stream, numbered by the node in the order in which they began.
pub(super) type ConnId = u64;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Keep a connection to an address.
    Keep(String),
    /// No more.
    Forget(String),
    /// End the connection to a peer.
    Close(NodeName, CloseReason),
    /// The wait that [`Effect::Wait`] asked for is over.
    Waited { address: String, attempt: u32 },
    /// A stream's ends are proven to each other.
    Proven(Candidate),
    /// A stream has ended or never came about; `peer` if it was proven.
    Ended { conn: ConnId, dialed: Option<String>, peer: Option<NodeName> },
}

/// A proven stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) conn: ConnId,
    /// The newest stream when this one was proven.
    pub(super) newest: ConnId,
    pub(super) peer: NodeId,
    pub(super) epoch: u64,
    /// The address, if we dialled.
    pub(super) dialed: Option<String>,
    pub(super) decision: Decision,
}

/// Who decides on a candidate, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// We do; the peer holds the connection with this epoch.
    Ours { holds: Option<u64> },
    /// The peer has: admitted under this number.
    Theirs { sequence: u64 },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Dial.
    Dial { address: String },
    /// Come back with [`Input::Waited`].
    Wait { address: String, attempt: u32, after: Duration },
    /// The candidate is the connection to its peer.
    Admit { conn: ConnId, sequence: u64 },
    /// The candidate is not.
    Refuse { conn: ConnId, refusal: Refusal },
    /// End a connection.
    Close { conn: ConnId, reason: CloseReason },
}

/// An address that is kept.
#[derive(Debug)]
enum Target {
    Waiting { attempt: u32 },
    Dialing { attempt: u32 },
    Up { peer: NodeName },
}

impl Target {
    const fn attempt(&self) -> Option<u32> {
        match self {
            Self::Waiting { attempt } | Self::Dialing { attempt } => Some(*attempt),
            Self::Up { .. } => None,
        }
    }
}

/// The connection to a peer.
#[derive(Debug)]
struct Current {
    conn: ConnId,
    peer: NodeId,
    epoch: u64,
    sequence: u64,
    /// The newest stream when it was admitted.
    newest: ConnId,
    dialed: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    redial: (Duration, Duration),
    connections_max: usize,
    rng: Rng,
    targets: BTreeMap<String, Target>,
    peers: BTreeMap<NodeName, Current>,
    sequence: u64,
}

impl Core {
    pub(super) fn new(redial: (Duration, Duration), connections_max: usize, rng: Rng) -> Self {
        let (targets, peers) = Default::default();
        Self { redial, connections_max, rng, targets, peers, sequence: 0 }
    }

    /// The epoch of the connection to `peer`.
    pub(super) fn holds(&self, peer: &NodeName) -> Option<u64> {
        self.peers.get(peer).map(|current| current.epoch)
    }

    #[must_use]
    pub(super) fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Keep(address) => self.keep(address),
            Input::Forget(address) => self.forget(&address),
            Input::Close(peer, reason) => {
                let current = self.peers.get(&peer);
                current.map(|current| Effect::Close { conn: current.conn, reason }).into_iter().collect()
            }
            Input::Waited { address, attempt } => self.waited(address, attempt),
            Input::Proven(candidate) => self.proven(candidate),
            Input::Ended { conn, dialed, peer } => self.ended(conn, dialed, peer),
        }
    }

    fn keep(&mut self, address: String) -> Vec<Effect> {
        if self.targets.contains_key(&address) {
            return Vec::new();
        }
        let target = match self.peers.values().find(|current| current.dialed.as_ref() == Some(&address)) {
            Some(current) => Target::Up { peer: current.peer.name.clone() },
            None => Target::Dialing { attempt: 0 },
        };
        let dial = matches!(target, Target::Dialing { .. });
        self.targets.insert(address.clone(), target);
        if dial { vec![Effect::Dial { address }] } else { Vec::new() }
    }

    fn forget(&mut self, address: &str) -> Vec<Effect> {
        self.targets.remove(address);
        let dialed = |current: &&Current| current.dialed.as_deref() == Some(address);
        let close = |current: &Current| Effect::Close {
            conn: current.conn,
            reason: CloseReason::Closed(format!("`{address}` is not kept any more")),
        };
        self.peers.values().filter(dialed).map(close).collect()
    }

    fn waited(&mut self, address: String, attempt: u32) -> Vec<Effect> {
        match self.targets.get_mut(&address) {
            // Another wait than the one that stands was for an address that was forgotten meanwhile.
            Some(target @ Target::Waiting { .. }) if target.attempt() == Some(attempt) => {
                *target = Target::Dialing { attempt };
                vec![Effect::Dial { address }]
            }
            _ => Vec::new(),
        }
    }

    fn proven(&mut self, candidate: Candidate) -> Vec<Effect> {
        let conn = candidate.conn;
        if let Err(refusal) = self.judge(&candidate) {
            return vec![Effect::Refuse { conn, refusal }];
        }
        let sequence = match candidate.decision {
            Decision::Ours { .. } => {
                self.sequence += 1;
                self.sequence
            }
            Decision::Theirs { sequence } => sequence,
        };
        let Candidate { newest, peer, epoch, dialed, .. } = candidate;
        if let Some(target) = dialed.as_ref().and_then(|address| self.targets.get_mut(address)) {
            *target = Target::Up { peer: peer.name.clone() };
        }
        let name = peer.name.clone();
        let current = Current { conn, peer, epoch, sequence, newest, dialed };
        let former = self.peers.insert(name, current);
        let close = former.map(|former| Effect::Close { conn: former.conn, reason: CloseReason::Replaced });
        close.into_iter().chain([Effect::Admit { conn, sequence }]).collect()
    }

    fn judge(&self, candidate: &Candidate) -> Result<(), Refusal> {
        if candidate.dialed.as_ref().is_some_and(|address| !self.targets.contains_key(address)) {
            return Err(Refusal::Closed);
        }
        let Some(current) = self.peers.get(&candidate.peer.name) else {
            return if self.peers.len() < self.connections_max { Ok(()) } else { Err(Refusal::TooMany) };
        };
        if candidate.peer.incarnation != current.peer.incarnation {
            let newer = candidate.peer.incarnation > current.peer.incarnation;
            return if newer { Ok(()) } else { Err(Refusal::Outdated) };
        }
        let duplicate = match candidate.decision {
            Decision::Ours { holds } => holds == Some(current.epoch) || candidate.conn <= current.newest,
            Decision::Theirs { sequence } => sequence <= current.sequence,
        };
        if duplicate { Err(Refusal::Duplicate) } else { Ok(()) }
    }

    fn ended(&mut self, conn: ConnId, dialed: Option<String>, peer: Option<NodeName>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(peer) = &peer
            && self.peers.get(peer).is_some_and(|current| current.conn == conn)
        {
            self.peers.remove(peer);
            let up = |target: &Target| matches!(target, Target::Up { peer: up } if up == peer);
            let lost: Vec<_> =
                self.targets.iter().filter(|(_, target)| up(target)).map(|(at, _)| at.clone()).collect();
            effects.extend(lost.into_iter().map(|address| self.wait(address, 0)));
        }
        let Some(address) = dialed else { return effects };
        if let Some(Target::Dialing { attempt }) = self.targets.get(&address) {
            let attempt = *attempt;
            match peer.filter(|peer| self.peers.contains_key(peer)) {
                // It was refused because we are connected already.
                Some(peer) => _ = self.targets.insert(address, Target::Up { peer }),
                None => effects.push(self.wait(address, attempt)),
            }
        }
        effects
    }

    /// Exponential back-off with equal jitter. Source: Brooker, Exponential Backoff and Jitter, AWS 2015.
    fn wait(&mut self, address: String, attempt: u32) -> Effect {
        let (min, max) = self.redial;
        let longest = min.saturating_mul(1 << attempt.min(16)).min(max);
        let after = longest.mul_f64(1.0 - self.rng.random::<f64>() / 2.0);
        let attempt = attempt.saturating_add(1);
        self.targets.insert(address.clone(), Target::Waiting { attempt });
        Effect::Wait { address, attempt, after }
    }
}
