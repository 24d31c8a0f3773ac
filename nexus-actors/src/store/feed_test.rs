//! Agents of feeds that deliver again what is lost, in memory and stored, under real supervisors.

use std::time::Duration;

use opentelemetry::global;

use super::fault::FaultDisk;
use super::testing::{LIMIT, Site, Sums, add, behaviors, chained, family, start, sums, template};
use super::{Follows, Origin, Persist, StoreError};
use crate::agent::{AgentId, AgentStatus, FamilyRules, Payload, Request};
use crate::clock::Clock;
use crate::node::{Node, NodeConfig};
use crate::route::{DeadLetterReason, FeedLoss};
use crate::supervision::{Root, SupervisorEnv, SupervisorSpec};

const FEED: u16 = 0x8001;

fn of(sum: u64, count: u64) -> Sums {
    Sums { sum, count }
}

/// A node without a store and the family `f/*`, whose agents sleep after a minute.
struct Memory {
    node: Node,
    _root: Root,
}

impl Memory {
    async fn new() -> Self {
        let node = Node::new(NodeConfig::default(), behaviors(), Clock::start_at(0), &global::meter("test"));
        let rules = FamilyRules { hibernate_after: Some(Duration::from_secs(60)), ..family("f") };
        let child = node.family_child("f/*".parse().unwrap(), template(Persist::None), rules);
        let spec = SupervisorSpec::new("top").child(child.unwrap()).child(node.hibernator_child());
        let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
        let root = Root::start(spec, env).await.unwrap();
        Self { node, _root: root }
    }

    async fn give(&self, after: u64, seq: u64) {
        self.node.deliver("f/a", chained(FEED, after, seq, seq)).await.unwrap();
    }

    async fn sum(&self) -> Sums {
        sums(self.node.ask("f/a", Request::query("sums"), LIMIT).await).unwrap()
    }

    fn mark(&self) -> Option<u64> {
        self.node.feed_mark(AgentId::of("f/a"), FEED)
    }

    fn balanced(&self) {
        let tally = self.node.tally();
        let ends = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
        assert_eq!(tally.sent, ends, "{tally:?}");
    }
}

fn loss(after: u64) -> FeedLoss {
    FeedLoss { feed: FEED, pass: 0, after }
}

/// Goal: an agent in memory handles each request once, skips what it has, and handles nothing past a gap, of which the feed can ask;
/// every delivery is accounted for.
#[tokio::test(start_paused = true)]
async fn memory_skips_what_it_has_and_passes_no_gap() {
    let memory = Memory::new().await;
    assert_eq!(memory.mark(), None);
    for (after, seq) in [(0, 3), (3, 5), (0, 3), (3, 5)] {
        memory.give(after, seq).await;
    }
    assert_eq!((memory.sum().await, memory.mark(), memory.node.skipped()), (of(8, 2), Some(5), 2));
    memory.give(9, 11).await;
    memory.give(11, 12).await;
    assert_eq!(memory.sum().await, of(8, 2), "9 was lost on its way");
    memory.node.dead_letters().feed_losses().noted().await;
    assert_eq!(memory.node.dead_letters().feed_losses().take(), [loss(5)]);
    let dead = memory.node.dead_letters();
    let early = dead.counts().into_iter().find(|(reason, _)| *reason == DeadLetterReason::OutOfTurn);
    assert_eq!((early, dead.page(0, 9).1), (Some((DeadLetterReason::OutOfTurn, 2)), 0));
    for (after, seq) in [(0, 3), (3, 5), (5, 9), (9, 11)] {
        memory.give(after, seq).await;
    }
    assert_eq!((memory.sum().await, memory.mark()), (of(28, 4), Some(11)));
    let tally = memory.node.tally();
    assert_eq!((tally.processed, tally.dead_lettered, memory.node.skipped()), (4 + 4 + 3, 2, 4));
    memory.balanced();
    // Another feed, and requests of none, are not concerned.
    memory.node.deliver("f/a", chained(7, 0, 1, 1)).await.unwrap();
    memory.node.deliver("f/a", add(1)).await.unwrap();
    assert_eq!((memory.sum().await, memory.mark()), (of(30, 6), Some(11)));
}

