//! The top of a tree: it has no supervisor, so its end is a future.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use ractor::Actor;

use super::actor::SupervisorActor;
use super::error::RootError;
use super::message::SupervisorRef;
use super::reason::ExitReason;
use super::spec::SupervisorSpec;
use super::view::{SupervisorEnv, SupervisorView};

/// A supervisor without a supervisor. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct Root {
    supervisor: SupervisorRef,
    exit: Shared<BoxFuture<'static, ExitReason>>,
}

impl Root {
    /// Starts a tree and waits until all of it runs.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` before anything was started; `StartFailed` after everything that was started has been stopped again.
    pub async fn start(spec: SupervisorSpec, env: SupervisorEnv) -> Result<Self, RootError> {
        let root = Self::spawn(spec, env).await?;
        root.boot().await?;
        Ok(root)
    }

    /// Spawns the supervisor without its children: call [`Root::boot`] next. The tree can be watched, and shut down, while
    /// it boots.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`: nothing was started.
    pub async fn spawn(spec: SupervisorSpec, env: SupervisorEnv) -> Result<Self, RootError> {
        spec.validate()?;
        let view = SupervisorView::new(&spec, spec.name.clone(), env);
        let spawned = SupervisorActor::spawn(None, SupervisorActor, view.clone()).await;
        let (_, joined) = spawned.map_err(|error| RootError::StartFailed {
            name: spec.name.clone(),
            reason: ExitReason::StartFailed(error.to_string().into()),
        })?;
        let supervisor = view.supervisor().expect("the actor was bound to its view in `pre_start`");
        let exit = async move {
            // ractor turns panics into exits; a join error means that the runtime ends.
            let _ = joined.await;
            view.exit_reason().cloned().unwrap_or(ExitReason::Killed)
        };
        Ok(Self { supervisor, exit: exit.boxed().shared() })
    }

    /// Starts the children in order, and waits until all run. A tree that has booted already stays as it is.
    ///
    /// # Errors
    ///
    /// `StartFailed`, after everything that was started has been stopped again; also if the tree was shut down or killed
    /// meanwhile.
    pub async fn boot(&self) -> Result<(), RootError> {
        if let Err(reason) = self.supervisor.boot().await {
            self.exited().await;
            return Err(RootError::StartFailed { name: self.view().name().clone(), reason });
        }
        Ok(())
    }

    /// The handle for requests.
    #[must_use]
    pub const fn supervisor(&self) -> &SupervisorRef {
        &self.supervisor
    }

    /// The tree.
    #[must_use]
    pub const fn view(&self) -> &Arc<SupervisorView> {
        self.supervisor.view()
    }

    /// Waits for the end of the tree: [`ExitReason::Shutdown`] after [`Root::shutdown`], [`ExitReason::Escalated`] with the
    /// whole chain of causes if it gave up, [`ExitReason::Killed`] if its actor was killed.
    pub async fn exited(&self) -> ExitReason {
        self.exit.clone().await
    }

    /// Stops the tree in reverse start order, each child by its shutdown rule, and waits for the end.
    pub async fn shutdown(&self) -> ExitReason {
        self.supervisor.shutdown();
        self.exited().await
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Root").field(self.view()).finish()
    }
}
