//! What of a route entry most agents have nothing of, out of the way of the rest: exits, and what a cluster's feeds have to know.

use super::{AgentCell, AgentExit};
use crate::store::{Follows, Marks, Origin, Standing};

/// Requests that have crashed a stored agent, remembered per agent.
const POISON_KEPT: usize = 8;

/// What most agents have nothing of.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// The last ones, newest last; few, so the oldest is taken from the front.
    pub(super) exits: Vec<AgentExit>,
    /// How far it has handled each feed that delivers again what is lost.
    marks: Marks,
    /// Requests of such feeds that have crashed it while it was stored: it restarts from before them.
    poison: Vec<Origin>,
}

impl Rare {
    /// Of an agent that has handled this much and has nothing else.
    pub(super) fn marked(marks: Marks) -> Self {
        Self { marks, ..Self::default() }
    }
}

impl AgentCell {
    /// It comes from elsewhere, with what it has handled.
    pub(super) fn bring_marks(&self, marks: &Marks) {
        if !marks.as_slice().is_empty() && self.keeper.is_none() {
            self.rare.lock().get_or_insert_default().marks = marks.clone();
        }
    }

    /// How a feed's request stands to what the agent has handled. The next one counts as handled from now on.
    pub(crate) fn take_turn(&self, origin: Origin, follows: Follows) -> Standing {
        let mut rare = self.rare.lock();
        let marks = &mut rare.get_or_insert_default().marks;
        let standing = marks.standing(origin, Some(follows));
        if standing == Standing::Next {
            marks.advance(origin);
        }
        standing
    }

    /// The request from `origin` is handled.
    pub(crate) fn advance_mark(&self, origin: Origin) {
        self.rare.lock().get_or_insert_default().marks.advance(origin);
    }

    /// A request of a feed has crashed the agent. Only one that restarts from before it would be given it again.
    pub(crate) fn note_poison(&self, origin: Origin) {
        if self.keeper.is_none() {
            return;
        }
        let mut rare = self.rare.lock();
        let poison = &mut rare.get_or_insert_default().poison;
        if poison.len() == POISON_KEPT {
            poison.remove(0);
        }
        poison.push(origin);
    }

    /// Whether the request from `origin` has crashed the agent before.
    pub(crate) fn is_poison(&self, origin: Origin) -> bool {
        self.rare.lock().as_ref().is_some_and(|rare| rare.poison.contains(&origin))
    }

    /// It goes on from a state that has handled this much.
    pub(crate) fn reset_marks(&self, marks: Marks) {
        if let Some(rare) = &mut *self.rare.lock() {
            rare.marks = marks;
        }
    }

    /// How far it has handled each feed that delivers again what is lost.
    pub(crate) fn marks(&self) -> Marks {
        self.rare.lock().as_ref().map(|rare| rare.marks.clone()).unwrap_or_default()
    }

    /// The place of the last request of `feed` that it has handled; 0 if it has handled none.
    pub(crate) fn mark_of(&self, feed: u16) -> u64 {
        let mark = self.rare.lock().as_ref().map_or(0, |rare| rare.marks.of(feed));
        // Until the first request it knows no more than what it starts from.
        if mark > 0 {
            mark
        } else {
            self.snapshot.lock().as_ref().map_or(0, |snapshot| snapshot.marks.of(feed))
        }
    }
}
