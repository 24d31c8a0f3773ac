//! The optimizer's decisions: stories as tables, and what holds whatever is read.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::performance::config::{ImbalancePolicy, Levels, MemoryPolicy};

const BATCH: u32 = 128;

/// Plays a story: each line is a time in seconds and readings by name; what the optimizer says stands below it.
fn play(config: PerformanceConfig, story: &str) -> String {
    let mut optimizer = Optimizer::new(config, BATCH, Millis::ZERO);
    let mut told = String::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (seconds, readings) = line.split_once(' ').expect("a time and readings");
        let now = Millis::ZERO + Duration::from_secs(seconds.parse().expect("seconds"));
        writeln!(told, "{line}").expect("a string");
        for step in optimizer.look(now, &snapshot(readings)) {
            match step {
                Step::Changed { measure, pressed, reason } => {
                    let now = if pressed { "pressed" } else { "calm" };
                    writeln!(told, "    {} is {now}: {reason}", measure.name())
                }
                Step::Act { action, reason, .. } => {
                    let what = match &action {
                        Action::Hibernate { agents, idle } => format!("{agents} idle for {idle:?}"),
                        Action::Shrink => String::new(),
                        Action::SetBatch { from, to } => format!("{from} -> {to}"),
                        Action::SetShedBelow { from, to } => format!("{from} -> {to}"),
                        Action::Move { buckets, from, to } => format!("{buckets:?} {from} -> {to}"),
                    };
                    writeln!(told, "    {} {what}: {reason}", action.name())
                }
            }
            .expect("a string");
        }
    }
    told
}

/// `memory=0.9 cpu=0.5 busy=1.0,0.2`: of runtimes with a worker each, the first of which has groups 0 to 9 of equal work.
fn snapshot(readings: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for reading in readings.split(' ') {
        let (name, value) = reading.split_once('=').expect("a name and a value");
        let number = || value.parse().expect("a number");
        match name {
            "memory" => snapshot.memory = Some(number()),
            "cpu" => snapshot.cpu = Some(number()),
            "busy" => {
                let busy = value.split(',').map(|busy| busy.parse().expect("a number"));
                snapshot.runtimes = busy.map(|busy| RuntimeLoad { workers: 1, busy }).collect();
                snapshot.groups = (0..10).map(|bucket| GroupLoad { bucket, runtime: 0, work: 1.0 }).collect();
            }
            "nothing" => {}
            other => panic!("unknown reading {other}"),
        }
    }
    snapshot
}

fn everything_off() -> PerformanceConfig {
    let mut config = PerformanceConfig::default();
    (config.memory.enabled, config.cpu.enabled, config.imbalance.enabled) = (false, false, false);
    config
}

/// Goal: memory is relieved from its upper level down to its lower one, a portion at a time; spare room is given up once a minute;
/// between the levels nothing begins.
#[test]
fn memory_is_relieved_down_to_the_lower_level() {
    insta::assert_snapshot!(play(
        PerformanceConfig::default(),
        "0 memory=0.80
         5 memory=0.86
         10 memory=0.80
         12 memory=0.79
         15 memory=0.76
         20 memory=0.75
         25 memory=0.84
         70 memory=0.85
         75 nothing=0"
    ));
}

/// Goal: a spike is no pressure; then batches get smaller before anybody is refused, and the first to be refused are the first to be
/// admitted again.
#[test]
fn the_cpu_is_relieved_by_gentle_means_first() {
    insta::assert_snapshot!(play(
        PerformanceConfig::default(),
        "0 cpu=0.95
         5 cpu=0.5
         10 cpu=0.95
         15 cpu=0.95
         20 cpu=0.95
         25 cpu=0.95
         30 cpu=0.95
         35 cpu=0.7
         40 cpu=0.9
         50 cpu=0.9
         60 cpu=0.9
         70 cpu=0.9
         80 cpu=0.7
         90 cpu=0.6
         100 cpu=0.6
         110 cpu=0.7
         120 cpu=0.5
         130 cpu=0.5
         140 cpu=0.5
         150 cpu=0.5
         160 cpu=0.5"
    ));
}

