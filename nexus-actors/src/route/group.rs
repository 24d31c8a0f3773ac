//! Groups: names for several agents at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::agent::NamePattern;

/// What a group's members are declared to be.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// The group's name.
    pub name: Arc<str>,
    /// Agents that belong to it: exact names and patterns. A pattern's agents join as they come to life.
    pub members: Vec<NamePattern>,
}

/// The node's groups. Membership is kept as agents come and go, so that `publish` only reads.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: RwLock<BTreeMap<Arc<str>, Group>>,
}

#[derive(Debug)]
struct Group {
    members: Vec<NamePattern>,
    /// Agents alive now, by name: a fixed order for delivery.
    present: BTreeSet<Arc<str>>,
}

impl Groups {
    pub(crate) fn declare(&self, spec: GroupSpec) {
        let group = Group { members: spec.members, present: BTreeSet::new() };
        self.groups.write().insert(spec.name, group);
    }

    pub(crate) fn agent_came(&self, name: &Arc<str>) {
        let matches = |group: &Group| group.members.iter().any(|pattern| pattern.matches(name));
        if !self.groups.read().values().any(matches) {
            return;
        }
        for group in self.groups.write().values_mut().filter(|group| matches(group)) {
            group.present.insert(name.clone());
        }
    }

    pub(crate) fn agent_went(&self, name: &Arc<str>) {
        if !self.groups.read().values().any(|group| group.present.contains(name)) {
            return;
        }
        for group in self.groups.write().values_mut() {
            group.present.remove(name);
        }
    }

    /// The names of the agents in a group now, in order; `None` if there is no such group.
    pub(crate) fn present(&self, name: &str) -> Option<Vec<Arc<str>>> {
        self.groups.read().get(name).map(|group| group.present.iter().cloned().collect())
    }

    /// Every group with the number of its agents now.
    pub(crate) fn sizes(&self) -> Vec<(Arc<str>, usize)> {
        self.groups.read().iter().map(|(name, group)| (name.clone(), group.present.len())).collect()
    }
}
