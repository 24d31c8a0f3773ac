//! Agents under supervisors: restarts, families, stops.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::*;
use crate::AgentError;
use crate::clock::Clock;
use crate::node::{Node, NodeConfig};
use crate::store::Persist;
use crate::supervision::{ChildRules, Found, Restart, Root, Strategy, SupervisorEnv, SupervisorSpec};
use crate::telemetry::Event;

/// Counts, and fails when told to.
#[derive(Default)]
struct Counter;

impl Actor for Counter {
    type Msg = AgentMessage;
    type State = u64;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, spec: AgentSpec) -> Result<u64, ActorProcessingErr> {
        if spec.key() == "stillborn" {
            return Err("born dead".into());
        }
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(request, reply) = message {
            if &*request.key == "fail" {
                return Err("told to fail".into());
            }
            *count += 1;
            reply.value(count);
        }
        Ok(())
    }
}

struct Tree {
    node: Node,
    root: Root,
}

/// A supervisor `top` with the agent `solo` and the family `f/*`.
async fn tree() -> Tree {
    tree_with(Strategy::OneForOne).await
}

async fn tree_with(strategy: Strategy) -> Tree {
    tree_of(strategy, ChildRules::worker("counter")).await
}

/// The same with a family whose members have these rules.
async fn tree_of(strategy: Strategy, member: ChildRules) -> Tree {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Counter>("counter");
    let node = Node::new(NodeConfig::default(), behaviors, Clock::start_at(0), &global::meter("test"));
    let template = AgentTemplate {
        behavior: "counter".into(),
        args: Payload::EMPTY,
        inbox: 64,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let family = FamilyRules {
        name: "f".into(),
        agent: member,
        intensity: 100,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    };
    let solo = node.agent_child("solo", &template, ChildRules::worker("counter")).expect("free");
    let family = node.family_child("f/*".parse().expect("a family"), template, family).expect("known");
    let spec = SupervisorSpec::new("top")
        .strategy(strategy)
        .intensity(100, Duration::from_secs(1))
        .child(solo)
        .child(family);
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.expect("starts");
    Tree { node, root }
}

impl Tree {
    async fn count(&self, agent: &str) -> Reply {
        self.node.ask(agent, Request::action("count", Payload::EMPTY), Duration::from_secs(5)).await
    }

    fn fail(&self, agent: &str) {
        self.node.send(agent, Request::action("fail", Payload::EMPTY)).expect("room");
    }

    fn find(&self, path: &str) -> Found {
        self.root.view().find(path).expect("in the tree")
    }

    fn balanced(&self) -> Tally {
        let tally = self.node.tally();
        assert_eq!(
            tally.sent,
            tally.processed + tally.rejected + tally.dead_lettered + tally.queued,
            "{tally:?}"
        );
        tally
    }
}

fn value(count: u64) -> Reply {
    Payload::encode(&count)
}

/// Goal: a crash costs the crashing message and the state, nothing else.
#[tokio::test(start_paused = true)]
async fn a_crashed_agent_is_restarted() {
    let tree = tree().await;
    assert_eq!(tree.count("solo").await, value(1));
    tree.fail("solo");
    assert_eq!(tree.count("solo").await, value(1), "queued before the restart, handled after it");
    let overview = tree.node.agent("solo").expect("known");
    assert_eq!((overview.incarnation, overview.exits.len()), (2, 1));
    assert_eq!(tree.balanced().dead_lettered, 1);
    let restarts =
        tree.node.events().since(0).0.into_iter().filter(
            |record| matches!(&record.event, Event::ChildRestarted { child, .. } if &**child == "solo"),
        );
    assert_eq!(restarts.count(), 1);
}

/// Goal: a family's agents come to life with their first message, and come back when their supervisor is killed.
#[tokio::test(start_paused = true)]
async fn a_family_outlives_its_supervisor() {
    let tree = tree().await;
    for name in ["f/a", "f/b", "f/c"] {
        assert_eq!(tree.count(name).await, value(1));
    }
    tree.find("top/f").cell().expect("running").kill();
    tree.node.send("f/b", Request::action("count", Payload::EMPTY)).expect("its inbox is still there");
    for (name, count) in [("f/a", 1), ("f/b", 2), ("f/c", 1)] {
        assert_eq!(tree.count(name).await, value(count), "{name} has a fresh state");
    }
    assert_eq!(tree.find("top/f").view().expect("a supervisor").counts().active, 3);
    assert_eq!(tree.balanced().processed, 7);
}

/// Goal: a stopped agent says so; its waiting messages become dead letters; it can be started again.
#[tokio::test(start_paused = true)]
async fn agents_can_be_stopped_and_started() {
    let tree = tree().await;
    let (supervisor, id) = tree.root.view().locate("solo").expect("found").parent().expect("supervised");
    supervisor.terminate_child(id.clone()).await.expect("running");
    assert!(matches!(tree.count("solo").await, Err(AgentError::Stopped { .. })));
    assert_eq!(tree.node.agent("solo").expect("declared").status, AgentStatus::Stopped);
    supervisor.restart_child(id).await.expect("stopped");
    assert_eq!(tree.count("solo").await, value(1));

    assert_eq!(tree.count("f/a").await, value(1));
    let (supervisor, id) = tree.root.view().locate("f/a").expect("found").parent().expect("supervised");
    supervisor.terminate_child(id).await.expect("running");
    assert_eq!(tree.node.agent("f/a").map(|agent| agent.name), None::<Arc<str>>);
    assert_eq!(tree.count("f/a").await, value(1), "a family's agent comes back with its next message");
    tree.balanced();
}

/// Goal: an agent that cannot start tells its asker, and leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_start_is_dead_lettered() {
    let tree = tree().await;
    let reply = tree.count("f/stillborn").await;
    assert!(
        matches!(&reply, Err(AgentError::Stopped { reason, .. }) if reason == "start_failed"),
        "{reply:?}"
    );
    assert_eq!(tree.node.agent_count(), 1);
    assert_eq!(tree.balanced().dead_lettered, 1);
}

