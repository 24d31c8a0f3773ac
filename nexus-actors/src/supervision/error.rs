//! What can go wrong when a tree is described, started or changed at run time.

use std::sync::Arc;

use ractor::{ActorProcessingErr, SpawnErr};
use thiserror::Error;

use super::intensity::INTENSITY_MAX;
use super::reason::ExitReason;

/// A supervisor or child specification that makes no sense. Nothing was started; correct the specification.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// A child or supervisor without a name could not be found again.
    #[error("an id must not be empty")]
    EmptyId,
    /// `/` separates the ids in a path, so only ids at the end of a path (those of workers) may contain it.
    #[error("the id of supervisor `{0}` must not contain `/`")]
    SlashInSupervisorId(Arc<str>),
    /// OTP: `duplicate_child_name`.
    #[error("two children have the id `{0}`")]
    DuplicateId(Arc<str>),
    /// OTP: `bad_combination` of `restart => permanent` and `significant => true`: it would never end for good.
    #[error("child `{0}` is significant, so it must be transient or temporary, not permanent")]
    SignificantPermanent(Arc<str>),
    /// OTP: `bad_combination` of `auto_shutdown => never` and `significant => true`.
    #[error("child `{0}` is significant, but its supervisor never shuts down by itself")]
    SignificantWithoutAutoShutdown(Arc<str>),
    /// OTP: `invalid_period`.
    #[error("the restart period must be longer than zero")]
    ZeroPeriod,
    /// Every restart within the period is remembered, so the intensity needs a bound.
    #[error("the restart intensity {0} is above the maximum of {INTENSITY_MAX}")]
    IntensityTooHigh(u32),
    /// A back-off that never waits, or whose cap is below its base.
    #[error(
        "a back-off needs a base above zero, a factor of at least 1 and a cap of at least the base \
         (base {base_ms} ms, factor {factor}, cap {cap_ms} ms)"
    )]
    BadBackoff {
        /// The first delay in milliseconds.
        base_ms: u128,
        /// The multiplier.
        factor: u32,
        /// The longest delay in milliseconds.
        cap_ms: u128,
    },
    /// OTP: `bad_start_spec`: a `simple_one_for_one` supervisor starts with a template and no children.
    #[error("a simple_one_for_one supervisor has a template and no static children")]
    ChildrenUnderSimpleOneForOne,
    /// The strategy is `simple_one_for_one`, but no template says how its children are supervised.
    #[error("a simple_one_for_one supervisor needs a template")]
    MissingTemplate,
}

/// Why a [`StartChild`](super::StartChild) did not start anything.
#[derive(Debug, Error)]
pub enum StartError {
    /// OTP's `ignore`: there is nothing to run, and that is fine. The specification is kept (unless the child is temporary
    /// or dynamic) and the child counts as terminated.
    #[error("ignored")]
    Ignored,
    /// The actor could not be started; whatever had been started for it is gone.
    #[error("{0}")]
    Failed(ActorProcessingErr),
}

impl From<SpawnErr> for StartError {
    fn from(error: SpawnErr) -> Self {
        match error {
            // ractor wraps both a panic and an error of `pre_start` in this; its own text would call an error a panic.
            SpawnErr::StartupFailed(inner) => Self::Failed(inner),
            other => Self::Failed(other.into()),
        }
    }
}

impl From<ActorProcessingErr> for StartError {
    fn from(error: ActorProcessingErr) -> Self {
        Self::Failed(error)
    }
}

/// Why a supervisor refused or could not carry out a request. The names are OTP's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SupervisorError {
    /// A child with this id exists and runs; the new specification was discarded.
    #[error("a child `{0}` is already started")]
    AlreadyStarted(Arc<str>),
    /// A child with this id exists and does not run; the new specification was discarded.
    #[error("a child `{0}` is already present")]
    AlreadyPresent(Arc<str>),
    /// There is no child with this id.
    #[error("there is no child `{0}`")]
    NotFound(Arc<str>),
    /// The child runs, which the request does not allow.
    #[error("child `{0}` is running")]
    Running(Arc<str>),
    /// The child is about to be restarted, which the request does not allow.
    #[error("child `{0}` is being restarted")]
    Restarting(Arc<str>),
    /// The request is not possible under a `simple_one_for_one` supervisor, whose children have no specification of their own.
    #[error("not possible under a simple_one_for_one supervisor")]
    SimpleOneForOne,
    /// Dynamic children are started only under a `simple_one_for_one` supervisor.
    #[error("dynamic children need a simple_one_for_one supervisor")]
    NotSimpleOneForOne,
    /// The child specification is not valid here; nothing changed.
    #[error(transparent)]
    InvalidSpec(#[from] SpecError),
    /// The child's start failed; what became of its specification is said by the request.
    #[error("child `{id}` did not start: {reason}")]
    StartFailed {
        /// The child's id.
        id: Arc<str>,
        /// The start function's error.
        reason: ExitReason,
    },
    /// The supervisor is ending: the request was not carried out, or not to its end.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
    /// The supervisor ended before it answered.
    #[error("the supervisor has ended")]
    Gone,
}

/// A root supervisor that did not come up. Everything it had started was stopped again, in reverse order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RootError {
    /// The specification, or one nested in it, is not valid.
    #[error(transparent)]
    InvalidSpec(#[from] SpecError),
    /// A child failed to start; the reason names it.
    #[error("the supervisor `{name}` did not start: {reason}")]
    StartFailed {
        /// The root's name.
        name: Arc<str>,
        /// The first failure.
        reason: ExitReason,
    },
}
