//! `GET /debug/tree`: the supervision tree, as JSON or drawn as text. Reads what supervisors share and asks none of them, so it
//! answers when they are stuck.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nexus_actors::Node;
use nexus_actors::supervision::{ChildKind, ChildView, Found, Status, SupervisorView, TreeTotals};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::{Page, Params};
use crate::debug::state::DebugState;
use crate::debug::view::{ExitView, plain};

/// Children shown of each supervisor unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;
/// Levels of supervisors below the first that can be asked for.
const DEPTH_MAX: usize = 64;
/// The most nodes in one answer. Upper levels come first; what is left out shows in `children_total`.
const NODES_MAX: usize = 10_000;

pub(super) fn route() -> Route {
    Route::get("/debug/tree", Access::Token, &["/debug/tree"], get(tree))
}

/// A supervisor, a worker or an agent in the tree.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeView {
    /// Id under its supervisor; an agent's name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Ids from the root, joined with `/`.
    path: String,
    /// `supervisor`, `worker` or `agent`.
    kind: &'static str,
    /// An agent's behavior, a supervisor's strategy, or what else a worker is.
    #[schema(value_type = String)]
    behavior: Arc<str>,
    /// `starting`, `running`, `stopping`, `restarting` or `terminated`.
    #[schema(value_type = String)]
    status: Status,
    /// How often it was started again.
    restarts: u32,
    /// How it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<ExitView>,
    /// Milliseconds since it came up; 0 if it does not run.
    uptime_ms: u64,
    /// An agent's messages waiting or being handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<u64>,
    /// An agent's messages handled to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    processed: Option<u64>,
    /// A supervisor's restarts allowed within `period_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    intensity: Option<u32>,
    /// The window of the intensity.
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ms: Option<u64>,
    /// How many children there are, shown or not.
    children_total: usize,
    /// How many of them come before the first one shown.
    children_offset: usize,
    /// The children shown, in start order.
    #[schema(no_recursion)]
    children: Vec<TreeView>,
}

/// Sums over the whole tree.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TotalsView {
    /// Supervisors, the root included.
    supervisors: usize,
    /// Other children, running or not.
    workers: usize,
    /// Those whose actor lives.
    active: usize,
    /// Restarts of all present children.
    restarts: u64,
}

/// The tree from a node on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreePage {
    /// When, in milliseconds since the node started.
    at_ms: u64,
    totals: TotalsView,
    tree: TreeView,
}

/// What a client asks for.
struct Asked {
    path: Option<String>,
    depth: usize,
    page: Page,
}

/// The supervision tree.
#[utoipa::path(get, path = "/debug/tree", tag = "tree", params(
    ("path" = Option<String>, Query, description = "Where to begin, ids from the root joined with `/`; default: the root"),
    ("depth" = Option<u64>, Query, description = "Levels below it, 0 to 64; default 64"),
    ("offset" = Option<u64>, Query, description = "Its own children to skip"),
    ("limit" = Option<u64>, Query, description = "Children to show of each supervisor, at most `debug.page_size_max`; default 100"),
    ("format" = Option<String>, Query, description = "`json` (default) or `text`"),
), responses(
    (status = 200, description = "The tree; at most 10,000 nodes, upper levels first", content(
        (TreePage = "application/json"), (String = "text/plain"))),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "Nothing at this path", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "The tree is not started yet", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn tree(State(state): State<DebugState>, mut params: Params) -> Result<Response, Problem> {
    let asked = Asked {
        path: params.text("path"),
        depth: params
            .number("depth", 0..=DEPTH_MAX as u64)?
            .map_or(DEPTH_MAX, |depth| usize::try_from(depth).unwrap_or(DEPTH_MAX)),
        page: params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?,
    };
    let text = params.word("format", &[("json", false), ("text", true)])?;
    params.finish()?;

    let page = state.sweep(move |state| look(state, &asked)).await??;
    if text {
        let drawn = draw(&page);
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], drawn).into_response());
    }
    Ok(Json(page).into_response())
}

