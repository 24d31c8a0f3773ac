//! What a live agent costs: family members that have handled one message, beside bare linked actors with the same state.

use crate::bench::contestant::{self, Bare, BareMessage};
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::process::resident;
use crate::bench::site::{Site, runtime, until};
use crate::bench::{BenchError, Measures, Part, Plan, Row, Run, child};

use nexus_actors::prelude::*;

pub(super) const ROW: Row = Row {
    name: "live",
    about: "memory of live agents (--live)",
    measure,
    parts: &[Part { name: OURS, measure: ours }, Part { name: BARE, measure: bare }],
};

const OURS: &str = "live";
const BARE: &str = "live-bare";
const BYTES: &str = "bytes of a live agent";
/// Messages under way at one time.
const CHUNK: usize = 20_000;

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    if run.plan.live == 0 {
        return Ok(Vec::new());
    }
    let mut samples = run.rounds(|samples| {
        samples.add("nexus", BYTES, child::measure(OURS, &run.plan)?[BYTES]);
        samples.add("ractor", BYTES, child::measure(BARE, &run.plan)?[BYTES]);
        Ok(())
    })?;
    run.erlang(&mut samples, BYTES, "process_bytes");
    let figure = samples.figure(BYTES, Unit::Bytes, &["ractor", "erlang"]);
    let what = format!("{BYTES}, {} agents", crate::cli::count(run.plan.live as u64));
    Ok(vec![Figure { what, ..figure.target(Target::AtMostTimes(1.1, "ractor")) }])
}

fn ours(plan: &Plan) -> Result<Measures, BenchError> {
    let count = plan.live;
    let site = fleet(count)?;
    let before = resident()?;
    let node = site.node();
    site.run(async move { first_messages(&node, count).await })?;
    let measures = bytes_each(before, count)?;
    // Thousands of actors take long to end one by one, and the process ends anyway.
    std::mem::forget(site);
    Ok(measures)
}

/// A node with a family of `count` agents, none of them alive.
pub(super) fn fleet(count: usize) -> Result<Site, BenchError> {
    Site::start(&format!(
        r#"
limits.agents = {count}
limits.events = 1024
[[agent]]
name = "sensor/{{0..{}}}"
behavior = "bench-counter"
inbox = 64
"#,
        count - 1
    ))
}

/// Sends each agent of a [`fleet`] a message and waits until all are handled.
pub(super) async fn first_messages(node: &Node, count: usize) {
    let begin = contestant::handled();
    for (sent, name) in contestant::names("sensor", count).iter().enumerate() {
        node.send(name, contestant::request()).expect("there is room");
        if sent % CHUNK == CHUNK - 1 {
            until("all are handled", || contestant::handled() > begin + sent as u64).await;
        }
    }
    until("all are handled", || contestant::handled() >= begin + count as u64).await;
}

/// `count` bare actors, linked to one, that have handled one message each. Called on a runtime.
pub(super) async fn linked(count: usize) -> Vec<ActorRef<BareMessage>> {
    let (parent, _) = Bare::spawn(None, Bare, ()).await.expect("a bare actor starts");
    let mut actors = Vec::with_capacity(count);
    let end = contestant::handled() + count as u64;
    for _ in 0..count {
        let (actor, _) =
            Bare::spawn_linked(None, Bare, (), parent.get_cell()).await.expect("a bare actor starts");
        actor.cast(BareMessage::tell("count")).expect("it lives");
        actors.push(actor);
    }
    until("all are handled", || contestant::handled() >= end).await;
    actors
}

fn bare(plan: &Plan) -> Result<Measures, BenchError> {
    let count = plan.live;
    let runtime = runtime()?;
    let before = resident()?;
    let spawning = runtime.spawn(linked(count));
    let actors = runtime.block_on(spawning).map_err(|error| BenchError::Contestant(error.to_string()))?;
    let measures = bytes_each(before, count)?;
    std::mem::forget((actors, runtime));
    Ok(measures)
}

fn bytes_each(before: f64, count: usize) -> Result<Measures, BenchError> {
    #[expect(clippy::cast_precision_loss, reason = "counts of agents, far below 2^52")]
    let bytes = (resident()? - before) / count as f64;
    Ok(Measures::from([(BYTES.to_owned(), bytes)]))
}