/// Goal: a crash is what it is on one node: the state is gone, and what crashed the agent is not tried again; sleep forgets nothing.
#[tokio::test(start_paused = true)]
async fn memory_crashes_as_ever_and_sleeps_with_its_marks() {
    let memory = Memory::new().await;
    memory.give(0, 1).await;
    let poison = |after, seq| {
        let origin = Origin::new(FEED, seq).unwrap();
        Request::action("crash", Payload::EMPTY).from_feed_after(origin, Follows { seq: after, pass: 0 })
    };
    memory.node.deliver("f/a", poison(1, 2)).await.unwrap();
    memory.give(2, 3).await;
    assert_eq!((memory.sum().await, memory.mark()), (of(3, 1), Some(3)));
    memory.node.deliver("f/a", poison(1, 2)).await.unwrap();
    assert_eq!(memory.sum().await, of(3, 1), "it is skipped");
    memory.node.hibernate("f/a").unwrap();
    tokio::time::timeout(LIMIT, async {
        while memory.node.agent("f/a").unwrap().status != AgentStatus::Dormant {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(memory.mark(), Some(3), "asleep");
    memory.give(2, 3).await;
    memory.give(3, 4).await;
    assert_eq!((memory.sum().await, memory.mark()), (of(7, 2), Some(4)));
    assert_eq!(memory.node.dead_letters().feed_losses().take(), []);
    memory.balanced();
}

/// Goal: a stored agent that restarts from an older state has its feed told what it lacks, and is not given for ever what crashes it.
#[tokio::test(start_paused = true)]
async fn stored_agents_say_what_they_lack() {
    let site = Site::new(&FaultDisk::new()).await;
    // Written every five messages: a crash goes back to the fifth.
    let give = async |after, seq| site.node.deliver("many/a", chained(FEED, after, seq, 1)).await.unwrap();
    for seq in 1..=7 {
        give(seq - 1, seq).await;
        assert_eq!(site.sum("many/a").await, Ok(of(seq, seq)));
    }
    assert_eq!(site.node.feed_mark(AgentId::of("many/a"), FEED), Some(7));
    let origin = Origin::new(FEED, 8).unwrap();
    let poison =
        || Request::action("crash", Payload::EMPTY).from_feed_after(origin, Follows { seq: 7, pass: 0 });
    site.node.deliver("many/a", poison()).await.unwrap();
    give(8, 9).await;
    assert_eq!(site.sum("many/a").await, Ok(of(5, 5)));
    assert_eq!(site.node.feed_mark(AgentId::of("many/a"), FEED), Some(5));
    assert_eq!(site.node.dead_letters().feed_losses().take(), [loss(5)]);
    for seq in 1..=7 {
        give(seq - 1, seq).await;
    }
    site.node.deliver("many/a", poison()).await.unwrap();
    give(8, 9).await;
    assert_eq!(site.sum("many/a").await, Ok(of(8, 8)), "without the poison");
    assert_eq!(site.node.dead_letters().feed_losses().take(), []);
}

/// Goal: what a process that was killed has stored, its successor has handled, and no more.
#[tokio::test(start_paused = true)]
async fn a_restarted_node_goes_on_from_what_is_stored() -> Result<(), StoreError> {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    for seq in 1..=7 {
        site.node.deliver("each/a", chained(FEED, seq - 1, seq, 1)).await.unwrap();
    }
    assert_eq!(site.sum("each/a").await, Ok(of(7, 7)));
    disk.power_loss(&mut crate::rng::Seed::new(3).stream("power"));
    site.kill().await;
    let site = start(super::testing::open(&disk)?).await;
    assert_eq!(site.node.feed_mark(AgentId::of("each/a"), FEED), Some(7), "asleep on disk");
    for seq in 6..=9 {
        site.node.deliver("each/a", chained(FEED, seq - 1, seq, 1)).await.unwrap();
    }
    assert_eq!((site.sum("each/a").await, site.node.skipped()), (Ok(of(9, 9)), 2));
    Ok(())
}
