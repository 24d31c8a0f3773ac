//! Agents that are stored, under real supervisors, on a disk that fails on request.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use super::fault::FaultDisk;
use super::testing::{LIMIT, Site, Sums, add, behaviors, family, fed, open, start, sums, template};
use super::{FeedMark, Origin, Persist, StoreConfig, StoreError, StoreState};
use crate::agent::{AgentId, AgentMessage, AgentSpec, AgentStatus, Behaviors, Durable, Payload, Request};
use crate::clock::Clock;
use crate::error::AgentError;
use crate::node::{DeclareError, Node, NodeConfig};
use crate::rng::Seed;
use crate::supervision::{ChildRules, Found, Root, SupervisorEnv, SupervisorSpec};

fn of(sum: u64, count: u64) -> Sums {
    Sums { sum, count }
}

fn mark(position: u64) -> FeedMark {
    FeedMark { feed: "flights".into(), position, digest: 7 }
}

/// Goal: whatever the policy, a graceful stop writes all of it; the next process lists it without waking it, and each agent goes on
/// where it was, single ones too.
#[tokio::test(start_paused = true)]
async fn a_graceful_stop_keeps_everything() {
    let disk = FaultDisk::new();
    let agents = ["each/a", "many/a", "late/a", "naps/a", "one"];
    let site = Site::new(&disk).await;
    for agent in agents {
        for number in 1..=3 {
            site.add(agent, number).await.unwrap();
        }
    }
    site.root.shutdown().await;
    let site = Site::new(&disk).await;
    assert_eq!((site.restored.dormant, site.restored.declared, site.node.dormant_count()), (4, 1, 4));
    assert_eq!(site.node.agent("late/a").unwrap().status, AgentStatus::Dormant);
    for agent in agents {
        assert_eq!(site.sum(agent).await, Ok(of(6, 3)), "{agent}");
        assert_eq!(site.node.agent(agent).unwrap().incarnation, 2, "{agent}");
    }
    assert_eq!(site.node.dormant_count(), 0);
}

/// Goal: after a loss of power each policy has what it promises: each-update all that was answered, every-n and every-duration what
/// their last snapshot held, on-hibernate what it had when it slept.
#[tokio::test(start_paused = true)]
async fn each_policy_keeps_its_promise() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    let agents = ["each/a", "one", "many/a", "late/a", "naps/a"];
    for agent in agents {
        site.add(agent, 1).await.unwrap();
    }
    site.node.hibernate("naps/a").unwrap();
    site.until("it sleeps", |site| site.node.dormant_count() == 1).await;
    for agent in agents {
        for _ in 0..6 {
            site.add(agent, 1).await.unwrap();
        }
    }
    site.until("the fifth is written", |site| site.store.status().waiting_bytes == 0).await;
    disk.power_loss(&mut Seed::new(1).stream("power"));
    site.kill().await;
    let site = Site::new(&disk).await;
    let mut kept = Vec::new();
    for agent in agents {
        kept.push(site.sum(agent).await.unwrap().count);
    }
    assert_eq!(kept, [7, 7, 5, 0, 1]);

    for _ in 0..3 {
        site.add("late/a", 1).await.unwrap();
    }
    let before = site.store.status().snapshots;
    tokio::time::sleep(Duration::from_millis(490)).await;
    assert_eq!(site.store.status().snapshots, before, "not before its time");
    site.until("its time has come", |site| site.store.status().snapshots == before + 1).await;
    disk.power_loss(&mut Seed::new(2).stream("power"));
    site.kill().await;
    assert_eq!(Site::new(&disk).await.sum("late/a").await, Ok(of(3, 3)));
}

/// Goal: an agent that crashes goes on from what was written last; what came after is lost, and under each-update nothing is.
#[tokio::test(start_paused = true)]
async fn a_crash_goes_back_to_the_last_snapshot() {
    let site = Site::new(&FaultDisk::new()).await;
    for agent in ["each/a", "many/a", "late/a"] {
        for _ in 0..7 {
            site.add(agent, 1).await.unwrap();
        }
        site.crash(agent).await;
    }
    assert_eq!(site.sum("each/a").await, Ok(of(7, 7)));
    assert_eq!(site.sum("many/a").await, Ok(of(5, 5)));
    assert_eq!(site.sum("late/a").await, Ok(of(0, 0)));
}

