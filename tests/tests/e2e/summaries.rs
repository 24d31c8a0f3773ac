//! The airspace behaviors over real records, against an independent computation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nexus_actors::prelude::*;
use nexus_app::behaviors::airspace::{AircraftArgs, AircraftState, AirportArgs, AirportState, CarrierState};
use nexus_tests::flights::{Expected, Row, expected, read, week};
use serde_json::{Value, json};

/// All agents of an airspace, told of flights without any node.
#[derive(Default)]
struct Twin {
    carriers: BTreeMap<String, CarrierState>,
    airports: BTreeMap<String, AirportState>,
    aircraft: BTreeMap<String, AircraftState>,
}

impl Twin {
    fn tell(&mut self, action: &str, airport: &str, row: &Row) {
        let flight = Payload::encode(&payload(row)).expect("JSON always encodes");
        let told = |agent: &mut dyn Reactive| {
            agent.act(action, &flight).unwrap_or_else(|error| panic!("{action} {row:?}: {error}"));
        };
        told(self.carriers.entry(row.carrier.clone()).or_insert_with(|| CarrierState::new(&row.carrier)));
        told(
            self.airports
                .entry(airport.to_owned())
                .or_insert_with(|| AirportState::new(airport, AirportArgs::default())),
        );
        if let Some(tailnum) = &row.tailnum {
            told(
                self.aircraft
                    .entry(tailnum.clone())
                    .or_insert_with(|| AircraftState::new(tailnum, AircraftArgs::default())),
            );
        }
    }
}

fn payload(row: &Row) -> Value {
    json!({
        "date": row.date, "flight": row.flight, "carrier": row.carrier, "tailnum": row.tailnum,
        "origin": row.origin, "dest": row.dest, "dep_time": row.dep_time, "arr_time": row.arr_time,
        "sched_dep_time": row.sched_dep_time, "sched_arr_time": row.sched_arr_time,
        "dep_delay": row.dep_delay, "arr_delay": row.arr_delay, "air_time": row.air_time,
        "distance": row.distance,
    })
}

/// Tells the agents what happened, in the order in which it happened.
fn replay(rows: &[Row]) -> Twin {
    let mut events: Vec<(i64, &str, &str, &Row)> = Vec::new();
    for row in rows {
        match row.dep_time {
            Some(_) => events.push((row.departs_at(), "departure", &row.origin, row)),
            None => events.push((row.departs_at(), "cancelled", &row.origin, row)),
        }
        if let Some(at) = row.arrives_at() {
            events.push((at, "arrival", &row.dest, row));
        }
    }
    events.sort_by_key(|(at, ..)| *at);
    let mut twin = Twin::default();
    for (_, action, airport, row) in events {
        twin.tell(action, airport, row);
    }
    twin
}

fn summaries<S: Reactive>(agents: &BTreeMap<String, S>) -> BTreeMap<String, Value> {
    let summary = |agent: &S| {
        agent.query("summary").and_then(|summary| summary.to_json()).expect("every agent has a summary")
    };
    agents.iter().map(|(code, agent)| (code.clone(), summary(agent))).collect()
}

fn compare(kind: &str, found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) {
    let codes = |agents: &BTreeMap<String, Value>| agents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(codes(found), codes(expected), "{kind}");
    for (code, summary) in expected {
        assert_eq!(&found[code], summary, "{kind} {code}");
    }
}

/// Goal: every carrier, airport and aircraft says what an independent computation over the same records says. Method: replay
/// in time order; compare whole summaries. `NEXUS_FLIGHTS` names another CSV file of the same columns, such as the full year.
#[test]
fn every_summary_is_right() {
    let path = std::env::var_os("NEXUS_FLIGHTS").map_or_else(week, PathBuf::from);
    let rows = read(&path);
    let (twin, expected) = (replay(&rows), expected(&rows));
    compare("carrier", &summaries(&twin.carriers), &expected.carriers);
    compare("airport", &summaries(&twin.airports), &expected.airports);
    compare("aircraft", &summaries(&twin.aircraft), &expected.aircraft);
}

/// Goal: the comparison would notice a lost record, and the agents' books agree with each other.
#[test]
fn one_lost_record_shows() {
    let rows = read(&week());
    let whole: Expected = expected(&rows);
    let twin = replay(&rows[1..]);
    let carrier = &rows[0].carrier;
    assert_ne!(summaries(&twin.carriers)[carrier], whole.carriers[carrier]);
    let total = |agents: BTreeMap<String, Value>, field: &str| {
        agents.values().map(|summary| summary[field].as_u64().unwrap()).sum::<u64>()
    };
    let departed = total(summaries(&twin.carriers), "departed");
    assert_eq!(departed, total(summaries(&twin.airports), "departures"));
    assert_eq!(departed + 1, whole.departures as u64);
    assert_eq!(total(summaries(&twin.carriers), "arrived"), total(summaries(&twin.airports), "arrivals"),);
}
