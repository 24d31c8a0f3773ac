//! The state of one incarnation of a supervisor, shared: the supervisor actor writes it, anybody reads it.
//!
//! Reading sends no message, so a supervisor that is stuck, or whose mailbox is full of requests, can still be seen, and so
//! can whatever it supervises. There is one copy only: the view *is* the supervisor's table of children. Locks are held for
//! one step of the core or for one page of a reader, never across an await point.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ractor::{ActorCell, ActorRef, ActorStatus};
use serde::{Deserialize, Serialize};

use super::actor::wait_for_end;
use super::core::{Child, ChildCounts, Core, Effect, Flags, Input, KILL_GRACE, NewChild, Process, State};
use super::message::{SupervisorMsg, SupervisorRef};
use super::reason::ExitReason;
use super::spec::{ChildKind, StartChild, Started, SupervisorSpec};
use super::strategy::{AutoShutdown, Strategy};
use crate::clock::{Clock, Millis};
use crate::telemetry::Events;

/// What a supervisor needs from its node.
#[derive(Clone, Debug)]
pub struct SupervisorEnv {
    /// The node's clock.
    pub clock: Clock,
    /// Where it reports starts, exits and restarts.
    pub events: Events,
}

pub(super) type ActorCore = Core<Arc<dyn StartChild>, Started>;
pub(super) type ActorEffect = Effect<Arc<dyn StartChild>, Started>;
pub(super) type ActorInput = Input<Arc<dyn StartChild>, Started>;

impl Process for Started {
    fn pid(&self) -> u64 {
        self.cell.get_id().pid()
    }
}

/// Where a child or supervisor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its start is under way; a supervisor's, until all its children are started.
    Starting,
    /// It works.
    Running,
    /// It was told to end and has not ended yet.
    Stopping,
    /// It ended and is to be started again.
    Restarting,
    /// It does not run.
    Terminated,
}

/// How a child last ended, or why its last start failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Why.
    pub reason: ExitReason,
    /// When, on the node's clock.
    pub at: Millis,
}

/// A child as its supervisor sees it, at one moment.
#[derive(Clone, Debug)]
pub struct ChildView {
    /// Its id under its supervisor.
    pub id: Arc<str>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// What it is, for example the behavior's name.
    pub label: Arc<str>,
    /// Where it is in its life.
    pub status: Status,
    /// How often it was started again, for any reason.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<ExitRecord>,
    /// When it last came up; `None` if it never did.
    pub started_at: Option<Millis>,
    /// Its actor, while there is one.
    pub cell: Option<ActorCell>,
    /// What it supervises, while it is a running supervisor.
    pub nested: Option<Arc<SupervisorView>>,
}

impl ChildView {
    fn of(child: &Child<Arc<dyn StartChild>, Started>) -> Self {
        let process = child.state().process();
        Self {
            id: child.id.clone(),
            kind: child.rules.kind,
            label: child.start.label().unwrap_or_else(|| child.rules.label.clone()),
            status: match child.state() {
                State::Down => Status::Terminated,
                State::Starting(_) => Status::Starting,
                // Its exit is on its way to the supervisor, or waits there to be dealt with.
                State::Up(process) if process.cell.get_status() == ActorStatus::Stopped => Status::Terminated,
                State::Exited(_) => Status::Terminated,
                State::Up(_) => Status::Running,
                State::Stopping(_) => Status::Stopping,
                State::Restarting(_) => Status::Restarting,
            },
            restarts: child.restarts,
            last_exit: child
                .last_exit
                .as_ref()
                .map(|exit| ExitRecord { reason: exit.reason.clone(), at: exit.at }),
            started_at: child.started_at,
            cell: process.map(|process| process.cell.clone()),
            nested: process.and_then(|process| process.nested.clone()),
        }
    }
}

