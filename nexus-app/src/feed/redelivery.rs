//! When a feed of a cluster delivers again, from where on, and when it is done. Pure.
//!
//! ```text
//!                    a node is lost, or part of the feed is
//!   Delivering ───────────────────────────────────────────▶ Settling ── a moment later ──▶ Auditing ◀─┐ not at rest,
//!     ▲   │                                                                                │  │  │    │ no answer
//!     │   └──────────────── everything was given ─────────────────────────────────────────▶│  │  └────┘
//!     │                                                                                       │
//!     ├── nobody lacks anything, there is more to give ◀──────────────────────────────────────┤
//!     ├── somebody lacks something, and all is at rest: go back to what all have ◀────────────┤
//!     └─ a node is lost ── Done ◀── nobody lacks anything, everything was given ◀─────────────┘
//! ```
//!
//! Agents never handle a request past a gap (see [`Follows`](nexus_actors::store::Follows)), so nothing here decides whether totals are
//! right, only how soon they are complete. What is lost is found out by asking all nodes how far each of the feed's agents has come, not
//! guessed from who was lost: the agents of a node that had them in memory have come nowhere, so the feed goes back to its beginning;
//! those that another life of the node finds on its disk, or that had been moved in time, have most of it; and what is only on its way
//! arrives while all is waited for. Several losses are one: each begins the moment anew.
//!
//! What is still missing once all is at rest is lost. Where messages of others never let the nodes rest, it is lost when nobody has come
//! on for [`STUCK`]. A feed that goes back again and again although no node is lost and nobody comes on (an agent that cannot be
//! started) gives up, as it would on one node, where these requests are dead letters.

use std::sync::Arc;
use std::time::Duration;

use nexus_actors::clock::Millis;

use super::chain::Audit;

/// After a loss: others may follow, and the ring is drawn anew.
const SETTLE: Duration = Duration::from_millis(300);
/// After a node has come: partitions are healed by then.
const SETTLE_JOINED: Duration = Duration::from_secs(6);
/// Between two audits while something is under way …
const AGAIN: Duration = Duration::from_millis(50);
/// … and after a member has not answered.
const RETRY: Duration = Duration::from_millis(250);
/// What nobody has handled for so long is lost, even if there are messages under way.
const STUCK: Duration = Duration::from_secs(5);
/// So often a feed goes back in vain.
const FRUITLESS_MAX: u32 = 3;

