//! Whom a round goes to.

use rand::Rng as _;
use rand::seq::index::sample;

use nexus_actors::rng::Rng;

use crate::NodeName;

/// The other members, by zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    near: Vec<NodeName>,
    far: Vec<NodeName>,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    /// One that is not among them yet.
    pub(super) fn insert(&mut self, name: NodeName, near: bool) {
        if near { &mut self.near } else { &mut self.far }.push(name);
    }

    pub(super) fn remove(&mut self, name: &NodeName) {
        for zone in [&mut self.near, &mut self.far] {
            if let Some(at) = zone.iter().position(|other| other == name) {
                zone.swap_remove(at);
            }
        }
    }

    /// `fanout` of them, each at most once: mostly near ones, at least one far one if there are any, and where one kind does not
    /// suffice the other makes up for it.
    pub(super) fn choose(&self, rng: &mut Rng, fanout: usize, across_percent: usize) -> Vec<NodeName> {
        let fanout = fanout.min(self.len());
        // A share of less than one peer is one in some of the rounds.
        let share = fanout * across_percent;
        let part = usize::from(rng.random_range(0..100) < share % 100);
        let wanted = (share / 100 + part).max(1);
        let far = wanted.min(self.far.len()).max(fanout.saturating_sub(self.near.len())).min(fanout);
        let mut chosen = pick(&self.far, rng, far);
        chosen.extend(pick(&self.near, rng, fanout - far));
        chosen
    }
}

fn pick(from: &[NodeName], rng: &mut Rng, count: usize) -> Vec<NodeName> {
    sample(rng, from.len(), count).iter().map(|at| from[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nexus_actors::rng::Seed;

    use super::*;

    /// Goal: every choice has as many different members as asked for, if there are, with one of another zone, and in the long run
    /// the share that was asked for.
    #[test]
    fn seeded_choices_reach_across() {
        let mut rng = Seed::new(3).stream("peers");
        for (near, far, fanout) in
            [(20, 20, 6), (0, 9, 4), (9, 0, 4), (2, 30, 6), (3, 1, 4), (1, 1, 8), (0, 0, 3)]
        {
            let mut peers = Peers::default();
            for at in 0..near + far {
                peers.insert(format!("n{at}").parse().unwrap(), at < near);
            }
            let mut across = 0;
            for _ in 0..1000 {
                let chosen: BTreeSet<_> = peers.choose(&mut rng, fanout, 25).into_iter().collect();
                assert_eq!(chosen.len(), fanout.min(near + far));
                let reached = chosen.iter().filter(|name| peers.far.contains(name)).count();
                assert!(reached >= 1.min(far));
                across += reached;
            }
            if (near, far) == (20, 20) {
                assert!((1300..1700).contains(&across), "{across} of 6000");
            }
        }
    }
}
