//! Why agents do not travel.

use std::sync::Arc;

use thiserror::Error;

/// Why an agent does not leave, or does not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TravelError {
    /// No agent of this name is here.
    #[error("`{0}` is not on this node")]
    NotHere(Arc<str>),
    /// It is between two places.
    #[error("`{0}` is on its way already")]
    OnItsWay(Arc<str>),
    /// It is no member of a family: each node declares it for itself.
    #[error("`{0}` is declared one by one; only members of families move")]
    OneByOne(Arc<str>),
    /// Its state cannot be written down.
    #[error("`{agent}` has behavior `{behavior}`, which is not durable: register it with `durable`")]
    NotDurable {
        /// The agent.
        agent: Arc<str>,
        /// Its behavior.
        behavior: Arc<str>,
    },
    /// Its behavior could not write its state.
    #[error("the state of `{agent}` cannot be written: {reason}")]
    Unwritable {
        /// The agent.
        agent: Arc<str>,
        /// What the behavior said.
        reason: String,
    },
    /// It ended for good while it was to leave.
    #[error("`{0}` has ended meanwhile")]
    Ended(Arc<str>),
    /// It was asked to stay.
    #[error("`{0}` did not finish the message at hand in time")]
    Stays(Arc<str>),
    /// No family here has this name.
    #[error("no family of this node has the name `{0}`")]
    NoFamily(Arc<str>),
    /// Its family has another behavior here.
    #[error("`{agent}` has behavior `{found}`; on this node its family has `{expected}`")]
    OtherBehavior {
        /// The agent.
        agent: Arc<str>,
        /// What it brings.
        found: Arc<str>,
        /// What is declared here.
        expected: Arc<str>,
    },
    /// It is here.
    #[error("`{0}` is on this node")]
    Here(Arc<str>),
    /// The node's limit of agents is reached.
    #[error("`{agent}` is one more than this node's limit of {limit} agents")]
    TooMany {
        /// The agent.
        agent: Arc<str>,
        /// The limit.
        limit: usize,
    },
    /// Its family is stored, and the store did not take it.
    #[error("`{agent}` is not stored: {reason}")]
    NotStored {
        /// The agent.
        agent: Arc<str>,
        /// What is wrong with the store.
        reason: String,
    },
}

impl TravelError {
    /// Whether the agent is on this node nevertheless.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        !matches!(self, Self::NotHere(_) | Self::Ended(_))
    }
}