/// One incarnation of a supervisor. A restarted supervisor has a new one.
pub struct SupervisorView {
    name: Arc<str>,
    path: Arc<str>,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: u32,
    period: Duration,
    env: SupervisorEnv,
    created_at: Millis,
    core: RwLock<ActorCore>,
    actor: OnceLock<ActorRef<SupervisorMsg>>,
    /// What it ended with, set before its actor stops: its supervisor reads the reason here, with the whole chain, rather
    /// than from ractor's text.
    exit: OnceLock<ExitReason>,
    /// Supervisors spawned below it, from their first moment: its table learns of them by a message, which it may not live to read.
    spawned: Mutex<Vec<(ActorCell, Weak<SupervisorView>)>>,
}

impl SupervisorView {
    pub(super) fn new(spec: &SupervisorSpec, path: Arc<str>, env: SupervisorEnv) -> Arc<Self> {
        let flags = Flags {
            path: path.clone(),
            strategy: spec.strategy,
            auto_shutdown: spec.auto_shutdown,
            intensity: spec.intensity,
            period: spec.period,
            backoff: spec.backoff,
            template: spec.template.clone(),
        };
        let children = spec.children.iter().map(|child| NewChild {
            id: child.id.clone(),
            start: child.start.clone(),
            rules: child.rules.clone(),
        });
        Arc::new(Self {
            name: spec.name.clone(),
            path,
            strategy: spec.strategy,
            auto_shutdown: spec.auto_shutdown,
            intensity: spec.intensity,
            period: spec.period,
            created_at: env.clock.now(),
            env,
            core: RwLock::new(Core::new(flags, children)),
            actor: OnceLock::new(),
            spawned: Mutex::default(),
            exit: OnceLock::new(),
        })
    }

    /// Its id under its own supervisor.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The ids from the root to it, joined with `/`.
    #[must_use]
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// How it answers a child's exit.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether it ends with its significant children.
    #[must_use]
    pub const fn auto_shutdown(&self) -> AutoShutdown {
        self.auto_shutdown
    }

    /// Restarts allowed within the period.
    #[must_use]
    pub const fn intensity(&self) -> (u32, Duration) {
        (self.intensity, self.period)
    }

    /// When this incarnation was created.
    #[must_use]
    pub const fn created_at(&self) -> Millis {
        self.created_at
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = self.core.read();
        if core.is_closed() || self.exit.get().is_some() || self.is_dead() {
            Status::Terminated
        } else if core.is_closing() {
            Status::Stopping
        } else if core.is_booting() {
            Status::Starting
        } else {
            Status::Running
        }
    }

    /// What it ended with. `None` while it lives, and for ever if it was killed.
    #[must_use]
    pub fn exit_reason(&self) -> Option<&ExitReason> {
        self.exit.get()
    }

    /// The handle for requests. `None` before its actor runs.
    #[must_use]
    pub fn supervisor(self: &Arc<Self>) -> Option<SupervisorRef> {
        let actor = self.actor.get()?.clone();
        Some(SupervisorRef::new(actor, self.clone()))
    }

    /// Its actor. `None` before it runs.
    #[must_use]
    pub fn cell(&self) -> Option<ActorCell> {
        self.actor.get().map(ActorRef::get_cell)
    }

    /// Its children in start order: at most `limit`, after the first `offset`. OTP: `which_children/1`.
    #[must_use]
    pub fn children(&self, offset: usize, limit: usize) -> Vec<ChildView> {
        let core = self.core.read();
        core.table().iter().skip(offset).take(limit).map(|(_, child)| ChildView::of(child)).collect()
    }

    /// The child with this id.
    #[must_use]
    pub fn child(&self, id: &str) -> Option<ChildView> {
        let core = self.core.read();
        let key = core.table().find(id)?;
        core.table().get(key).map(ChildView::of)
    }

    /// How many children there are; one that has just ended is active until its supervisor knows. OTP: `count_children/1`,
    /// though for a `simple_one_for_one` supervisor `specs` is the number of its children and not 1.
    #[must_use]
    pub fn counts(&self) -> ChildCounts {
        self.core.read().table().counts()
    }

