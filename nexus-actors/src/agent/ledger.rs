//! Answers that wait for a commit.

use std::sync::Arc;

use parking_lot::Mutex;

use super::reply::{Answer, Reply};
use crate::error::AgentError;

/// The answers of one agent that wait until what they tell of is stored.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    withheld: Mutex<Withheld>,
}

#[derive(Debug, Default)]
struct Withheld {
    /// Whether something is not stored yet.
    holding: bool,
    answers: Vec<(Answer, Reply)>,
}

impl Ledger {
    /// Something is changed that is not stored yet: answers wait from now on.
    pub(crate) fn hold(&self) {
        self.withheld.lock().holding = true;
    }

    /// Sends `reply` now or when it may be.
    pub(crate) fn send(&self, to: Answer, reply: Reply) {
        let mut withheld = self.withheld.lock();
        if withheld.holding {
            withheld.answers.push((to, reply));
        } else {
            drop(withheld);
            to.send(reply);
        }
    }

    /// All is stored, or will not be: then whoever was to hear of a success hears `error`.
    pub(crate) fn release(&self, stored: Result<(), &AgentError>) {
        let answers = {
            let mut withheld = self.withheld.lock();
            withheld.holding = false;
            std::mem::take(&mut withheld.answers)
        };
        for (to, reply) in answers {
            to.send(match (stored, reply) {
                (Err(error), Ok(_)) => Err(error.clone()),
                (_, reply) => reply,
            });
        }
    }

    /// However the batch at hand is cut short, nobody waits for ever.
    pub(crate) fn guard(self: &Arc<Self>, error: fn() -> AgentError) -> Guard {
        Guard { ledger: self.clone(), error }
    }
}

/// See [`Ledger::guard`].
pub(crate) struct Guard {
    ledger: Arc<Ledger>,
    error: fn() -> AgentError,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.ledger.release(Err(&(self.error)()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Payload;

    /// Goal: nobody hears of a change before it is stored; a behavior's own refusal stays what it is; and what is not stored is
    /// no success.
    #[test]
    fn answers_wait_for_the_commit() {
        let ledger = Arc::new(Ledger::default());
        let own = AgentError::Invalid { reason: "no".into() };
        let lost = AgentError::NotStored { reason: "full".into() };
        for (stored, heard) in [(Ok(()), Ok(Payload::EMPTY)), (Err(&lost), Err(lost.clone()))] {
            let ((done, mut done_heard), (refused, mut refused_heard)) =
                (Answer::channel(), Answer::channel());
            ledger.hold();
            ledger.send(done, Ok(Payload::EMPTY));
            ledger.send(refused, Err(own.clone()));
            assert!(done_heard.try_recv().is_err() && refused_heard.try_recv().is_err());
            ledger.release(stored);
            assert_eq!(done_heard.try_recv(), Ok(heard));
            assert_eq!(refused_heard.try_recv(), Ok(Err(own.clone())));
        }
        let (late, mut late_heard) = Answer::channel();
        ledger.send(late, Ok(Payload::EMPTY));
        assert_eq!(late_heard.try_recv(), Ok(Ok(Payload::EMPTY)), "nothing is withheld any more");
        let (held, mut heard) = Answer::channel();
        let guard = ledger.guard(|| AgentError::NoReply);
        ledger.hold();
        ledger.send(held, Ok(Payload::EMPTY));
        drop(guard);
        assert_eq!(heard.try_recv(), Ok(Err(AgentError::NoReply)));
    }
}
