//! How letters get into an agent's inbox.

use super::{AgentCell, Sent};
use crate::agent::inbox::{Letter, Letters, Pushed, PushedAll};
use crate::route::DeadLetters;

impl AgentCell {
    /// Enqueues a letter and wakes the agent; dead-letters it if the agent has stopped.
    #[inline]
    pub(crate) fn push(&self, letter: Letter, dead: &DeadLetters) -> Sent {
        self.pushed(self.inbox().push(letter, self.limit()), dead)
    }

    /// The same where something else bounds what waits in the inbox.
    #[cold]
    pub(crate) fn push_unlimited(&self, letter: Letter, dead: &DeadLetters) -> Sent {
        self.pushed(self.inbox().push_unlimited(letter), dead)
    }

    /// The same for those of `letters` whose feed waits elsewhere; leaves the others.
    #[cold]
    pub(crate) fn push_chained(&self, letters: &mut Letters, dead: &DeadLetters) {
        for _ in 0..letters.len() {
            let Some(letter) = letters.pop_front() else { return };
            if letter.request.chained().is_some() {
                // Dead-lettered and answered if the agent has stopped.
                let _ = self.push_unlimited(letter, dead);
            } else {
                letters.push_back(letter);
            }
        }
    }

    #[inline(always)]
    fn pushed(&self, pushed: Pushed, dead: &DeadLetters) -> Sent {
        match pushed {
            Pushed::Queued => Sent::Done,
            Pushed::Wake => {
                self.wake();
                Sent::Done
            }
            Pushed::Full(letter) => Sent::Full(letter),
            Pushed::Closed(letter) => Sent::Failed(self.refuse(letter, dead)),
        }
    }

    /// The same for a letter that has waited elsewhere, whatever waits here.
    pub(crate) fn push_waited(&self, letter: Letter) {
        if matches!(self.inbox().push(letter, u64::MAX), Pushed::Wake) {
            self.wake();
        }
    }

    /// Enqueues those of `letters` that there is room for and leaves the others; dead-letters all if the agent has stopped.
    pub(crate) fn push_all(&self, letters: &mut Letters, dead: &DeadLetters) {
        match self.inbox().push_all(letters, self.limit()) {
            PushedAll::Queued => {}
            PushedAll::Wake => self.wake(),
            PushedAll::Closed => {
                for letter in letters.drain(..) {
                    self.refuse(letter, dead);
                }
            }
        }
    }

    /// Like [`push`](Self::push), but a letter for an agent that has stopped comes back: its sender has others to try.
    pub(crate) fn offer(&self, letter: Letter) -> Pushed {
        let pushed = self.inbox().push(letter, self.limit());
        if matches!(pushed, Pushed::Wake) {
            self.wake();
        }
        pushed
    }
}
