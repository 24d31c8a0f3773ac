//! Kills through the debug endpoint of the real binary.

use std::time::Duration;

use nexus_actors::agent::Tally;
use nexus_tests::http::Endpoint;
use nexus_tests::invariants::{Books, Happened, Route, accounting, restarts_explained, tree_complete};
use nexus_tests::process::{ENDPOINT, Sandbox, Signal};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed, tree};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use serde_json::Value;

use crate::kill::{range, week_requests, write_weeks};

const AGENTS: usize = 60;
const SUPERVISORS: usize = 6;
const WEEKS: usize = 2;
/// The most entries on a page of the endpoint's lists.
const PAGE: usize = 1000;
const STEP_MAX: Duration = Duration::from_secs(30);

/// All entries of a list that comes in pages.
fn pages(endpoint: &Endpoint, path: &str, list: &str) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let page = endpoint.json(&format!("{path}?limit={PAGE}&offset={}", found.len()));
        let entries = page[list].as_array().unwrap();
        found.extend(entries.iter().cloned());
        if entries.len() < PAGE {
            return found;
        }
    }
}

fn events(endpoint: &Endpoint) -> Vec<Happened> {
    let (mut found, mut since) = (Vec::new(), 0);
    loop {
        let page = endpoint.json(&format!("/debug/events?format=json&since={since}&limit={PAGE}"));
        assert_eq!(page["missed"], 0);
        let events: Vec<Happened> = serde_json::from_value(page["events"].clone()).unwrap();
        if events.is_empty() {
            return found;
        }
        since = page["next_since"].as_u64().unwrap();
        found.extend(events);
    }
}

/// The whole tree, put together from pages: each supervisor's children at most one page.
fn whole_tree(endpoint: &Endpoint) -> Vec<tree::Entry> {
    let mut page = endpoint.json(&format!("/debug/tree?limit={PAGE}"));
    complete(endpoint, &mut page["tree"]);
    tree::of_endpoint(&page)
}

fn complete(endpoint: &Endpoint, node: &mut Value) {
    let path = node["path"].as_str().unwrap().to_owned();
    let total = node["children_total"].as_u64().unwrap() as usize;
    while node["children"].as_array().unwrap().len() < total {
        let shown = node["children"].as_array().unwrap().len();
        let more = endpoint.json(&format!("/debug/tree?path={path}&limit={PAGE}&offset={shown}"));
        let more = more["tree"]["children"].as_array().unwrap().clone();
        assert!(!more.is_empty(), "{path} has {shown} children of {total}");
        node["children"].as_array_mut().unwrap().extend(more);
    }
    for child in node["children"].as_array_mut().unwrap() {
        complete(endpoint, child);
    }
}

/// The sum of a metric over its labels.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix(name)?;
        let value = labels.rsplit_once(' ').filter(|_| labels.starts_with(['{', ' ']))?.1;
        Some(value.parse::<u64>().unwrap_or_else(|error| panic!("{line}: {error}")))
    });
    let values: Vec<u64> = values.collect();
    assert!(!values.is_empty(), "no {name} in {metrics}");
    values.into_iter().sum()
}