/// Goal: requests of one batch that crash their agent before the commit are answered with that, and undone; nobody hears of a
/// success that is lost.
#[tokio::test(start_paused = true)]
async fn a_crash_before_the_commit_is_no_success() {
    let site = Site::new(&FaultDisk::new()).await;
    site.add("each/a", 10).await.unwrap();
    let crash = site.node.ask("each/a", Request::action("crash", Payload::EMPTY), LIMIT);
    let (first, second, crashed) = {
        let (first, second) =
            (site.node.ask("each/a", add(1), LIMIT), site.node.ask("each/a", add(1), LIMIT));
        tokio::join!(first, second, crash)
    };
    let outcomes = [sums(first), sums(second), sums(crashed)];
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert_eq!(site.sum("each/a").await, Ok(of(10 + succeeded, 1 + succeeded)), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(AgentError::Crashed { .. }))));
}

/// Goal: a full disk refuses updates with a clear error and leaves each agent as it was stored; queries and other policies go on; once
/// there is room all works again, and nothing that was answered is lost.
#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_and_recovers() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    site.add("each/a", 1).await.unwrap();
    disk.full_after(0);
    for _ in 0..3 {
        let refused = site.add("each/a", 100).await.unwrap_err();
        let AgentError::NotStored { reason } = &refused else { panic!("{refused}") };
        assert!(reason.contains("full") && reason.contains("max_bytes"), "{reason}");
    }
    assert!(site.store.is_degraded());
    assert!(matches!(site.store.status().state, StoreState::Degraded { .. }));
    assert_eq!(site.sum("each/a").await, Ok(of(1, 1)), "as it was stored");
    site.node.send("each/a", add(100)).unwrap();
    for _ in 0..12 {
        site.add("many/a", 1).await.unwrap();
    }
    assert_eq!(site.sum("each/a").await, Ok(of(1, 1)));
    assert_eq!(site.node.refused(), 1, "a refusal that nobody waits for is counted");
    let checkpoint = site.node.checkpoint(mark(1), vec![]).await;
    assert!(matches!(checkpoint, Err(StoreError::Full { .. })), "{checkpoint:?}");

    disk.repair();
    site.until("it recovers", |site| !site.store.is_degraded()).await;
    assert_eq!(site.add("each/a", 2).await, Ok(of(3, 2)));
    assert_eq!((site.told("store.degraded"), site.told("store.recovered")), (1, 1));
    disk.power_loss(&mut Seed::new(3).stream("power"));
    site.kill().await;
    let site = Site::new(&disk).await;
    assert_eq!(site.sum("each/a").await, Ok(of(3, 2)));
    assert_eq!(site.sum("many/a").await, Ok(of(10, 10)), "written when there was room again");
}

/// Goal: the file does not grow past its limit, and the error names it.
#[tokio::test(start_paused = true)]
async fn the_file_stays_within_its_limit() {
    let disk = FaultDisk::new();
    let limit = 4 << 20;
    let config = StoreConfig { max_bytes: Some(limit), ..StoreConfig::new("unused") };
    let store = super::Store::open_on(Arc::new(disk), config).unwrap();
    let site = &start(store).await;
    let mut stored = 0;
    let refused = loop {
        let wave = (stored..stored + 500)
            .map(|agent| async move { site.add(&format!("each/{agent:0200}"), 1).await });
        let outcomes = futures::future::join_all(wave).await;
        stored += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if let Some(error) = outcomes.into_iter().find_map(Result::err) {
            break error;
        }
        assert!(stored < 100_000, "no limit was met");
    };
    let status = site.store.status();
    assert!(matches!(&refused, AgentError::NotStored { reason } if reason.contains("4194304")), "{refused}");
    assert!(stored > 1000 && status.file_bytes <= limit, "{stored} agents in {} bytes", status.file_bytes);
    assert_eq!(site.sum(&format!("each/{:0200}", 0)).await, Ok(of(1, 1)));
}

