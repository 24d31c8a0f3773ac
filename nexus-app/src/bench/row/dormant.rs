//! A fleet that sleeps: what a dormant agent costs, how soon a node with all of them is up, and how fast they wake in random order.

use std::hint::black_box;
use std::time::{Duration, Instant};

use nexus_actors::Node;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::bench::contestant;
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::process::resident;
use crate::bench::sample::{nanos, per_second};
use crate::bench::site::{Site, runtime, until};
use crate::bench::{BenchError, Growth, Measures, Part, Plan, Row, Run, child};

use super::live::linked;

pub(super) const ROW: Row = Row {
    name: "dormant",
    about: "memory of dormant agents (--agents), the start of their node, wakes a second",
    measure,
    parts: &[
        Part { name: SLEEPERS, measure: sleepers },
        Part { name: SPAWNS, measure: spawns },
        Part { name: MEMORY, measure: touch },
    ],
};

const SLEEPERS: &str = "dormant";
const SPAWNS: &str = "dormant-bare";
const MEMORY: &str = "dormant-memory";
/// What an agent that is awake takes at most, and the granularity of memory.
const AWAKE_BYTES: usize = 12 * 1024;
const PAGE: usize = 4096;
/// Agents that are awake at a time while the others are laid down: one in a thousand, since the heap keeps what the most that were
/// ever awake took.
const fn awake(agents: usize) -> usize {
    let part = agents / 1_000;
    if part < 64 { 64 } else { part }
}

/// How often agents are asked to lie down, and how long they may take each time.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// Wakes under way at a time.
const CHUNK: usize = 20_000;
/// Sleepers wake in the same order every time.
const SEED: u64 = 1;
const BYTES: &str = "bytes of a dormant agent";
const START: &str = "start of their node";
const LAID: &str = "agents made and laid down";
const WAKES: &str = "wakes in random order";

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    for agents in smaller(&run.plan) {
        run.doing(format!("{agents} dormant agents, for the growth"));
        let measures = child::measure(SLEEPERS, &Plan { agents, live: 0, ..run.plan })?;
        run.note_growth(Growth::of(agents, measures[BYTES]));
    }
    let mut samples = run.rounds(|samples| {
        for (measure, value) in child::measure(SLEEPERS, &run.plan)? {
            samples.add("nexus", measure, value);
        }
        if run.plan.live > 0 {
            samples.add("ractor", WAKES, child::measure(SPAWNS, &run.plan)?["spawns"]);
        }
        Ok(())
    })?;
    run.erlang(&mut samples, BYTES, "hibernated_bytes");
    run.erlang(&mut samples, WAKES, "spawns");
    let of = |what: &str| format!("{what}, {} agents", crate::cli::count(run.plan.agents as u64));
    let bytes = samples.figure(BYTES, Unit::Bytes, &["erlang"]).target(Target::Below(200.0));
    run.note_growth(Growth::of(run.plan.agents, bytes.nexus));
    let mut figures = vec![
        Figure { what: of(BYTES), ..bytes },
        Figure { what: of(START), ..samples.figure(START, Unit::Nanoseconds, &[]) },
        samples.figure(LAID, Unit::PerSecond, &[]),
    ];
    if run.plan.live > 0 {
        let wakes = samples.figure(WAKES, Unit::PerSecond, &["ractor", "erlang"]);
        figures.push(wakes.target(Target::AtLeastTimes(0.8, "ractor")));
    }
    Ok(figures)
}

/// The fleets of the growth chart below the one that is measured anyway.
fn smaller(plan: &Plan) -> Vec<usize> {
    let decades = std::iter::successors(Some(10_000_usize), |agents| agents.checked_mul(10));
    decades.take_while(|agents| plan.growth && *agents < plan.agents).collect()
}

