//! The performance monitor's levels and bounds.

use super::{Context, Finding, Findings, Path};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let config = &context.topology.performance;
    let path = Path::root().key("performance");
    let measures = [
        ("memory", config.memory.high, config.memory.low),
        ("cpu", config.cpu.high, config.cpu.low),
        ("imbalance", config.imbalance.high, config.imbalance.low),
    ];
    for (measure, high, low) in measures {
        let (high_path, low_path) = (path.key(measure).key("high"), path.key(measure).key("low"));
        if low < high || findings.is_tainted(&high_path) || findings.is_tainted(&low_path) {
            continue;
        }
        let message = format!(
            "`performance.{measure}.low` is {low}, not below `high` ({high}): pressure would end where it begins"
        );
        let help = "leave a gap between the two, such as 0.1: it keeps the node from switching to and fro";
        findings
            .push(Finding::new("impossible-levels", low_path, message).related(high_path, "high").help(help));
    }
    let (batch, smallest) = (context.topology.limits.batch, config.cpu.batch_min);
    let batch_path = Path::root().key("limits").key("batch");
    let smallest_path = path.key("cpu").key("batch_min");
    let written = smallest != crate::topology::CpuPressureConfig::default().batch_min;
    if written
        && smallest > batch
        && !findings.is_tainted(&batch_path)
        && !findings.is_tainted(&smallest_path)
    {
        let message = format!(
            "`performance.cpu.batch_min` is {smallest}, more than `limits.batch` ({batch}), so that no batch is ever lowered"
        );
        let help = "lower it, or set `batch = false`";
        let finding = Finding::new("useless-bound", smallest_path, message);
        findings.push(finding.related(batch_path, "the batch without pressure").help(help));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_actors::performance;

    use crate::topology::test::{accepts, reports, reports_at};

    /// Goal: what a topology leaves out is the monitor's own default, and what it says arrives there.
    #[test]
    fn settings_arrive() {
        assert_eq!(accepts("").performance.config(), performance::PerformanceConfig::default());
        let text = "[performance]\ninterval = \"1s\"\n[performance.memory]\nhigh = 0.5\nlow = 0.25\nlimit_bytes = 2000000\n\
                    [performance.cpu]\nshed_max = 0.29\nbatch = false\n[performance.imbalance]\nenabled = false\ngroups = 3";
        let config = accepts(text).performance.config();
        assert_eq!((config.interval, config.memory.levels.high), (Duration::from_secs(1), 0.5));
        assert_eq!((config.memory.limit_bytes, config.cpu.shed_max), (Some(2_000_000), 29));
        assert_eq!((config.cpu.batch, config.imbalance.enabled, config.imbalance.groups), (false, false, 3));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn levels_leave_a_gap() {
        reports_at("[performance.memory]\nhigh = 0.7", &[("impossible-levels", 1, 1)]);
        reports_at("[performance.cpu]\nlow = 0.8", &[("impossible-levels", 2, 7)]);
        reports("[performance.imbalance]\nhigh = 0.2\nlow = 0.3", &[("impossible-levels", 3)]);
        reports("[performance.memory]\nhigh = 7\nlow = 0.9", &[("out-of-range", 2)]);
    }

    #[test]
    fn bounds_are_bounds() {
        accepts("[limits]\nbatch = 4");
        reports("[limits]\nbatch = 4\n[performance.cpu]\nbatch_min = 5", &[("useless-bound", 4)]);
        reports(
            "[performance]\ninterval = \"1ms\"\n[performance.memory]\nportion = 0\n[performance.cpu]\nshed_step = 0",
            &[("out-of-range", 2), ("out-of-range", 4), ("out-of-range", 6)],
        );
        reports("[performance.memory]\nlimit = 7", &[("unknown-key", 2)]);
    }
}
