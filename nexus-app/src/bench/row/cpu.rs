//! Processor time of a fleet in which every agent handles one message a second.

use std::time::{Duration, Instant};

use crate::bench::contestant::{self, BareMessage};
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::process::cpu;
use crate::bench::site::{runtime, until};
use crate::bench::{BenchError, Measures, Part, Plan, Row, Run, child};

use super::live::{first_messages, fleet, linked};

pub(super) const ROW: Row = Row {
    name: "cpu",
    about: "processor time of --live agents that handle one message a second each",
    measure,
    parts: &[Part { name: OURS, measure: ours }, Part { name: BARE, measure: bare }],
};

const OURS: &str = "cpu";
const BARE: &str = "cpu-bare";
const WHAT: &str = "per cent of a core";
const SECONDS: u32 = 10;
/// Messages leave in so many portions a second.
const PORTIONS: usize = 100;
const PORTION: Duration = Duration::from_millis(10);

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    if run.plan.live == 0 {
        return Ok(Vec::new());
    }
    let samples = run.rounds(|samples| {
        samples.add("nexus", WHAT, child::measure(OURS, &run.plan)?[WHAT]);
        samples.add("ractor", WHAT, child::measure(BARE, &run.plan)?[WHAT]);
        Ok(())
    })?;
    let figure = samples.figure(WHAT, Unit::PercentOfCore, &["ractor"]);
    let what = format!("1,000 of {} agents, one message a second", crate::cli::count(run.plan.live as u64));
    Ok(vec![Figure { what, ..figure.target(Target::Below(1.0)) }])
}

fn ours(plan: &Plan) -> Result<Measures, BenchError> {
    let (count, seconds) = (plan.live, seconds(plan));
    let site = fleet(count)?;
    let node = site.node();
    let names = contestant::names("sensor", count);
    let used = site.run(async move {
        first_messages(&node, count).await;
        paced(count, seconds, |agent| {
            node.send(&names[agent], contestant::request()).expect("there is room");
        })
        .await
    })?;
    // Thousands of actors take long to end one by one, and the process ends anyway.
    std::mem::forget(site);
    measures(used?, count, seconds)
}

fn bare(plan: &Plan) -> Result<Measures, BenchError> {
    let (count, seconds) = (plan.live, seconds(plan));
    let runtime = runtime()?;
    let running = runtime.spawn(async move {
        let actors = linked(count).await;
        let used =
            paced(count, seconds, |agent| actors[agent].cast(BareMessage::tell("count")).expect("it lives"));
        let used = used.await;
        std::mem::forget(actors);
        used
    });
    let used = runtime.block_on(running).map_err(|error| BenchError::Contestant(error.to_string()))?;
    std::mem::forget(runtime);
    measures(used?, count, seconds)
}

const fn seconds(plan: &Plan) -> u32 {
    if plan.quick { 2 } else { SECONDS }
}

/// Processor seconds that `seconds` of one message a second to each of `count` agents take, the sender's included.
async fn paced(count: usize, seconds: u32, send: impl Fn(usize)) -> Result<f64, BenchError> {
    let end = contestant::handled() + u64::from(seconds) * count as u64;
    let before = cpu()?;
    let started = Instant::now();
    let mut next = tokio::time::interval(PORTION);
    for _ in 0..seconds {
        for portion in 0..PORTIONS {
            next.tick().await;
            (count * portion / PORTIONS..count * (portion + 1) / PORTIONS).for_each(&send);
        }
    }
    until("all are handled", || contestant::handled() >= end).await;
    let rest = Duration::from_secs(seconds.into()).saturating_sub(started.elapsed());
    tokio::time::sleep(rest).await;
    Ok(cpu()? - before)
}

/// Per cent of one core for 1,000 agents.
#[expect(clippy::cast_precision_loss, reason = "counts of agents, far below 2^52")]
fn measures(used: f64, count: usize, seconds: u32) -> Result<Measures, BenchError> {
    let percent = used / f64::from(seconds) * 100.0 / (count as f64 / 1_000.0);
    Ok(Measures::from([(WHAT.to_owned(), percent)]))
}
