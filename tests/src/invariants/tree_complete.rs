//! The tree is complete: every supervisor runs, every agent of the route table has exactly one running child in the tree, and
//! every agent in the tree has a route.
//!
//! Source: `ARCHITECTURE.md`, "a tree heals": after faults have stopped, what the topology declares runs again.

use std::collections::BTreeMap;

use crate::tree::Entry;

/// An agent of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Whether the table says that it runs.
    pub running: bool,
}

/// Checks a tree at rest against the route table.
///
/// # Errors
/// The first few places where they differ, and how many there are.
pub fn tree_complete(routes: &[Route], tree: &[Entry]) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut agents: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in tree {
        if entry.is_supervisor && !entry.running {
            wrong.push(format!("supervisor `{}` does not run", entry.path()));
        }
        if entry.is_agent {
            agents.entry(&entry.id).or_default().push(entry);
        }
    }
    for route in routes {
        match agents.remove(route.name.as_str()).as_deref() {
            None => wrong.push(format!("agent `{}` is not in the tree", route.name)),
            Some([entry]) if entry.running && route.running => {}
            Some([entry]) => wrong.push(format!(
                "agent `{}`: running is {} in the tree and {} in the route table",
                route.name, entry.running, route.running
            )),
            Some(several) => {
                wrong.push(format!("agent `{}` is {} times in the tree", route.name, several.len()));
            }
        }
    }
    wrong.extend(agents.keys().map(|name| format!("agent `{name}` has no route")));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} places, such as\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Doctor = fn(&mut Vec<Route>, &mut Vec<Entry>);

    fn entry(supervisor: &str, id: &str, is_supervisor: bool) -> Entry {
        Entry {
            supervisor: supervisor.into(),
            id: id.into(),
            is_supervisor,
            is_agent: !is_supervisor,
            running: true,
            restarts: 0,
        }
    }

    fn whole() -> (Vec<Route>, Vec<Entry>) {
        let route = |name: &str| Route { name: name.into(), running: true };
        let tree = vec![
            entry("", "nexus", true),
            entry("nexus", "agents.sup", true),
            entry("nexus/agents.sup", "kv/a", false),
            entry("nexus/agents.sup", "kv/b", false),
        ];
        (vec![route("kv/a"), route("kv/b")], tree)
    }

    /// Goal: each way in which tree and routes can differ is found and named.
    #[test]
    fn fires_on_each_difference() {
        let (routes, tree) = whole();
        assert_eq!(tree_complete(&routes, &tree), Ok(()));
        let doctored: [(&str, Doctor); 6] = [
            ("supervisor `nexus/agents.sup` does not run", |_, tree| tree[1].running = false),
            ("agent `kv/b` is not in the tree", |_, tree| drop(tree.pop())),
            ("agent `kv/a`: running is false in the tree", |_, tree| tree[2].running = false),
            ("true in the tree and false in the route table", |routes, _| routes[0].running = false),
            ("agent `kv/a` is 2 times in the tree", |_, tree| tree.push(tree[2].clone())),
            ("agent `kv/b` has no route", |routes, _| drop(routes.pop())),
        ];
        for (expected, doctor) in doctored {
            let (mut routes, mut tree) = whole();
            doctor(&mut routes, &mut tree);
            let error = tree_complete(&routes, &tree).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
