//! When the node relieves itself, and how far it may go.

use std::time::Duration;

use garde::Validate;
use nexus_actors::performance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{self, between_ms};

/// The performance monitor: every few seconds it looks at memory, CPU and the balance between runtimes, and relieves what is pressed,
/// in this order. Pressure begins at `high` and ends at `low`; what was done is undone when it is over. Every action is an event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceConfig {
    /// Whether there is one. Default true. A node that is started on a single-threaded runtime (a simulation) has none, whatever
    /// stands here: it must not depend on the machine.
    #[garde(skip)]
    pub enabled: bool,
    /// The time between two looks, 100 ms to 10 min. Default `5s`. Shorter notices sooner and costs more.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(100, 600_000)))]
    pub interval: Duration,
    /// What relieves memory.
    #[garde(dive)]
    pub memory: MemoryPressureConfig,
    /// What relieves the CPU.
    #[garde(dive)]
    pub cpu: CpuPressureConfig,
    /// What relieves imbalance.
    #[garde(dive)]
    pub imbalance: ImbalanceConfig,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(5),
            memory: MemoryPressureConfig::default(),
            cpu: CpuPressureConfig::default(),
            imbalance: ImbalanceConfig::default(),
        }
    }
}

/// What relieves memory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryPressureConfig {
    /// Whether anything does. Default true.
    #[garde(skip)]
    pub enabled: bool,
    /// Where pressure begins, as a share of the memory there is, 0.001 to 1. Default 0.85.
    #[garde(range(min = 0.001, max = 1.0))]
    pub high: f64,
    /// Where it ends, 0 to 1, below `high`. Default 0.75.
    #[garde(range(min = 0.0, max = 1.0))]
    pub low: f64,
    /// How long a reading must stay beyond a level to count, up to 1 h. Default `0s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub dwell: Duration,
    /// Bytes that the process is to live in, 1 MiB or more. Default: what its control group allows, else what the machine has.
    #[garde(range(min = 1_048_576))]
    pub limit_bytes: Option<u64>,
    /// Whether idle agents of families hibernate, the longest idle first, also those without `hibernate_after`, as long as their
    /// behavior is durable. Default true.
    #[garde(skip)]
    pub hibernate: bool,
    /// Whether spare room in inboxes and the older half of the kept dead letters are given up. Default true.
    #[garde(skip)]
    pub shrink: bool,
    /// Agents told to hibernate in one look, 1 to 1,000,000. Default 10,000, some 100 MB.
    #[garde(range(min = 1, max = 1_000_000))]
    pub portion: u32,
    /// How long an agent must have been idle for that, up to 24 h. Default `10s`. Less relieves more, and wakes more of them again.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 86_400_000)))]
    pub idle: Duration,
    /// The shortest time between two portions, up to 1 h. Default `5s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub cool_down: Duration,
    /// The shortest time between two shrinkings, up to 1 h. Default `1m`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub shrink_cool_down: Duration,
}

impl Default for MemoryPressureConfig {
    fn default() -> Self {
        let performance::MemoryPolicy {
            enabled,
            levels,
            limit_bytes,
            hibernate,
            shrink,
            portion,
            idle,
            cool_down,
            shrink_cool_down,
        } = performance::MemoryPolicy::default();
        let performance::Levels { high, low, dwell } = levels;
        Self {
            enabled,
            high,
            low,
            dwell,
            limit_bytes,
            hibernate,
            shrink,
            portion,
            idle,
            cool_down,
            shrink_cool_down,
        }
    }
}

/// What relieves the CPU.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct CpuPressureConfig {
    /// Whether anything does. Default true.
    #[garde(skip)]
    pub enabled: bool,
    /// Where pressure begins, as a share of the CPU there is, 0.001 to 1. Default 0.8.
    #[garde(range(min = 0.001, max = 1.0))]
    pub high: f64,
    /// Where it ends, 0 to 1, below `high`. Default 0.6.
    #[garde(range(min = 0.0, max = 1.0))]
    pub low: f64,
    /// How long a reading must stay beyond a level to count, up to 1 h. Default `10s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub dwell: Duration,
    /// Whether the agents' batch (`limits.batch`) is lowered, by half at a time. Default true.
    #[garde(skip)]
    pub batch: bool,
    /// The smallest batch, 1 to 65,536. Default 16.
    #[garde(range(min = 1, max = 65_536))]
    pub batch_min: u32,
    /// Whether requests of low priority are refused once the batch is as small as it gets; feeds' are held back instead. Default
    /// true.
    #[garde(skip)]
    pub shed: bool,
    /// By how much the priority below which requests are refused rises or falls at a time, 0.01 to 1. Default 0.25.
    #[garde(range(min = 0.01, max = 1.0))]
    pub shed_step: f64,
    /// How far it may rise, 0 to 1. Default 0.5: a request that says nothing of its priority has 0.5 and is not refused. One of
    /// priority 1 never is.
    #[garde(range(min = 0.0, max = 1.0))]
    pub shed_max: f64,
    /// The shortest time between two changes of the batch, and between two of the priority, up to 1 h. Default `10s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub cool_down: Duration,
}

