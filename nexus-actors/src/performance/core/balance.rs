//! Which groups of agents move from the busiest runtime to the least busy one.

use super::{GroupLoad, RuntimeLoad};

/// The two ends.
#[derive(Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) busiest: usize,
    pub(super) idlest: usize,
    gap: f64,
}

impl Spread {
    /// The difference of their busy parts, 0 to 1.
    pub(super) const fn gap(&self) -> f64 {
        self.gap
    }
}

/// The busiest and the least busy runtime, the first of equals; `None` where there are not two.
pub(super) fn spread(runtimes: &[RuntimeLoad]) -> Option<Spread> {
    if runtimes.len() < 2 {
        return None;
    }
    let (mut busiest, mut idlest) = (0, 0);
    for (at, runtime) in runtimes.iter().enumerate() {
        if runtime.busy > runtimes[busiest].busy {
            busiest = at;
        }
        if runtime.busy < runtimes[idlest].busy {
            idlest = at;
        }
    }
    Some(Spread { busiest, idlest, gap: runtimes[busiest].busy - runtimes[idlest].busy })
}

/// At most `most` of the busiest runtime's groups, heaviest first, as far as they do not make the other the busier of the two.
///
/// A runtime's busy time is shared among its groups by their work. Moving `x` workers' worth of it narrows the gap by `x / w` on each
/// side, so all of it is closed by `gap / (1/w₁ + 1/w₂)`. A group heavier than that stays: moving it would only move the problem.
pub(super) fn choose(
    spread: &Spread,
    runtimes: &[RuntimeLoad],
    groups: &[GroupLoad],
    most: usize,
) -> Vec<usize> {
    let (from, to) = (&runtimes[spread.busiest], &runtimes[spread.idlest]);
    let mut candidates: Vec<&GroupLoad> =
        groups.iter().filter(|group| group.runtime == spread.busiest && group.work > 0.0).collect();
    let all: f64 = candidates.iter().map(|group| group.work).sum();
    #[expect(clippy::cast_precision_loss, reason = "workers are few")]
    let (from_workers, to_workers) = (from.workers.max(1) as f64, to.workers.max(1) as f64);
    let mut room = spread.gap / (1.0 / from_workers + 1.0 / to_workers);
    candidates.sort_by(|a, b| b.work.total_cmp(&a.work).then(a.bucket.cmp(&b.bucket)));
    let mut chosen = Vec::new();
    for group in candidates {
        let load = from.busy * from_workers * group.work / all;
        if chosen.len() < most && load <= room {
            room -= load;
            chosen.push(group.bucket);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtimes(busy: &[(usize, f64)]) -> Vec<RuntimeLoad> {
        busy.iter().map(|(workers, busy)| RuntimeLoad { workers: *workers, busy: *busy }).collect()
    }

    fn groups(works: &[(usize, f64)]) -> Vec<GroupLoad> {
        let group = |(bucket, (runtime, work)): (usize, &(usize, f64))| GroupLoad {
            bucket,
            runtime: *runtime,
            work: *work,
        };
        works.iter().enumerate().map(group).collect()
    }

    /// Goal: moves go from the busiest to the least busy, close the gap as far as whole groups can, and never turn it round.
    #[test]
    fn groups_close_the_gap() {
        let even = runtimes(&[(1, 0.2), (1, 1.0), (1, 0.6)]);
        let spread_of = spread(&even).unwrap();
        assert_eq!((spread_of.busiest, spread_of.idlest), (1, 0));
        // 0.4 of a worker closes the gap of 0.8: of works 5 : 3 : 1 : 1, the 3 and one 1.
        let loads = groups(&[(0, 9.0), (1, 5.0), (1, 3.0), (1, 1.0), (1, 1.0), (2, 9.0)]);
        assert_eq!(choose(&spread_of, &even, &loads, 9), [2, 3]);
        assert_eq!(choose(&spread_of, &even, &loads, 1), [2]);
        let lonely = groups(&[(1, 5.0)]);
        assert!(
            choose(&spread_of, &even, &lonely, 9).is_empty(),
            "one agent that is busy alone is left alone"
        );
        assert!(choose(&spread_of, &even, &groups(&[(1, 0.0), (0, 1.0)]), 9).is_empty());
        // Four workers give up a quarter each of what the single one takes.
        let uneven = runtimes(&[(4, 0.9), (1, 0.1)]);
        let tens = groups(&[(0, 1.0); 18]);
        // Each is 0.2 of a worker; 0.8 / (1/4 + 1) = 0.64 of one closes the gap.
        assert_eq!(choose(&spread(&uneven).unwrap(), &uneven, &tens, 99), [0, 1, 2]);
        assert_eq!(spread(&runtimes(&[(1, 1.0)])), None);
    }
}
