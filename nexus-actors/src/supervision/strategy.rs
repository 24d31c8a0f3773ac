//! Which children one child's exit concerns. Source: `supervisor(3)`, "Restart Strategies". Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reason::ExitReason;

/// How a supervisor answers the exit of one child. Default: [`Strategy::OneForOne`], as in OTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the child that ended is restarted.
    #[default]
    OneForOne,
    /// All other children are terminated, in reverse start order; then all are started, in start order.
    OneForAll,
    /// The children started after the one that ended are terminated, in reverse; then it and they are started, in order.
    RestForOne,
    /// Like `OneForOne`, for any number of children of one kind which are all added at run time. They are stopped
    /// concurrently when the supervisor ends.
    SimpleOneForOne,
}

/// When a child that ended is restarted. Default: [`Restart::Permanent`], as in OTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// After an abnormal exit only ([`ExitReason::is_normal`]).
    Transient,
    /// Never, not even when it was terminated because of a sibling; its specification goes with it.
    Temporary,
}

/// Whether a supervisor ends by itself when significant children do. Default: [`AutoShutdown::Never`], as in OTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It does not, and significant children are refused.
    #[default]
    Never,
    /// When one of them has ended for good: a transient one normally, a temporary one in any way.
    AnySignificant,
    /// When the last active one has.
    AllSignificant,
}

/// The children that a restart concerns, as a part of the start order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The child itself.
    Alone,
    /// The child and every later one.
    Rest,
    /// Everybody.
    All,
}

impl Strategy {
    /// The children to terminate and start again when one of them is to be restarted.
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::OneForOne | Self::SimpleOneForOne => Group::Alone,
            Self::RestForOne => Group::Rest,
            Self::OneForAll => Group::All,
        }
    }

    /// OTP's name of the strategy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneForOne => "one_for_one",
            Self::OneForAll => "one_for_all",
            Self::RestForOne => "rest_for_one",
            Self::SimpleOneForOne => "simple_one_for_one",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Restart {
    /// Whether a child that ended by itself with `reason` is started again.
    #[must_use]
    pub const fn applies_to(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => !matches!(reason, ExitReason::Hibernated),
            Self::Transient => !reason.is_normal(),
            Self::Temporary => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: `supervisor(3)`, `restart`: permanent always, transient after other reasons than `normal`, `shutdown` and
    /// `{shutdown, Term}`, temporary never.
    #[test]
    fn restart_types_follow_the_exit_reason() {
        let normal =
            [ExitReason::Normal, ExitReason::Shutdown(None), ExitReason::Shutdown(Some("done".into()))];
        let abnormal =
            [ExitReason::Killed, ExitReason::Error("boom".into()), ExitReason::StartFailed("no".into())];
        for reason in normal.iter().chain(&abnormal) {
            assert!(Restart::Permanent.applies_to(reason));
            assert!(!Restart::Temporary.applies_to(reason));
        }
        assert!(normal.iter().all(|reason| !Restart::Transient.applies_to(reason)));
        assert!(abnormal.iter().all(|reason| Restart::Transient.applies_to(reason)));
    }

    /// Goal: the names are OTP's in text and in serialized form.
    #[test]
    fn names_are_otps() {
        for strategy in
            [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::SimpleOneForOne]
        {
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.to_string());
        }
    }
}
