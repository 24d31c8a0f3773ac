//! One ask after the other: how long the answer takes.

use std::time::{Duration, Instant};

use nexus_actors::prelude::*;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::bench::contestant::{self, BareMessage, ChannelMessage};
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::{Samples, nanos, quantile};
use crate::bench::{BenchError, Row, Run};

use super::tell::Receivers;

pub(super) const ROW: Row =
    Row { name: "ask", about: "one ask after the other: p50 and p99 of the round trip", measure, parts: &[] };

const ASKS: usize = 100_000;
/// Asks of one contestant until it is another's turn. A processor whose other half is somebody else's is half as slow again for
/// milliseconds or for seconds: with turns of half a millisecond the contestants share that.
const TURN: usize = 1_000;
const KEY: SmolStr = SmolStr::new_static("count");
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMED: &str = "p50, with a time-out of 5 s";

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let receivers = Receivers::start(1)?;
    let count = run.plan.of(ASKS);
    let mut samples = run.rounds(|samples| round(&receivers, count, samples))?;
    run.erlang(&mut samples, "p50", "ask_p50_ns");
    run.erlang(&mut samples, "p99", "ask_p99_ns");
    let baselines = &["ractor", "tokio", "erlang"];
    let target = Target::AtMostTimes(1.2, "ractor");
    Ok(vec![
        samples.figure("p50", Unit::Nanoseconds, baselines).target(target),
        samples.figure("p99", Unit::Nanoseconds, baselines),
        samples.figure(TIMED, Unit::Nanoseconds, &["ractor"]).target(target),
    ])
}

fn round(receivers: &Receivers, count: usize, samples: &mut Samples) -> Result<(), BenchError> {
    let (mut nexus, mut ractor, mut tokio) = (Vec::new(), Vec::new(), Vec::new());
    let (mut nexus_timed, mut ractor_timed) = (Vec::new(), Vec::new());
    for _ in 0..count.div_ceil(TURN) {
        nexus.append(&mut ask(receivers, None)?);
        ractor.append(&mut call(receivers, None)?);
        tokio.append(&mut channel(receivers)?);
        nexus_timed.append(&mut ask(receivers, Some(TIMEOUT))?);
        ractor_timed.append(&mut call(receivers, Some(TIMEOUT))?);
    }
    for (contestant, times) in [("nexus", &mut nexus), ("ractor", &mut ractor), ("tokio", &mut tokio)] {
        samples.add(contestant, "p50", quantile(times, 0.5));
        samples.add(contestant, "p99", quantile(times, 0.99));
    }
    for (contestant, times) in [("nexus", &mut nexus_timed), ("ractor", &mut ractor_timed)] {
        samples.add(contestant, TIMED, quantile(times, 0.5));
    }
    Ok(())
}

fn ask(receivers: &Receivers, timeout: Option<Duration>) -> Result<Vec<f64>, BenchError> {
    let (node, name) = (receivers.site.node(), receivers.names[0].clone());
    receivers.site.run(async move {
        let (node, name) = (&node, &name);
        round_trips(TURN, || async move {
            node.ask(name, contestant::request(), timeout).await.expect("it answers");
        })
        .await
    })
}

fn call(receivers: &Receivers, timeout: Option<Duration>) -> Result<Vec<f64>, BenchError> {
    let actor = receivers.bare[0].clone();
    receivers.site.run(async move {
        let actor = &actor;
        round_trips(TURN, || async move {
            let ask = |reply| BareMessage::Ask(KEY, Payload::EMPTY, reply);
            actor.call(ask, timeout).await.expect("it lives").expect("it answers");
        })
        .await
    })
}

fn channel(receivers: &Receivers) -> Result<Vec<f64>, BenchError> {
    let channel = receivers.channels[0].clone();
    receivers.site.run(async move {
        let channel = &channel;
        round_trips(TURN, || async move {
            let (reply, answer) = oneshot::channel();
            channel.send(ChannelMessage::Ask(KEY, Payload::EMPTY, reply)).await.expect("it lives");
            answer.await.expect("it answers");
        })
        .await
    })
}

/// Nanoseconds of each of `count` round trips, one after the other.
pub(super) async fn round_trips<W: Future<Output = ()>>(count: usize, trip: impl Fn() -> W) -> Vec<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        trip().await;
        times.push(nanos(started.elapsed()));
    }
    times
}
