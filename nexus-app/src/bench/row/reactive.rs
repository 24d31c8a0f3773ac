//! A reactive request: a `kv` agent checks an update against its rules, and answers.

use nexus_actors::prelude::*;
use smol_str::SmolStr;

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::quantile;
use crate::bench::site::Site;
use crate::bench::{BenchError, Row, Run};

use super::ask::round_trips;

pub(super) const ROW: Row = Row {
    name: "reactive",
    about: "an update of a kv agent that its rules check: p50, p99.9 and the slowest",
    measure,
    parts: &[],
};

const UPDATES: usize = 100_000;
const TOPOLOGY: &str = r#"
[[agent]]
name = "kv"
behavior = "kv"
args = { closed = true, keys.target = { type = "float", min = 5, max = 30 } }
"#;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99.9", 0.999), ("slowest", 1.0)];

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let site = Site::start(TOPOLOGY)?;
    let count = run.plan.of(UPDATES);
    let samples = run.rounds(|samples| {
        let node = site.node();
        let mut times = site.run(async move {
            let node = &node;
            let value = Payload::encode(&21.5).expect("a number");
            let value = &value;
            round_trips(count, || async move {
                let update = Request::update(SmolStr::new_static("target"), value.clone());
                node.ask("kv", update, None).await.expect("the rules allow it");
            })
            .await
        })?;
        for (what, part) in QUANTILES {
            samples.add("nexus", what, quantile(&mut times, part));
        }
        Ok(())
    })?;
    let figure = |(what, _)| samples.figure(what, Unit::Nanoseconds, &[]).target(Target::Below(1e6));
    Ok(QUANTILES.map(figure).into())
}
