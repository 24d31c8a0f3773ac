//! Clients in each namespace that write numbered keys and count, and a ledger of what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::rng::{Rng, Seed};
use nexus_tests::netns::Network;
use rand::Rng as _;
use serde_json::{Value, json};

use super::fleet::{SIZE, endpoint};

/// Clients of each node.
const CLIENTS: usize = 2;
/// Time between two requests of a client.
const PACE: Duration = Duration::from_millis(25);
/// How long a client lets a node work on a request.
const PATIENCE_MS: u64 = 2000;
/// The key that is counted up; the others are written once.
pub(super) const COUNT: &str = "count";
/// The key that is counted up by requests without an answer.
pub(super) const TOLD: &str = "told";

/// What is known of one agent.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Keys that clients tried to write, each once and with its own name as value, and whether that was acknowledged.
    pub(super) keys: BTreeMap<String, bool>,
    /// Increments that were acknowledged.
    pub(super) counted: u64,
    /// Increments of which nobody knows.
    pub(super) perhaps: u64,
    /// Increments that were sent without waiting, and taken by the node.
    pub(super) told: u64,
    /// Those of which nobody knows whether they were taken.
    pub(super) perhaps_told: u64,
}

/// What all clients did.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) books: BTreeMap<String, Book>,
    /// Answers by status and code, since they were last taken.
    pub(super) answers: Answers,
    /// Agents that the nodes have told to be merged.
    pub(super) merged: BTreeSet<String>,
}

/// Answers by request, status and code; and connections without one.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, u64>);

impl Answers {
    /// Requests that a node answered in a way that says that it has sent a message.
    pub(super) fn taken(&self) -> u64 {
        let sent = |said: &str| {
            ["200 ", "202 ", "503 node_lost", "504 timed_out"].iter().any(|one| said.ends_with(one))
        };
        self.0.iter().filter(|(said, _)| sent(said)).map(|(_, count)| count).sum()
    }
}

/// What a request does.
#[derive(Clone, Copy)]
enum Deed {
    Write,
    Count,
    Tell,
}

/// Runs clients until `fault` is over.
pub(super) fn under_load<T>(
    network: &Network,
    ledger: &Mutex<Ledger>,
    agents: &[String],
    (round, seed): (u32, Seed),
    fault: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let over = &over;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..SIZE * CLIENTS)
            .map(|at| {
                let label = format!("{round}-{at}");
                let rng = seed.stream(&format!("client {label}"));
                let client = Client { label, rng, number: 0, ledger, agents };
                scope.spawn(move || network.namespace(at % SIZE).within(|| client.run(over)))
            })
            .collect();
        // The clients end also if the fault fails.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fault));
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Client<'a> {
    label: String,
    rng: Rng,
    number: u32,
    ledger: &'a Mutex<Ledger>,
    agents: &'a [String],
}

impl Client<'_> {
    fn run(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let next = Instant::now() + PACE;
            self.request();
            while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                std::thread::park_timeout(left);
            }
        }
    }

    fn request(&mut self) {
        let agent = &self.agents[self.rng.random_range(0..self.agents.len())];
        let deed = match self.rng.random_range(0..4) {
            0 => Deed::Count,
            1 => Deed::Tell,
            _ => Deed::Write,
        };
        self.number += 1;
        let key = format!("{}-{}", self.label, self.number);
        let (verb, body) = match deed {
            Deed::Write => (
                "ask",
                json!({ "operation": "update", "key": key, "payload": key, "timeout_ms": PATIENCE_MS }),
            ),
            Deed::Count => ("ask", increment(COUNT, Some(PATIENCE_MS))),
            Deed::Tell => ("tell", increment(TOLD, None)),
        };
        let answer = endpoint().try_post_json(&format!("/api/agents/{agent}/{verb}"), &body);
        let (good, said) = match &answer {
            Ok(answer) => {
                let code = serde_json::from_str::<Value>(&answer.body).ok();
                let code = code.and_then(|body| body["code"].as_str().map(str::to_owned)).unwrap_or_default();
                (matches!(answer.status, 200 | 202), format!("{} {code}", answer.status))
            }
            Err(error) => (false, error.kind().to_string()),
        };
        let mut ledger = self.ledger.lock().unwrap();
        *ledger.answers.0.entry(format!("{verb} {said}")).or_default() += 1;
        let book = ledger.books.entry(agent.clone()).or_default();
        match (deed, good) {
            (Deed::Write, _) => drop(book.keys.insert(key, good)),
            (Deed::Count, true) => book.counted += 1,
            (Deed::Count, false) => book.perhaps += 1,
            (Deed::Tell, true) => book.told += 1,
            (Deed::Tell, false) => book.perhaps_told += 1,
        }
    }
}

fn increment(key: &str, timeout_ms: Option<u64>) -> Value {
    let mut body = json!({ "operation": "action", "key": "increment", "payload": { "key": key } });
    if let Some(ms) = timeout_ms {
        body["timeout_ms"] = json!(ms);
    }
    body
}
