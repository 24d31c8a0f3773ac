//! What must hold once all nodes are ready again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nexus_actors::agent::{AgentId, Tally};
use nexus_tests::wait::until;
use serde_json::{Map, Value};

use super::fleet::{Fleet, SIZE, name};
use super::load::{Book, COUNT, Ledger, TOLD};

/// How long messages and duplicates may take to be settled.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Memory that a node may hold at most: a debug build with its store and a thousand small agents.
const MEMORY_KIB_MAX: u64 = 384 << 10;

/// What was found.
pub(super) struct Found {
    /// Messages that all nodes have counted, each since its process started.
    pub(super) sent: u64,
    /// All of it in words.
    pub(super) words: String,
}

/// Checks all nodes, and `agents` against the ledger.
///
/// # Panics
/// If something does not hold.
pub(super) fn check(fleet: &Fleet<'_>, ledger: &mut Ledger, agents: &[String]) -> Found {
    let tallies: Vec<Tally> = (0..SIZE).map(|at| accounted(fleet, at)).collect();
    for at in 0..SIZE {
        let log = fleet.log(at);
        let panicked = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None, "{}: {log}", name(at));
        let (now, most) = fleet.process(at).memory_kib();
        assert!(most <= MEMORY_KIB_MAX, "{} holds {now} KiB, and held {most}", name(at));
    }
    let homes = single(fleet, agents);
    // What a process tells is gone with it.
    ledger.merged.extend(merged(fleet));
    let merged = &ledger.merged;
    let mut wrong = Vec::new();
    for agent in agents {
        let Some(book) = ledger.books.get(agent) else { continue };
        match homes.get(agent) {
            Some(&home) => wrong.extend(compare(
                agent,
                book,
                &state(fleet, home, agent),
                merged.contains(agent) || merged.contains(&AgentId::of(agent).to_string()),
            )),
            None if book.is_blank() => {}
            None => wrong.push(format!("{agent} lives nowhere: {book:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} agents differ, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    let memory: Vec<String> =
        (0..SIZE).map(|at| format!("{} MiB", fleet.process(at).memory_kib().0 >> 10)).collect();
    let told: Vec<String> = tallies
        .iter()
        .map(|tally| {
            format!("{} sent, {} rejected, {} dead", tally.sent, tally.rejected, tally.dead_lettered)
        })
        .collect();
    Found {
        sent: tallies.iter().map(|tally| tally.sent).sum(),
        words: format!("{} were merged; {}; {}", merged.len(), told.join(" | "), memory.join(", ")),
    }
}

/// Every message is accounted for on node `at`, and none is left under way.
fn accounted(fleet: &Fleet<'_>, at: usize) -> Tally {
    let began = Instant::now();
    loop {
        let shown = fleet.json(at, "/debug/agents?limit=1")["tally"].take();
        let tally: Tally = serde_json::from_value(shown).unwrap();
        let ends = tally.processed + tally.rejected + tally.dead_lettered;
        if tally.queued == 0 && tally.sent == ends {
            return tally;
        }
        // Replies and rounds of the nodes' own may be under way: looked at again.
        assert!(began.elapsed() < SETTLE_MAX, "{}: {tally:?}", name(at));
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Each agent that there is, is on one node: which.
fn single(fleet: &Fleet<'_>, agents: &[String]) -> BTreeMap<String, usize> {
    let mut found = String::new();
    let began = Instant::now();
    loop {
        let mut homes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for at in 0..SIZE {
            for status in ["", "&status=dormant"] {
                let page = fleet.json(at, &format!("/debug/agents?limit=10000{status}"));
                for agent in page["agents"].as_array().unwrap() {
                    if matches!(agent["status"].as_str(), Some("running" | "starting" | "dormant")) {
                        homes.entry(agent["name"].as_str().unwrap().to_owned()).or_default().push(at);
                    }
                }
            }
        }
        homes.values_mut().for_each(|nodes| nodes.dedup());
        let double: Vec<_> = homes.iter().filter(|(_, nodes)| nodes.len() > 1).collect();
        if double.is_empty() {
            homes.retain(|agent, _| agents.contains(agent));
            return homes.into_iter().map(|(agent, nodes)| (agent, nodes[0])).collect();
        }
        let now = format!(
            "{} agents are on several nodes, such as {:?}",
            double.len(),
            &double[..double.len().min(5)]
        );
        assert!(began.elapsed() < SETTLE_MAX, "{now}; before: {found}");
        found = now;
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Agents that are reported to have been on two nodes, or to have been merged with what another node had stored.
fn merged(fleet: &Fleet<'_>) -> BTreeSet<String> {
    let events = (0..SIZE).flat_map(|at| {
        ["cluster.duplicate_resolved", "agent.merged"].into_iter().flat_map(move |event| {
            let mut page =
                fleet.json(at, &format!("/debug/events?format=json&since=0&event={event}&limit=10000"));
            assert_eq!(page["missed"], 0, "{}", name(at));
            page["events"].as_array_mut().unwrap().split_off(0)
        })
    });
    events.map(|event| event["agent"].as_str().unwrap().to_owned()).collect()
}

/// What an agent holds.
fn state(fleet: &Fleet<'_>, home: usize, agent: &str) -> Map<String, Value> {
    until("the agent shows its state", SETTLE_MAX, || {
        let answer = fleet.get(home, &format!("/debug/agents/{agent}"));
        let mut shown = if answer.status == 200 { answer.json() } else { return None };
        match shown["state"]["values"].take() {
            Value::Object(values) => Some(values),
            // It sleeps: a question wakes it.
            _ => {
                fleet.wake(home, agent);
                None
            }
        }
    })
}

/// Where the agent and the ledger differ. Of a count that went on separately on two nodes, `kv` keeps one: it may be too low if the agent
/// was merged, and only then. Keys are never lost.
fn compare(agent: &str, book: &Book, values: &Map<String, Value>, merged: bool) -> Option<String> {
    let counted = if merged { 0 } else { book.counted };
    let mut wrong = Vec::new();
    let lost: Vec<_> = book
        .keys
        .iter()
        .filter(|(key, known)| **known && !values.contains_key(*key))
        .map(|(key, _)| key)
        .collect();
    if !lost.is_empty() {
        wrong.push(format!(
            "{} of {} acknowledged keys are lost: {:?}",
            lost.len(),
            book.keys.len(),
            &lost[..lost.len().min(5)]
        ));
    }
    for (key, value) in values {
        let count = value.as_u64();
        match key.as_str() {
            COUNT
                if count
                    .is_some_and(|count| count >= counted && count <= book.counted + book.perhaps) => {}
            TOLD if count.is_some_and(|count| count <= book.told + book.perhaps_told) => {}
            COUNT | TOLD => wrong.push(format!(
                "`{key}` is {value}; merged: {merged}; acknowledged {}, perhaps {} more; told {}, perhaps {} more",
                book.counted, book.perhaps, book.told, book.perhaps_told
            )),
            _ if book.keys.contains_key(key) && value == key => {}
            _ => wrong.push(format!("`{key}` is {value}, which nobody wrote")),
        }
    }
    if counted > 0 && !values.contains_key(COUNT) {
        wrong.push(format!("{} acknowledged increments are lost", book.counted));
    }
    (!wrong.is_empty()).then(|| format!("{agent}: {}", wrong.join("; ")))
}

impl Book {
    /// Whether nothing is known to have reached the agent.
    fn is_blank(&self) -> bool {
        self.counted == 0 && !self.keys.values().any(|known| *known)
    }
}
