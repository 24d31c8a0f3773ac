//! Which agents are stuck while a link is under strain. See `core`.

use std::collections::BTreeMap;

use nexus_actors::agent::AgentId;

/// Agents watched at most; those beyond count as well.
const WATCHED_MAX: usize = 1024;

/// What each agent that was sent something under strain had handled then, and the bytes it was given since without handling more.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<AgentId, (u64, u32)>);

impl Watch {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether `agent`, which is offered so many bytes more, has had its `share` since it last handled anything. `progress` is what
    /// waits for it, and what it has handled.
    pub(super) fn is_stuck(
        &mut self,
        agent: AgentId,
        progress: Option<(u64, u64)>,
        bytes: u32,
        share: u32,
    ) -> bool {
        let Some((1.., handled)) = progress else { return false };
        if self.0.len() >= WATCHED_MAX && !self.0.contains_key(&agent) {
            return false;
        }
        let (known, given) = self.0.entry(agent).or_insert((handled, 0));
        if *known != handled {
            (*known, *given) = (handled, 0);
        }
        let stuck = given.saturating_add(bytes) > share;
        if !stuck {
            *given += bytes;
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an agent gets its share, and another one whenever it has handled something.
    #[test]
    fn shares_are_renewed_by_work() {
        let (mut watch, agent) = (Watch::default(), AgentId::of("a"));
        let mut offer = |progress| watch.is_stuck(agent, progress, 40, 100);
        assert_eq!([None, Some((0, 0))].map(&mut offer), [false, false], "nothing waits for it");
        let stuck = [7, 7, 7, 7, 8, 8, 8].map(|handled| offer(Some((1, handled))));
        assert_eq!(stuck, [false, false, true, true, false, false, true]);
    }
}
