//! Random lives of a stored fleet against a model of what must be there, and every fault at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;

use super::fault::FaultDisk;
use super::testing::{LIMIT, Site, Sums, add, fed, open, policies, sums};
use super::{FeedMark, StoreError};
use crate::agent::AgentId;
use crate::error::AgentError;
use crate::rng::{Rng, Seed};

const FEED: &str = "numbers";

/// The seeds to run: the one asked for, or so many.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("NEXUS_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("NEXUS_TEST_SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

/// What is known of an agent that is asked: the sums it may have after a loss of power, and the least it must have under
/// each-update.
#[derive(Default)]
struct Known {
    /// Every state it was ever in.
    states: BTreeSet<(u64, u64)>,
    /// Changes that were answered, since it was last looked at.
    answered: u64,
}

struct Model {
    rng: Rng,
    agents: Vec<String>,
    known: BTreeMap<String, Known>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let agents: Vec<_> =
            policies().iter().flat_map(|(family, _)| (0..3).map(move |n| format!("{family}/{n}"))).collect();
        let known =
            agents.iter().map(|agent| (agent.clone(), Known { states: [(0, 0)].into(), answered: 0 }));
        Self { rng: Seed::new(seed).stream("model"), known: known.collect(), agents }
    }

    fn agent(&mut self) -> String {
        let at = self.rng.random_range(0..self.agents.len());
        self.agents[at].clone()
    }

    /// One update; remembers the state that it was answered with.
    async fn update(&mut self, site: &Site) {
        let (agent, number) = (self.agent(), self.rng.random_range(1..100));
        match site.add(&agent, number).await {
            Ok(Sums { sum, count }) => {
                let known = self.known.get_mut(&agent).expect("all are known");
                known.states.insert((sum, count));
                known.answered = count;
            }
            // Under each-update it must be gone: the next look says so.
            Err(AgentError::NotStored { .. }) => {
                assert!(agent.starts_with("each/"), "{agent} has not promised that")
            }
            Err(other) => panic!("{agent}: {other}"),
        }
    }

    /// Every agent is in a state it was in, and under each-update in the last one that was answered, or, where a commit failed
    /// without saying how, in one after it.
    async fn look(&mut self, site: &Site) {
        for (agent, known) in &mut self.known {
            let Sums { sum, count } = site.sum(agent).await.expect("it answers");
            assert!(
                known.states.contains(&(sum, count)),
                "{agent}: {sum} of {count} was never there: {:?}",
                known.states
            );
            if agent.starts_with("each/") {
                assert_eq!(count, known.answered, "{agent} has lost what was answered");
            }
            known.answered = count;
        }
    }
}

/// Goal: whatever happens, each agent stands at a state that it once was in, complete; under each-update at the last one that was
/// answered. Method: random updates, naps, crashes, pauses, full disks, losses of power in the middle of it, each found out by looking
/// at all agents afterwards.
#[tokio::test(start_paused = true)]
async fn seeded_lives_lose_nothing_that_was_promised() {
    for seed in seeds(25) {
        println!("NEXUS_TEST_SEED={seed}");
        let (disk, mut model) = (FaultDisk::new(), Model::new(seed));
        let mut site = Site::new(&disk).await;
        for _ in 0..120 {
            let agent = model.agent();
            match model.rng.random_range(0..100) {
                0..80 => model.update(&site).await,
                80..85 => {
                    // Refused where there is no such agent yet.
                    let _ = site.node.hibernate(&agent);
                }
                85..90 => {
                    site.crash(&agent).await;
                    // What it had before is checked by the next look.
                }
                90..94 => tokio::time::sleep(Duration::from_millis(model.rng.random_range(0..800))).await,
                94..96 => disk.full_after(model.rng.random_range(0..40_000)),
                96..98 => {
                    disk.repair();
                    site.until("it recovers", |site| !site.store.is_degraded()).await;
                }
                _ => {
                    disk.power_loss(&mut model.rng);
                    disk.repair();
                    site.kill().await;
                    site = Site::new(&disk).await;
                    model.look(&site).await;
                }
            }
        }
        disk.repair();
        site.until("it recovers", |site| !site.store.is_degraded()).await;
        model.look(&site).await;
        site.root.shutdown().await;
        let site = Site::new(&disk).await;
        assert_eq!(site.restored.damaged, 0);
        model.look(&site).await;
        site.root.shutdown().await;
    }
}

/// The feed's request in place `seq`: to whom, and what.
fn request(agents: &[String], seq: u64) -> (&String, u64) {
    let mixed = xxhash_rust::xxh3::xxh3_64(&seq.to_le_bytes());
    (&agents[(mixed % agents.len() as u64) as usize], mixed % 1000)
}

