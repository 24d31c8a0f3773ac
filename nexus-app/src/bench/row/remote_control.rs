//! What a flood of agents' messages does to the lane of membership and gossip.

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::remote::near;
use crate::bench::remote::nexus::{self, PING_P99, PING_P99_FLOODED};
use crate::bench::{BenchError, Part, Row, Run, child};

pub(super) const ROW: Row = Row {
    name: "remote-control",
    about: "round trips on the control lane, at rest and while the data lane is flooded",
    measure,
    parts: &[Part { name: PART, measure: |plan| near(nexus::control(plan.of(2_000).max(200))) }],
};

const PART: &str = "remote-control";
/// A tenth of the time that membership's fastest preset gives a probe.
const UNDISTURBED_NS: f64 = 20e6;

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let samples = run.rounds(|samples| {
        for (measure, value) in child::measure(PART, &run.plan)? {
            samples.add("nexus", measure, value);
        }
        Ok(())
    })?;
    let figure = |measure: &str| samples.figure(measure, Unit::Nanoseconds, &[]);
    Ok(vec![figure(PING_P99), figure(PING_P99_FLOODED).target(Target::Below(UNDISTURBED_NS))])
}
