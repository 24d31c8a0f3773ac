//! When the performance monitor acts, and how far it may go.

use std::time::Duration;

/// When a measure's pressure begins and ends. Between the two levels nothing changes: what has begun goes on, and nothing begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// Pressure begins once the reading has been at or above this for `dwell`.
    pub high: f64,
    /// Pressure ends once the reading has been at or below this for `dwell`; below `high`. The further apart, the rarer the
    /// changes.
    pub low: f64,
    /// How long a reading must stay beyond a level before it counts. Longer ignores longer spikes; zero believes each look.
    pub dwell: Duration,
}

/// What relieves memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryPolicy {
    /// Whether anything does. Default true.
    pub enabled: bool,
    /// Of the memory in use as a share of what there is. Default 0.85 to 0.75, at once.
    pub levels: Levels,
    /// Bytes that the process is to live in. Default `None`: what its control group allows, else what the machine has.
    pub limit_bytes: Option<u64>,
    /// Whether idle agents are hibernated, the longest idle first. Default true.
    pub hibernate: bool,
    /// Whether spare room in inboxes and the older half of the kept dead letters are given up. Default true.
    pub shrink: bool,
    /// Agents hibernated in one look, at least 1. Default 10,000, some 100 MB: what a supervisor lays down in a second.
    pub portion: u32,
    /// How long an agent must have been idle to be hibernated. Default 10 s. Less relieves more and wakes more agents again.
    pub idle: Duration,
    /// The shortest time between two portions. Default 5 s.
    pub cool_down: Duration,
    /// The shortest time between two shrinkings. Default 1 min.
    pub shrink_cool_down: Duration,
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            levels: Levels { high: 0.85, low: 0.75, dwell: Duration::ZERO },
            limit_bytes: None,
            hibernate: true,
            shrink: true,
            portion: 10_000,
            idle: Duration::from_secs(10),
            cool_down: Duration::from_secs(5),
            shrink_cool_down: Duration::from_secs(60),
        }
    }
}

/// What relieves the CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuPolicy {
    /// Whether anything does. Default true.
    pub enabled: bool,
    /// Of the CPU in use as a share of what there is, or of the agents' runtimes' time, whichever is more. Default 0.8 to 0.6, after
    /// 10 s.
    pub levels: Levels,
    /// Whether the agents' batch is lowered, by half at a time. Default true.
    pub batch: bool,
    /// The smallest batch, at least 1. Default 16.
    pub batch_min: u32,
    /// Whether requests of low priority are refused once the batch is as small as it gets. Default true.
    pub shed: bool,
    /// By how many hundredths of priority the level of refusal rises or falls at a time, 1 to 100. Default 25.
    pub shed_step: u8,
    /// The highest level of refusal in hundredths, 0 to 100. Default 50: what says that it matters less than most is refused, and
    /// what says nothing (0.5) is not. A priority of 1 never is.
    pub shed_max: u8,
    /// The shortest time between two changes of the batch, and between two of the level of refusal. Default 10 s.
    pub cool_down: Duration,
}

impl Default for CpuPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            levels: Levels { high: 0.8, low: 0.6, dwell: Duration::from_secs(10) },
            batch: true,
            batch_min: 16,
            shed: true,
            shed_step: 25,
            shed_max: 50,
            cool_down: Duration::from_secs(10),
        }
    }
}

/// What relieves imbalance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImbalancePolicy {
    /// Whether anything does. Default true.
    pub enabled: bool,
    /// Of the difference between the busiest and the least busy of the agents' runtimes, 0 to 1. Default 0.3 to 0.1, after 15 s.
    pub levels: Levels,
    /// Groups of agents moved in one look, 1 to 1024 (all there are). Default 16.
    pub groups: u32,
    /// The shortest time between two moves. Default 30 s: what the last one did must show first.
    pub cool_down: Duration,
}

impl Default for ImbalancePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            levels: Levels { high: 0.3, low: 0.1, dwell: Duration::from_secs(15) },
            groups: 16,
            cool_down: Duration::from_secs(30),
        }
    }
}

