//! How an agent waits for its next letter.
//!
//! A wake-up by way of ractor costs more than most letters: a message is made, queued, received and freed, and the sender pays for half of
//! that. So an agent that has reason to expect a letter soon stays in its turn:
//!
//! - it *looks* again when the other runnable tasks of its thread have had theirs. A sender that keeps sending then finds it scheduled and
//!   pays for a push only, and a thread that has nothing to do can take the agent over. What looks have found decides how long that goes on;
//! - it *lingers*: the next push wakes its task, and nothing goes by way of ractor. The time since it last rested decides, and a turn in
//!   which it lingers ends after [`LINGER`]: so long do stop and control messages wait, at most. Where looks find letters it lingers after
//!   one that somebody asked: the answer wakes the asker, whose next ask wakes this task, and neither goes to the back of a run queue,
//!   from where another thread would fetch it.
//!
//! Otherwise it rests.

use std::time::Duration;

use crate::clock::Millis;

/// How long a turn may last in which the agent lingers, and how soon it must have been woken after a rest to linger at all.
pub(super) const LINGER: Duration = Duration::from_millis(5);

/// As many looks that find nothing are forgiven at most.
const WORTH_MAX: u8 = 16;

/// How many looks that find nothing one makes up for that finds a letter.
const HIT: u8 = 2;

/// Where looks have proved worthless, one in this many waits begins with a look: letters may come faster by now.
const PROBE_EVERY: u8 = 16;

/// So many letters between two waits come from a sender that does not wait: looks are worth trying, whatever they found before. An agent
/// that was woken on its sender's thread would otherwise stay there, and run only when that has sent enough.
const MANY: u8 = 32;

/// What to do with an empty inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Look again, after the others.
    Look,
    /// Stay in this turn until a letter comes or the turn is over.
    Linger,
    /// Go idle.
    Rest,
}

