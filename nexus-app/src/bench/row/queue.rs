//! Throughput of one inbox: messages pushed by one sender for each core, and taken, a second.

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::{BenchError, Row, Run};

use super::tell::{Receivers, tells};

pub(super) const ROW: Row = Row {
    name: "queue",
    about: "pushes and takes a second of one inbox, with a sender on each core",
    measure,
    parts: &[],
};

const TELLS: usize = 2_000_000;
const WHAT: &str = "pushes and takes of one inbox";

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let receivers = Receivers::start(1)?;
    let senders = std::thread::available_parallelism().map_or(1, usize::from);
    let samples = run.rounds(|samples| {
        for (contestant, rate) in tells(&receivers, senders, 1, run.plan.of(TELLS))? {
            // A message is pushed once and taken once.
            samples.add(contestant, WHAT, rate * 2.0);
        }
        Ok(())
    })?;
    let figure = samples.figure(WHAT, Unit::PerSecond, &["ractor", "tokio"]);
    Ok(vec![figure.target(Target::AtLeast(10e6))])
}