impl Default for CpuPressureConfig {
    fn default() -> Self {
        let performance::CpuPolicy {
            enabled,
            levels,
            batch,
            batch_min,
            shed,
            shed_step,
            shed_max,
            cool_down,
        } = performance::CpuPolicy::default();
        let performance::Levels { high, low, dwell } = levels;
        let (shed_step, shed_max) = (f64::from(shed_step) / 100.0, f64::from(shed_max) / 100.0);
        Self { enabled, high, low, dwell, batch, batch_min, shed, shed_step, shed_max, cool_down }
    }
}

/// What relieves imbalance between the runtimes that agents live on, where there are several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct ImbalanceConfig {
    /// Whether anything does. Default true.
    #[garde(skip)]
    pub enabled: bool,
    /// Where pressure begins: the difference of the busiest and the least busy runtime's share of time, 0.001 to 1. Default 0.3.
    #[garde(range(min = 0.001, max = 1.0))]
    pub high: f64,
    /// Where it ends, 0 to 1, below `high`. Default 0.1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub low: f64,
    /// How long a reading must stay beyond a level to count, up to 1 h. Default `15s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub dwell: Duration,
    /// Groups of agents that are placed on another runtime at a time, 1 to 1,024, which is all of them. Default 16. Members of families
    /// whose behavior is durable move when they have nothing to do, the others with their next start.
    #[garde(range(min = 1, max = 1024))]
    pub groups: u32,
    /// The shortest time between two moves, up to 1 h. Default `30s`.
    #[serde(with = "humantime_serde")]
    #[schemars(schema_with = "format::duration")]
    #[garde(custom(between_ms(0, 3_600_000)))]
    pub cool_down: Duration,
}

impl Default for ImbalanceConfig {
    fn default() -> Self {
        let performance::ImbalancePolicy { enabled, levels, groups, cool_down } =
            performance::ImbalancePolicy::default();
        let performance::Levels { high, low, dwell } = levels;
        Self { enabled, high, low, dwell, groups, cool_down }
    }
}

impl PerformanceConfig {
    /// The same in the words of the monitor.
    #[must_use]
    pub const fn config(&self) -> performance::PerformanceConfig {
        let Self { memory, cpu, imbalance, .. } = self;
        performance::PerformanceConfig {
            enabled: self.enabled,
            interval: self.interval,
            memory: performance::MemoryPolicy {
                enabled: memory.enabled,
                levels: performance::Levels { high: memory.high, low: memory.low, dwell: memory.dwell },
                limit_bytes: memory.limit_bytes,
                hibernate: memory.hibernate,
                shrink: memory.shrink,
                portion: memory.portion,
                idle: memory.idle,
                cool_down: memory.cool_down,
                shrink_cool_down: memory.shrink_cool_down,
            },
            cpu: performance::CpuPolicy {
                enabled: cpu.enabled,
                levels: performance::Levels { high: cpu.high, low: cpu.low, dwell: cpu.dwell },
                batch: cpu.batch,
                batch_min: cpu.batch_min,
                shed: cpu.shed,
                shed_step: hundredths(cpu.shed_step),
                shed_max: hundredths(cpu.shed_max),
                cool_down: cpu.cool_down,
            },
            imbalance: performance::ImbalancePolicy {
                enabled: imbalance.enabled,
                levels: performance::Levels {
                    high: imbalance.high,
                    low: imbalance.low,
                    dwell: imbalance.dwell,
                },
                groups: imbalance.groups,
                cool_down: imbalance.cool_down,
            },
        }
    }
}

/// Priorities are compared in hundredths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 1 by validation")]
const fn hundredths(share: f64) -> u8 {
    (share * 100.0).round() as u8
}
