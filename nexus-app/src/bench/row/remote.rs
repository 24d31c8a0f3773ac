//! Messages between agents of two processes over loopback.

use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::remote::load::{ASK_P50, ASK_P99, ASKS, TELLS_MANY, TELLS_ONE};
use crate::bench::remote::{far, load, near, nexus, ractor, tcp};
use crate::bench::{BenchError, Part, Row, Run, child};

pub(super) const ROW: Row = Row {
    name: "remote",
    about: "messages of 100 bytes between two processes, plain and under TLS",
    measure,
    parts: &[
        Part { name: NEXUS, measure: |plan| near(nexus::near(load(plan), false)) },
        Part { name: NEXUS_TLS, measure: |plan| near(nexus::near(load(plan), true)) },
        Part { name: nexus::FAR, measure: |_| far(nexus::far()) },
        Part { name: RACTOR, measure: |plan| near(ractor::near(load(plan))) },
        Part { name: ractor::FAR, measure: |_| far(ractor::far()) },
        Part { name: TCP, measure: |plan| near(tcp::near(load(plan))) },
        Part { name: tcp::FAR, measure: |_| far(tcp::far()) },
    ],
};

const NEXUS: &str = "remote-nexus";
const NEXUS_TLS: &str = "remote-nexus-tls";
const RACTOR: &str = "remote-ractor";
const TCP: &str = "remote-tcp";

/// What is measured, its unit, Erlang's key for it, and what it is to be.
const MEASURES: [(&str, Unit, &str, &[Target]); 5] = [
    (TELLS_ONE, Unit::PerSecond, "tell_one", &[Target::AtLeastTimes(12.0, "ractor")]),
    (TELLS_MANY, Unit::PerSecond, "tell_many", &[Target::AtLeastTimes(12.0, "ractor")]),
    (
        ASK_P50,
        Unit::Nanoseconds,
        "ask_p50_ns",
        &[Target::AtMostTimes(1.0, "ractor"), Target::AtMostTimes(1.0, "erlang")],
    ),
    (ASK_P99, Unit::Nanoseconds, "ask_p99_ns", &[]),
    (ASKS, Unit::PerSecond, "asks", &[Target::AtLeastTimes(2.5, "ractor")]),
];

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let mut samples = run.rounds(|samples| {
        for (contestant, part) in [("ractor", RACTOR), ("tcp", TCP), ("nexus", NEXUS)] {
            for (measure, value) in child::measure(part, &run.plan)? {
                if contestant == "nexus" {
                    samples.add("plain", under_tls(&measure), value);
                }
                samples.add(contestant, measure, value);
            }
        }
        for (measure, value) in child::measure(NEXUS_TLS, &run.plan)? {
            samples.add("nexus", under_tls(&measure), value);
        }
        Ok(())
    })?;
    for (measure, _, key, _) in MEASURES {
        run.erlang_remote(&mut samples, load(&run.plan), measure, key);
    }
    let plain = MEASURES.iter().map(|(measure, unit, _, targets)| {
        let figure = samples.figure(measure, *unit, &["ractor", "tcp", "erlang"]);
        Figure { targets: targets.to_vec(), ..figure }
    });
    let tls =
        MEASURES.iter().map(|(measure, unit, ..)| samples.figure(&under_tls(measure), *unit, &["plain"]));
    Ok(plain.chain(tls).collect())
}

fn under_tls(measure: &str) -> String {
    format!("{measure}, TLS")
}
