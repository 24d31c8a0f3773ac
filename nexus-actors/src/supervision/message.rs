//! Requests to a running supervisor. The functions of OTP's `supervisor` module are methods of [`SupervisorRef`].

use std::sync::Arc;

use ractor::rpc::CallResult;
use ractor::{ActorCell, ActorRef, RpcReplyPort};

use super::core::{AttemptId, ChildCounts, ChildKey, NewChild, Request, StartFailure, TimerId, WaitId};
use super::error::SupervisorError;
use super::reason::ExitReason;
use super::spec::{ChildSpec, StartChild, Started};
use super::view::{ChildView, SupervisorView};

/// The answer to a request: the child's actor, where the request leaves one running.
pub(super) type Answer = Result<Option<ActorCell>, SupervisorError>;

/// A supervisor's message. Opaque: send requests through [`SupervisorRef`].
pub struct SupervisorMsg(pub(super) Msg);

impl ractor::Message for SupervisorMsg {}

pub(super) enum Msg {
    /// Start the children; answered when all are started, or none is left after a failure.
    Boot(RpcReplyPort<Result<(), ExitReason>>),
    Call(Request<Arc<dyn StartChild>>, RpcReplyPort<Answer>),
    /// A request whose outcome nobody waits for.
    Post(Request<Arc<dyn StartChild>>),
    /// End in order.
    Shutdown,
    Completion(Completion),
    /// What was in the mailbox has been handled: begin the starts that were gathered.
    Launch,
}

/// Something the supervisor had begun has come to its end.
pub(super) enum Completion {
    Spawned {
        key: ChildKey,
        attempt: AttemptId,
        process: Started,
    },
    Started {
        key: ChildKey,
        attempt: AttemptId,
        process: Started,
    },
    StartFailed {
        key: ChildKey,
        attempt: AttemptId,
        failure: StartFailure,
    },
    /// Starts that were begun together.
    Many(Vec<Completion>),
    Timer(TimerId),
    TryAgain {
        key: ChildKey,
        wait: WaitId,
    },
    /// The actor has ended; its exit may have been reported or not.
    Gone {
        pid: u64,
    },
    /// The actor has ended, and so has everything it supervised.
    Settled {
        pid: u64,
        reason: ExitReason,
    },
}

/// A handle to a running supervisor. Cheap to clone.
///
/// Requests wait for their turn: a static supervisor that is busy with starting or terminating a child answers afterwards,
/// as in OTP. Reading ([`which_children`](Self::which_children), [`count_children`](Self::count_children),
/// [`view`](Self::view)) never waits.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    actor: ActorRef<SupervisorMsg>,
    view: Arc<SupervisorView>,
}

impl SupervisorRef {
    pub(super) const fn new(actor: ActorRef<SupervisorMsg>, view: Arc<SupervisorView>) -> Self {
        Self { actor, view }
    }

    /// The shared state of this incarnation.
    #[must_use]
    pub const fn view(&self) -> &Arc<SupervisorView> {
        &self.view
    }

    /// The supervisor's actor.
    #[must_use]
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// Adds a child after all others and starts it. `None` if its start was ignored. If it fails to start, its
    /// specification is discarded.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, `AlreadyStarted`, `AlreadyPresent`, `StartFailed`, `SimpleOneForOne`, `ShuttingDown`, `Gone`.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Option<ActorCell>, SupervisorError> {
        spec.validate(self.view.auto_shutdown())?;
        let child = NewChild { id: spec.id, start: spec.start, rules: spec.rules };
        self.request(Request::StartChild(child)).await
    }

    /// Adds a child to a `simple_one_for_one` supervisor, under its template's rules, and starts it. `None` if its start
    /// was ignored. The child is kept only while it runs or is being restarted.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, `AlreadyStarted`, `AlreadyPresent`, `StartFailed`, `NotSimpleOneForOne`, `ShuttingDown`, `Gone`.
    pub async fn start_dynamic(
        &self,
        id: impl Into<Arc<str>>,
        start: Arc<dyn StartChild>,
    ) -> Result<Option<ActorCell>, SupervisorError> {
        self.request(Request::StartDynamic { id: id.into(), start }).await
    }

    /// Like [`start_dynamic`](Self::start_dynamic), without waiting for the outcome: failures reach
    /// [`StartChild::ended`], and the event log.
    pub(crate) fn post_dynamic(&self, id: Arc<str>, start: Arc<dyn StartChild>) {
        // Fails only if the supervisor has ended; its successor starts what it finds.
        let _ = self.actor.cast(SupervisorMsg(Msg::Post(Request::StartDynamic { id, start })));
    }

    /// Ends a child by its shutdown rule, or calls off its restart. Its specification is kept unless it is temporary or
    /// dynamic. Siblings are not concerned, and a significant child does not end its supervisor this way.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ShuttingDown`, `Gone`.
    pub async fn terminate_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        self.request(Request::TerminateChild(id.into())).await.map(drop)
    }

    /// Starts a child that does not run. `None` if its start was ignored. If it fails, the child stays as it was.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Running`, `Restarting`, `StartFailed`, `SimpleOneForOne`, `ShuttingDown`, `Gone`.
    pub async fn restart_child(&self, id: impl Into<Arc<str>>) -> Result<Option<ActorCell>, SupervisorError> {
        self.request(Request::RestartChild(id.into())).await
    }

    /// Removes the specification of a child that does not run.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Running`, `Restarting`, `SimpleOneForOne`, `ShuttingDown`, `Gone`.
    pub async fn delete_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        self.request(Request::DeleteChild(id.into())).await.map(drop)
    }

    /// Ends a child, if it runs, and starts it again: an operator's restart, which does not count against the intensity and
    /// concerns no siblings. An extension; also for dynamic and temporary children. If the start fails, a child that may be
    /// restarted is tried again as after a crash, and that does count.
    ///
    /// # Errors
    ///
    /// `NotFound`, `StartFailed`, `ShuttingDown`, `Gone`.
    pub async fn cycle_child(&self, id: impl Into<Arc<str>>) -> Result<Option<ActorCell>, SupervisorError> {
        self.request(Request::CycleChild(id.into())).await
    }

    /// All children in start order. For large supervisors read pages of [`SupervisorView::children`].
    #[must_use]
    pub fn which_children(&self) -> Vec<ChildView> {
        self.view.children(0, usize::MAX)
    }

    /// How many children there are.
    #[must_use]
    pub fn count_children(&self) -> ChildCounts {
        self.view.counts()
    }

    /// Asks the supervisor to end in order: its children in reverse start order, each by its shutdown rule, then itself
    /// with reason `shutdown`. Returns at once. What its own supervisor makes of that depends on its restart type; to stop
    /// a nested supervisor for good, ask its supervisor to [`terminate_child`](Self::terminate_child) it.
    pub fn shutdown(&self) {
        // Fails only if it has ended.
        let _ = self.actor.cast(SupervisorMsg(Msg::Shutdown));
    }

    async fn request(&self, request: Request<Arc<dyn StartChild>>) -> Answer {
        match self.actor.call(|reply| SupervisorMsg(Msg::Call(request, reply)), None).await {
            Ok(CallResult::Success(answer)) => answer,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(SupervisorError::Gone),
        }
    }

    /// Starts the children. The reason of a failure is that of the first child that did not start.
    pub(super) async fn boot(&self) -> Result<(), ExitReason> {
        match self.actor.call(|reply| SupervisorMsg(Msg::Boot(reply)), None).await {
            Ok(CallResult::Success(booted)) => booted,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => {
                Err(self.view.exit_reason().cloned().unwrap_or(ExitReason::Killed))
            }
        }
    }
}
