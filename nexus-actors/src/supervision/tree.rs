//! The whole tree, read from the shared views: find by path, pages of nodes for display, totals.
//!
//! A path is the ids from the root down, joined with `/`: `nexus/agents.sup/aircraft/N14228`. Supervisors' ids have no `/`,
//! workers' may.

use std::sync::Arc;

use ractor::ActorCell;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::SupervisorRef;
use super::spec::ChildKind;
use super::view::{ChildView, ExitRecord, Status, SupervisorView};
use crate::clock::Millis;

/// What a path leads to.
#[derive(Clone, Debug)]
pub enum Found {
    /// The root supervisor itself.
    Root(Arc<SupervisorView>),
    /// A child.
    Child {
        /// Its supervisor.
        supervisor: Arc<SupervisorView>,
        /// The child.
        child: Box<ChildView>,
    },
}

impl Found {
    /// The actor, while there is one: for fault injection, kill this.
    #[must_use]
    pub fn cell(&self) -> Option<ActorCell> {
        match self {
            Self::Root(root) => root.cell(),
            Self::Child { child, .. } => child.cell.clone(),
        }
    }

    /// The found supervisor's own view, if it is one and runs.
    #[must_use]
    pub fn view(&self) -> Option<&Arc<SupervisorView>> {
        match self {
            Self::Root(root) => Some(root),
            Self::Child { child, .. } => child.nested.as_ref(),
        }
    }

    /// The found child's supervisor and its id there: to terminate, restart or cycle it. `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<(SupervisorRef, Arc<str>)> {
        match self {
            Self::Root(_) => None,
            Self::Child { supervisor, child } => Some((supervisor.supervisor()?, child.id.clone())),
        }
    }
}

/// A supervisor or worker, as the debug endpoint shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Id under its supervisor.
    pub id: Arc<str>,
    /// Ids from the root, joined with `/`.
    pub path: Arc<str>,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// What it is: the behavior's name, or a supervisor's strategy.
    pub label: Arc<str>,
    /// Where it is in its life.
    pub status: Status,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitRecord>,
    /// When it last came up, on the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// Restarts allowed within `period_ms`; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity: Option<u32>,
    /// The window of the intensity in milliseconds; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ms: Option<u64>,
    /// How many children there are in all, shown or not.
    pub children_total: usize,
    /// How many of them come before the first one shown.
    pub children_offset: usize,
    /// The children shown, in start order.
    pub children: Vec<TreeNode>,
    /// What else the caller knows about it, for example an agent's counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// Sums over a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeTotals {
    /// Supervisors, the root included.
    pub supervisors: usize,
    /// Other children, running or not.
    pub workers: usize,
    /// Children whose actor lives; the root included while it does.
    pub active: usize,
    /// Restarts of all present children.
    pub restarts: u64,
}

impl SupervisorView {
    /// What `path` leads to, from this supervisor as the root. The path begins with this supervisor's name.
    ///
    /// Below a supervisor, a child whose id is the whole rest of the path comes first, else the one whose id is its first
    /// segment.
    #[must_use]
    pub fn find(self: &Arc<Self>, path: &str) -> Option<Found> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let rest = path.strip_prefix(&**self.name())?;
        if rest.is_empty() {
            return Some(Found::Root(self.clone()));
        }
        let mut rest = rest.strip_prefix('/')?;
        let mut supervisor = self.clone();
        loop {
            if let Some(child) = supervisor.child(rest) {
                return Some(Found::Child { supervisor, child: Box::new(child) });
            }
            let (first, below) = rest.split_once('/')?;
            supervisor = supervisor.child(first)?.nested?;
            rest = below;
        }
    }

    /// The worker called `id`, wherever it is below this supervisor. Looks into one supervisor after the other, so it takes
    /// time proportional to their number, not to that of the workers.
    #[must_use]
    pub fn locate(self: &Arc<Self>, id: &str) -> Option<Found> {
        if let Some(child) = self.child(id).filter(|child| child.kind == ChildKind::Worker) {
            return Some(Found::Child { supervisor: self.clone(), child: Box::new(child) });
        }
        self.nested().iter().find_map(|nested| nested.locate(id))
    }

    /// The tree from `path` on: `depth` levels below it (0: the node alone); of its own children at most `limit` after the
    /// first `offset`, of each other supervisor's at most the first `limit`. `extra` is asked for every node shown, outside
    /// of all locks. `None` if the path leads nowhere.
    #[must_use]
    pub fn snapshot(
        self: &Arc<Self>,
        path: &str,
        depth: usize,
        offset: usize,
        limit: usize,
        extra: &dyn Fn(&ChildView) -> Option<Value>,
    ) -> Option<TreeNode> {
        Some(match self.find(path)? {
            Found::Root(root) => root.root_node(depth, offset, limit, extra),
            Found::Child { supervisor, child } => {
                node(supervisor.path(), *child, depth, offset, limit, extra)
            }
        })
    }

    /// Sums over this supervisor and everything below it.
    #[must_use]
    pub fn totals(self: &Arc<Self>) -> TreeTotals {
        let counts = self.counts();
        let mut totals = TreeTotals {
            supervisors: 1 + counts.supervisors,
            workers: counts.workers,
            active: usize::from(self.status() != Status::Terminated) + counts.active,
            restarts: self.restarts(),
        };
        for nested in self.nested() {
            let below = nested.totals();
            // The nested supervisor itself was counted as a child here.
            totals.supervisors += below.supervisors - 1;
            totals.workers += below.workers;
            totals.active += below.active - usize::from(nested.status() != Status::Terminated);
            totals.restarts += below.restarts;
        }
        totals
    }

    fn root_node(
        self: &Arc<Self>,
        depth: usize,
        offset: usize,
        limit: usize,
        extra: &dyn Fn(&ChildView) -> Option<Value>,
    ) -> TreeNode {
        let view = ChildView {
            id: self.name().clone(),
            kind: ChildKind::Supervisor,
            label: self.strategy().name().into(),
            status: self.status(),
            restarts: 0,
            last_exit: None,
            started_at: Some(self.created_at()),
            cell: self.cell(),
            nested: Some(self.clone()),
        };
        let mut root = node("", view, depth, offset, limit, extra);
        root.path = self.path().clone();
        root
    }
}

fn node(
    parent: &str,
    view: ChildView,
    depth: usize,
    offset: usize,
    limit: usize,
    extra: &dyn Fn(&ChildView) -> Option<Value>,
) -> TreeNode {
    let path: Arc<str> = format!("{parent}/{}", view.id).into();
    let nested = view.nested.as_ref();
    let shown = match nested {
        Some(nested) if depth > 0 => nested.children(offset, limit),
        _ => Vec::new(),
    };
    let parent_path = nested.map_or(&path, |nested| nested.path());
    TreeNode {
        extra: extra(&view),
        intensity: nested.map(|nested| nested.intensity().0),
        period_ms: nested.map(|nested| u64::try_from(nested.intensity().1.as_millis()).unwrap_or(u64::MAX)),
        children_total: nested.map_or(0, |nested| nested.counts().specs),
        children_offset: offset,
        children: shown
            .into_iter()
            .map(|child| node(parent_path, child, depth - 1, 0, limit, extra))
            .collect(),
        path,
        id: view.id,
        kind: view.kind,
        label: view.label,
        status: view.status,
        restarts: view.restarts,
        last_exit: view.last_exit,
        started_at: view.started_at,
    }
}
