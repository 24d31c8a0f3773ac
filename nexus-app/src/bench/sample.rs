//! Rounds and their statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::figure::{Baseline, Figure, Target, Unit};

/// What was measured in the rounds so far, by contestant and measure.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(&'static str, String), Vec<f64>>,
}

impl Samples {
    /// Adds what a contestant came to in one round.
    pub(crate) fn add(&mut self, contestant: &'static str, measure: impl Into<String>, value: f64) {
        self.values.entry((contestant, measure.into())).or_default().push(value);
    }

    /// Takes the rounds of `other` in.
    pub(crate) fn join(&mut self, other: Self) {
        for (key, values) in other.values {
            self.values.entry(key).or_default().extend(values);
        }
    }

    /// The median of a contestant's rounds, if it had any.
    pub(crate) fn median(&self, contestant: &'static str, measure: &str) -> Option<f64> {
        Some(quantile(&mut self.values.get(&(contestant, measure.to_owned()))?.clone(), 0.5))
    }

    /// The figure of `measure`, with the baselines that were measured.
    pub(crate) fn figure(&self, measure: &str, unit: Unit, baselines: &[&'static str]) -> Figure {
        let mut rounds = self.values.get(&("nexus", measure.to_owned())).cloned().unwrap_or_default();
        let range = (quantile(&mut rounds, 0.0), quantile(&mut rounds, 1.0));
        let baseline = |name: &&'static str| Baseline { name, value: self.median(name, measure) };
        Figure {
            row: "",
            what: measure.to_owned(),
            unit,
            nexus: quantile(&mut rounds, 0.5),
            range,
            baselines: baselines.iter().map(baseline).collect(),
            targets: Vec::new(),
        }
    }
}

impl Figure {
    /// Adds a target.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

/// The value below which `part` of `values` lie (nearest rank); sorts them. Not a number if there are none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of samples, far below 2^52"
)]
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// `count` in `elapsed`, by the second.
#[expect(clippy::cast_precision_loss, reason = "counts of messages, far below 2^52")]
pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// A duration in nanoseconds.
pub(crate) fn nanos(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: quantiles of known values, of one and of none.
    #[test]
    fn quantiles() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| quantile(&mut values, part)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(quantile(&mut [7.0], 0.5), 7.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    /// Goal: a figure is the median of its rounds, with their range, and an absent baseline is absent.
    #[test]
    fn figures_of_samples() {
        let mut samples = Samples::default();
        for value in [3.0, 1.0, 2.0] {
            samples.add("nexus", "tells", value);
            samples.add("ractor", "tells", value * 2.0);
        }
        let figure = samples.figure("tells", Unit::PerSecond, &["ractor", "erlang"]);
        assert_eq!((figure.nexus, figure.range, figure.ratio()), (2.0, (1.0, 3.0), Some(0.5)));
        assert_eq!((figure.baseline("ractor"), figure.baseline("erlang")), (Some(4.0), None));
    }
}
