//! The strategies as pure functions: tables, distributions, and what all of them owe.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::rng::Rng;

/// Members whose readings are never out of date, unless a fresh reading is given.
#[derive(Default)]
struct Table {
    gauges: Vec<Gauge>,
    /// Indexes that take nothing.
    closed: BTreeSet<usize>,
    /// What reading a member shows that the table does not show yet.
    fresh: Vec<(usize, u32)>,
}

impl Table {
    fn new(gauges: impl IntoIterator<Item = Gauge>) -> Self {
        Self { gauges: gauges.into_iter().collect(), ..Self::default() }
    }

    fn queues(queued: &[u32]) -> Self {
        Self::new(queued.iter().map(|queued| Gauge::new(*queued, 100)))
    }

    fn closed(mut self, closed: &[usize]) -> Self {
        self.closed.extend(closed);
        self
    }

    /// `turns` decisions from turn 0 on, and how often each member was chosen.
    fn decide(&self, name: &str, turns: u64, seed: u64) -> Vec<u64> {
        let (strategy, mut chance) = (named(name).unwrap(), Rng::seed_from_u64(seed));
        let mut counts = vec![0; self.gauges.len()];
        for turn in 0..turns {
            if let Some(at) = strategy.choose(self, turn, &mut chance) {
                counts[at] += 1;
            }
        }
        counts
    }
}

impl Members for Table {
    fn len(&self) -> usize {
        self.gauges.len()
    }

    fn takes(&self, at: usize) -> bool {
        !self.closed.contains(&at)
    }

    fn read(&self, at: usize) -> &Gauge {
        if let Some((_, queued)) = self.fresh.iter().find(|(fresh, _)| *fresh == at) {
            self.gauges[at].set_queue(*queued, self.gauges[at].limit());
        }
        &self.gauges[at]
    }

    fn all(&self) -> &[Gauge] {
        &self.gauges
    }
}

/// Goal: round robin gives each its turn; who takes nothing is passed over.
#[test]
fn round_robin_takes_turns() {
    assert_eq!(Table::queues(&[9, 0, 5]).decide("round_robin", 9, 0), [3, 3, 3]);
    assert_eq!(Table::queues(&[0; 4]).closed(&[1]).decide("round_robin", 8, 0), [2, 0, 4, 2]);
}

/// Goal: the shortest inbox serves; equals take turns; a full one serves only where all are full.
#[test]
fn least_loaded_takes_the_shortest() {
    for (queues, closed, expected) in [
        (&[3, 1, 2][..], &[][..], [0, 6, 0]),
        (&[2, 1, 1], &[], [0, 4, 2]),
        (&[0, 0, 0], &[], [2, 2, 2]),
        (&[3, 1, 2], &[1], [0, 0, 6]),
        (&[100, 100, 99], &[2], [4, 2, 0]),
        (&[7, 7, 7], &[0, 1, 2], [0, 0, 0]),
    ] {
        let table = Table::queues(queues).closed(closed);
        assert_eq!(table.decide("least_loaded", 6, 0), expected, "{queues:?} without {closed:?}");
    }
    // The first has a shorter inbox that is full.
    let table = Table::new([Gauge::new(10, 10), Gauge::new(50, 100)]);
    assert_eq!(table.decide("least_loaded", 2, 0), [0, 2]);
}

/// Goal: a reading that is out of date does not win. Method: the table shows 1, a look shows 50.
#[test]
fn old_readings_are_looked_at_again() {
    let table = Table { fresh: vec![(0, 50)], ..Table::queues(&[1, 5, 9]) };
    assert_eq!(table.decide("least_loaded", 1, 0), [0, 1, 0]);
    // It also ends where every look is a disappointment.
    let fresh = (0..9).map(|at| (at, 60)).collect();
    let table = Table { fresh, ..Table::queues(&[1; 9]) };
    assert_eq!(table.decide("least_loaded", 1, 0).iter().sum::<u64>(), 1);
}

/// Goal: the score is the source's, and unknown readings count neither for nor against a member.
#[test]
fn resource_aware_scores() {
    let score = resource_aware::score;
    let gauge = |queued, cpu, memory| Gauge::new(queued, 100).with_resources(cpu, memory);
    for (gauge, expected) in [
        (gauge(0, Some(0.0), Some(0.0)), 0.0),
        (gauge(100, Some(1.0), Some(1.0)), 1.0),
        (gauge(0, Some(1.0), Some(0.0)), 0.4),
        (gauge(0, Some(0.0), Some(1.0)), 0.3),
        (gauge(100, Some(0.0), Some(0.0)), 0.3),
        (gauge(50, None, None), 0.5),
        (gauge(100, Some(0.0), None), 0.3 / 0.7),
        (gauge(100, None, Some(0.0)), 0.5),
        (gauge(200, Some(7.0), Some(-1.0)), 0.7),
    ] {
        assert!((score(&gauge) - expected).abs() < 1e-6, "{gauge:?}: {} is not {expected}", score(&gauge));
    }
    let table =
        Table::new([gauge(10, Some(0.9), None), gauge(40, Some(0.1), None), gauge(0, Some(0.8), None)]);
    assert_eq!(table.decide("resource_aware", 3, 0), [0, 3, 0]);
}