fn look(state: &DebugState, asked: &Asked) -> Result<TreePage, Problem> {
    let root = state.root()?;
    let path = asked.path.as_deref().unwrap_or(root.name());
    let found = root.find(path).ok_or_else(|| nothing_at(path))?;
    let tree = collect(state.node(), &root, found, asked.depth, asked.page);
    let TreeTotals { supervisors, workers, active, restarts } = root.totals();
    Ok(TreePage {
        at_ms: state.node().clock().now().get(),
        totals: TotalsView { supervisors, workers, active, restarts },
        tree,
    })
}

pub(crate) fn nothing_at(path: &str) -> Problem {
    let path: String = path.chars().take(300).collect();
    Problem::new(StatusCode::NOT_FOUND, "unknown_path", format!("nothing in the tree has the path `{path}`"))
        .remedy("`nexus tree` (GET /debug/tree) shows the paths there are")
}

/// A node whose children are still to be looked at.
struct Open {
    view: TreeView,
    parent: usize,
    depth: usize,
    nested: Option<Arc<SupervisorView>>,
}

/// Breadth first, so that the limit of nodes cuts off the lowest levels.
fn collect(node: &Node, root: &Arc<SupervisorView>, found: Found, depth: usize, page: Page) -> TreeView {
    let mut nodes = vec![match found {
        Found::Root(root) => open_root(node, root, depth),
        Found::Child { supervisor, child } => open(node, supervisor.path(), *child, 0, depth),
    }];
    let mut next = 0;
    while next < nodes.len() {
        let at = next;
        next += 1;
        let first = at == 0;
        let Some(nested) = nodes[at].nested.clone().filter(|_| nodes[at].depth > 0) else { continue };
        let offset = if first { page.offset } else { 0 };
        let children = nested.children(offset, page.limit.min(NODES_MAX - nodes.len()));
        nodes[at].view.children_offset = offset;
        let depth = nodes[at].depth - 1;
        nodes.extend(children.into_iter().map(|child| open(node, nested.path(), child, at, depth)));
    }
    debug_assert!(root.path().len() <= nodes[0].view.path.len());
    // Children come after their parents: from the end on, each node is complete when it is taken.
    while nodes.len() > 1 {
        let Open { mut view, parent, .. } = nodes.pop().expect("more than one");
        view.children.reverse();
        nodes[parent].view.children.push(view);
    }
    let Open { mut view, .. } = nodes.pop().expect("the first node");
    view.children.reverse();
    view
}

fn open_root(node: &Node, root: Arc<SupervisorView>, depth: usize) -> Open {
    let child = ChildView {
        id: root.name().clone(),
        kind: ChildKind::Supervisor,
        label: root.strategy().name().into(),
        status: root.status(),
        restarts: 0,
        last_exit: None,
        started_at: Some(root.created_at()),
        cell: root.cell(),
        nested: Some(root.clone()),
    };
    let mut open = open(node, "", child, 0, depth);
    open.view.path = root.path().to_string();
    open
}

fn open(node: &Node, parent_path: &str, child: ChildView, parent: usize, depth: usize) -> Open {
    let clock = node.clock();
    let agent = match child.kind {
        ChildKind::Worker => node.agent(&child.id),
        ChildKind::Supervisor => None,
    };
    let nested = child.nested;
    let running = matches!(child.status, Status::Running | Status::Stopping);
    let view = TreeView {
        path: format!("{parent_path}/{}", child.id),
        kind: match (child.kind, &agent) {
            (ChildKind::Supervisor, _) => "supervisor",
            (ChildKind::Worker, Some(_)) => "agent",
            (ChildKind::Worker, None) => "worker",
        },
        name: child.id,
        behavior: child.label,
        status: child.status,
        restarts: child.restarts,
        last_exit: child.last_exit.map(|exit| ExitView::new(exit.at, &exit.reason, clock)),
        uptime_ms: child
            .started_at
            .filter(|_| running)
            .map_or(0, |at| u64::try_from(clock.now().since(at).as_millis()).unwrap_or(u64::MAX)),
        queued: agent.as_ref().map(|agent| agent.queued),
        processed: agent.as_ref().map(|agent| agent.processed),
        intensity: nested.as_ref().map(|nested| nested.intensity().0),
        period_ms: nested
            .as_ref()
            .map(|nested| u64::try_from(nested.intensity().1.as_millis()).unwrap_or(u64::MAX)),
        children_total: nested.as_ref().map_or(0, |nested| nested.counts().specs),
        children_offset: 0,
        children: Vec::new(),
    };
    Open { view, parent, depth, nested }
}

