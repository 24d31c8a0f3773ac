//! All interleavings of a sender, the agent's host, its supervisor and a killer, each step as atomic as its lock makes it.
//!
//! The decisions are the real ones ([`end`]); inbox, route and actor are modelled. What is checked in every reachable state: no
//! letter is lost or handled out of order, at most one actor handles letters, the state holds exactly the letters handled.

use std::collections::BTreeSet;

use super::lifecycle::{End, Phase, end};

/// Letters the sender sends.
const LETTERS: u8 = 4;
/// Kills that may happen, at any time.
const KILLS: u8 = 2;
/// Naps that may begin, at any time when there is nothing to do.
const NAPS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    /// The supervisor has been asked to start it.
    Starting,
    /// Handles letters.
    Up,
    /// It has ended; its supervisor has not yet decided.
    Ended { hibernated: bool },
    /// There is none.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    sent: u8,
    /// Letters waiting in the inbox, by number.
    inbox: Vec<u8>,
    /// The last letter the live state has counted.
    state: u8,
    /// The last letter the snapshot has counted; `None` if there is none.
    snapshot: Option<u8>,
    /// `Live`, `Settling` or `Waking` as a number, so that worlds have an order.
    phase: u8,
    dormant: bool,
    actor: Actor,
    kills: u8,
    naps: u8,
}

impl World {
    const fn start() -> Self {
        Self {
            sent: 0,
            inbox: Vec::new(),
            state: 0,
            snapshot: None,
            phase: Phase::Live as u8,
            dormant: false,
            actor: Actor::Up,
            kills: KILLS,
            naps: NAPS,
        }
    }

    fn steps(&self) -> Vec<Self> {
        [self.send(), self.handle(), self.nap(), self.kill(), self.start_actor(), self.decide()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Under the route's lock: into the inbox, or, if the agent is dormant, into the inbox of the cell that takes its place.
    fn send(&self) -> Option<Self> {
        let mut next = self.clone();
        next.sent = (self.sent < LETTERS).then(|| self.sent + 1)?;
        next.inbox.push(next.sent);
        if self.dormant {
            assert_eq!((self.inbox.len(), self.actor), (0, Actor::Gone), "{self:?}");
            next.dormant = false;
            next.phase = Phase::Waking as u8;
            next.actor = Actor::Starting;
        }
        Some(next)
    }

    fn handle(&self) -> Option<Self> {
        let mut next = self.clone();
        if self.actor != Actor::Up || self.phase == Phase::Settling as u8 || self.inbox.is_empty() {
            return None;
        }
        let letter = next.inbox.remove(0);
        assert!(letter > self.state, "in order: {self:?}");
        next.state = letter;
        Some(next)
    }

    /// The host, between two messages: the state is written and the inbox sealed at once, and the actor ends.
    fn nap(&self) -> Option<Self> {
        let mut next = self.clone();
        if self.actor != Actor::Up || !self.inbox.is_empty() {
            return None;
        }
        next.naps = self.naps.checked_sub(1)?;
        next.snapshot = Some(self.state);
        next.phase = Phase::Settling as u8;
        next.actor = Actor::Ended { hibernated: true };
        Some(next)
    }

    fn kill(&self) -> Option<Self> {
        let mut next = self.clone();
        if self.actor != Actor::Up {
            return None;
        }
        next.kills = self.kills.checked_sub(1)?;
        next.actor = Actor::Ended { hibernated: false };
        Some(next)
    }

    /// The supervisor's decision about an actor that has ended: restarted if it was killed, else let go.
    fn decide(&self) -> Option<Self> {
        let Actor::Ended { hibernated } = self.actor else { return None };
        let mut next = self.clone();
        if !hibernated {
            next.actor = Actor::Starting;
            return Some(next);
        }
        match end(Phase::from_u8(self.phase), self.inbox.len() as u64) {
            End::LayDown => {
                next.actor = Actor::Gone;
                next.dormant = true;
            }
            End::WakeAgain => {
                next.phase = Phase::Waking as u8;
                next.actor = Actor::Starting;
            }
            other => panic!("{other:?} of an agent that only sleeps: {self:?}"),
        }
        Some(next)
    }

    /// From the snapshot if there is one. What a killed state had counted beyond it is forgotten.
    fn start_actor(&self) -> Option<Self> {
        if self.actor != Actor::Starting {
            return None;
        }
        let mut next = self.clone();
        next.state = self.snapshot.unwrap_or(0);
        next.phase = Phase::Live as u8;
        next.actor = Actor::Up;
        Some(next)
    }

    /// Nothing can happen any more but naps and kills that were not used.
    fn check_end(&self) {
        assert!(self.inbox.is_empty() && self.sent == LETTERS, "letters are left: {self:?}");
        assert!(self.dormant || self.actor == Actor::Up, "neither awake nor asleep: {self:?}");
    }
}

/// Goal: in every order of events all letters are handled, in order, and without a kill the state has counted every one.
#[test]
fn no_interleaving_loses_a_letter() {
    let (mut seen, mut open, mut ends) = (BTreeSet::new(), vec![World::start()], 0);
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        if world.kills == KILLS && world.actor == Actor::Up {
            assert_eq!(
                usize::from(world.state) + world.inbox.len(),
                usize::from(world.sent),
                "nobody was killed, so nothing is forgotten: {world:?}"
            );
        }
        let steps = world.steps();
        if steps.is_empty() || (world.sent == LETTERS && world.dormant) {
            world.check_end();
            ends += 1;
        }
        open.extend(steps);
    }
    assert!(seen.len() > 1000 && ends > 10, "{} worlds, {ends} ends", seen.len());
}

/// Goal: the decisions themselves.
#[test]
fn ends() {
    assert_eq!(end(Phase::Live, 0), End::Retire);
    assert_eq!(end(Phase::Live, 3), End::Retire);
    assert_eq!(end(Phase::Settling, 0), End::LayDown);
    assert_eq!(end(Phase::Settling, 1), End::WakeAgain);
    assert_eq!(end(Phase::Waking, 0), End::GiveUp);
    assert_eq!(end(Phase::Waking, 2), End::GiveUp);
}
