//! Tells a second: from one sender to one agent, from one and from two to a thousand.

use std::sync::Arc;
use std::time::Instant;

use nexus_actors::agent::AgentId;
use nexus_actors::prelude::*;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::bench::contestant::{self, BareMessage, ChannelMessage};
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::per_second;
use crate::bench::site::{Site, until};
use crate::bench::{BenchError, Row, Run};

pub(super) const ROW: Row =
    Row { name: "tell", about: "tells a second: one to one, and to 1,000 agents", measure, parts: &[] };

const TELLS: usize = 2_000_000;
const AGENTS: usize = 1_000;
/// What is measured: senders, receivers, the figure's name, Erlang's key for it.
const SHAPES: [(usize, usize, &str, Option<&str>); 3] = [
    (1, 1, "one sender, one agent", Some("tell_one")),
    (1, AGENTS, "one sender, 1,000 agents", Some("tell_many")),
    (2, AGENTS, "two senders, 1,000 agents", None),
];

/// What rows that send messages send them to.
pub(super) struct Receivers {
    pub(super) site: Site,
    pub(super) names: Arc<[String]>,
    /// Of the same agents: whoever sends often holds them, as it holds references to bare actors.
    keys: Arc<[AgentId]>,
    pub(super) bare: Arc<[ActorRef<BareMessage>]>,
    pub(super) channels: Arc<[mpsc::Sender<ChannelMessage>]>,
}

impl Receivers {
    pub(super) fn start(count: usize) -> Result<Self, BenchError> {
        let site = Site::start(&format!(
            "[[agent]]\nname = \"counter/{{0..{}}}\"\nbehavior = \"bench-counter\"\nstart = \"eager\"\ninbox = {}",
            count - 1,
            contestant::INBOX
        ))?;
        let bare = site.run(contestant::bare(count))?.into();
        let channels = site.run(async move { contestant::channels(count) })?.into();
        let names = contestant::names("counter", count);
        let keys = names.iter().map(|name| AgentId::of(name)).collect();
        Ok(Self { site, names: names.into(), keys, bare, channels })
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        for actor in &*self.bare {
            actor.stop(None);
        }
    }
}

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let receivers = Receivers::start(AGENTS)?;
    let count = run.plan.of(TELLS);
    let mut samples = run.rounds(|samples| {
        for (senders, targets, what, _) in SHAPES {
            for (contestant, rate) in tells(&receivers, senders, targets, count)? {
                samples.add(contestant, what, rate);
            }
        }
        Ok(())
    })?;
    let mut figures = Vec::new();
    for (_, targets, what, erlang) in SHAPES {
        if let Some(key) = erlang {
            run.erlang(&mut samples, what, key);
        }
        let figure = samples.figure(what, Unit::PerSecond, &["ractor", "tokio", "erlang"]);
        figures.push(match targets {
            1 => {
                figure.target(Target::AtLeastTimes(3.0, "ractor")).target(Target::AtLeastTimes(1.0, "erlang"))
            }
            _ => figure.target(Target::AtLeastTimes(1.3, "ractor")),
        });
    }
    Ok(figures)
}

/// Tells a second of every contestant: `senders` senders, each for `targets` receivers in turn, `count` in all.
pub(super) fn tells(
    receivers: &Receivers,
    senders: usize,
    targets: usize,
    count: usize,
) -> Result<[(&'static str, f64); 3], BenchError> {
    let Receivers { site, keys, bare, channels, .. } = receivers;
    let shape = (senders, targets, count);
    let (node, keys) = (site.node(), keys.clone());
    let nexus = site.run(flood(shape, move |to| match node.send(&keys[to], contestant::request()) {
        Ok(()) => true,
        Err(AgentError::Overloaded { .. }) => false,
        Err(error) => panic!("{error}"),
    }))?;
    let bare = bare.clone();
    let ractor = site.run(flood(shape, move |to| bare[to].cast(BareMessage::tell("count")).is_ok()))?;
    let channels = channels.clone();
    let tokio =
        site.run(flood(shape, move |to| match channels[to].try_send(ChannelMessage::tell("count")) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Closed(_)) => panic!("the task has ended"),
        }))?;
    Ok([("nexus", nexus), ("ractor", ractor), ("tokio", tokio)])
}

/// Tells a second, counted until the last is handled. `tell` says whether there was room.
async fn flood(
    (senders, targets, count): (usize, usize, usize),
    tell: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> f64 {
    let tell = Arc::new(tell);
    let each = count / senders;
    let end = contestant::handled() + (each * senders) as u64;
    let started = Instant::now();
    let sending = (0..senders).map(|sender| {
        let tell = tell.clone();
        tokio::spawn(async move {
            for index in 0..each {
                while !tell((index + sender * targets / senders) % targets) {
                    tokio::task::yield_now().await;
                }
                if index % 256 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for sender in sending.collect::<Vec<_>>() {
        sender.await.expect("a sender does not panic");
    }
    until("every tell is handled", || contestant::handled() >= end).await;
    per_second(each * senders, started.elapsed())
}
