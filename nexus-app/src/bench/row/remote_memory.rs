//! What both sides grow by while everything is sent that can be and the receiver has stopped.

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::remote::near;
use crate::bench::remote::nexus::{self, GROWTH};
use crate::bench::{BenchError, Part, Row, Run, child};

pub(super) const ROW: Row = Row {
    name: "remote-memory",
    about: "growth of sender and receiver in a flood while an agent, the process or the carrier there has stopped",
    measure,
    parts: &[Part { name: PART, measure: |_| near(nexus::memory()) }],
};

const PART: &str = "remote-memory";
const BOUND: f64 = 16e6;

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let samples = run.rounds(|samples| {
        for (measure, value) in child::measure(PART, &run.plan)? {
            samples.add("nexus", measure, value);
        }
        Ok(())
    })?;
    let measures = GROWTH.iter().flat_map(|(_, names)| names);
    Ok(measures
        .map(|measure| samples.figure(measure, Unit::Bytes, &[]).target(Target::Below(BOUND)))
        .collect())
}