/// Goal: groups move only while runtimes differ much and for long, then not again before their move can show.
#[test]
fn imbalance_is_relieved_by_moves() {
    insta::assert_snapshot!(play(
        PerformanceConfig::default(),
        "0 busy=1.0,0.2
         5 busy=0.5,0.4
         10 busy=1.0,0.2
         20 busy=1.0,0.2
         25 busy=1.0,0.2
         30 busy=1.0,0.2
         55 busy=0.8,0.3
         60 busy=0.6,0.5
         80 busy=0.6,0.5"
    ));
}

/// Goal: of everything at once, memory comes first, then the CPU, then imbalance.
#[test]
fn the_order_is_memory_cpu_imbalance() {
    let mut config = PerformanceConfig::default();
    for levels in [&mut config.cpu.levels, &mut config.imbalance.levels] {
        levels.dwell = Duration::ZERO;
    }
    insta::assert_snapshot!(play(config, "0 memory=0.9 cpu=0.9 busy=1.0,0.2"));
}

/// Goal: switches switch off what they say, and a measure without a reading is never pressed.
#[test]
fn switches_switch_off() {
    let story = "0 memory=2 cpu=1 busy=1,0\n60 memory=2 cpu=1 busy=1,0\n120 memory=2 cpu=1 busy=1,0";
    let quiet = |config| !play(config, story).contains("    ");
    assert!(!quiet(PerformanceConfig::default()));
    assert!(quiet(everything_off()));
    assert!(quiet(PerformanceConfig { enabled: false, ..PerformanceConfig::default() }));
    let mut config = everything_off();
    config.memory = MemoryPolicy { hibernate: false, ..MemoryPolicy::default() };
    let told = play(config, story);
    assert!(told.contains("shrink") && !told.contains("hibernate"), "{told}");
    config.memory.shrink = false;
    let told = play(config, story);
    assert!(told.contains("memory is pressed") && !told.contains("shrink"), "{told}");
    let mut config = everything_off();
    config.cpu = CpuPolicy { batch: false, ..CpuPolicy::default() };
    let told = play(config, story);
    assert!(told.contains("shed 0 -> 25") && !told.contains("batch"), "{told}");
    config.cpu = CpuPolicy { shed: false, ..CpuPolicy::default() };
    let told = play(config, story);
    assert!(told.contains("lower_batch") && !told.contains("shed"), "{told}");
}

