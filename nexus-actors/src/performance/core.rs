//! Optimizer core: what is to be done about what was read. Source: the source document's `performance_optimization_loop`, whose
//! order is kept: memory, then CPU, then imbalance. Its fixed thresholds have become two levels each, and every action has a cool-down;
//! relief is taken back when the pressure is over, which the source leaves open.
//!
//! ```text
//!            reading ≥ high for `dwell`
//!      calm ───────────────────────────▶ pressed      memory     pressed: a portion of agents, spare room
//!        ▲                                  │         cpu        ≥ high: smaller batch, then refuse more priorities
//!        └──────────────────────────────────┘                    ≤ low and calm: refuse fewer, then larger batch
//!            reading ≤ low for `dwell`                imbalance  ≥ high: groups from the busiest runtime to the idlest
//! ```
//!
//! Pure: time arrives as an argument.

mod balance;
mod pressure;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{CpuPolicy, PerformanceConfig};
use crate::clock::Millis;

use pressure::{CoolDown, Pressure};

/// What the core decides by. What could not be read is `None`, and presses nobody.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Memory in use as a share of what there is.
    pub(crate) memory: Option<f64>,
    /// CPU in use as a share of what there is.
    pub(crate) cpu: Option<f64>,
    /// The agents' runtimes, if there are several.
    pub(crate) runtimes: Vec<RuntimeLoad>,
    /// What groups of agents did since the look before; those that did nothing may be left out.
    pub(crate) groups: Vec<GroupLoad>,
}

/// A runtime.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuntimeLoad {
    /// Its workers.
    pub(crate) workers: usize,
    /// The mean of their busy parts, 0 to 1.
    pub(crate) busy: f64,
}

/// A group: the agents whose keys are in one bucket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupLoad {
    pub(crate) bucket: usize,
    /// The runtime it is on.
    pub(crate) runtime: usize,
    /// The work of its agents, in any unit that is the same for all.
    pub(crate) work: f64,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Memory in use as a share of what there is.
    Memory,
    /// CPU in use as a share of what there is.
    Cpu,
    /// The difference between the busiest and the least busy runtime of agents.
    Imbalance,
}

impl Measure {
    /// All, in the order in which they are relieved.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Imbalance];

    /// The measure's name in topologies, events and endpoints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Imbalance => "imbalance",
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Hibernate the `agents` that have been idle the longest, and for `idle` at least.
    Hibernate { agents: u32, idle: Duration },
    /// Give up what is kept for convenience.
    Shrink,
    /// Agents handle so many messages in a turn.
    SetBatch { from: u32, to: u32 },
    /// Refuse requests of a priority below so many hundredths.
    SetShedBelow { from: u8, to: u8 },
    /// Place the agents of these buckets on another runtime.
    Move { buckets: Vec<usize>, from: usize, to: usize },
}

impl Action {
    /// The action's name in events, endpoints and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hibernate { .. } => "hibernate",
            Self::Shrink => "shrink",
            Self::SetBatch { from, to } if to < from => "lower_batch",
            Self::SetBatch { .. } => "restore_batch",
            Self::SetShedBelow { from, to } if to > from => "shed",
            Self::SetShedBelow { .. } => "admit",
            Self::Move { .. } => "move",
        }
    }
}

/// What the core says, in the order in which it is to be carried out and told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A measure's pressure has begun, or has ended.
    Changed { measure: Measure, pressed: bool, reason: String },
    /// To be done, and why.
    Act { measure: Measure, action: Action, reason: String },
}

/// What is known of a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MeasureOverview {
    pub(crate) measure: Measure,
    pub(crate) reading: Option<f64>,
    pub(crate) pressed: bool,
    /// Since when it has been as it is.
    pub(crate) since: Millis,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Optimizer {
    config: PerformanceConfig,
    /// The batch without pressure.
    batch_max: u32,
    batch: u32,
    shed_below: u8,
    memory: Pressure,
    cpu: Pressure,
    imbalance: Pressure,
    hibernated: CoolDown,
    shrunk: CoolDown,
    batched: CoolDown,
    shed: CoolDown,
    moved: CoolDown,
}

impl Optimizer {
    /// Everything at rest at `now`, with batches of `batch` messages.
    pub(crate) fn new(config: PerformanceConfig, batch: u32, now: Millis) -> Self {
        Self {
            memory: Pressure::new(config.memory.levels, now),
            cpu: Pressure::new(config.cpu.levels, now),
            imbalance: Pressure::new(config.imbalance.levels, now),
            hibernated: CoolDown::new(config.memory.cool_down),
            shrunk: CoolDown::new(config.memory.shrink_cool_down),
            batched: CoolDown::new(config.cpu.cool_down),
            shed: CoolDown::new(config.cpu.cool_down),
            moved: CoolDown::new(config.imbalance.cool_down),
            batch_max: batch,
            batch,
            shed_below: 0,
            config,
        }
    }

