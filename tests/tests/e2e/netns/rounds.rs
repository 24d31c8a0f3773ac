//! Real nodes under real faults, and the books afterwards.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use nexus_tests::netns::Network;
use nexus_tests::seed;

use super::check::check;
use super::fault::{Fault, pass};
use super::fleet::{Fleet, SIZE};
use super::load::{Ledger, under_load};

/// How many rounds, where not the few of a usual test run are wanted: `tests/netns/run 50`.
const ROUNDS_VARIABLE: &str = "NEXUS_TEST_ROUNDS";
const ROUNDS: u32 = 3;
/// Agents that each round begins to write to; it writes to those of the round before too.
const AGENTS: usize = 12;
const CALM: Duration = Duration::from_secs(1);
const TEST: &str = "seeded_faults_between_processes";

/// How long a fault lasts.
fn lasts(fault: Fault, is_long: bool) -> Duration {
    Duration::from_secs(match (fault, is_long) {
        (Fault::Pause(_), true) => 20,
        (_, true) => 10,
        (_, false) => 6,
    })
}

/// Goal: whatever befalls three nodes, they find together again by themselves; what was acknowledged is there, exactly; each agent
/// lives once; each message is accounted for; nobody panics, and memory is bounded.
///
/// Method: processes in namespaces of their own, under mutual TLS; two clients for each, which write, count and tell all the while. Each
/// round has a fault of another kind.
#[test]
fn seeded_faults_between_processes() {
    let seed = seed::of(TEST);
    let given = std::env::var(ROUNDS_VARIABLE).ok();
    let rounds = given.as_ref().map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    if given.is_some() {
        println!(
            "{TEST}: or all rounds again with {}={} tests/netns/run {rounds}",
            seed::VARIABLE,
            seed.get()
        );
    }
    let Some(network) = Network::permitted(TEST, SIZE, seed) else { return };
    let (mut fleet, mut authority) = Fleet::start(&network);
    let (mut rng, mut order) = (seed.stream("faults"), Vec::new());
    let (ledger, mut sent) = (Mutex::new(Ledger::default()), 0);
    let agents = |round: u32| (0..AGENTS).map(move |at| format!("book/{round}-{at}"));
    for round in 0..rounds {
        let fault = Fault::draw(round, &mut order, &mut rng);
        println!("round {round}: {fault}");
        let present: Vec<String> = (round.saturating_sub(1)..=round).flat_map(agents).collect();
        let began = Instant::now();
        let (healed, agreed) = under_load(&network, &ledger, &present, (round, seed), || {
            pass(CALM);
            fault.befall(&network, &mut fleet, &mut authority, lasts(fault, given.is_some()));
            let healed = began.elapsed();
            let agreed = fleet.agree();
            pass(CALM);
            (healed, agreed)
        });
        let mut ledger = ledger.lock().unwrap();
        let answers = std::mem::take(&mut ledger.answers);
        println!("  {answers:?}");
        let found = check(&fleet, &mut ledger, &present);
        let total = network.switch().total();
        println!(
            "  {healed:.1?} until healed, {agreed:.1?} more until all agreed; {}; {total:?}",
            found.words
        );
        // A killed process takes its counts along.
        if !matches!(fault, Fault::Kill(_)) {
            let counted = found.sent - sent;
            assert!(counted >= answers.taken(), "{counted} messages counted of {answers:?}");
        }
        sent = found.sent;
    }
    let all: Vec<String> = (0..rounds).flat_map(agents).collect();
    println!("at the end: {}", check(&fleet, &mut ledger.lock().unwrap(), &all).words);
    assert_eq!(network.switch().total().overflowed, 0, "the switch lost only what it was told to");
}
