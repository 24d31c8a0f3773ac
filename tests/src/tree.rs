//! The supervision tree as a flat list, from the node itself or from what its endpoint shows.

use nexus_actors::supervision::{ChildKind, Status, TreeNode};
use serde_json::Value;

/// The supervisor of everything the topology declares.
pub const AGENTS: &str = "/agents.sup/";

/// A supervisor or worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path of its supervisor; empty for the root.
    pub supervisor: String,
    /// Its id there; an agent's name.
    pub id: String,
    /// Whether it supervises others.
    pub is_supervisor: bool,
    /// Whether it is an agent.
    pub is_agent: bool,
    /// Whether its actor runs.
    pub running: bool,
    /// How often it was started again under this incarnation of its supervisor.
    pub restarts: u64,
}

impl Entry {
    /// Ids from the root, joined with `/`.
    #[must_use]
    pub fn path(&self) -> String {
        join(&self.supervisor, &self.id)
    }
}

/// The path of the child `id` of `supervisor`.
#[must_use]
pub fn join(supervisor: &str, id: &str) -> String {
    if supervisor.is_empty() { id.to_owned() } else { format!("{supervisor}/{id}") }
}

/// Everything from `root` on, as the node knows it.
#[must_use]
pub fn of_node(root: &TreeNode) -> Vec<Entry> {
    let mut entries = Vec::new();
    add(root, "", &mut entries);
    entries
}

fn add(node: &TreeNode, supervisor: &str, entries: &mut Vec<Entry>) {
    let is_supervisor = node.kind == ChildKind::Supervisor;
    entries.push(Entry {
        supervisor: supervisor.to_owned(),
        id: node.id.to_string(),
        is_supervisor,
        is_agent: !is_supervisor && join(supervisor, "").contains(AGENTS),
        running: node.status == Status::Running,
        restarts: node.restarts.into(),
    });
    assert_eq!(node.children.len(), node.children_total, "{}: all children are asked for", node.path);
    for child in &node.children {
        add(child, &node.path, entries);
    }
}

/// Everything from the root on, as `/debug/tree` shows it.
///
/// # Panics
/// If `page` is no such answer, or not a complete one.
#[must_use]
pub fn of_endpoint(page: &Value) -> Vec<Entry> {
    let mut entries = Vec::new();
    add_shown(&page["tree"], "", &mut entries);
    entries
}

fn add_shown(node: &Value, supervisor: &str, entries: &mut Vec<Entry>) {
    let text = |name: &str| node[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {node}"));
    entries.push(Entry {
        supervisor: supervisor.to_owned(),
        id: text("name").to_owned(),
        is_supervisor: text("kind") == "supervisor",
        is_agent: text("kind") == "agent",
        running: text("status") == "running",
        restarts: node["restarts"].as_u64().expect("a count"),
    });
    let children = node["children"].as_array().expect("a list");
    assert_eq!(children.len() as u64, node["children_total"], "{}: all children are shown", text("path"));
    for child in children {
        add_shown(child, text("path"), entries);
    }
}