/// Goal: shares follow the speed of answers; a full member gets nothing, a new one as much as the fastest.
#[test]
fn weighted_follows_response_times() {
    let at = |seconds| Gauge::new(0, 100).with_response(seconds);
    let shares = |table: &Table| {
        let counts = table.decide("weighted", 30_000, 7);
        counts.iter().map(|count| (*count as f64 / 3000.0).round()).collect::<Vec<_>>()
    };
    assert_eq!(shares(&Table::new([at(0.001), at(0.003), at(0.003)])), [6.0, 2.0, 2.0]);
    assert_eq!(shares(&Table::new([at(0.001), at(0.004), at(0.001), at(0.004)])), [4.0, 1.0, 4.0, 1.0]);
    assert_eq!(shares(&Table::new([at(0.001), Gauge::new(0, 100)])), [5.0, 5.0]);
    assert_eq!(shares(&Table::queues(&[0, 0])), [5.0, 5.0]);
    assert_eq!(shares(&Table::new([at(0.001), Gauge::new(100, 100), at(0.001)])), [5.0, 0.0, 5.0]);
    // Nobody has room: somebody must still be asked, or nobody would say so.
    assert_eq!(Table::queues(&[100, 100]).decide("weighted", 4, 7), [2, 2]);
}

/// Goal: of two, the shorter always; of many, the longest inbox is never chosen, the shortest about twice as often as the mean.
#[test]
fn power_of_two_prefers_the_shorter() {
    assert_eq!(Table::queues(&[3, 2]).decide("power_of_two", 100, 1), [0, 100]);
    assert_eq!(Table::queues(&[3, 2]).closed(&[1]).decide("power_of_two", 100, 1), [100, 0]);
    assert_eq!(Table::queues(&[5]).decide("power_of_two", 3, 1), [3]);
    let counts = Table::queues(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).decide("power_of_two", 10_000, 1);
    assert_eq!(counts[9], 0);
    assert!((1700..2300).contains(&counts[0]), "{counts:?}");
    assert!(counts.is_sorted_by(|one, two| one >= two), "{counts:?}");
}

/// Goal: what Mitzenmacher promises. Method: as many messages as members, none handled; the longest inbox with two choices is
/// shorter than with one, which `weighted` is as long as nobody has answered.
#[test]
fn two_choices_level_queues() {
    let longest = |name: &str| {
        let table = Table::new((0..1000).map(|_| Gauge::new(0, 1000)));
        let (strategy, mut chance) = (named(name).unwrap(), Rng::seed_from_u64(5));
        for turn in 0..1000 {
            table.gauges[strategy.choose(&table, turn, &mut chance).unwrap()].add_queued();
        }
        table.gauges.iter().map(Gauge::queued).max().unwrap()
    };
    assert_eq!(longest("least_loaded"), 1);
    assert_eq!(longest("round_robin"), 1);
    assert!(longest("power_of_two") <= 4, "{}", longest("power_of_two"));
    assert!(longest("weighted") > longest("power_of_two"));
}

/// Queued, limit, response time, CPU, memory.
type Readings = (u32, u32, Option<f32>, Option<f32>, Option<f32>);

fn gauges() -> impl proptest::strategy::Strategy<Value = Vec<Readings>> {
    let share = || proptest::option::of(0.0f32..=1.0);
    let response = proptest::option::of(0.0f32..=100.0);
    prop::collection::vec((0u32..200, 1u32..150, response, share(), share()), 0..40)
}

fn table(readings: &[Readings]) -> Table {
    Table::new(readings.iter().map(|(queued, limit, response, cpu, memory)| {
        let gauge = Gauge::new(*queued, *limit).with_resources(*cpu, *memory);
        gauge.set_response(*response);
        gauge
    }))
}

/// The walk over `all()`.
#[test]
fn names_are_unique_and_found() {
    let names: Vec<&str> = all().iter().map(|strategy| strategy.name()).collect();
    assert!(names.is_sorted_by(|one, two| one < two), "{names:?}: sorted and unique");
    for name in names {
        assert_eq!(named(name).unwrap().name(), name);
        assert!(crate::agent::check_name(name).is_ok());
        assert!(named(name).unwrap().about().ends_with('.'));
    }
    assert!(named("fastest").is_none());
}

proptest! {
    /// Goal: every strategy chooses somebody who takes messages if there is one, and only then; the same view, turn and seed give
    /// the same choice; nobody's readings are needed for that.
    #[test]
    fn all_choose_somebody_who_takes_messages(
        readings in gauges(), closed in prop::collection::btree_set(0usize..40, 0..40), turn: u64, seed: u64,
    ) {
        let is_open = (0..readings.len()).any(|at| !closed.contains(&at));
        for strategy in all() {
            let choose = || {
                let table = Table { closed: closed.clone(), ..table(&readings) };
                strategy.choose(&table, turn, &mut Rng::seed_from_u64(seed))
            };
            let chosen = choose();
            prop_assert_eq!(chosen.is_some(), is_open, "{}", strategy.name());
            prop_assert!(chosen.is_none_or(|at| at < readings.len() && !closed.contains(&at)), "{}", strategy.name());
            prop_assert_eq!(chosen, choose(), "{}", strategy.name());
        }
    }

    /// Goal: nobody starves among equals. Method: many decisions over members that are alike, none of which fills up.
    #[test]
    fn equals_are_served_alike(len in 1usize..12, queued in 0u32..50, seed: u64) {
        let table = table(&vec![(queued, 100, Some(0.01), Some(0.5), None); len]);
        for strategy in all() {
            let turns = 400 * len as u64;
            for count in table.decide(strategy.name(), turns, seed) {
                prop_assert!((250..550).contains(&count), "{}: {count} of {turns}", strategy.name());
            }
        }
    }

    /// Goal: the least loaded really is that, wherever the turn begins.
    #[test]
    fn least_loaded_is_least(readings in gauges(), turn: u64) {
        let table = table(&readings);
        let chosen = named("least_loaded").unwrap().choose(&table, turn, &mut Rng::seed_from_u64(0));
        let load = |gauge: &Gauge| (gauge.is_full(), gauge.queued());
        let least = table.gauges.iter().map(load).min();
        prop_assert_eq!(chosen.map(|at| load(&table.gauges[at])), least);
    }
}