/// The tree as text, `depth` levels deep, with at most `limit` children of each supervisor.
pub(crate) fn text(node: &Node, root: &Arc<SupervisorView>, depth: usize, limit: usize) -> String {
    let TreeTotals { supervisors, workers, active, restarts } = root.totals();
    draw(&TreePage {
        at_ms: node.clock().now().get(),
        totals: TotalsView { supervisors, workers, active, restarts },
        tree: collect(node, root, Found::Root(root.clone()), depth, Page { offset: 0, limit }),
    })
}

/// The tree with box characters, a line each.
fn draw(page: &TreePage) -> String {
    let mut text = String::new();
    draw_node(&mut text, &page.tree, "", "");
    let TotalsView { supervisors, workers, active, restarts } = page.totals;
    let _ = writeln!(
        text,
        "\n{supervisors} supervisors, {workers} workers, {active} active, {restarts} restarts"
    );
    text
}

fn draw_node(text: &mut String, node: &TreeView, first: &str, rest: &str) {
    let status = serde_json::to_value(node.status).unwrap_or_default();
    let _ = write!(
        text,
        "{first}{}  {} {}",
        plain(&node.name),
        plain(&node.behavior),
        status.as_str().unwrap_or_default()
    );
    if let (Some(queued), Some(processed)) = (node.queued, node.processed) {
        let _ = write!(text, "  inbox {queued}  processed {processed}");
    }
    if node.restarts > 0 {
        let _ = write!(text, "  restarts {}", node.restarts);
    }
    if node.uptime_ms > 0 {
        let _ = write!(text, "  up {}", duration(node.uptime_ms));
    }
    if let Some(exit) = &node.last_exit {
        let reason: String = plain(&exit.reason).chars().take(200).collect();
        let _ = write!(text, "  last exit: {reason}");
    }
    text.push('\n');
    let before = node.children_offset.min(node.children_total);
    let after = node.children_total - before - node.children.len().min(node.children_total - before);
    if before > 0 && !node.children.is_empty() {
        let _ = writeln!(text, "{rest}├── … {before} before");
    }
    for (index, child) in node.children.iter().enumerate() {
        let last = index + 1 == node.children.len() && after == 0;
        let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw_node(text, child, &format!("{rest}{branch}"), &format!("{rest}{below}"));
    }
    if after > 0 {
        let _ = writeln!(text, "{rest}└── … {after} more");
    }
}

/// `1h 2m`, `3m 4s`, `5.6s`: two units are enough for an uptime.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, children_total: usize, children: Vec<TreeView>) -> TreeView {
        TreeView {
            name: name.into(),
            path: name.into(),
            kind: "supervisor",
            behavior: "one_for_one".into(),
            status: Status::Running,
            restarts: 0,
            last_exit: None,
            uptime_ms: 61_500,
            queued: None,
            processed: None,
            intensity: Some(3),
            period_ms: Some(5000),
            children_total,
            children_offset: 0,
            children,
        }
    }

    /// Goal: branches connect, cut-off children are announced, and no control character reaches the terminal.
    #[test]
    fn draws_a_tree() {
        let exit = ExitView { at_ms: 1, unix_ms: 1, reason: "error: \u{1b}[2J\nboom".into(), normal: false };
        let agent = TreeView {
            kind: "agent",
            behavior: "kv".into(),
            queued: Some(2),
            processed: Some(7),
            restarts: 1,
            last_exit: Some(exit),
            ..view("kv/a", 0, vec![])
        };
        let inner = view("agents.sup", 5, vec![agent]);
        let page = TreePage {
            at_ms: 0,
            totals: TotalsView { supervisors: 3, workers: 5, active: 8, restarts: 1 },
            tree: view("nexus", 2, vec![inner, view("ops.sup", 0, vec![])]),
        };
        insta::assert_snapshot!(draw(&page), @r"
        nexus  one_for_one running  up 1m 1s
        ├── agents.sup  one_for_one running  up 1m 1s
        │   ├── kv/a  kv running  inbox 2  processed 7  restarts 1  up 1m 1s  last exit: error:  [2J boom
        │   └── … 4 more
        └── ops.sup  one_for_one running  up 1m 1s

        3 supervisors, 5 workers, 8 active, 1 restarts
        ");
    }
}
