//! What a start is given, and how a nested supervisor is started.

use std::sync::Arc;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell};
use tokio::runtime::Handle;

use super::actor::{Reports, SupervisorActor};
use super::core::{AttemptId, ChildKey};
use super::error::StartError;
use super::message::Completion;
use super::spec::{StartChild, Started, SupervisorSpec};
use super::view::{SupervisorEnv, SupervisorView};

/// What a [`StartChild`] is given.
pub struct StartContext {
    pub(super) supervisor: ActorCell,
    pub(super) view: Arc<SupervisorView>,
    pub(super) id: Arc<str>,
    pub(super) env: SupervisorEnv,
    pub(super) key: ChildKey,
    pub(super) attempt: AttemptId,
    pub(super) reports: Reports,
}

impl StartContext {
    /// The supervisor to link to.
    #[must_use]
    pub const fn supervisor(&self) -> &ActorCell {
        &self.supervisor
    }

    /// The child's id under its supervisor.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The child's path in the tree.
    #[must_use]
    pub fn path(&self) -> Arc<str> {
        format!("{}/{}", self.view.path(), self.id).into()
    }

    /// The node's clock and events.
    #[must_use]
    pub const fn env(&self) -> &SupervisorEnv {
        &self.env
    }

    /// Shows an actor in the tree before it is ready: for starts that go on after their actor was spawned. It still counts
    /// as starting.
    pub fn announce(&self, process: Started) {
        self.view.note_spawned(&process);
        self.reports.send(Completion::Spawned { key: self.key, attempt: self.attempt, process });
    }
}

/// [`ChildSpec::supervisor`](super::ChildSpec::supervisor)'s start.
pub(crate) struct StartSupervisor {
    spec: Arc<SupervisorSpec>,
}

impl StartSupervisor {
    pub(crate) const fn new(spec: Arc<SupervisorSpec>) -> Self {
        Self { spec }
    }
}

impl StartChild for StartSupervisor {
    fn home(&self) -> Option<Handle> {
        self.spec.home.clone()
    }

    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let spec = self.spec.clone();
        Box::pin(async move {
            let view = SupervisorView::new(&spec, context.path(), context.env().clone());
            let parent = context.supervisor().clone();
            let (actor, _) =
                SupervisorActor::spawn_linked(None, SupervisorActor, view.clone(), parent).await?;
            let mut guard = KillOnDrop(Some(actor.get_cell()));
            let started = Started { cell: actor.get_cell(), nested: Some(view.clone()) };
            context.announce(started.clone());
            let supervisor = view.supervisor().expect("the actor was bound to its view in `pre_start`");
            match supervisor.boot().await {
                Ok(()) => {
                    guard.0 = None;
                    Ok(started)
                }
                Err(reason) => {
                    // It is stopping by itself, or was killed; a new attempt must not overlap with it, nor with what it had started.
                    actor.get_cell().wait(None).await.expect("a wait without time-out cannot time out");
                    view.settled().await;
                    guard.0 = None;
                    Err(StartError::Failed(reason.start_error().into()))
                }
            }
        })
    }

    fn ended(&self) {
        for child in &self.spec.children {
            child.start.ended();
        }
    }
}

/// Kills an actor whose start was dropped.
struct KillOnDrop(Option<ActorCell>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(cell) = &self.0 {
            cell.kill();
        }
    }
}
