//! Agents that hibernate and wake, under real supervisors.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::agent::{
    AgentMessage, AgentSpec, AgentStatus, AgentTemplate, Behaviors, Durable, FamilyRules, Level, Payload,
    Reply, Request,
};
use crate::clock::Clock;
use crate::node::{DeclareError, Node, NodeConfig};
use crate::route::travel::TravelError;
use crate::route::{DeadLetterReason, GroupSpec, balance};
use crate::store::Persist;
use crate::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};

const LIMIT: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(10);

/// Counts. Its state says how often it cannot be woken.
#[derive(Default)]
struct Sleeper;

#[derive(Serialize, Deserialize, Default)]
struct Sleep {
    count: u64,
    /// The last number of each sender, for order.
    last: std::collections::BTreeMap<u64, u64>,
    nightmares: u32,
}

/// Wakes tried in the one test that counts them.
static TRIES: AtomicU32 = AtomicU32::new(0);

impl Actor for Sleeper {
    type Msg = AgentMessage;
    type State = Sleep;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<Sleep, ActorProcessingErr> {
        Ok(Sleep::default())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Sleep,
    ) -> Result<(), ActorProcessingErr> {
        let AgentMessage::Request(request, reply) = message else { return Ok(()) };
        match &*request.key {
            "nightmares" => state.nightmares = request.payload.decode()?,
            "count" => state.count += 1,
            "from" => {
                let (sender, number): (u64, u64) = request.payload.decode()?;
                let last = state.last.entry(sender).or_default();
                assert!(number > *last, "of sender {sender}: {number} after {last}");
                *last = number;
                state.count += 1;
            }
            _ => {}
        }
        reply.value(&state.count);
        Ok(())
    }
}

impl Durable for Sleeper {
    async fn wake(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
        state: Sleep,
    ) -> Result<Sleep, ActorProcessingErr> {
        if state.nightmares > 0 && TRIES.fetch_add(1, Ordering::SeqCst) < state.nightmares {
            return Err("a nightmare".into());
        }
        Ok(state)
    }

    fn merge(state: &mut Sleep, other: Sleep) {
        state.count += other.count;
    }
}

struct Tree {
    node: Node,
    root: Root,
}

fn behaviors() -> Behaviors {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Sleeper>("sleeper");
    behaviors.register::<Sleeper>("insomniac");
    behaviors
}