/// What an action may not be repeated within.
fn cool_down(config: &PerformanceConfig, action: &Action) -> (usize, Duration) {
    match action {
        Action::Hibernate { .. } => (0, config.memory.cool_down),
        Action::Shrink => (1, config.memory.shrink_cool_down),
        Action::SetBatch { .. } => (2, config.cpu.cool_down),
        Action::SetShedBelow { .. } => (3, config.cpu.cool_down),
        Action::Move { .. } => (4, config.imbalance.cool_down),
    }
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn levels() -> impl Strategy<Value = Levels> {
    (0.0..0.5_f64, 0.01..0.5_f64, seconds(0..30)).prop_map(|(low, more, dwell)| Levels {
        low,
        high: low + more,
        dwell,
    })
}

fn configs() -> impl Strategy<Value = PerformanceConfig> {
    let memory = (levels(), 1_u32..100, seconds(0..60), seconds(0..60));
    let cpu = (levels(), 1_u32..200, 1_u8..=100, 0_u8..=100, seconds(0..60));
    let imbalance = (levels(), 1_u32..8, seconds(0..60));
    (memory, cpu, imbalance).prop_map(|(memory, cpu, imbalance)| PerformanceConfig {
        memory: MemoryPolicy {
            levels: memory.0,
            portion: memory.1,
            cool_down: memory.2,
            shrink_cool_down: memory.3,
            ..MemoryPolicy::default()
        },
        cpu: CpuPolicy {
            levels: cpu.0,
            batch_min: cpu.1,
            shed_step: cpu.2,
            shed_max: cpu.3,
            cool_down: cpu.4,
            ..CpuPolicy::default()
        },
        imbalance: ImbalancePolicy {
            levels: imbalance.0,
            groups: imbalance.1,
            cool_down: imbalance.2,
            ..ImbalancePolicy::default()
        },
        ..PerformanceConfig::default()
    })
}

/// Readings that dwell near the levels, and sometimes fail.
fn looks() -> impl Strategy<Value = Vec<(u64, Snapshot)>> {
    let share = || prop_oneof![9 => (0.0..1.0_f64).prop_map(Some), 1 => Just(None)];
    let group = (0_usize..1024, 0_usize..3, 0.0..9.0_f64);
    let look = (
        1_u64..20,
        share(),
        share(),
        prop::collection::vec(0.0..1.0_f64, 0..4),
        prop::collection::vec(group, 0..20),
    );
    let look = look.prop_map(|(seconds, memory, cpu, busy, groups)| {
        let runtimes = busy.into_iter().map(|busy| RuntimeLoad { workers: 2, busy }).collect();
        let group = |(bucket, runtime, work)| GroupLoad { bucket, runtime, work };
        let groups = groups.into_iter().map(group).collect();
        (seconds, Snapshot { memory, cpu, runtimes, groups })
    });
    prop::collection::vec(look, 1..60)
}

fn gap(snapshot: &Snapshot) -> Option<f64> {
    balance::spread(&snapshot.runtimes).as_ref().map(balance::Spread::gap)
}

/// Whether the reading is between the levels, where nothing may begin.
fn in_band(reading: Option<f64>, levels: Levels) -> bool {
    reading.is_some_and(|reading| reading > levels.low && reading < levels.high)
}

proptest! {
    /// Goal: whatever is read, nothing begins between the levels, nothing is repeated within its cool-down, everything stays within
    /// its bounds, and in the end, once nothing is pressed any more, all is as it was. Method: random settings and readings.
    #[test]
    fn seeded_readings_keep_the_promises(config in configs(), looks in looks()) {
        let mut optimizer = Optimizer::new(config, BATCH, Millis::ZERO);
        let mut now = Millis::ZERO;
        let mut last: [Option<Millis>; 5] = [None; 5];
        let (mut batch, mut shed_below, mut memory_pressed) = (BATCH, 0, false);
        let calm = (30, Snapshot::default());
        // Batches double from 1 to 128 at most, and levels of refusal fall by a hundredth at least: then there is nothing to do.
        let ending = std::iter::repeat_n(calm, 400);
        for (after, snapshot) in looks.into_iter().chain(ending) {
            now = now + Duration::from_secs(after);
            for step in optimizer.look(now, &snapshot) {
                let (measure, changed) = match &step {
                    Step::Changed { measure, .. } => (*measure, true),
                    Step::Act { measure, .. } => (*measure, false),
                };
                let (reading, levels) = match measure {
                    Measure::Memory => (snapshot.memory, config.memory.levels),
                    Measure::Cpu => (snapshot.cpu, config.cpu.levels),
                    Measure::Imbalance => (gap(&snapshot), config.imbalance.levels),
                };
                // Memory that is being relieved goes on to the lower level; nothing else is done between the two.
                let goes_on = measure == Measure::Memory && memory_pressed && !changed;
                prop_assert!(goes_on || !in_band(reading, levels), "{step:?} at {reading:?} within {levels:?}");
                if let Step::Changed { measure: Measure::Memory, pressed, .. } = &step {
                    memory_pressed = *pressed;
                }
                let Step::Act { action, .. } = step else { continue };
                let (kind, cool_down) = cool_down(&config, &action);
                prop_assert!(last[kind].is_none_or(|last| now.since(last) >= cool_down), "{action:?} again");
                last[kind] = Some(now);
                match action {
                    Action::Hibernate { agents, .. } => prop_assert!(agents <= config.memory.portion),
                    Action::Shrink => {}
                    Action::SetBatch { from, to } => {
                        prop_assert_eq!(from, batch);
                        prop_assert!(to != from && to <= BATCH && (to >= config.cpu.batch_min || to > from));
                        batch = to;
                    }
                    Action::SetShedBelow { from, to } => {
                        prop_assert_eq!(from, shed_below);
                        prop_assert!(to != from && to <= config.cpu.shed_max);
                        shed_below = to;
                    }
                    Action::Move { buckets, from, to } => {
                        prop_assert!(from != to && !buckets.is_empty());
                        prop_assert!(buckets.len() <= config.imbalance.groups as usize);
                        prop_assert!(snapshot.runtimes[from].busy > snapshot.runtimes[to].busy);
                    }
                }
            }
        }
        prop_assert_eq!((batch, shed_below), (BATCH, 0));
        prop_assert!(optimizer.overview().iter().all(|measure| !measure.pressed));
    }
}