/// The node with the sleepers, alone in its process.
fn sleepers(plan: &Plan) -> Result<Measures, BenchError> {
    let agents = plan.agents;
    let started = Instant::now();
    let site = Site::start(&format!(
        r#"
limits.agents = {agents}
limits.events = 1024
[[agent]]
name = "sensor/{{0..{}}}"
behavior = "bench-counter"
inbox = 64
hibernate_after = "1d"
"#,
        agents - 1
    ))?;
    let mut measures = Measures::from([(START.to_owned(), nanos(started.elapsed()))]);
    let node = site.node();
    let before = resident()?;
    let started = Instant::now();
    let mut laid = 0;
    while laid < agents {
        let to = (laid + awake(agents)).min(agents);
        let node = node.clone();
        site.run(async move {
            wake(&node, laid..to).await;
            lay_down(&node, laid..to).await;
        })?;
        laid = to;
    }
    measures.insert(LAID.to_owned(), per_second(agents, started.elapsed()));
    #[expect(clippy::cast_precision_loss, reason = "counts of agents, far below 2^52")]
    measures.insert(BYTES.to_owned(), (resident()? - before) / agents as f64);
    if plan.live > 0 {
        measures.insert(WAKES.to_owned(), sweep(&site, plan)?);
    }
    // Thousands of actors take long to end one by one, and the process ends anyway.
    std::mem::forget(site);
    Ok(measures)
}

/// Wakes a second of sleepers in random order; each handles its message and nothing is lost.
fn sweep(site: &Site, plan: &Plan) -> Result<f64, BenchError> {
    let count = plan.live.min(plan.agents);
    child::measure(MEMORY, plan)?;
    let node = site.node();
    let mut order: Vec<usize> = (0..node.agent_count()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
    order.truncate(count);
    let sweeping = node.clone();
    let rate = site.run(async move {
        let started = Instant::now();
        for chunk in order.chunks(CHUNK) {
            wake(&sweeping, chunk.iter().copied()).await;
        }
        per_second(count, started.elapsed())
    })?;
    site.run(async move {
        until("all is counted", || node.tally().queued == 0).await;
        let tally = node.tally();
        assert_eq!(
            (tally.processed, tally.dead_lettered, tally.rejected),
            (tally.sent, 0, 0),
            "nothing is lost"
        );
    })?;
    Ok(rate)
}

/// Sends each of `agents` a message and waits until all are handled.
async fn wake(node: &Node, agents: impl ExactSizeIterator<Item = usize>) {
    let end = contestant::handled() + agents.len() as u64;
    for (count, agent) in agents.enumerate() {
        node.send(&format!("sensor/{agent}"), contestant::request()).expect("there is room");
        if count % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    until("all are handled", || contestant::handled() >= end).await;
}

async fn lay_down(node: &Node, agents: std::ops::Range<usize>) {
    let asleep = node.dormant_count() + agents.len();
    for _ in 0..ATTEMPTS {
        for agent in agents.clone() {
            let name = format!("sensor/{agent}");
            // A message is counted a moment before its agent is done with it, and who is not done does not lie down.
            until("it is done", || node.agent(&name).is_none_or(|agent| agent.queued == 0)).await;
            // One that sleeps by now says so.
            let _ = node.hibernate(&name);
        }
        if tokio::time::timeout(PAUSE, until("all sleep", || node.dormant_count() == asleep)).await.is_ok() {
            return;
        }
    }
    panic!("asked {ATTEMPTS} times, {} agents are still awake", asleep - node.dormant_count());
}

/// Writes to as much memory as the agents that wake will take, and ends. A virtual machine gets memory from its host when it is written to for
/// the first time, and may return what is free after some seconds; to get it takes longer than anything measured here.
fn touch(plan: &Plan) -> Result<Measures, BenchError> {
    let mut memory = vec![0_u8; plan.live * AWAKE_BYTES];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(&memory);
    Ok(Measures::new())
}

/// Bare linked actors, each started and sent a message, one after the other.
fn spawns(plan: &Plan) -> Result<Measures, BenchError> {
    let count = plan.live;
    let runtime = runtime()?;
    child::measure(MEMORY, plan)?;
    let spawning = runtime.spawn(async move {
        let started = Instant::now();
        let actors = linked(count).await;
        let rate = per_second(count, started.elapsed());
        std::mem::forget(actors);
        rate
    });
    let rate = runtime.block_on(spawning).map_err(|error| BenchError::Contestant(error.to_string()))?;
    std::mem::forget(runtime);
    Ok(Measures::from([("spawns".to_owned(), rate)]))
}