fn family(node: &Node, behavior: &str) -> Result<crate::supervision::ChildSpec, DeclareError> {
    let template = AgentTemplate {
        behavior: behavior.into(),
        args: Payload::EMPTY,
        inbox: 1024,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let rules = FamilyRules {
        name: "f".into(),
        agent: ChildRules::worker("sleeper"),
        intensity: 1000,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: Some(IDLE),
    };
    node.family_child("f/*".parse().expect("a family"), template, rules)
}

async fn tree() -> Tree {
    let node = Node::new(NodeConfig::default(), behaviors(), Clock::start_at(0), &global::meter("test"));
    let family = family(&node, "sleeper").expect("known and durable");
    let spec = SupervisorSpec::new("top").child(family).child(node.hibernator_child());
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.expect("starts");
    Tree { node, root }
}

impl Tree {
    async fn ask(&self, agent: &str, key: &str, value: impl Serialize) -> Reply {
        self.node.ask(agent, Request::action(key, Payload::encode(&value).unwrap()), LIMIT).await
    }

    async fn count(&self, agent: &str) -> u64 {
        self.ask(agent, "count", ()).await.unwrap().decode().unwrap()
    }

    /// Waits on the node's clock.
    async fn until(&self, what: &str, mut seen: impl FnMut(&Node) -> bool) {
        let seen = async {
            while !seen(&self.node) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"));
    }

    /// The family serves as `group:g`, in turn.
    fn serve_as_group(&self) {
        let round_robin = balance::all().iter().find(|strategy| strategy.name() == "round_robin").copied();
        let members = vec!["f/*".parse().expect("a family")];
        self.node.declare_group(GroupSpec { name: "g".into(), members, balance: round_robin });
    }

    fn balanced(&self) {
        let tally = self.node.tally();
        let ends = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
        assert_eq!(tally.sent, ends, "{tally:?}");
    }
}

/// Goal: an idle agent sleeps once its time has come, not before; a message wakes it with its state, level and history.
#[tokio::test(start_paused = true)]
async fn idle_agents_sleep_and_wake() {
    let tree = tree().await;
    assert_eq!((tree.count("f/a").await, tree.count("f/a").await), (1, 2));
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    assert_eq!(tree.count("f/a").await, 3, "activity puts the sleep off");
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    assert_eq!(tree.node.agent("f/a").unwrap().status, AgentStatus::Running);
    tree.until("it sleeps", |node| node.dormant_count() == 1).await;

    let asleep = tree.node.agent("f/a").unwrap();
    assert_eq!((asleep.status, &*asleep.behavior, asleep.incarnation), (AgentStatus::Dormant, "sleeper", 1));
    assert!(tree.root.view().find("top/f/f/a").is_none(), "no actor is left");
    tree.balanced();
    let refused = tree.node.inspect("f/a", LIMIT).await.unwrap_err();
    assert!(
        matches!(&refused, AgentError::Stopped { reason, .. } if reason.contains("dormant")),
        "{refused}"
    );

    assert_eq!(tree.count("f/a").await, 4);
    let awake = tree.node.agent("f/a").unwrap();
    assert_eq!((awake.status, awake.incarnation), (AgentStatus::Running, 2));
    assert_eq!((tree.node.dormant_count(), tree.node.agent_count()), (0, 1));
    let counts = tree.node.events().counts();
    let told = |name: &str| counts.iter().find(|(event, _)| *event == name).map_or(0, |(_, count)| *count);
    let (naps, deaths) = (told("agent.hibernated"), told("agent.stopped"));
    assert_eq!((naps, deaths), (1, 0));
    tree.balanced();
}

/// Goal: messages for an agent that does not wake at once wait and keep their order; for one that does not wake at all they
/// become dead letters with that reason, and its state is kept.
#[tokio::test(start_paused = true)]
async fn a_wake_is_tried_again() {
    let tree = tree().await;
    tree.serve_as_group();
    tree.count("f/a").await;
    tree.ask("f/a", "nightmares", 3_u32).await.unwrap();
    tree.node.hibernate("f/a").unwrap();
    tree.until("it sleeps", |node| node.dormant_count() == 1).await;
    let (one, two) = tokio::join!(tree.count("f/a"), tree.count("f/a"));
    assert_eq!((one, two, TRIES.load(Ordering::SeqCst)), (2, 3, 4), "the fourth attempt succeeds");

    TRIES.store(0, Ordering::SeqCst);
    tree.ask("f/a", "nightmares", 1000_u32).await.unwrap();
    tree.node.hibernate("f/a").unwrap();
    tree.until("it sleeps", |node| node.dormant_count() == 1).await;
    let (one, two) = tokio::join!(tree.ask("f/a", "count", ()), tree.ask("f/a", "count", ()));
    for refused in [one, two] {
        assert!(matches!(refused, Err(AgentError::Stopped { .. })), "{refused:?}");
    }
    tree.until("it sleeps on", |node| node.dormant_count() == 1).await;
    let counters = tree.node.dead_letters().counts();
    let failed = counters.iter().find(|(reason, _)| *reason == DeadLetterReason::WakeFailed).unwrap();
    assert_eq!(failed.1, 2);
    tree.balanced();

    TRIES.store(1000, Ordering::SeqCst);
    assert_eq!(tree.count("group:g").await, 4, "what it had counted before, also for its group");
}

/// Goal: a crash after a wake begins again with the snapshot.
#[tokio::test(start_paused = true)]
async fn a_restart_begins_with_the_snapshot() {
    let tree = tree().await;
    tree.count("f/a").await;
    tree.node.hibernate("f/a").unwrap();
    tree.until("it sleeps", |node| node.dormant_count() == 1).await;
    assert_eq!(tree.count("f/a").await, 2);
    let crashed = tree.ask("f/a", "nightmares", "no number").await;
    assert!(matches!(crashed, Err(AgentError::Crashed { .. })), "{crashed:?}");
    assert_eq!(tree.count("f/a").await, 2, "1 in the snapshot");
}

/// Goal: a group whose agents all sleep still serves: the one that is chosen wakes, and its state is what it was.
#[tokio::test(start_paused = true)]
async fn a_group_wakes_whom_it_chooses() {
    let tree = tree().await;
    tree.serve_as_group();
    for agent in ["f/a", "f/b"] {
        tree.count(agent).await;
        tree.node.hibernate(agent).unwrap();
    }
    tree.until("both sleep", |node| node.dormant_count() == 2).await;
    assert_eq!(tree.count("group:g").await, 2);
    assert_eq!((tree.count("group:g").await, tree.node.dormant_count()), (2, 0));
    assert_eq!(tree.count("group:g").await, 3, "awake again, it is chosen like any other");
    tree.balanced();
    assert_eq!((tree.node.dead_letters().total(), tree.node.group("g").unwrap().len()), (0, 2));
}

/// Goal: a family whose behavior cannot write its state is refused, with the remedy.
#[test]
fn only_durable_behaviors_hibernate() {
    let node = Node::new(NodeConfig::default(), behaviors(), Clock::start_at(0), &global::meter("test"));
    let refused = family(&node, "insomniac").err().unwrap();
    assert_eq!(refused, DeclareError::NotDurable { behavior: "insomniac".into() });
}

/// Goal: agents that are sent to sleep all the time lose nothing and handle every sender's messages in order. Method: senders on
/// several threads, another one that never lets the agents rest; the agents check the order, their sums are compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn naps_under_fire_lose_nothing() {
    const SENDERS: u64 = 3;
    const EACH: u64 = 3_000;
    const AGENTS: u64 = 4;
    let tree = tree().await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let node = tree.node.clone();
            tokio::spawn(async move {
                for number in 1..=EACH {
                    let request = Request::action("from", Payload::encode(&(sender, number)).unwrap());
                    node.deliver(&format!("f/{}", number % AGENTS), request).await.unwrap();
                    if number % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let mut asked = 0_u64;
    while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
        for agent in 0..AGENTS {
            asked += u64::from(tree.node.hibernate(&format!("f/{agent}")).is_ok());
        }
        tokio::task::yield_now().await;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let mut sum = 0;
    for agent in 0..AGENTS {
        let count: u64 = tree.ask(&format!("f/{agent}"), "sum", ()).await.unwrap().decode().unwrap();
        sum += count;
    }
    let naps: u64 =
        (0..AGENTS).map(|agent| tree.node.agent(&format!("f/{agent}")).unwrap().incarnation - 1).sum();
    println!("{naps} naps, asked for {asked} times");
    assert_eq!(sum, SENDERS * EACH);
    assert!(naps > 0, "somebody slept");
    tree.until("all is counted", |node| node.tally().queued == 0).await;
    tree.balanced();
    assert_eq!(tree.node.dead_letters().total(), 0);
}

/// Goal: an agent that comes where an older one of it sleeps takes over what that had before it leaves again. Method: one comes with the
/// state of another, and is to leave at every moment until it does.
#[tokio::test(start_paused = true)]
async fn who_has_come_is_whole_before_it_leaves() {
    let tree = tree().await;
    for expected in 1..=10 {
        assert_eq!(tree.count("f/other").await, expected);
    }
    assert_eq!((tree.count("f/a").await, tree.count("f/a").await), (1, 2));
    let (_departure, left) = tree.node.depart(&"f/other".into(), true).unwrap();
    let luggage = left.await.unwrap().unwrap().expect("it is durable");
    tree.until("it sleeps", |node| node.dormant_count() == 1).await;

    let name = "f/a".into();
    let mut arrival = tree.node.expect(&name, "sleeper", "elsewhere").unwrap();
    arrival.store(&luggage).await.unwrap();
    arrival.activate();
    let joined = tokio::spawn(arrival.join());
    let (_departure, left) = loop {
        match tree.node.depart(&name, true) {
            Ok(leaving) => break leaving,
            Err(error) => assert_eq!(error, TravelError::OnItsWay(name.clone())),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    joined.await.unwrap();
    let brought = left.await.unwrap().unwrap().expect("it is durable");
    let state: Sleep = Payload::from_msgpack(brought.state).decode().unwrap();
    assert_eq!(state.count, 12);
}