/// The monitor. The default looks every 5 s and relieves all it can (source document, "Memory and CPU Optimization"; the levels of
/// memory and CPU are those of its capacity management).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerformanceConfig {
    /// Whether there is one. Default true.
    pub enabled: bool,
    /// The time between two looks, at least 1 ms. Default 5 s.
    pub interval: Duration,
    /// What relieves memory.
    pub memory: MemoryPolicy,
    /// What relieves the CPU.
    pub cpu: CpuPolicy,
    /// What relieves imbalance.
    pub imbalance: ImbalancePolicy,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(5),
            memory: MemoryPolicy::default(),
            cpu: CpuPolicy::default(),
            imbalance: ImbalancePolicy::default(),
        }
    }
}

/// Settings that contradict each other or themselves.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PerformanceConfigError {
    /// Pressure would end where it begins.
    #[error("performance.{measure}: low ({low}) must be 0 or more and less than high ({high})")]
    Levels {
        /// The measure.
        measure: &'static str,
        /// Its lower level.
        low: f64,
        /// Its upper level.
        high: f64,
    },
    /// A number is out of its range.
    #[error("performance.{key} is {value}; allowed is {range}")]
    Range {
        /// The setting.
        key: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
}

impl PerformanceConfig {
    /// # Errors
    /// The first setting that makes no sense.
    pub fn validate(&self) -> Result<(), PerformanceConfigError> {
        let measures =
            [("memory", self.memory.levels), ("cpu", self.cpu.levels), ("imbalance", self.imbalance.levels)];
        for (measure, Levels { high, low, .. }) in measures {
            // Written so that what is no number is refused as well.
            if !(low >= 0.0 && low < high) {
                return Err(PerformanceConfigError::Levels { measure, low, high });
            }
        }
        let whole = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ranges = [
            ("interval", whole(self.interval), 1, u64::MAX, "1 ms or more"),
            ("memory.portion", u64::from(self.memory.portion), 1, u64::MAX, "1 or more"),
            ("memory.limit_bytes", self.memory.limit_bytes.unwrap_or(1), 1, u64::MAX, "1 or more"),
            ("cpu.batch_min", u64::from(self.cpu.batch_min), 1, u64::MAX, "1 or more"),
            ("cpu.shed_step", u64::from(self.cpu.shed_step), 1, 100, "1 to 100 hundredths"),
            ("cpu.shed_max", u64::from(self.cpu.shed_max), 0, 100, "0 to 100 hundredths"),
            ("imbalance.groups", u64::from(self.imbalance.groups), 1, 1024, "1 to 1024"),
        ];
        for (key, value, min, max, range) in ranges {
            if !(min..=max).contains(&value) {
                return Err(PerformanceConfigError::Range { key, value, range });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the defaults are sound, and each unsound setting is named with its value.
    #[test]
    fn unsound_settings_are_refused() {
        let default = PerformanceConfig::default();
        assert_eq!(default.validate(), Ok(()));
        let refusal = |change: fn(&mut PerformanceConfig)| {
            let mut config = default;
            change(&mut config);
            config.validate().map_err(|error| error.to_string()).unwrap_err()
        };
        let levels = "performance.memory: low (0.75) must be 0 or more and less than high (0.75)";
        assert_eq!(refusal(|config| config.memory.levels.high = 0.75), levels);
        assert!(refusal(|config| config.cpu.levels.low = f64::NAN).contains("performance.cpu"));
        assert!(refusal(|config| config.imbalance.levels.low = -0.1).contains("-0.1"));
        assert!(refusal(|config| config.interval = Duration::ZERO).contains("performance.interval is 0"));
        assert!(refusal(|config| config.memory.portion = 0).contains("memory.portion"));
        assert!(refusal(|config| config.memory.limit_bytes = Some(0)).contains("limit_bytes"));
        assert!(refusal(|config| config.cpu.shed_max = 101).contains("allowed is 0 to 100"));
        assert!(refusal(|config| config.cpu.shed_step = 0).contains("shed_step"));
        assert!(refusal(|config| config.cpu.batch_min = 0).contains("batch_min"));
        assert!(refusal(|config| config.imbalance.groups = 1025).contains("groups is 1025"));
    }
}
