//! Why an actor ended, in OTP's words.

use std::fmt;
use std::sync::Arc;

use ractor::SupervisionEvent;
use serde::{Deserialize, Serialize};

use crate::text::{REASON_BYTES_MAX, cut};

/// ractor's stop text for [`ExitReason::Hibernated`].
const HIBERNATED: &str = "nexus: hibernated";

/// The reason an actor exited.
///
/// OTP's `supervisor` divides reasons in two: `normal`, `shutdown` and `{shutdown, Term}` are *normal* exits, after which a
/// `Transient` child stays down; everything else is *abnormal*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum ExitReason {
    /// The actor ended by itself, all done. ractor: `stop(None)`, `stop("normal")` or a completed drain.
    Normal,
    /// The actor was told to end by its supervisor, or gave up in an orderly way. OTP: `shutdown` and `{shutdown, Term}`.
    /// ractor: `stop("shutdown")` and `stop("shutdown: …")`.
    Shutdown(Option<Arc<str>>),
    /// An idle agent wrote its state down and ended; a message starts it again. An extension: no restart type applies to it.
    Hibernated,
    /// A supervisor gave up: its children were restarted more often than its intensity allows. To its own supervisor this
    /// is a `shutdown` (as in OTP); the causes are kept so that the last word can tell the whole story.
    Escalated(Arc<Escalation>),
    /// The actor was killed: its task was dropped at an await point and `post_stop` did not run.
    Killed,
    /// A callback returned an error, panicked, or the actor stopped with a reason of its own.
    Error(Arc<str>),
    /// The child's start function failed, so it never ran.
    StartFailed(Arc<str>),
}

/// A supervisor that reached its maximum restart intensity, and the exit that was one too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Path of the supervisor that gave up, `nexus/agents.sup/…`.
    pub supervisor: Arc<str>,
    /// Restarts allowed within `period_ms`.
    pub intensity: u32,
    /// The window in milliseconds.
    pub period_ms: u64,
    /// Id of the child whose exit could not be answered with another restart.
    pub child: Arc<str>,
    /// Why that child ended; an escalation itself when the child was a supervisor.
    pub reason: ExitReason,
}

impl ExitReason {
    /// Whether OTP counts this as a normal exit, so that a transient child is not restarted.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown(_) | Self::Hibernated | Self::Escalated(_))
    }

    /// The reason as ractor reports it to a supervisor. `None` if `event` is not an exit.
    ///
    /// ractor carries a stop reason as text; `"shutdown"` and `"shutdown: …"` are read back as [`ExitReason::Shutdown`], no
    /// text, `"normal"` and ractor's `"Drained"` as [`ExitReason::Normal`]. Any other text is abnormal, like OTP's
    /// `{stop, Reason, State}`.
    #[must_use]
    pub fn of_event(event: &SupervisionEvent) -> Option<Self> {
        match event {
            SupervisionEvent::ActorTerminated(_, None, Some(text))
                if text == "killed" || text == "actor_task_cancelled" =>
            {
                Some(Self::Killed)
            }
            SupervisionEvent::ActorTerminated(_, _, reason) => Some(Self::of_stop(reason.as_deref())),
            SupervisionEvent::ActorFailed(_, error) => {
                Some(Self::Error(cut(&error.to_string(), REASON_BYTES_MAX).into()))
            }
            _ => None,
        }
    }

    /// The reason behind ractor's stop text.
    #[must_use]
    pub fn of_stop(text: Option<&str>) -> Self {
        match text {
            None | Some("normal" | "Drained") => Self::Normal,
            Some("killed") => Self::Killed,
            Some("shutdown") => Self::Shutdown(None),
            Some(HIBERNATED) => Self::Hibernated,
            Some(text) => match text.strip_prefix("shutdown: ") {
                Some(why) => Self::Shutdown(Some(cut(why, REASON_BYTES_MAX).into())),
                None => Self::Error(cut(text, REASON_BYTES_MAX).into()),
            },
        }
    }

    /// The text a supervisor hands to ractor's `stop` when it ends for this reason; [`ExitReason::of_stop`] reads it back as
    /// the same class of exit.
    #[must_use]
    pub(crate) fn stop_text(&self) -> String {
        match self {
            Self::Normal | Self::Shutdown(_) | Self::Escalated(_) => self.to_string(),
            Self::Hibernated => HIBERNATED.to_owned(),
            Self::Killed | Self::Error(_) | Self::StartFailed(_) => format!("shutdown: {self}"),
        }
    }

    /// Why a supervisor's start failed, for the reason its own supervisor gives: without saying twice that it did.
    #[must_use]
    pub(crate) fn start_error(&self) -> String {
        match self {
            Self::StartFailed(error) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// The causes from this exit down to the first one, outermost first: a line each for an operator's last word.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut reason = self;
        while let Self::Escalated(escalation) = reason {
            lines.push(format!(
                "supervisor `{}` gave up: more than {} restarts within {} ms; the last exit was that of `{}`",
                escalation.supervisor, escalation.intensity, escalation.period_ms, escalation.child
            ));
            reason = &escalation.reason;
        }
        lines.push(reason.to_string());
        lines
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => write!(f, "normal"),
            Self::Shutdown(None) => write!(f, "shutdown"),
            Self::Shutdown(Some(why)) => write!(f, "shutdown: {why}"),
            Self::Escalated(escalation) => write!(
                f,
                "shutdown: `{}` reached its restart intensity ({} in {} ms) after `{}` exited: {}",
                escalation.supervisor,
                escalation.intensity,
                escalation.period_ms,
                escalation.child,
                escalation.reason
            ),
            Self::Hibernated => write!(f, "hibernated"),
            Self::Killed => write!(f, "killed"),
            Self::Error(error) => write!(f, "error: {error}"),
            Self::StartFailed(error) => write!(f, "start failed: {error}"),
        }
    }
}