    /// What to do now.
    #[must_use]
    pub(crate) fn look(&mut self, now: Millis, snapshot: &Snapshot) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.config.enabled {
            return steps;
        }
        if self.config.memory.enabled {
            self.relieve_memory(now, snapshot.memory, &mut steps);
        }
        if self.config.cpu.enabled {
            self.relieve_cpu(now, snapshot.cpu, &mut steps);
        }
        if self.config.imbalance.enabled {
            self.relieve_imbalance(now, snapshot, &mut steps);
        }
        steps
    }

    fn relieve_memory(&mut self, now: Millis, reading: Option<f64>, steps: &mut Vec<Step>) {
        let policy = self.config.memory;
        let changed = self.memory.read(now, reading);
        self.tell(Measure::Memory, changed, steps);
        if !self.memory.is_pressed() {
            return;
        }
        // Down to the lower level, not only below the upper one: else it would begin again with the next few agents.
        let reason = self.memory.why();
        if policy.hibernate && self.hibernated.is_over(now) {
            let action = Action::Hibernate { agents: policy.portion, idle: policy.idle };
            steps.push(Step::Act { measure: Measure::Memory, action, reason: reason.clone() });
        }
        if policy.shrink && self.shrunk.is_over(now) {
            steps.push(Step::Act { measure: Measure::Memory, action: Action::Shrink, reason });
        }
    }

    fn relieve_cpu(&mut self, now: Millis, reading: Option<f64>, steps: &mut Vec<Step>) {
        let changed = self.cpu.read(now, reading);
        self.tell(Measure::Cpu, changed, steps);
        let action = if self.cpu.is_pressed() && self.cpu.is_high() {
            self.tighten(now)
        } else if !self.cpu.is_pressed() && self.cpu.is_low() {
            self.relax(now)
        } else {
            None
        };
        if let Some(action) = action {
            steps.push(Step::Act { measure: Measure::Cpu, action, reason: self.cpu.why() });
        }
    }

    /// The gentler means first: refusing anybody is the last one.
    fn tighten(&mut self, now: Millis) -> Option<Action> {
        let CpuPolicy { batch, batch_min, shed, shed_step, shed_max, .. } = self.config.cpu;
        let (from, to) = (self.batch, (self.batch / 2).max(batch_min));
        if batch && to < from {
            return self.batched.is_over(now).then(|| self.set_batch(to));
        }
        let to = self.shed_below.saturating_add(shed_step).min(shed_max);
        (shed && to > self.shed_below && self.shed.is_over(now)).then(|| self.set_shed_below(to))
    }

    /// In the reverse order.
    fn relax(&mut self, now: Millis) -> Option<Action> {
        if self.shed_below > 0 {
            let to = self.shed_below.saturating_sub(self.config.cpu.shed_step);
            return self.shed.is_over(now).then(|| self.set_shed_below(to));
        }
        let to = self.batch.saturating_mul(2).min(self.batch_max);
        (to > self.batch && self.batched.is_over(now)).then(|| self.set_batch(to))
    }

    fn set_batch(&mut self, to: u32) -> Action {
        let from = std::mem::replace(&mut self.batch, to);
        Action::SetBatch { from, to }
    }

    fn set_shed_below(&mut self, to: u8) -> Action {
        let from = std::mem::replace(&mut self.shed_below, to);
        Action::SetShedBelow { from, to }
    }

    fn relieve_imbalance(&mut self, now: Millis, snapshot: &Snapshot, steps: &mut Vec<Step>) {
        let spread = balance::spread(&snapshot.runtimes);
        let changed = self.imbalance.read(now, spread.as_ref().map(balance::Spread::gap));
        self.tell(Measure::Imbalance, changed, steps);
        let Some(spread) = spread.filter(|_| self.imbalance.is_pressed() && self.imbalance.is_high()) else {
            return;
        };
        let most = self.config.imbalance.groups as usize;
        let buckets = balance::choose(&spread, &snapshot.runtimes, &snapshot.groups, most);
        if !buckets.is_empty() && self.moved.is_over(now) {
            let action = Action::Move { buckets, from: spread.busiest, to: spread.idlest };
            steps.push(Step::Act { measure: Measure::Imbalance, action, reason: self.imbalance.why() });
        }
    }

    fn tell(&self, measure: Measure, changed: Option<bool>, steps: &mut Vec<Step>) {
        if let Some(pressed) = changed {
            steps.push(Step::Changed { measure, pressed, reason: self.pressure(measure).why() });
        }
    }

    const fn pressure(&self, measure: Measure) -> &Pressure {
        match measure {
            Measure::Memory => &self.memory,
            Measure::Cpu => &self.cpu,
            Measure::Imbalance => &self.imbalance,
        }
    }

    /// The measures as they stand.
    pub(crate) fn overview(&self) -> [MeasureOverview; 3] {
        Measure::ALL.map(|measure| self.pressure(measure).overview(measure))
    }
}

#[cfg(test)]
#[path = "core_test.rs"]
mod tests;
