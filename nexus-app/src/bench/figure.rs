//! What a row comes to: figures with their baselines and targets. Pure.

use serde::Serialize;

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Times a second: more is better.
    PerSecond,
    /// Nanoseconds: less is better.
    Nanoseconds,
    /// Bytes: less is better.
    Bytes,
    /// Per cent of one core: less is better.
    PercentOfCore,
}

impl Unit {
    /// A value in this unit, short.
    pub(crate) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "-".to_owned();
        }
        match self {
            Self::PerSecond => {
                format!("{}/s", scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]))
            }
            Self::Nanoseconds => scaled(value, &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")]),
            Self::Bytes => scaled(value, &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")]),
            Self::PercentOfCore => format!("{value:.2} %"),
        }
    }
}

/// `value` with the first of `units` that it reaches, in three digits.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let smallest = units.last().copied().unwrap_or((1.0, ""));
    let (size, unit) = units.iter().copied().find(|(size, _)| value.abs() >= *size).unwrap_or(smallest);
    let number = value / size;
    let decimals = match number.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    // Whole things are not shown in parts.
    let decimals = if size <= 1.0 && (number.fract() == 0.0 || number >= 10.0) { 0 } else { decimals };
    format!("{number:.decimals$}{unit}")
}

/// The same work done by something else in the same run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Baseline {
    /// Who did it: `ractor`, `tokio`, `erlang`, `dashmap`, …
    pub(crate) name: &'static str,
    /// Its figure; `None` if it is not there to be measured.
    pub(crate) value: Option<f64>,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At least this many times the baseline.
    AtLeastTimes(f64, &'static str),
    /// At most this many times the baseline.
    AtMostTimes(f64, &'static str),
    /// At least this, in the figure's unit.
    AtLeast(f64),
    /// Less than this, in the figure's unit.
    Below(f64),
}

impl Target {
    /// As the table says it.
    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeastTimes(times, _) => format!("≥ {times} ×"),
            Self::AtMostTimes(times, _) => format!("≤ {times} ×"),
            Self::AtLeast(value) => format!("≥ {}", unit.show(value)),
            Self::Below(value) => format!("< {}", unit.show(value)),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// The row it belongs to.
    pub(crate) row: &'static str,
    /// What was measured.
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// The median of the rounds.
    pub(crate) nexus: f64,
    /// The lowest and the highest round.
    pub(crate) range: (f64, f64),
    /// The first is the one that the ratio is to.
    pub(crate) baselines: Vec<Baseline>,
    /// All of them are to be met.
    pub(crate) targets: Vec<Target>,
}

impl Figure {
    /// What one baseline came to, if it was there.
    pub(crate) fn baseline(&self, name: &str) -> Option<f64> {
        self.baselines.iter().find(|baseline| baseline.name == name)?.value
    }

    /// The figure over its first baseline.
    pub(crate) fn ratio(&self) -> Option<f64> {
        ratio(self.nexus, self.baselines.first()?.value?)
    }

    /// How many times as good as `target` asks: 1 and more meets it. `None` if its baseline is not there.
    fn margin(&self, target: Target) -> Option<f64> {
        let margin = match target {
            Target::AtLeastTimes(times, name) => self.nexus / (times * self.baseline(name)?),
            Target::AtMostTimes(times, name) => times * self.baseline(name)? / self.nexus,
            Target::AtLeast(value) => self.nexus / value,
            Target::Below(value) => value / self.nexus,
        };
        // What took no time at all is as good as can be.
        (!margin.is_nan()).then_some(margin)
    }

    /// The margin over the target that is hardest to meet, of those that can be judged.
    pub(crate) fn worst_margin(&self) -> Option<f64> {
        self.targets.iter().filter_map(|target| self.margin(*target)).min_by(f64::total_cmp)
    }

    /// Whether all targets that can be judged are met; `None` without any.
    pub(crate) fn met(&self) -> Option<bool> {
        self.worst_margin().map(|margin| margin >= 1.0)
    }

    /// Its targets as the table says them; a target of another baseline than the first names it.
    pub(crate) fn show_targets(&self) -> String {
        let first = self.baselines.first().map(|baseline| baseline.name);
        let show = |target: &Target| match *target {
            Target::AtLeastTimes(_, name) | Target::AtMostTimes(_, name) if Some(name) != first => {
                format!("{} {name}", target.show(self.unit))
            }
            target => target.show(self.unit),
        };
        self.targets.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// `over` over `under`, if that is a number.
pub(crate) fn ratio(over: f64, under: f64) -> Option<f64> {
    let ratio = over / under;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(nexus: f64, baselines: &[(&'static str, Option<f64>)], targets: &[Target]) -> Figure {
        Figure {
            row: "tell",
            what: "one to one".into(),
            unit: Unit::PerSecond,
            nexus,
            range: (nexus, nexus),
            baselines: baselines.iter().map(|&(name, value)| Baseline { name, value }).collect(),
            targets: targets.to_vec(),
        }
    }

    /// Goal: a figure that misses one target is missed, however well it does on the others.
    #[test]
    fn all_targets_count() {
        let targets = [Target::AtLeastTimes(3.0, "ractor"), Target::AtLeastTimes(1.0, "erlang")];
        let both = figure(9.0, &[("ractor", Some(3.0)), ("erlang", Some(8.0))], &targets);
        assert_eq!((both.met(), both.worst_margin(), both.ratio()), (Some(true), Some(1.0), Some(3.0)));
        let behind = figure(9.0, &[("ractor", Some(2.0)), ("erlang", Some(10.0))], &targets);
        assert_eq!((behind.met(), behind.worst_margin()), (Some(false), Some(0.9)));
        assert_eq!(behind.show_targets(), "≥ 3 ×, ≥ 1 × erlang");
    }

    /// Goal: what is not there is neither met nor missed.
    #[test]
    fn absent_baselines_judge_nothing() {
        let absent = figure(9.0, &[("erlang", None)], &[Target::AtLeastTimes(1.0, "erlang")]);
        assert_eq!((absent.met(), absent.ratio()), (None, None));
        assert_eq!(figure(9.0, &[], &[]).met(), None);
    }

    /// Goal: at most and below mean less is better, and their borders are met.
    #[test]
    fn less_can_be_better() {
        let slow = figure(12.0, &[("ractor", Some(10.0))], &[Target::AtMostTimes(1.2, "ractor")]);
        assert_eq!(slow.met(), Some(true));
        assert_eq!(figure(1001.0, &[], &[Target::Below(1000.0)]).met(), Some(false));
        assert_eq!(figure(0.0, &[], &[Target::Below(1000.0)]).met(), Some(true));
    }

    /// Goal: values are short, and each unit has its sizes.
    #[test]
    fn values_for_people() {
        for (unit, value, text) in [
            (Unit::PerSecond, 13_210_000.0, "13.2M/s"),
            (Unit::PerSecond, 999.4, "999/s"),
            (Unit::Nanoseconds, 381.4, "381 ns"),
            (Unit::Nanoseconds, 7_120.0, "7.12 µs"),
            (Unit::Nanoseconds, 2.5e9, "2.50 s"),
            (Unit::Bytes, 171.6, "172 B"),
            (Unit::Bytes, 10_900.0, "10.9 kB"),
            (Unit::PercentOfCore, 0.123, "0.12 %"),
            (Unit::Bytes, f64::NAN, "-"),
        ] {
            assert_eq!(unit.show(value), text);
        }
    }
}
