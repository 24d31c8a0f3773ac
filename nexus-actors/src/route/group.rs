//! Groups: names for several agents at once. A message is published to all of them, or, if the group has a strategy, sent to one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::broadcast;

use super::balance::{Balancer, MemberOverview, Offered, Roster, Strategy};
use crate::agent::{AgentCell, Letter, NamePattern, Request};
use crate::clock::Clock;
use crate::rng::Seed;

/// Publications of a group that wait for its slowest listener. One that falls behind by more is told how many it missed.
const LISTENER_LAG_MAX: usize = 256;

/// What a group's members are declared to be.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// The group's name.
    pub name: Arc<str>,
    /// Agents that belong to it: exact names and patterns. A pattern's agents join as they come to life.
    pub members: Vec<NamePattern>,
    /// Who serves a message that is sent to `group:` and the name. `None`: the group is only published to.
    pub balance: Option<&'static dyn Strategy>,
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupOverview {
    /// Its name.
    pub name: Arc<str>,
    /// Its agents now.
    pub agents: usize,
    /// The name of its strategy; `None` if it is only published to.
    pub balance: Option<&'static str>,
    /// Messages its strategy gave to a member since the node started.
    pub decisions: u64,
    /// Messages that found every member that was asked full, and were rejected.
    pub refused: u64,
}

/// The node's groups. Membership is kept as agents come and go, so that `publish` only reads.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Replaced when a group is declared, which is rare.
    groups: ArcSwap<BTreeMap<Arc<str>, Arc<Group>>>,
}

#[derive(Debug)]
pub(crate) struct Group {
    members: Vec<NamePattern>,
    balancer: Option<Balancer>,
    present: RwLock<Present>,
    /// Where listeners from outside hear what is published; made when the first one comes.
    listeners: OnceLock<broadcast::Sender<Arc<Request>>>,
}

/// Whether an agent is a member now.
pub(crate) enum Membership {
    Awake(Arc<AgentCell>),
    Asleep,
    Gone,
}

/// Agents alive now.
#[derive(Debug, Default)]
struct Present {
    /// By name: a fixed order for delivery.
    names: BTreeSet<Arc<str>>,
    /// The same with their routes, in groups that have a strategy.
    roster: Roster,
}

impl Groups {
    pub(crate) fn declare(&self, spec: GroupSpec, clock: Clock, seed: Seed) {
        let chance = || seed.stream(&format!("balance/{}", spec.name));
        let group = Arc::new(Group {
            members: spec.members,
            balancer: spec.balance.map(|strategy| Balancer::new(strategy, clock, chance())),
            present: RwLock::default(),
            listeners: OnceLock::new(),
        });
        self.groups.rcu(|groups| {
            let mut groups = BTreeMap::clone(groups);
            groups.insert(spec.name.clone(), group.clone());
            groups
        });
    }

    /// The agent came or went: `route` says which is true by now. It is asked under the group's lock, so that of two threads that
    /// see an agent come and go the later one has the last word.
    pub(crate) fn follow(&self, name: &Arc<str>, route: impl Fn() -> Membership) {
        for group in self.groups.load().values() {
            if !group.members.iter().any(|pattern| pattern.matches(name)) {
                continue;
            }
            let mut present = group.present.write();
            match route() {
                Membership::Awake(cell) => {
                    present.names.insert(name.clone());
                    if group.balancer.is_some() {
                        present.roster.put(cell);
                    }
                }
                // It keeps its place, and a message wakes it.
                Membership::Asleep => {}
                Membership::Gone => {
                    present.names.remove(name);
                    present.roster.remove(name);
                }
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.load().get(name).cloned()
    }

    /// The names of the agents in a group now, in order; `None` if there is no such group.
    pub(crate) fn present(&self, name: &str) -> Option<Vec<Arc<str>>> {
        self.get(name).map(|group| group.present.read().names.iter().cloned().collect())
    }

    /// Hears what is published to a group from now on; `None` if there is no such group.
    pub(crate) fn listen(&self, name: &str) -> Option<broadcast::Receiver<Arc<Request>>> {
        let group = self.get(name)?;
        Some(group.listeners.get_or_init(|| broadcast::channel(LISTENER_LAG_MAX).0).subscribe())
    }

    /// Gives the group's listeners, if it has any, a copy of `request`.
    pub(crate) fn tell_listeners(&self, name: &str, request: &Request) {
        let Some(group) = self.get(name) else { return };
        if let Some(sender) = group.listeners.get().filter(|sender| sender.receiver_count() > 0) {
            // Fails only if the last listener has just gone.
            let _ = sender.send(Arc::new(request.clone()));
        }
    }

    pub(crate) fn overview(&self) -> Vec<GroupOverview> {
        self.groups.load().iter().map(|(name, group)| group.overview(name)).collect()
    }
}

impl Group {
    /// Whether it has a strategy.
    pub(crate) const fn is_balanced(&self) -> bool {
        self.balancer.is_some()
    }

    /// Its agents now.
    pub(crate) fn agents(&self) -> usize {
        self.present.read().names.len()
    }

    /// Gives `letter` to one member; to nobody if the group has no strategy.
    pub(crate) fn offer(&self, letter: Letter) -> Offered {
        match &self.balancer {
            Some(balancer) => balancer.offer(&self.present.read().roster, letter),
            None => Offered::Nobody(letter),
        }
    }

    /// Counts a rejection with the member that refused last, under the lock that keeps it in the roster.
    pub(crate) fn reject<T>(&self, count: impl FnOnce(&AgentCell) -> T) -> Option<T> {
        let present = self.present.read();
        let balancer = self.balancer.as_ref()?;
        let refuser = balancer.refuser(&present.roster)?;
        balancer.refuse();
        Some(count(refuser))
    }

    /// The member that refused last.
    pub(crate) fn refuser(&self) -> Option<Arc<AgentCell>> {
        self.balancer.as_ref()?.refuser(&self.present.read().roster).cloned()
    }

    /// The member a message would go to now, if the group has a strategy.
    pub(crate) fn decide(&self) -> Option<Arc<str>> {
        self.balancer.as_ref()?.decide(&self.present.read().roster)
    }

    /// What is known of the members, in order of their names; empty if the group has no strategy.
    pub(crate) fn members(&self) -> Vec<MemberOverview> {
        let present = self.present.read();
        self.balancer.as_ref().map(|balancer| balancer.overview(&present.roster)).unwrap_or_default()
    }

    pub(crate) fn overview(&self, name: &Arc<str>) -> GroupOverview {
        let present = self.present.read();
        GroupOverview {
            name: name.clone(),
            agents: present.names.len(),
            balance: self.balancer.as_ref().map(|balancer| balancer.strategy.name()),
            decisions: self.balancer.as_ref().map_or(0, Balancer::taken),
            refused: self.balancer.as_ref().map_or(0, Balancer::refused),
        }
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
        let spec = GroupSpec { name: "g".into(), members: Vec::new(), balance: None };
        groups.declare(spec, Clock::start_at(0), Seed::new(0));
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