/// Delivers places from the feed's mark on, with checkpoints now and then, until a random moment or the end.
async fn feed(site: &Site, agents: &[String], end: u64, rng: &mut Rng, disk: &FaultDisk) {
    let number = site.store.feed_number(FEED).expect("few feeds");
    let mut position = site.store.feed(FEED).map_or(0, |mark| mark.position);
    let stop = rng.random_range(position..=position + 150);
    let mut touched = BTreeMap::new();
    while position < end {
        position += 1;
        let (agent, value) = request(agents, position);
        let delivered = site.node.deliver(agent, fed(number, position, value));
        // Only a store that waits for a repair makes a feed wait.
        if tokio::time::timeout(Duration::from_secs(20), delivered).await.is_err() {
            disk.repair();
            position -= 1;
            continue;
        }
        touched.insert(agent.clone(), position);
        let checkpoint = rng.random_bool(0.05) || position == end;
        if checkpoint {
            let mark = FeedMark { feed: FEED.into(), position, digest: 1 };
            let ids = touched.iter().map(|(agent, seq)| (AgentId::of(agent), *seq)).collect();
            match site.node.checkpoint(mark, ids).await {
                Ok(()) => touched.clear(),
                Err(StoreError::Io { .. } | StoreError::Full { .. }) if position == end => {
                    disk.repair();
                    site.until("it recovers", |site| !site.store.is_degraded()).await;
                    position -= 1;
                    // The last request is delivered once more: its agent skips it.
                }
                Err(StoreError::Io { .. } | StoreError::Full { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        match rng.random_range(0..200) {
            0 => disk.fail_at(rng.random_range(1..40), rng.random_bool(0.5)),
            1 => disk.full_after(rng.random_range(0..20_000)),
            2..10 => disk.repair(),
            10..14 => {
                // Refused where there is no such agent yet.
                let _ = site.node.hibernate(agent);
            }
            14..20 => tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await,
            _ => {}
        }
        if position >= stop && position < end {
            return;
        }
    }
}

/// Goal: a feed that is resumed after losses of power at any moment, with failing and full disks in between, has the effect of one that
/// was never interrupted, under every policy. Method: compare each agent's sum with that of all its requests.
#[tokio::test(start_paused = true)]
async fn seeded_feeds_count_everything_once() {
    const END: u64 = 600;
    for seed in seeds(15) {
        println!("NEXUS_TEST_SEED={seed}");
        let disk = FaultDisk::new();
        let mut rng = Seed::new(seed).stream("feed");
        let agents = Model::new(seed).agents;
        let mut lives = 0;
        loop {
            let site = Site::new(&disk).await;
            let resumed = site.store.feed(FEED).map_or(0, |mark| mark.position);
            feed(&site, &agents, END, &mut rng, &disk).await;
            lives += 1;
            let done = site.store.feed(FEED).is_some_and(|mark| mark.position == END);
            assert!(site.store.feed(FEED).map_or(0, |mark| mark.position) >= resumed);
            disk.power_loss(&mut rng);
            disk.repair();
            site.kill().await;
            if done {
                break;
            }
        }
        let site = Site::new(&disk).await;
        assert_eq!(site.restored.damaged, 0);
        let mut expected = BTreeMap::<_, Sums>::new();
        for seq in 1..=END {
            let (agent, value) = request(&agents, seq);
            let sums = expected.entry(agent.clone()).or_default();
            *sums = Sums { sum: sums.sum + value, count: sums.count + 1 };
        }
        for (agent, expected) in expected {
            assert_eq!(site.sum(&agent).await, Ok(expected), "{agent} after {lives} lives");
        }
        site.root.shutdown().await;
    }
}

/// Goal: an I/O error at any operation, once or from then on, makes no panic and no damage: what is answered after it is true, and
/// once the disk works again all does. Method: the same short life again and again, the n-th operation fails.
#[tokio::test(start_paused = true)]
async fn every_operation_may_fail() {
    let mut operations = 1;
    let mut n = 0;
    while n < operations {
        n += 1;
        for stays_broken in [false, true] {
            let disk = FaultDisk::new();
            let site = Site::new(&disk).await;
            let before = disk.operations();
            disk.fail_at(n, stays_broken);
            let (mut sum, mut count) = (0, 0);
            for number in 1..=6 {
                if let Ok(answered) = site.add("each/a", number).await {
                    (sum, count) = (sum + number, count + 1);
                    assert_eq!(answered, Sums { sum, count }, "operation {n}");
                }
                assert_eq!(site.sum("each/a").await, Ok(Sums { sum, count }), "operation {n}");
                site.add("many/a", number).await.expect("it promises nothing");
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            operations = operations.max(disk.operations() - before);
            disk.repair();
            site.until("it recovers", |site| !site.store.is_degraded()).await;
            sum += 100;
            assert_eq!(site.add("each/a", 100).await, Ok(Sums { sum, count: count + 1 }), "operation {n}");
            disk.power_loss(&mut Seed::new(n).stream("power"));
            site.kill().await;
            let site = Site::new(&disk).await;
            assert_eq!(
                (site.restored.damaged, site.sum("each/a").await),
                (0, Ok(Sums { sum, count: count + 1 }))
            );
            site.root.shutdown().await;
        }
    }
    println!("{n} operations");
    assert!(n > 20, "{n} operations are few");
}

/// Goal: a disk that fails while the store is opened is an error with its reason, never a panic; and the file is still whole.
#[tokio::test(start_paused = true)]
async fn every_operation_of_opening_may_fail() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    site.add("each/a", 7).await.unwrap();
    disk.power_loss(&mut Seed::new(1).stream("power"));
    site.kill().await;
    let mut failed = 0;
    for n in 1.. {
        disk.fail_at(n, true);
        let opened = open(&disk);
        disk.repair();
        match opened {
            Err(error) => assert!(matches!(error, StoreError::Io { .. }), "operation {n}: {error}"),
            Ok(_) => break,
        }
        failed += 1;
    }
    assert!(failed > 3, "{failed} operations are few");
    let site = Site::new(&disk).await;
    assert_eq!(site.sum("each/a").await, Ok(Sums { sum: 7, count: 1 }));
    assert!(sums(site.node.ask("each/a", add(1), LIMIT).await).is_ok());
    site.root.shutdown().await;
}
