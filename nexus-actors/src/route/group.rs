//! Groups: names for several agents at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::agent::{NamePattern, Request};

/// Publications of a group that wait for its slowest listener. One that falls behind by more is told how many it missed.
const LISTENER_LAG_MAX: usize = 256;

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
    /// Where listeners from outside hear what is published; `None` until the first one comes.
    listeners: Option<broadcast::Sender<Arc<Request>>>,
}

impl Groups {
    pub(crate) fn declare(&self, spec: GroupSpec) {
        let group = Group { members: spec.members, present: BTreeSet::new(), listeners: None };
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

    /// Hears what is published to a group from now on; `None` if there is no such group.
    pub(crate) fn listen(&self, name: &str) -> Option<broadcast::Receiver<Arc<Request>>> {
        let mut groups = self.groups.write();
        let sender = &mut groups.get_mut(name)?.listeners;
        Some(sender.get_or_insert_with(|| broadcast::channel(LISTENER_LAG_MAX).0).subscribe())
    }

    /// Gives the group's listeners, if it has any, a copy of `request`.
    pub(crate) fn tell_listeners(&self, name: &str, request: &Request) {
        let sender = self.groups.read().get(name).and_then(|group| group.listeners.clone());
        if let Some(sender) = sender.filter(|sender| sender.receiver_count() > 0) {
            // Fails only if the last listener has just gone.
            let _ = sender.send(Arc::new(request.clone()));
        }
    }

    /// Every group with the number of its agents now.
    pub(crate) fn sizes(&self) -> Vec<(Arc<str>, usize)> {
        self.groups.read().iter().map(|(name, group)| (name.clone(), group.present.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::agent::Payload;

    fn request(key: &str) -> Request {
        Request::action(key, Payload::EMPTY)
    }

    /// Goal: a listener hears what is published after it came, in order; a slow one is told how many it missed and hears the
    /// rest; and nobody hears a group that does not exist.
    #[test]
    fn listeners_hear_copies_and_learn_what_they_missed() {
        let groups = Groups::default();
        groups.declare(GroupSpec { name: "g".into(), members: Vec::new() });
        assert!(groups.listen("other").is_none());
        groups.tell_listeners("g", &request("before"));
        let mut listener = groups.listen("g").expect("it is declared");
        groups.tell_listeners("other", &request("elsewhere"));
        groups.tell_listeners("g", &request("first"));
        assert_eq!(listener.try_recv().map(|request| request.key.to_string()), Ok("first".to_owned()));
        for number in 0..LISTENER_LAG_MAX + 3 {
            groups.tell_listeners("g", &request(&number.to_string()));
        }
        assert_eq!(listener.try_recv().map(drop), Err(TryRecvError::Lagged(3)));
        assert_eq!(listener.try_recv().map(|request| request.key.to_string()), Ok("3".to_owned()));
    }
}
