//! Registration: an agent gets its route, inbox and counters, before any actor runs.

use std::sync::Arc;
use std::time::Instant;

use nexus_actors::Node;
use nexus_actors::agent::{AgentTemplate, Level, Payload, Target as _};
use nexus_actors::store::Persist;

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::{nanos, quantile};
use crate::bench::site::Site;
use crate::bench::{BenchError, Row, Run};

use super::lookup::Map;

pub(super) const ROW: Row =
    Row { name: "register", about: "declaring an agent: p50 and p99", measure, parts: &[] };

const AGENTS: usize = 100_000;

/// Declares an agent; its actor is not started.
pub(super) fn declare(node: &Node, name: Arc<str>) {
    let template = AgentTemplate {
        behavior: "bench-counter".into(),
        args: Payload::EMPTY,
        inbox: 1024,
        level: Level::Reactive,
        persist: Persist::None,
    };
    node.declare(name, &template).expect("the name is free");
}

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let count = run.plan.of(AGENTS);
    let samples = run.rounds(|samples| {
        let names: Vec<Arc<str>> = (0..count).map(|number| format!("sensor/{number}").into()).collect();
        let site = Site::start("")?;
        let node = site.node();
        let map = Map::default();
        let mut ours = each(&names, |name| declare(&node, name));
        let mut bare = each(&names, |name| {
            map.insert(name.id(), 0);
        });
        for (what, part) in [("p50", 0.5), ("p99", 0.99)] {
            samples.add("nexus", what, quantile(&mut ours, part));
            samples.add("dashmap", what, quantile(&mut bare, part));
        }
        Ok(())
    })?;
    let figure = |what| samples.figure(what, Unit::Nanoseconds, &["dashmap"]).target(Target::Below(10_000.0));
    Ok(vec![figure("p50"), figure("p99")])
}

/// Nanoseconds that each name takes.
fn each(names: &[Arc<str>], insert: impl Fn(Arc<str>)) -> Vec<f64> {
    let time = |name: &Arc<str>| {
        let name = name.clone();
        let started = Instant::now();
        insert(name);
        nanos(started.elapsed())
    };
    names.iter().map(time).collect()
}