/// Goal: a feed that is resumed delivers again, and every request counts once: agents skip what their snapshot has, wherever the
/// power fails.
#[tokio::test(start_paused = true)]
async fn resumed_feeds_count_once() {
    let disk = FaultDisk::new();
    let agents = ["each/a", "many/a", "late/a", "naps/a", "one"];
    let site = Site::new(&disk).await;
    let feed = site.store.feed_number("flights").unwrap();
    assert_eq!((site.store.feed("flights"), site.store.feed_number("flights")), (None, Ok(feed)));
    let deliver = async |site: &Site, from: u64, to: u64| {
        for seq in from..=to {
            let agent = agents[seq as usize % agents.len()];
            site.node.deliver(agent, fed(feed, seq, seq)).await.unwrap();
        }
    };
    deliver(&site, 1, 40).await;
    let touched =
        agents.iter().enumerate().map(|(at, agent)| (AgentId::of(agent), 36 + (at as u64 + 4) % 5)).collect();
    site.node.checkpoint(mark(40), touched).await.unwrap();
    assert_eq!(site.store.feed("flights"), Some(mark(40)));
    deliver(&site, 41, 90).await;
    site.until("some of it is handled", |site| site.node.tally().queued == 0).await;
    disk.power_loss(&mut Seed::new(4).stream("power"));
    site.kill().await;

    let site = Site::new(&disk).await;
    assert_eq!((site.store.feed("flights"), site.store.feed_number("flights")), (Some(mark(40)), Ok(feed)));
    deliver(&site, 41, 100).await;
    for (at, agent) in agents.iter().enumerate() {
        let expected: Vec<u64> = (1..=100).filter(|seq| *seq as usize % agents.len() == at).collect();
        let expected = of(expected.iter().sum(), expected.len() as u64);
        assert_eq!(site.sum(agent).await, Ok(expected), "{agent}");
    }
}

/// Goal: a feed loses nothing to a full disk: agents that write each update wait for it, and their askers are refused or time out
/// meanwhile, but never wait for ever.
#[tokio::test(start_paused = true)]
async fn feeds_wait_for_the_store() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    let feed = site.store.feed_number("flights").unwrap();
    site.node.deliver("each/a", fed(feed, 1, 1)).await.unwrap();
    site.until("it is written", |site| site.store.status().snapshots == 1).await;
    disk.full_after(0);
    for seq in 2..=9 {
        site.node.deliver("each/a", fed(feed, seq, 1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(site.store.is_degraded());
    let waits = site.node.ask("each/a", add(1), Duration::from_secs(1)).await;
    assert!(matches!(waits, Err(AgentError::TimedOut { .. })), "{waits:?}");
    disk.repair();
    site.until("it recovers", |site| !site.store.is_degraded()).await;
    assert_eq!(site.sum("each/a").await, Ok(of(9, 9)));
    site.node.checkpoint(mark(9), vec![(AgentId::of("each/a"), 9)]).await.unwrap();
    disk.power_loss(&mut Seed::new(5).stream("power"));
    site.kill().await;
    assert_eq!(Site::new(&disk).await.sum("each/a").await, Ok(of(9, 9)));
}

/// Goal: a feed's request that crashes its agent is a dead letter, and of those before it in the batch, which nobody sends again,
/// nothing is lost under each-update.
#[tokio::test(start_paused = true)]
async fn a_poisoned_feed_loses_the_poison_only() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    let feed = site.store.feed_number("flights").unwrap();
    site.add("each/a", 1).await.unwrap();
    for seq in 1..=40 {
        let poison = Request::action("crash", Payload::EMPTY).from_feed(Origin::new(feed, seq).unwrap());
        let request = if seq % 10 == 7 { poison } else { fed(feed, seq, 1) };
        site.node.deliver("each/a", request).await.unwrap();
    }
    assert_eq!(site.sum("each/a").await, Ok(of(37, 37)));
    let tally = site.node.tally();
    assert_eq!((tally.sent, tally.processed, tally.dead_lettered, tally.queued), (42, 38, 4, 0));
    site.node.checkpoint(mark(40), vec![(AgentId::of("each/a"), 40)]).await.unwrap();
    disk.power_loss(&mut Seed::new(6).stream("power"));
    site.kill().await;
    assert_eq!(Site::new(&disk).await.sum("each/a").await, Ok(of(37, 37)));
}

/// Goal: a sender that never pauses does not keep a stored agent from its control messages. Method: the agent is never idle, a
/// checkpoint asks it for its state by one, and it is stopped gracefully in the end, with all of it stored.
#[tokio::test(start_paused = true)]
async fn a_flood_leaves_control_its_turn() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    let feed = site.store.feed_number("flights").unwrap();
    let node = site.node.clone();
    let flood = tokio::spawn(async move {
        for seq in 1.. {
            if node.deliver("many/a", fed(feed, seq, 1)).await.is_err() {
                return seq - 1;
            }
        }
        unreachable!("it ends with its agent")
    });
    // Time stands still while somebody is busy.
    while site.node.tally().processed < 1000 {
        tokio::task::yield_now().await;
    }
    let seq = site.node.tally().processed;
    assert_eq!(site.node.checkpoint(mark(seq), vec![(AgentId::of("many/a"), seq)]).await, Ok(()));
    assert!(!flood.is_finished());
    flood.abort();
    site.root.shutdown().await;
    let handled = site.node.tally().processed;
    assert_eq!(Site::new(&disk).await.sum("many/a").await, Ok(of(handled, handled)));
}

