//! What each request of a feed follows, and what agents lack of it. Pure.
//!
//! A feed's sequence of (request, agent) pairs is the same every time its source is read, so the pairs of one agent are a sequence of
//! their own, and each but the first follows another one. Some 40 bytes for each agent that the feed reaches.

use std::collections::BTreeMap;

use nexus_actors::agent::AgentId;

/// The last pair of each agent, by its place in the sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    last: BTreeMap<AgentId, u64>,
}

/// What all nodes together say of a feed's agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Agents that have not handled the last request that they were given.
    pub behind: u64,
    /// Up to here none of them lacks anything: whatever they lack comes later. The last place given if none does.
    pub covered: u64,
    /// The places of all agents in sum: it grows as long as anything is handled.
    pub reached: u64,
    /// Messages that wait or are being handled on any node, or are on their way.
    pub queued: u64,
}

impl Chain {
    /// The place of the last pair of `agent`; 0 if it has had none.
    pub(crate) fn last(&self, agent: AgentId) -> u64 {
        self.last.get(&agent).copied().unwrap_or(0)
    }

    /// The pair in this place is one of `agent`.
    pub(crate) fn advance(&mut self, agent: AgentId, place: u64) {
        self.last.insert(agent, place);
    }

    /// Every agent, in order.
    pub(crate) fn agents(&self) -> Vec<AgentId> {
        self.last.keys().copied().collect()
    }

    /// What it means that the agents have come so far; `marks` are those of [`Chain::agents`] at an earlier time or now.
    pub(crate) fn audit(
        &self,
        marks: impl IntoIterator<Item = (AgentId, Option<u64>)>,
        queued: u64,
    ) -> Audit {
        let given = self.last.values().copied().max().unwrap_or(0);
        let mut audit = Audit { covered: given, queued, ..Audit::default() };
        for (agent, mark) in marks {
            let mark = mark.unwrap_or(0);
            audit.reached = audit.reached.saturating_add(mark);
            if mark < self.last(agent) {
                audit.behind += 1;
                audit.covered = audit.covered.min(mark);
            }
        }
        audit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each pair follows the agent's one before it; agents that lack something say from where on it must come again.
    #[test]
    fn agents_have_sequences_of_their_own() {
        let [a, b, c] = ["x/a", "x/b", "x/c"].map(AgentId::of);
        let mut chain = Chain::default();
        let follows: Vec<_> = (1..)
            .zip([a, b, a, a, c, b])
            .map(|(place, agent)| {
                let before = chain.last(agent);
                chain.advance(agent, place);
                before
            })
            .collect();
        assert_eq!(follows, [0, 0, 1, 3, 0, 2]);
        let audit = |marks: [Option<u64>; 3]| {
            let of = |agent| [a, b, c].iter().position(|one| *one == agent).unwrap();
            chain.audit(chain.agents().into_iter().map(|agent| (agent, marks[of(agent)])), 7)
        };
        let all = Audit { behind: 0, covered: 6, reached: 15, queued: 7 };
        assert_eq!(audit([Some(4), Some(6), Some(5)]), all);
        assert_eq!(audit([Some(3), Some(2), Some(5)]), Audit { behind: 2, covered: 2, reached: 10, ..all });
        assert_eq!(audit([Some(4), None, Some(5)]), Audit { behind: 1, covered: 0, reached: 9, ..all });
        assert_eq!(Chain::default().audit([], 0), Audit::default());
    }
}