/// What happens to a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A member is gone, or a newer life of it is there.
    NodeLost(Arc<str>),
    /// A member has come, perhaps back from the other side of a partition.
    NodeJoined(Arc<str>),
    /// Some agent was not reached in this delivery: what follows a place is lost.
    Lost {
        /// Which delivery.
        pass: u8,
        /// The place.
        after: u64,
    },
    /// Everything was given.
    Given,
    /// The time of an `Effect::Wake` has come.
    Tick,
    /// The audit that was wanted; `None` if a member did not answer.
    Audited(Option<Audit>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Give nothing more until [`Effect::Go`] or [`Effect::Rewind`].
    Hold,
    /// Go on giving.
    Go,
    /// Come back after a time. Replaces an earlier one.
    Wake(Duration),
    /// Find out how far the agents have come.
    Audit,
    /// Give everything after the place `to` again, as another delivery.
    Rewind { to: u64, pass: u8, cause: Arc<str> },
    /// Everything is handled, but for what these agents lack for good.
    Complete { behind: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Delivering,
    Settling {
        due: Millis,
    },
    Auditing,
    /// For the next audit.
    Waiting {
        due: Millis,
    },
    Done,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Redelivery {
    phase: Phase,
    pass: u8,
    /// Where this delivery began.
    from: u64,
    is_given: bool,
    /// Why something may be missing.
    cause: Option<Arc<str>>,
    /// The sum of the last audit, since when it is the same, and whether all was at rest.
    last: Option<(u64, Millis, bool)>,
    /// The sum when the feed went back last.
    went_back_at: Option<u64>,
    fruitless: u32,
}

impl Redelivery {
    /// A feed that is given from its beginning on. Deliveries of different nodes begin with different passes, so that what is left of one
    /// is told from another's.
    pub(crate) const fn new(pass: u8) -> Self {
        Self {
            phase: Phase::Delivering,
            pass,
            from: 0,
            is_given: false,
            cause: None,
            last: None,
            went_back_at: None,
            fruitless: 0,
        }
    }

    /// Whether nothing is to be given now.
    pub(crate) const fn is_held(&self) -> bool {
        !matches!(self.phase, Phase::Delivering)
    }

    /// Whether everything is handled, as far as is known.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(crate) fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        match input {
            Input::NodeLost(node) => {
                (self.fruitless, self.went_back_at) = (0, None);
                self.settle(now, SETTLE, format!("the loss of {node}").into())
            }
            Input::NodeJoined(node) if self.is_done() => {
                self.settle(now, SETTLE_JOINED, format!("the return of {node}").into())
            }
            Input::NodeJoined(_) => Vec::new(),
            Input::Lost { pass, after } => self.on_lost(now, pass, after),
            Input::Given => {
                self.is_given = true;
                if self.phase == Phase::Delivering { self.audit() } else { Vec::new() }
            }
            Input::Tick => match self.phase {
                Phase::Settling { due } | Phase::Waiting { due } if now >= due => self.audit(),
                Phase::Settling { due } | Phase::Waiting { due } => vec![Effect::Wake(due.since(now))],
                Phase::Delivering | Phase::Auditing | Phase::Done => Vec::new(),
            },
            Input::Audited(audit) if self.phase == Phase::Auditing => match audit {
                Some(audit) => self.on_audited(now, audit),
                None => self.wait(now, RETRY),
            },
            // Something has happened since it was begun: there will be another one.
            Input::Audited(_) => Vec::new(),
        }
    }

    fn on_lost(&mut self, now: Millis, pass: u8, after: u64) -> Vec<Effect> {
        // What is left of an earlier delivery comes again in this one, unless this one began later.
        let is_covered = pass != self.pass && self.from <= after;
        let has_given_up = self.fruitless >= FRUITLESS_MAX;
        match self.phase {
            Phase::Delivering | Phase::Done if !is_covered && !has_given_up => {
                self.settle(now, SETTLE, "the loss of requests".into())
            }
            // An audit will show it.
            _ => Vec::new(),
        }
    }

    fn settle(&mut self, now: Millis, span: Duration, cause: Arc<str>) -> Vec<Effect> {
        self.cause.get_or_insert(cause);
        self.last = None;
        self.phase = Phase::Settling { due: now + span };
        vec![Effect::Hold, Effect::Wake(span)]
    }

    fn audit(&mut self) -> Vec<Effect> {
        self.phase = Phase::Auditing;
        vec![Effect::Audit]
    }

    fn wait(&mut self, now: Millis, span: Duration) -> Vec<Effect> {
        self.phase = Phase::Waiting { due: now + span };
        vec![Effect::Wake(span)]
    }

    fn on_audited(&mut self, now: Millis, audit: Audit) -> Vec<Effect> {
        if audit.behind == 0 {
            return self.go_on(0);
        }
        let at_rest = audit.queued == 0;
        let before = self.last.filter(|(reached, ..)| *reached == audit.reached);
        let since = before.map_or(now, |(_, since, _)| since);
        let rested = at_rest && before.is_some_and(|(_, _, rested)| rested);
        self.last = Some((audit.reached, since, at_rest));
        if !rested && now.since(since) < STUCK {
            return self.wait(now, AGAIN);
        }
        let in_vain = self.went_back_at.is_some_and(|reached| audit.reached <= reached);
        self.fruitless = if in_vain { self.fruitless + 1 } else { 0 };
        if self.fruitless >= FRUITLESS_MAX {
            return self.go_on(audit.behind);
        }
        self.went_back_at = Some(audit.reached);
        self.pass = self.pass.wrapping_add(1);
        self.from = audit.covered;
        (self.phase, self.is_given, self.last) = (Phase::Delivering, false, None);
        let cause = self.cause.take().unwrap_or_else(|| "the loss of requests".into());
        vec![Effect::Rewind { to: self.from, pass: self.pass, cause }]
    }

    /// Nobody lacks anything that another delivery could give.
    fn go_on(&mut self, behind: u64) -> Vec<Effect> {
        (self.cause, self.last) = (None, None);
        if self.is_given {
            self.phase = Phase::Done;
            return vec![Effect::Complete { behind }];
        }
        self.phase = Phase::Delivering;
        vec![Effect::Go]
    }
}

#[cfg(test)]
#[path = "redelivery_test.rs"]
mod tests;