/// Goal: a checkpoint does not wait for agents that will never come to the place: dormant, stopped, unknown, not stored, or without
/// the request.
#[tokio::test(start_paused = true)]
async fn checkpoints_end() {
    let site = Site::new(&FaultDisk::new()).await;
    for agent in ["naps/a", "naps/b", "each/a"] {
        site.add(agent, 1).await.unwrap();
    }
    site.node.hibernate("naps/a").unwrap();
    site.until("it sleeps", |site| site.node.dormant_count() == 1).await;
    let touched = ["naps/a", "naps/b", "each/a", "nobody"].map(|agent| (AgentId::of(agent), 1_000)).to_vec();
    assert_eq!(site.node.checkpoint(mark(1_000), touched).await, Ok(()));
    site.root.shutdown().await;
    let closed = site.node.checkpoint(mark(1_001), vec![]).await;
    assert_eq!(closed, Err(StoreError::Closed));
}

/// Goal: a record that was changed behind the store's back is named and put aside, its agent begins anew, and the others are
/// untouched.
#[tokio::test(start_paused = true)]
async fn damage_is_named_and_kept_apart() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    for agent in ["each/good", "each/damaged"] {
        site.add(agent, 5).await.unwrap();
    }
    site.root.shutdown().await;
    let places = disk.find(b"each/damaged");
    assert!(!places.is_empty());
    for place in places {
        // Of the record behind the names: the length of its behavior's name. redb looks at no checksum after a clean end.
        for record in disk.find(b"\x05\0adder") {
            if record > place && record - place < 200 {
                disk.damage(record + 3, 1);
            }
        }
    }
    let site = Site::new(&disk).await;
    let damaged = site.restored.not_restored.iter().map(|agent| &*agent.agent).collect::<Vec<_>>();
    assert_eq!(
        (site.restored.damaged, site.restored.dormant),
        (damaged.len() as u64, 2 - damaged.len() as u64)
    );
    assert!(damaged.contains(&"each/damaged"), "{:?}", site.restored);
    assert!(site.restored.not_restored[0].reason.contains("checksum"), "{:?}", site.restored);
    assert_eq!(
        (site.told("store.snapshot_damaged"), site.store.status().damaged),
        (damaged.len() as u64, damaged.len() as u64)
    );
    assert_eq!(site.sum("each/damaged").await, Ok(of(0, 0)));
    site.add("each/damaged", 1).await.unwrap();
    site.root.shutdown().await;
    let site = Site::new(&disk).await;
    assert_eq!(
        (site.restored.damaged, site.store.status().damaged),
        (0, damaged.len() as u64),
        "still there"
    );
    assert_eq!(site.sum("each/damaged").await, Ok(of(1, 1)));
}

/// A later version of the adder, which counts in another form.
#[derive(Default)]
struct Second;

#[derive(Serialize, Deserialize)]
struct Mean {
    mean: f64,
}

impl Actor for Second {
    type Msg = AgentMessage;
    type State = Mean;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<Mean, ActorProcessingErr> {
        Ok(Mean { mean: 0.0 })
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Mean,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(_, reply) = message {
            reply.value(&state.mean);
        }
        Ok(())
    }
}

impl Durable for Second {
    const VERSION: u32 = 2;

