//! Readiness: the named conditions that must hold before the node counts as ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_actors::store::{Store, StoreState};
use parking_lot::RwLock;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cluster::Clustered;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Condition {
    /// What it is about, such as `tree`.
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// Whether it holds.
    pub ready: bool,
    /// Its state in words.
    pub detail: String,
}

/// The node's readiness: ready when every condition holds. Shared by those who know (the boot sequence, feeds) and the
/// endpoint that tells.
#[derive(Debug, Default)]
pub struct Readiness {
    conditions: RwLock<BTreeMap<Arc<str>, (bool, String)>>,
    /// A store is asked whenever somebody wants to know.
    store: Option<Store>,
    /// So is the cluster.
    cluster: Option<Clustered>,
}

impl Readiness {
    /// These conditions must hold; none does yet.
    #[must_use]
    pub fn awaiting<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let waiting = |name: &str| (name.into(), (false, "not yet".to_owned()));
        Self { conditions: RwLock::new(names.into_iter().map(waiting).collect()), store: None, cluster: None }
    }

    /// The same, and the store, if there is one, must write.
    #[must_use]
    pub fn watching(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    /// The same, and the node must have its place in the cluster, if it is one of one.
    #[must_use]
    pub fn clustered(self, cluster: Option<Clustered>) -> Self {
        Self { cluster, ..self }
    }

    /// Says whether the condition `name` holds. A new name adds a condition.
    pub fn set(&self, name: &str, ready: bool, detail: impl Into<String>) {
        self.conditions.write().insert(name.into(), (ready, detail.into()));
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions().iter().all(|condition| condition.ready)
    }

    /// All conditions, by name; those of store and cluster come last.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let condition = |(name, (ready, detail)): (&Arc<str>, &(bool, String))| Condition {
            name: name.clone(),
            ready: *ready,
            detail: detail.clone(),
        };
        let mut conditions: Vec<_> = self.conditions.read().iter().map(condition).collect();
        conditions.extend(self.store.as_ref().map(writes));
        conditions.extend(self.cluster.as_ref().map(joined));
        conditions
    }
}

/// The condition that the store writes.
fn writes(store: &Store) -> Condition {
    let (ready, detail) = match store.status().state {
        StoreState::Ok => (true, "ok".to_owned()),
        StoreState::Degraded { reason, .. } => (false, reason),
    };
    Condition { name: "store".into(), ready, detail }
}

/// The condition that the node has joined, is synchronized, and not in a minority.
fn joined(cluster: &Clustered) -> Condition {
    let (ready, detail) = cluster.readiness();
    Condition { name: "cluster".into(), ready, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ready means that every condition holds, and a condition can be lost again.
    #[test]
    fn every_condition_must_hold() {
        let readiness = Readiness::awaiting(["tree", "feeds"]);
        assert!(!readiness.is_ready());
        readiness.set("tree", true, "started");
        readiness.set("feeds", true, "running");
        assert!(readiness.is_ready());
        readiness.set("feeds", false, "flights: cannot open");
        assert!(!readiness.is_ready());
        let missing: Vec<_> = readiness.conditions().into_iter().filter(|one| !one.ready).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!((&*missing[0].name, missing[0].detail.as_str()), ("feeds", "flights: cannot open"));
    }
}