/// Goal: what is killed over HTTP heals by its strategy, under load, and the endpoint's own answers account for every message
/// and explain every restart. Method: as `seeded_thousand_kills`, with all that is checked read from the endpoint.
#[test]
fn seeded_kills_over_http() {
    let mut rng = seed::of("seeded_kills_over_http").stream("kills");
    let sandbox = Sandbox::new();
    write_weeks(&sandbox.path("flights.csv"), WEEKS);
    let file = sandbox.write("range.toml", range() + ENDPOINT);
    let process = sandbox.run(nexus_binary!(), &file, &[]);
    let endpoint = sandbox.endpoint(&process);
    let total = week_requests() * WEEKS as u64;
    let feed = || endpoint.json("/debug/feeds")["feeds"][0].clone();

    // The endpoint's own branch and the root stay: those kills would cut this test's connection, or end the node.
    let branches = [
        "nexus/agents.sup",
        "nexus/agents.sup/airspace",
        "nexus/agents.sup/airspace/carriers",
        "nexus/agents.sup/airspace/airports/airport",
        "nexus/agents.sup/airspace/fleet/aircraft",
        "nexus/agents.sup/towers",
        "nexus/feeds.sup",
    ];
    let mut plan = [vec![true; AGENTS], vec![false; SUPERVISORS]].concat();
    plan.shuffle(&mut rng);
    let mut kills = 0;
    for (done, is_agent) in plan.iter().enumerate() {
        let due = total * 9 / 10 * done as u64 / plan.len() as u64;
        until("the replay goes on", STEP_MAX, || (feed()["confirmed"].as_u64()? >= due).then_some(()));
        until("something to kill", STEP_MAX, || {
            let path = if *is_agent {
                let agents = endpoint.json("/debug/agents?limit=1000");
                let agents = agents["agents"].as_array()?;
                let agent = agents.get(rng.random_range(0..agents.len().max(1)))?;
                format!("/debug/agents/{}/kill", agent["name"].as_str()?)
            } else {
                format!("/debug/supervisors/{}/kill", branches[rng.random_range(0..branches.len())])
            };
            let answer = endpoint.post(&path);
            // Between two incarnations it cannot be killed: another one is tried.
            assert!(matches!(answer.status, 202 | 404 | 409), "{path}: {answer:?}");
            (answer.status == 202).then_some(())
        });
        kills += 1;
    }
    assert_eq!(kills, AGENTS + SUPERVISORS);
    until("the feed completes", 2 * STEP_MAX, || (feed()["state"] == "completed").then_some(()));

    let running = |agent: &Value| agent["status"] == "running" && agent["queued"] == 0;
    let agents = until("the tree heals", STEP_MAX, || {
        let totals = endpoint.json("/debug/tree?depth=0")["totals"].clone();
        let count = |name: &str| totals[name].as_u64().unwrap_or_default();
        let ended = pages(&endpoint, "/debug/agents", "agents");
        let healed = ended.iter().all(running);
        // The feed has ended by itself; the progress actor will, when it looks the next time.
        let missing = count("supervisors") + count("workers") - count("active");
        (healed && (1..=2).contains(&missing)).then_some(ended)
    });
    // Not the sum over the agents there are: a family that its strategy restarts begins without any.
    let metrics = endpoint.get("/metrics").body;
    let metric = |name: &str| sum_of(&metrics, name);
    let node = Tally {
        sent: metric("nexus_messages_sent_total"),
        processed: metric("nexus_messages_processed_total"),
        rejected: metric("nexus_messages_rejected_total"),
        dead_lettered: metric("nexus_messages_dead_lettered_total"),
        queued: metric("nexus_messages_queued"),
    };
    assert_eq!(feed()["confirmed"], total);
    let dead_letters = endpoint.json("/debug/dead-letters")["total"].as_u64().unwrap();
    let books = Books { node, sent: total, rejected: 0, dead_letters, processed: None };
    accounting(&books).unwrap_or_else(|wrong| panic!("{wrong}"));

    let entries = whole_tree(&endpoint);
    let routes: Vec<Route> = agents
        .iter()
        .map(|agent| Route { name: agent["name"].as_str().unwrap().to_owned(), running: running(agent) })
        .collect();
    tree_complete(&routes, &entries).unwrap_or_else(|wrong| panic!("{wrong}"));
    restarts_explained(&events(&endpoint), &entries).unwrap_or_else(|wrong| panic!("{wrong}"));
    let restarts = |entry: &tree::Entry| entry.restarts;
    assert!(entries.iter().map(restarts).sum::<u64>() > 0, "something was restarted");

    process.signal(Signal::TERM);
    let ended = process.wait(STEP_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
