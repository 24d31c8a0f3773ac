//! How much is measured.

use serde::{Deserialize, Serialize};

/// How much is measured: the same for every contestant of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Rounds of each row; contestants take turns. Figures are medians of the rounds.
    pub rounds: usize,
    /// A twentieth of the work: to see that everything runs, and roughly where it stands.
    pub quick: bool,
    /// Dormant agents.
    pub agents: usize,
    /// Agents that are awake at one time.
    pub live: usize,
    /// Whether dormant agents are measured at 10 k, 100 k, … up to `agents`, rather than there only.
    pub growth: bool,
}

impl Plan {
    /// As much of `count` as the plan wants.
    pub(crate) fn of(&self, count: usize) -> usize {
        if self.quick { count.div_ceil(20) } else { count }
    }
}
