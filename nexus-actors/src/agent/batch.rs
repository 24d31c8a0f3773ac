//! The letters an agent has taken from its inbox, and the one it is handling.

use super::cell::AgentCell;
use super::inbox::{Letter, Letters};
use super::message::Request;
use super::reply::Fate;
use crate::error::AgentError;
use crate::route::{DeadLetterReason, DeadLetters};

/// Letters in the consumer's hands. However the handling of one is cut short (an error, a panic, a kill), the batch is dropped:
/// the letter at hand is dead-lettered, everybody its behavior left waiting is answered, and the rest goes back to the inbox; if
/// the agent has stopped meanwhile, to the dead letters.
pub(crate) struct Batch<'a> {
    cell: &'a AgentCell,
    dead: &'a DeadLetters,
    fate: &'a Fate,
    letters: Letters,
    /// Whether the letters come from the inbox, and not by plain ractor past it.
    from_inbox: bool,
    /// Whether the first letter is at hand: its behavior has a copy, whose parts are reference-counted or small.
    handling: bool,
    error: Option<String>,
}

impl<'a> Batch<'a> {
    /// A batch from the inbox, taken with the empty buffer `spare`.
    pub(crate) const fn from_inbox(
        cell: &'a AgentCell,
        dead: &'a DeadLetters,
        fate: &'a Fate,
        spare: Letters,
    ) -> Self {
        Self { cell, dead, fate, letters: spare, from_inbox: true, handling: false, error: None }
    }

    /// A letter that came past the inbox.
    pub(crate) fn direct(cell: &'a AgentCell, dead: &'a DeadLetters, fate: &'a Fate, letter: Letter) -> Self {
        let letters = Letters::from([letter]);
        Self { cell, dead, fate, letters, from_inbox: false, handling: false, error: None }
    }

    /// The oldest letter.
    #[inline]
    pub(crate) fn first(&mut self) -> Option<&mut Letter> {
        if self.letters.is_empty() && self.from_inbox {
            self.cell.take(&mut self.letters);
        }
        self.letters.front_mut()
    }

    /// The behavior is about to handle a copy of the first letter.
    #[inline]
    pub(crate) const fn begin(&mut self) {
        self.handling = true;
    }

    /// The request being handled.
    pub(crate) fn request(&self) -> &Request {
        &self.letters.front().expect("there since `begin`").request
    }

    /// The first letter is done with.
    #[inline]
    pub(crate) fn completed(&mut self) {
        self.handling = false;
        self.letters.pop_front();
        if self.from_inbox {
            self.cell.processed();
        } else {
            self.cell.direct(true);
        }
    }

    /// The behavior returned an error: the batch is about to be dropped.
    pub(crate) fn failed(&mut self, error: String) {
        self.error = Some(error);
    }

    /// The first letter is not to be handled.
    #[cold]
    pub(crate) fn bury(&mut self, reason: DeadLetterReason, error: AgentError) {
        if let Some(Letter { request, answer }) = self.letters.pop_front() {
            answer.send(Err(error));
            if self.from_inbox {
                self.cell.bury(request, self.dead, reason);
            } else {
                self.cell.bury_direct(request, self.dead, reason);
            }
        }
    }

    /// Gives back what is left, and returns an empty buffer.
    pub(crate) fn finish(mut self) -> Letters {
        self.give_back();
        std::mem::take(&mut self.letters)
    }

    fn give_back(&mut self) {
        if !self.letters.is_empty() && !self.cell.give_back(&mut self.letters) {
            let letters = std::mem::take(&mut self.letters);
            self.cell.bury_all(letters, self.dead, DeadLetterReason::AgentStopped);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.handling {
            let reason = self.error.take().unwrap_or_else(|| "it was killed or panicked".into());
            let crashed = AgentError::Crashed { reason };
            self.bury(DeadLetterReason::Crashed, crashed.clone());
            self.fate.end(crashed);
        }
        self.give_back();
    }
}
