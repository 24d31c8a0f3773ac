//! When an agent's state is written to the store. Pure: counts and times arrive as arguments.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// When an agent's state is written to the store. Whatever it is, a graceful stop writes it too, and an agent that crashes
/// starts again from what was written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Persist {
    /// Never: it dies with the process. The default.
    #[default]
    None,
    /// When the agent hibernates.
    OnHibernate,
    /// After so many requests that may have changed it (queries do not count).
    EveryMessages(NonZeroU32),
    /// At most this long after a change.
    EveryInterval(Duration),
    /// After every change, before it is answered: what an asker has heard of survives a power loss. The changes of a batch of
    /// requests are written together, and those of all agents that wait share a commit.
    EachUpdate,
}

/// What to do with a state that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    No,
    /// Look again at this time.
    At(Millis),
    /// Write it now.
    Now,
    /// Write it now, and answer nobody before it is committed.
    BeforeReplies,
}

impl Persist {
    /// Whether anything is written at all.
    #[must_use]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }

    /// What to do at `now` with a state that `changes` requests may have changed, the first of them at `since`.
    pub(crate) fn due(self, changes: u64, since: Millis, now: Millis) -> Due {
        match self {
            _ if changes == 0 => Due::No,
            Self::None | Self::OnHibernate => Due::No,
            Self::EachUpdate => Due::BeforeReplies,
            Self::EveryMessages(n) if changes >= u64::from(n.get()) => Due::Now,
            Self::EveryMessages(_) => Due::No,
            Self::EveryInterval(period) if now >= since + period => Due::Now,
            Self::EveryInterval(period) => Due::At(since + period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each policy writes when it says, and none of them what has not changed.
    #[test]
    fn policies_are_due_when_they_say() {
        let ms = Millis::new;
        let hundred = Persist::EveryMessages(NonZeroU32::new(100).unwrap());
        let second = Persist::EveryInterval(Duration::from_secs(1));
        for policy in [Persist::None, Persist::OnHibernate, hundred, second, Persist::EachUpdate] {
            assert_eq!(policy.due(0, ms(0), ms(10_000)), Due::No, "{policy:?} with no change");
        }
        assert_eq!(Persist::None.due(1000, ms(0), ms(10_000)), Due::No);
        assert_eq!(Persist::OnHibernate.due(1000, ms(0), ms(10_000)), Due::No);
        assert_eq!((hundred.due(99, ms(0), ms(0)), hundred.due(100, ms(0), ms(0))), (Due::No, Due::Now));
        assert_eq!(second.due(5, ms(500), ms(1499)), Due::At(ms(1500)));
        assert_eq!(second.due(5, ms(500), ms(1500)), Due::Now);
        assert_eq!(Persist::EachUpdate.due(1, ms(0), ms(0)), Due::BeforeReplies);
    }
}