/// Goal: stopping a family's supervisor for good stops the family.
#[tokio::test(start_paused = true)]
async fn a_stopped_family_refuses() {
    let tree = tree().await;
    assert_eq!(tree.count("f/a").await, value(1));
    tree.root.supervisor().terminate_child("f").await.expect("running");
    assert!(matches!(tree.count("f/a").await, Err(AgentError::Stopped { .. })));
    tree.root.supervisor().restart_child("f").await.expect("stopped");
    assert_eq!(tree.count("f/a").await, value(1));
    tree.balanced();
}

/// Goal: a family that is restarted because a sibling failed keeps its agents and what waits for them.
#[tokio::test(start_paused = true)]
async fn a_family_outlives_its_siblings_strategy() {
    let tree = tree_with(Strategy::RestForOne).await;
    assert_eq!(tree.count("f/a").await, value(1));
    tree.fail("solo");
    let waiting = tree.count("f/a");
    tree.node.send("f/a", Request::action("count", Payload::EMPTY)).expect("room");
    assert!(waiting.await.is_ok(), "handled before or after the restart, not lost");
    assert!(tree.count("solo").await.is_ok());
    assert!(tree.count("f/a").await.is_ok());
    assert_eq!(tree.find("top/f").view().expect("a supervisor").counts().active, 1);
    let tally = tree.balanced();
    assert_eq!((tally.dead_lettered, tally.queued), (1, 0), "only the message that failed");
}

/// Goal: a member's start that comes too late, after the member has ended and been forgotten, starts nobody: the next message
/// makes a new member, which is reached. Method: ask twice for the start of a member that does not outlive its first message.
#[tokio::test(start_paused = true)]
async fn a_late_start_does_not_take_a_members_name() {
    let tree = tree().await;
    assert_eq!(tree.count("f/a").await, value(1));
    let family = tree.node.family_of("f/a").expect("declared");
    let old = tree.node.family_cells(&family).remove(0);
    let (supervisor, id) = tree.root.view().locate("f/a").expect("found").parent().expect("supervised");
    supervisor.terminate_child(id).await.expect("running");
    tree.node.activate(&family, &old);
    assert_eq!(tree.count("f/a").await, value(1), "the new member answers");
    assert_eq!(tree.find("top/f").view().expect("a supervisor").counts().active, 1);
    tree.balanced();
}

/// Goal: a member that is made while its family is stopped does not swallow messages.
#[tokio::test(start_paused = true)]
async fn a_member_of_a_stopped_family_is_retired() {
    let tree = tree().await;
    let family = tree.node.family_of("f/a").expect("declared");
    tree.root.supervisor().terminate_child("f").await.expect("running");
    let cell = tree.node.declare_member("f/a".into(), &family).expect("room on the node");
    tree.node.activate(&family, &cell);
    assert!(matches!(tree.count("f/a").await, Err(AgentError::Stopped { .. })));
    assert_eq!(tree.node.agent_count(), 1);
    tree.balanced();
}

/// Goal: members that end with every message, under many senders on several threads, never become unreachable and lose no
/// message: all are handled or dead letters. Method: temporary members of four names, told to fail by eight senders.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn short_lived_members_stay_reachable() {
    const SENDERS: usize = 8;
    const EACH: usize = 5_000;
    let member = ChildRules::worker("counter").restart(Restart::Temporary);
    let tree = Arc::new(tree_of(Strategy::OneForOne, member).await);
    let sending = (0..SENDERS).map(|sender| {
        let tree = tree.clone();
        tokio::spawn(async move {
            for message in 0..EACH {
                let name = format!("f/{}", (sender + message) % 4);
                // Dead letters are answers too; a full inbox is waited for.
                let _ = tree.node.deliver(&name, Request::action("fail", Payload::EMPTY)).await;
            }
        })
    });
    let all = futures::future::join_all(sending);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("no sender waits for ever");
    for name in ["f/0", "f/1", "f/2", "f/3"] {
        // A member may still be ending with letters in its inbox; its successor answers.
        while tree.count(name).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    // An answer is heard before its message is counted as processed.
    while tree.node.tally().queued > 0 {
        tokio::task::yield_now().await;
    }
    let tally = tree.balanced();
    assert_eq!(tally.rejected, 0, "{tally:?}");
    assert_eq!(tree.node.dead_letters().total(), tally.dead_lettered, "every dead letter is in the sums");
    assert!(
        tally.sent >= (SENDERS * EACH) as u64 && tally.dead_lettered >= (SENDERS * EACH) as u64,
        "{tally:?}"
    );
}
