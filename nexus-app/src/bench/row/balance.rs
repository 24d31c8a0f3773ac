//! A balancing decision among a thousand members with messages in their inboxes, by strategy.

use std::hint::black_box;
use std::time::Instant;

use nexus_actors::route::balance;

use crate::bench::contestant;
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::{Samples, nanos, quantile};
use crate::bench::site::Site;
use crate::bench::{BenchError, Row, Run};

pub(super) const ROW: Row = Row {
    name: "balance",
    about: "choosing one of 1,000 busy members, by strategy: p50",
    measure,
    parts: &[],
};

const MEMBERS: usize = 1_000;
const BATCHES: usize = 200;
/// Decisions timed together: one alone is shorter than the clock's own cost allows.
const BATCH: u32 = 100;
/// What the others are compared with: it looks at two members.
const TWO_CHOICES: &str = "power_of_two";

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let strategies: Vec<&str> = balance::all().iter().map(|strategy| strategy.name()).collect();
    let mut decisions = Samples::default();
    for strategy in &strategies {
        let samples = run.rounds(|samples| {
            let site = busy(strategy)?;
            samples.add("nexus", *strategy, decide(&site, run.plan.of(BATCHES)));
            Ok(())
        })?;
        decisions.join(samples);
    }
    if let Some(two) = decisions.median("nexus", TWO_CHOICES) {
        for strategy in strategies.iter().filter(|strategy| **strategy != TWO_CHOICES) {
            decisions.add("two choices", *strategy, two);
        }
    }
    let figure = |strategy: &&str| {
        let baselines: &[&str] = if *strategy == TWO_CHOICES { &[] } else { &["two choices"] };
        decisions.figure(strategy, Unit::Nanoseconds, baselines).target(Target::Below(10_000.0))
    };
    Ok(strategies.iter().map(figure).collect())
}

/// A group of members with different numbers of messages that nobody handles, so that nothing moves while the time is taken.
fn busy(strategy: &str) -> Result<Site, BenchError> {
    let site = Site::start(&format!(
        r#"
[[agent]]
name = "desk/{{0..{}}}"
behavior = "bench-stuck"
start = "eager"
shutdown = "brutal_kill"
groups = ["desks"]
[[group]]
name = "desks"
balance = "{strategy}"
"#,
        MEMBERS - 1
    ))?;
    for (index, name) in contestant::names("desk", MEMBERS).iter().enumerate() {
        for _ in 0..2 + index * 7 % 13 {
            site.node().send(name, contestant::request()).expect("there is room");
        }
    }
    Ok(site)
}

/// Nanoseconds of a decision, median of the batches.
fn decide(site: &Site, batches: usize) -> f64 {
    let node = site.node();
    let batch = || {
        let started = Instant::now();
        for _ in 0..BATCH {
            black_box(node.choose_member(black_box("desks")));
        }
        nanos(started.elapsed()) / f64::from(BATCH)
    };
    quantile(&mut (0..batches).map(|_| batch()).collect::<Vec<_>>(), 0.5)
}