    fn migrate(version: u32, state: &Payload) -> Result<Mean, AgentError> {
        assert_eq!(version, 1);
        state.decode().map(|Sums { sum, count }| Mean { mean: sum as f64 / count as f64 })
    }
}

/// Goal: the next version of a behavior reads what the one before stored; what no topology claims any more, or under another
/// behavior, is reported and stays.
#[tokio::test(start_paused = true)]
async fn what_is_stored_outlives_programs_and_topologies() {
    let disk = FaultDisk::new();
    let site = Site::new(&disk).await;
    for (agent, number) in [("each/a", 1), ("each/a", 2), ("many/a", 1), ("one", 1)] {
        site.add(agent, number).await.unwrap();
    }
    site.root.shutdown().await;

    let node = |behaviors: Behaviors| {
        let config = NodeConfig { store: Some(open(&disk).unwrap()), ..NodeConfig::default() };
        Node::new(config, behaviors, Clock::start_at(0), &global::meter("test"))
    };
    let mut behaviors = behaviors();
    behaviors.durable::<Second>("adder");
    let changed = node(behaviors);
    let each = changed.family_child("each/*".parse().unwrap(), template(Persist::EachUpdate), family("each"));
    let mut other = template(Persist::EachUpdate);
    other.behavior = "other".into();
    changed.agent_child("one", &other, ChildRules::worker("other")).unwrap();
    let restored = changed.restore().unwrap();
    let reasons: Vec<_> =
        restored.not_restored.iter().map(|agent| format!("{}: {}", agent.agent, agent.reason)).collect();
    assert_eq!((restored.dormant, restored.unclaimed, reasons.len()), (1, 2, 2), "{restored:?}");
    assert!(reasons[0].contains("many/a") && reasons[0].contains("no agent or family"), "{reasons:?}");
    assert!(reasons[1].contains("one") && reasons[1].contains("`adder`"), "{reasons:?}");
    let spec = SupervisorSpec::new("top").child(changed.store_child().unwrap()).child(each.unwrap());
    let env = SupervisorEnv { clock: *changed.clock(), events: changed.events().clone() };
    let root = Root::start(spec, env).await.unwrap();
    let mean: f64 = changed.ask("each/a", Request::query("mean"), LIMIT).await.unwrap().decode().unwrap();
    assert!((mean - 1.5).abs() < 1e-9, "{mean}");
    root.shutdown().await;

    let site = Site::new(&disk).await;
    assert_eq!(site.sum("many/a").await, Ok(of(1, 1)), "its family is declared again");
}

/// Goal: storing without a store or without a form is refused, with the remedy.
#[test]
fn only_what_can_be_stored_is_declared() {
    let mut behaviors = behaviors();
    behaviors.register::<super::testing::Adder>("fleeting");
    let node = |store| {
        let config = NodeConfig { store, ..NodeConfig::default() };
        Node::new(config, behaviors.clone(), Clock::start_at(0), &global::meter("test"))
    };
    let without = node(None);
    let refused = without.declare("a".into(), &template(Persist::OnHibernate)).err().unwrap();
    assert_eq!(refused, DeclareError::NoStore { behavior: "adder".into() });
    assert!(refused.to_string().contains("[store] path"));
    assert!(without.declare("a".into(), &template(Persist::None)).is_ok());
    let with = node(Some(open(&FaultDisk::new()).unwrap()));
    let mut fleeting = template(Persist::OnHibernate);
    fleeting.behavior = "fleeting".into();
    let refused = with.declare("a".into(), &fleeting).err().unwrap();
    assert_eq!(refused, DeclareError::NotDurable { behavior: "fleeting".into() });
}

/// Goal: an agent of a family that ends for good leaves its state, which its next message finds.
#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_is_only_asleep() {
    let site = Site::new(&FaultDisk::new()).await;
    site.add("many/a", 3).await.unwrap();
    let found = site.root.view().find("top/many/many/a");
    let Some(Found::Child { supervisor, .. }) = found else { panic!("it runs") };
    supervisor.supervisor().expect("it runs").terminate_child("many/a").await.unwrap();
    assert_eq!(site.node.agent("many/a").unwrap().status, AgentStatus::Dormant);
    assert_eq!(site.add("many/a", 4).await, Ok(of(7, 2)));
}