/// What an agent knows of how its letters come.
#[derive(Debug)]
pub(super) struct Pace {
    /// Rises with looks that find a letter, falls with those that do not. In the upper half one look follows the other.
    worth: u8,
    /// Wraps.
    waits: u8,
    /// Letters since it last waited, as far as it counts.
    letters: u8,
    lingers: bool,
    /// How it waits now.
    waiting: Option<Wait>,
    rested_at: Option<Millis>,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { worth: HIT, waits: 0, letters: 0, lingers: false, waiting: None, rested_at: None }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Millis) {
        if let Some(rested_at) = self.rested_at.take() {
            self.lingers = now.since(rested_at) < LINGER;
        }
    }

    /// There is a letter.
    #[inline]
    pub(super) fn found(&mut self) {
        self.letters = self.letters.saturating_add(1);
        if self.waiting.take() == Some(Wait::Look) {
            self.worth = (self.worth + HIT).min(WORTH_MAX);
        }
    }

    /// There is none: what to do. `asked` says whether somebody waited for the answer to the last one.
    pub(super) fn wait(&mut self, asked: bool) -> Wait {
        let letters = std::mem::take(&mut self.letters);
        if letters >= MANY {
            self.worth = self.worth.max(WORTH_MAX / 2);
        }
        let looked = self.waiting == Some(Wait::Look);
        if looked {
            self.worth = self.worth.saturating_sub(1);
        } else {
            self.waits = self.waits.wrapping_add(1);
        }
        let probes = self.waits.is_multiple_of(PROBE_EVERY);
        let tries = !looked && (self.worth > 0 || probes);
        let looks_pay = self.worth > WORTH_MAX / 2;
        let wait = if looks_pay && asked && letters == 1 && !probes {
            Wait::Linger
        } else if tries || looks_pay {
            Wait::Look
        } else if self.lingers {
            Wait::Linger
        } else {
            Wait::Rest
        };
        self.waiting = Some(wait);
        wait
    }

    /// The turn is over while the agent lingers. Whether it does so in another turn, having had letters in this one.
    pub(super) fn over(&mut self, had_letters: bool) -> bool {
        self.waiting = None;
        self.lingers = had_letters;
        had_letters
    }

    /// It rests.
    pub(super) fn rest(&mut self, now: Millis) {
        self.waiting = None;
        self.rested_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits and finds a letter, in whatever way.
    fn fruitful(pace: &mut Pace) -> Wait {
        let wait = pace.wait(false);
        pace.found();
        wait
    }

    /// Waits without a letter until it lingers or rests; how often it looked first.
    fn fruitless(pace: &mut Pace) -> (usize, Wait) {
        for looks in 0.. {
            match pace.wait(false) {
                Wait::Look => {}
                wait => return (looks, wait),
            }
        }
        unreachable!("looks end")
    }

    /// Goal: where looks find letters they go on, and a pause that takes half of what they are worth takes no more.
    #[test]
    fn looks_that_find_letters_go_on() {
        let mut pace = Pace::new();
        pace.begin(Millis::ZERO);
        for _ in 0..20 {
            assert_eq!(fruitful(&mut pace), Wait::Look);
        }
        assert_eq!(fruitless(&mut pace), (8, Wait::Rest));
        pace.rest(Millis::ZERO);
        pace.begin(Millis::new(1_000));
        assert_eq!(fruitful(&mut pace), Wait::Look);
    }

    /// Goal: looks that find nothing end; one in 16 waits tries whether they are worth it by now, and they go on if so.
    #[test]
    fn looks_that_find_nothing_end() {
        let mut pace = Pace::new();
        let mut looks = Vec::new();
        for turn in 0..64 {
            let now = Millis::new(turn * 1_000);
            pace.begin(now);
            pace.found();
            let (looked, wait) = fruitless(&mut pace);
            assert_eq!(wait, Wait::Rest);
            pace.rest(now);
            looks.push(looked);
        }
        assert_eq!(looks[..3], [1, 1, 0], "as new, it tries");
        assert!(
            looks[3..].chunks(PROBE_EVERY.into()).all(|waits| waits.iter().sum::<usize>() <= 1),
            "{looks:?}"
        );
        assert!((0..PROBE_EVERY).any(|_| fruitful(&mut pace) == Wait::Look));
        assert_eq!(fruitful(&mut pace), Wait::Look, "it has found a letter");
    }

    /// Goal: many letters at once are reason to look again where looks have found nothing.
    #[test]
    fn many_letters_are_worth_a_look() {
        let mut pace = Pace::new();
        pace.begin(Millis::ZERO);
        while fruitless(&mut pace).0 > 0 {}
        for _ in 0..MANY {
            pace.found();
        }
        assert_eq!(pace.wait(false), Wait::Look);
    }

    /// Goal: where looks find letters, one that was asked is followed by a wait in which the next ask wakes the task; one wait in 16 is a
    /// look all the same, and so is one after letters that nobody asked, or after several.
    #[test]
    fn lingers_for_the_next_ask_where_looks_pay() {
        let mut pace = Pace::new();
        pace.begin(Millis::ZERO);
        while pace.worth < WORTH_MAX {
            assert_eq!(fruitful(&mut pace), Wait::Look);
        }
        let waits: Vec<_> = (0..PROBE_EVERY)
            .map(|_| {
                let wait = pace.wait(true);
                pace.found();
                wait
            })
            .collect();
        assert_eq!(waits.iter().filter(|wait| **wait == Wait::Look).count(), 1, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait != Wait::Rest), "{waits:?}");
        while pace.waits % PROBE_EVERY != 1 {
            assert_eq!(fruitful(&mut pace), Wait::Look, "nobody asked");
        }
        pace.found();
        assert_eq!(pace.wait(true), Wait::Look, "there were two");
    }

    /// Goal: whoever is woken soon after it rested lingers, turn after turn, until one goes by without a letter.
    #[test]
    fn lingers_where_letters_come_soon() {
        let mut pace = Pace::new();
        pace.begin(Millis::ZERO);
        while fruitless(&mut pace) != (0, Wait::Rest) {}
        pace.rest(Millis::ZERO);
        pace.begin(Millis::new(4));
        assert_eq!(pace.wait(false), Wait::Linger);
        pace.found();
        assert_eq!(pace.wait(false), Wait::Linger);
        assert!(pace.over(true), "it had letters");
        pace.begin(Millis::new(9));
        assert_eq!(pace.wait(false), Wait::Linger);
        assert!(!pace.over(false));
        pace.rest(Millis::new(14));
        pace.begin(Millis::new(19));
        assert_eq!(pace.wait(false), Wait::Rest, "5 ms later");
    }
}
