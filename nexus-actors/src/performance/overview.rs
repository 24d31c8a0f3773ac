//! What the monitor shows.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::config::{Levels, PerformanceConfig};
use super::core::{Measure, MeasureOverview};
use super::sensors::Readings;
use crate::clock::Millis;

/// Actions kept to be shown; the events have more.
const ACTIONS_KEPT: usize = 64;

/// The readings that go with an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Memory in use as a share of what there is.
    pub memory: Option<f64>,
    /// CPU in use as a share of what there is.
    pub cpu: Option<f64>,
    /// The difference between the busiest and the least busy runtime of agents.
    pub imbalance: Option<f64>,
    /// How late a timer fired at most, over all runtimes, in microseconds.
    pub lag_us: u64,
    /// Messages in all inboxes.
    pub queued: u64,
}

impl Vitals {
    pub(super) fn new(readings: &Readings, measures: &[MeasureOverview; 3]) -> Self {
        // More digits than anybody reads would say more than was measured.
        let round = |share: f64| (share * 1000.0).round() / 1000.0;
        let [memory, cpu, imbalance] = measures.map(|measure| measure.reading.map(round));
        let lag_us = readings.runtimes.iter().map(|runtime| runtime.lag_us).max().unwrap_or(0);
        Self { memory, cpu, imbalance, lag_us, queued: readings.inboxes.queued }
    }
}

/// How a measure stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasureStatus {
    /// Which.
    pub measure: Measure,
    /// Whether anything is done about it.
    pub enabled: bool,
    /// Where pressure begins.
    pub high: f64,
    /// Where it ends.
    pub low: f64,
    /// The last reading; `None` if there is none.
    pub reading: Option<f64>,
    /// Whether it is pressed.
    pub pressed: bool,
    /// Since when it has been, or has not been.
    pub since: Millis,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActionOverview {
    /// When, on the node's clock.
    pub at: Millis,
    /// What it relieves, or relieved.
    pub measure: Measure,
    /// `hibernate`, `shrink`, `lower_batch`, `restore_batch`, `shed`, `admit` or `move`.
    pub action: &'static str,
    /// The reading and the level it was judged by.
    pub reason: String,
    /// What came of it.
    pub outcome: String,
}

/// What is known of the monitor without asking it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerformanceOverview {
    /// Whether there is a monitor.
    pub enabled: bool,
    /// The time between two looks in milliseconds.
    pub interval_ms: u64,
    /// Looks so far.
    pub looks: u64,
    /// The last look; `None` before the first.
    pub readings: Option<Readings>,
    /// Memory, CPU, imbalance.
    pub measures: Vec<MeasureStatus>,
    /// Messages an agent handles in a turn now.
    pub batch: u32,
    /// The same without pressure.
    pub batch_configured: u32,
    /// Since when the batch has been what it is; `None` if it never changed.
    pub batch_since: Option<Millis>,
    /// Requests of a priority below so many hundredths are refused; 0: none is.
    pub shed_below_percent: u8,
    /// Since when; `None` if that never changed.
    pub shed_since: Option<Millis>,
    /// Requests refused for their priority so far.
    pub shed: u64,
    /// Groups of agents that were moved between runtimes so far.
    pub groups_moved: u64,
    /// Actions so far, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// The last actions, newest first.
    pub actions: Vec<ActionOverview>,
}

/// What the actor leaves for whoever looks.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) looks: u64,
    pub(super) readings: Option<Readings>,
    pub(super) measures: Option<[MeasureOverview; 3]>,
    pub(super) batch_since: Option<Millis>,
    pub(super) shed_since: Option<Millis>,
    pub(super) groups_moved: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) actions: VecDeque<ActionOverview>,
}

impl Shown {
    pub(super) fn push(&mut self, action: ActionOverview) {
        *self.counts.entry(action.action).or_default() += 1;
        if self.actions.len() == ACTIONS_KEPT {
            self.actions.pop_back();
        }
        self.actions.push_front(action);
    }

    pub(super) fn measures(&self, config: &PerformanceConfig) -> Vec<MeasureStatus> {
        let policies = [
            (config.memory.enabled, config.memory.levels),
            (config.cpu.enabled, config.cpu.levels),
            (config.imbalance.enabled, config.imbalance.levels),
        ];
        let status = |(at, (enabled, Levels { high, low, .. })): (usize, (bool, Levels))| {
            let seen = self.measures.map(|measures| measures[at]);
            MeasureStatus {
                measure: Measure::ALL[at],
                enabled: config.enabled && enabled,
                high,
                low,
                reading: seen.and_then(|seen| seen.reading),
                pressed: seen.is_some_and(|seen| seen.pressed),
                since: seen.map_or(Millis::ZERO, |seen| seen.since),
            }
        };
        policies.into_iter().enumerate().map(status).collect()
    }
}
