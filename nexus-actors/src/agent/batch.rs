//! The letters an agent has taken from its inbox, and the one it is handling.

use super::cell::AgentCell;
use super::inbox::{Letter, Letters};
use super::message::Request;
use super::reply::{Answer, Fate};
use crate::error::AgentError;
use crate::route::{DeadLetterReason, DeadLetters};

/// Letters in the consumer's hands. However the handling of one is cut short (an error, a panic, a kill), the batch is dropped:
/// the letter at hand is dead-lettered, everybody its behavior left waiting is answered, and the rest goes back to the inbox, with
/// those before it whose changes are lost with the actor and whose sender will not send again; if
/// the agent has stopped meanwhile, to the dead letters.
pub(crate) struct Batch<'a> {
    cell: &'a AgentCell,
    dead: &'a DeadLetters,
    fate: &'a Fate,
    letters: Letters,
    /// Whether the letters come from the inbox, and not by plain ractor past it.
    from_inbox: bool,
    /// Whether the first letter is at hand: its behavior has the request, and here is a copy, whose parts are reference-counted or small.
    handling: bool,
    error: Option<String>,
    /// Letters that were handled and are handled again if the batch is cut short: what they changed is not stored yet.
    unsettled: Letters,
    /// Whether the next one that is handled joins them.
    unsettles: bool,
}

impl<'a> Batch<'a> {
    /// A batch from the inbox, taken with the empty buffer `spare`.
    pub(crate) const fn from_inbox(
        cell: &'a AgentCell,
        dead: &'a DeadLetters,
        fate: &'a Fate,
        spare: Letters,
    ) -> Self {
        Self::new(cell, dead, fate, spare, true)
    }

    /// A letter that came past the inbox.
    pub(crate) fn direct(cell: &'a AgentCell, dead: &'a DeadLetters, fate: &'a Fate, letter: Letter) -> Self {
        Self::new(cell, dead, fate, Letters::from([letter]), false)
    }

    const fn new(
        cell: &'a AgentCell,
        dead: &'a DeadLetters,
        fate: &'a Fate,
        letters: Letters,
        from_inbox: bool,
    ) -> Self {
        Self {
            cell,
            dead,
            fate,
            letters,
            from_inbox,
            handling: false,
            error: None,
            unsettled: Letters::new(),
            unsettles: false,
        }
    }

    /// The oldest letter.
    #[inline]
    pub(crate) fn first(&mut self) -> Option<&mut Letter> {
        if self.letters.is_empty() && self.from_inbox {
            self.cell.take(&mut self.letters);
        }
        self.letters.front_mut()
    }

    /// The behavior is about to handle the first letter, of whose request a copy is left.
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
        let Some(done) = self.letters.pop_front() else { return };
        if self.from_inbox {
            if self.unsettles {
                self.unsettled.push_back(done);
                return;
            }
            self.cell.processed();
        } else {
            self.cell.direct(true);
        }
        if matches!(done.answer, Answer::Nobody) {
            // There is nothing to drop, which costs a call to find out otherwise.
            std::mem::forget(done.answer);
        }
    }

    /// Whether letters that are handled from now on are handled again should the batch be cut short before it is
    /// [settled](Self::settled). Not for letters that somebody waits for.
    pub(crate) const fn set_unsettles(&mut self, unsettles: bool) {
        self.unsettles = unsettles;
    }

    /// What the letters so far have changed is stored, or stays without it.
    pub(crate) fn settled(&mut self) {
        for _ in self.unsettled.drain(..) {
            self.cell.processed();
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
        self.settled();
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
            if let Some((origin, _)) = self.request().chained() {
                self.cell.note_poison(origin);
            }
            let reason = self.error.take().unwrap_or_else(|| "it was killed".into());
            let crashed = AgentError::Crashed { reason };
            self.bury(DeadLetterReason::Crashed, crashed.clone());
            self.fate.end(crashed);
        }
        if !self.unsettled.is_empty() {
            self.unsettled.append(&mut self.letters);
            std::mem::swap(&mut self.unsettled, &mut self.letters);
        }
        self.give_back();
    }
}