    /// Restarts of its present children, those of nested supervisors' children not included.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.core.read().table().iter().map(|(_, child)| u64::from(child.restarts)).sum()
    }

    /// The nested supervisors that run, in start order.
    #[must_use]
    pub fn nested(&self) -> Vec<Arc<Self>> {
        let core = self.core.read();
        // Most dynamic supervisors hold workers only: do not walk a million of them to find none.
        if core.table().counts().supervisors == 0 {
            return Vec::new();
        }
        let processes = core.table().iter().filter_map(|(_, child)| child.state().process());
        processes.filter_map(|process| process.nested.clone()).collect()
    }

    /// A supervisor was spawned below it and has not begun its work.
    pub(super) fn note_spawned(&self, process: &Started) {
        let Some(nested) = &process.nested else { return };
        let mut spawned = self.spawned.lock();
        spawned.retain(|(cell, _)| cell.get_status() != ActorStatus::Stopped);
        spawned.push((process.cell.clone(), Arc::downgrade(nested)));
    }

    /// Its children's actors, also of those that start or end, and those of everything nested in it. Some may be there twice.
    pub(super) fn cells(&self) -> Vec<ActorCell> {
        let mut cells: Vec<_> = {
            let core = self.core.read();
            let processes = core.table().iter().filter_map(|(_, child)| child.state().process());
            processes.map(|process| process.cell.clone()).collect()
        };
        for nested in self.nested() {
            cells.extend(nested.cells());
        }
        let spawned = self.spawned.lock().clone();
        for (cell, nested) in spawned {
            cells.push(cell);
            cells.extend(nested.upgrade().map(|nested| nested.cells()).into_iter().flatten());
        }
        cells
    }

    /// What lives below it.
    pub(super) fn living(&self) -> Vec<ActorCell> {
        let mut cells = self.cells();
        cells.retain(|cell| cell.get_status() != ActorStatus::Stopped);
        cells
    }

    /// Waits until nothing lives below it. It has ended itself. What does not end in time is on a thread that does not yield.
    pub(super) async fn settled(&self) {
        let all = async {
            loop {
                // Whoever lived at the last look may have started others until its end.
                let cells = self.living();
                if cells.is_empty() {
                    break;
                }
                for cell in cells {
                    wait_for_end(&cell).await;
                }
            }
        };
        let _ = tokio::time::timeout(KILL_GRACE, all).await;
    }

    /// The process a pid stands for, if it is one of its children.
    pub(super) fn process(&self, pid: u64) -> Option<Started> {
        let core = self.core.read();
        let key = core.table().by_pid(pid)?;
        core.table().get(key)?.state().process().cloned()
    }

    /// The processes that were told to end.
    pub(super) fn stopping(&self) -> Vec<Started> {
        let core = self.core.read();
        let stopping = core.table().iter().filter_map(|(_, child)| match child.state() {
            State::Stopping(stopping) => Some(stopping.process.clone()),
            _ => None,
        });
        stopping.collect()
    }

    pub(super) fn step(&self, input: ActorInput) -> Vec<ActorEffect> {
        let now = self.env.clock.now();
        self.core.write().step(now, input)
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.core.read().is_dynamic()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.core.read().is_closed()
    }

    pub(super) const fn env(&self) -> &SupervisorEnv {
        &self.env
    }

    pub(super) fn bind(&self, actor: ActorRef<SupervisorMsg>) {
        let bound = self.actor.set(actor);
        assert!(bound.is_ok(), "a view belongs to one incarnation");
    }

    pub(super) fn set_exit(&self, reason: ExitReason) {
        // The first reason stands.
        let _ = self.exit.set(reason);
    }

    fn is_dead(&self) -> bool {
        self.actor.get().is_some_and(|actor| actor.get_status() == ActorStatus::Stopped)
    }
}

impl fmt::Debug for SupervisorView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorView").field("path", &self.path).finish_non_exhaustive()
    }
}
