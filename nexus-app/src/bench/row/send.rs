//! A send while the node is otherwise loaded: a thousand agents always have work, and every core is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nexus_actors::prelude::*;
use tokio::task::JoinHandle;

use crate::bench::contestant::{self, BareMessage, INBOX};
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::{Samples, nanos, quantile};
use crate::bench::site::{Site, until};
use crate::bench::{BenchError, Row, Run};

pub(super) const ROW: Row = Row {
    name: "send",
    about: "one local send while 1,000 other agents keep every core busy: p50 and p99",
    measure,
    parts: &[],
};

const SENDS: usize = 50_000;
/// Agents that always have work, and the messages that wait for each at most.
pub(super) const BUSY: usize = 1_000;
const WAITING: u64 = 16;

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let site = Site::start(&format!(
        r#"
[[agent]]
name = "busy/{{0..{}}}"
behavior = "bench-counter"
inbox = 1024
[[agent]]
name = "target"
behavior = "bench-counter"
inbox = {INBOX}
"#,
        BUSY - 1
    ))?;
    let bare = site.run(contestant::bare(1))?.remove(0);
    let load = Load::start(&site)?;
    let samples = run.rounds(|samples| {
        let count = run.plan.of(SENDS);
        let node = site.node();
        let times = site.run_outside(sends(count, move || {
            match node.send("target", contestant::request()) {
                // Who has no room waits for it, and is not measured meanwhile.
                Ok(()) | Err(AgentError::Overloaded { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }))?;
        add(samples, "nexus", times);
        let bare = bare.clone();
        let times = site.run_outside(sends(count, move || {
            bare.cast(BareMessage::tell("count")).expect("it lives");
        }))?;
        add(samples, "ractor", times);
        Ok(())
    });
    load.end(&site)?;
    bare.stop(None);
    let samples = samples?;
    Ok(vec![
        samples.figure("p50 under load", Unit::Nanoseconds, &["ractor"]),
        samples.figure("p99 under load", Unit::Nanoseconds, &["ractor"]).target(Target::Below(1_000.0)),
    ])
}

fn add(samples: &mut Samples, contestant: &'static str, mut times: Vec<f64>) {
    samples.add(contestant, "p50 under load", quantile(&mut times, 0.5));
    samples.add(contestant, "p99 under load", quantile(&mut times, 0.99));
}

/// Nanoseconds of each send.
async fn sends(count: usize, send: impl Fn()) -> Vec<f64> {
    let mut times = Vec::with_capacity(count);
    for index in 0..count {
        let started = Instant::now();
        send();
        times.push(nanos(started.elapsed()));
        // As a sender that has other things to do.
        if index % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    times
}

/// Work in the inboxes of `busy/0`, `busy/1`, …, as long as it is kept up.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Returns when every agent has had some.
    pub(super) fn start(site: &Site) -> Result<Self, BenchError> {
        let over = Arc::new(AtomicBool::new(false));
        let full = contestant::handled() + BUSY as u64;
        let task = site.system().spawn(keep_up(site.node(), over.clone()));
        site.run_outside(until("work is waiting", move || contestant::handled() >= full))?;
        Ok(Self { over, task })
    }

    pub(super) fn end(self, site: &Site) -> Result<(), BenchError> {
        self.over.store(true, Ordering::Relaxed);
        site.system().block_on(self.task).map_err(|error| BenchError::Contestant(error.to_string()))
    }
}

async fn keep_up(node: Node, over: Arc<AtomicBool>) {
    let names = contestant::names("busy", BUSY);
    while !over.load(Ordering::Relaxed) {
        for name in &names {
            if node.agent(name).is_none_or(|agent| agent.queued < WAITING) {
                // What is refused is refused because there is more work than can be done.
                let _ = node.send(name, contestant::work());
            }
        }
        tokio::task::yield_now().await;
    }
}
