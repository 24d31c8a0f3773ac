//! What runtimes of their own cost agents, and what they spare everybody else, by policy of `[schedulers]`.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::prelude::*;
use nexus_actors::scheduler::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::bench::contestant;
use crate::bench::figure::{Figure, Unit};
use crate::bench::sample::{Samples, nanos, per_second, quantile};
use crate::bench::site::{Site, until};
use crate::bench::{BenchError, Row, Run};

use super::ask::round_trips;
use super::send::{BUSY, Load};

pub(super) const ROW: Row = Row {
    name: "policy",
    about: "by [schedulers] policy: starts, tells, asks from outside; a TCP server while agents always have work",
    measure,
    parts: &[],
};

/// The first is the one that the others are compared with.
const POLICIES: [Policy; 3] = [Policy::None, Policy::Numa, Policy::Core];
const STARTS: usize = 20_000;
const TELLS: usize = 500_000;
const ASKS: usize = 20_000;
const PROBES: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);
const MEASURES: [(&str, Unit); 5] = [
    ("starts", Unit::PerSecond),
    ("tells to 1,000", Unit::PerSecond),
    ("ask p50", Unit::Nanoseconds),
    ("probe p50", Unit::Nanoseconds),
    ("probe p99", Unit::Nanoseconds),
];

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let samples = run.rounds(|samples| {
        for policy in POLICIES {
            round(run, policy.name(), samples)?;
        }
        Ok(())
    })?;
    let none = POLICIES[0].name();
    let mut figures = Vec::new();
    for policy in POLICIES {
        for (measure, unit) in MEASURES {
            let what = format!("{}, {measure}", policy.name());
            let baselines: &[&'static str] = if policy.name() == none { &[] } else { &["policy none"] };
            figures.push(samples.figure(&what, unit, baselines));
        }
    }
    Ok(figures)
}

/// One round of one policy; what `none` comes to is also the others' baseline.
fn round(run: &Run<'_>, policy: &'static str, samples: &mut Samples) -> Result<(), BenchError> {
    let mut add = |measure: &str, value: f64| {
        samples.add("nexus", format!("{policy}, {measure}"), value);
        if policy == POLICIES[0].name() {
            for other in &POLICIES[1..] {
                samples.add("policy none", format!("{}, {measure}", other.name()), value);
            }
        }
    };
    let site = Site::start(&format!(
        r#"
schedulers.policy = "{policy}"
[[agent]]
name = "busy/*"
behavior = "bench-counter"
inbox = {}
"#,
        contestant::INBOX
    ))?;
    let (starts, count) = (run.plan.of(STARTS).max(BUSY), run.plan.of(TELLS));
    let names: Arc<[String]> = contestant::names("busy", starts).into();
    let (node, all) = (site.node(), names.clone());
    add("starts", site.run_outside(async move { tells(&node, &all, starts).await })?);
    let (node, some) = (site.node(), names.clone());
    add("tells to 1,000", site.run_outside(async move { tells(&node, &some[..BUSY], count).await })?);
    let (node, asks) = (site.node(), run.plan.of(ASKS));
    let mut times = site.run_outside(async move {
        let (node, names) = (&node, &names);
        let turn = AtomicUsize::new(0);
        let turn = &turn;
        round_trips(asks, || async move {
            let name = &names[turn.fetch_add(1, Ordering::Relaxed) % BUSY];
            node.ask(name, contestant::request(), None).await.expect("it answers");
        })
        .await
    })?;
    add("ask p50", quantile(&mut times, 0.5));
    let mut times = probe_under_load(&site, run.plan.of(PROBES).max(20))?;
    add("probe p50", quantile(&mut times, 0.5));
    add("probe p99", quantile(&mut times, 0.99));
    Ok(())
}

/// Tells a second, to each of `names` in turn.
async fn tells(node: &Node, names: &[String], count: usize) -> f64 {
    let end = contestant::handled() + count as u64;
    let started = Instant::now();
    for number in 0..count {
        node.deliver(&names[number % names.len()], contestant::request()).await.expect("it runs");
    }
    until("all are handled", || contestant::handled() >= end).await;
    per_second(count, started.elapsed())
}

/// Nanoseconds in which a TCP server on the system's runtime answers, asked from outside, while agents always have work.
fn probe_under_load(site: &Site, count: usize) -> Result<Vec<f64>, BenchError> {
    let listener = site.system().block_on(TcpListener::bind("127.0.0.1:0")).map_err(BenchError::System)?;
    let address = listener.local_addr().map_err(BenchError::System)?;
    let server = site.system().spawn(echo(listener));
    let load = Load::start(site)?;
    let probed = probe(address, count);
    server.abort();
    load.end(site)?;
    probed.map_err(BenchError::System)
}

async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
        });
    }
}

fn probe(address: std::net::SocketAddr, count: usize) -> io::Result<Vec<f64>> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0; 1])?;
        times.push(nanos(started.elapsed()));
        // Whoever asks without a pause keeps a worker awake, and waits for nobody.
        std::thread::park_timeout(PAUSE);
    }
    Ok(times)
}
