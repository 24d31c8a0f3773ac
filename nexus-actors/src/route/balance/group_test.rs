//! Groups that serve as one name, with real agents: who gets what, what happens to messages nobody takes, and members that come
//! and go.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Semaphore;

use super::roster::OFFERS_MAX;
use super::{Strategy, all, named};
use crate::agent::{
    Agent, AgentCell, AgentMessage, AgentSpec, AgentTemplate, Behaviors, Level, NamePattern, Payload,
    Request, Tally,
};
use crate::clock::Clock;
use crate::error::AgentError;
use crate::node::{Node, NodeConfig};
use crate::route::{DeadLetterReason, GroupSpec};
use crate::store::Persist;

/// A desk answers with its name; `wait` occupies it until a permit comes, `pace` for 10 ms if it is the first, else for 30, `crash` ends it.
#[derive(Default)]
struct Desk;

struct DeskState {
    name: Arc<str>,
    gate: Arc<Semaphore>,
}

tokio::task_local! {
    static GATE: Arc<Semaphore>;
}

impl Actor for Desk {
    type Msg = AgentMessage;
    type State = DeskState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<DeskState, ActorProcessingErr> {
        let gate = GATE.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Semaphore::new(0)));
        Ok(DeskState { name: spec.name, gate })
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut DeskState,
    ) -> Result<(), ActorProcessingErr> {
        let AgentMessage::Request(request, reply) = message else { return Ok(()) };
        match &*request.key {
            "wait" => state.gate.acquire().await.expect("never closed").forget(),
            "pace" => {
                let ms = if &*state.name == "desk/0" { 10 } else { 30 };
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            "crash" => return Err("told to crash".into()),
            _ => {}
        }
        reply.value(&*state.name);
        Ok(())
    }
}

const SOON: Duration = Duration::from_secs(5);

/// A node with the group `desks` of all `desk/*`.
fn node(balance: Option<&'static dyn Strategy>) -> Node {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Desk>("desk");
    let node = Node::new(NodeConfig::default(), behaviors, Clock::start_at(0), &global::meter("test"));
    let pattern: NamePattern = "desk/*".parse().unwrap();
    node.declare_group(GroupSpec { name: "desks".into(), members: vec![pattern], balance });
    node
}

struct Desks {
    node: Node,
    gate: Arc<Semaphore>,
    specs: Vec<AgentSpec>,
}

async fn desks(strategy: &str, count: usize, inbox: u32) -> Desks {
    let (node, gate) = (node(Some(named(strategy).unwrap())), Arc::new(Semaphore::new(0)));
    let mut desks = Desks { node, gate, specs: Vec::new() };
    for index in 0..count {
        desks.open(&format!("desk/{index}"), inbox).await;
    }
    desks
}

impl Desks {
    async fn open(&mut self, name: &str, inbox: u32) {
        let template = AgentTemplate {
            behavior: "desk".into(),
            args: Payload::EMPTY,
            inbox,
            level: Level::Reactive,
            persist: Persist::None,
        };
        let spec = self.node.declare(name.into(), &template).expect("a free name");
        let starting = Agent::spawn(None, Agent::new(Desk), spec.clone());
        GATE.scope(self.gate.clone(), starting).await.expect("starts");
        self.specs.push(spec);
    }

    fn cell(&self, index: usize) -> &Arc<AgentCell> {
        &self.specs[index].cell
    }

    async fn ask(&self, key: &str) -> Result<String, AgentError> {
        self.node.ask("group:desks", action(key), SOON).await?.decode()
    }

    fn decisions(&self) -> Vec<u64> {
        self.node.group_members("desks").unwrap().iter().map(|member| member.decisions).collect()
    }
}

fn action(key: &str) -> Request {
    Request::action(key, Payload::EMPTY)
}

/// The node's counters, which always agree.
fn tally(node: &Node) -> Tally {
    let tally = node.tally();
    let ends = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
    assert_eq!(tally.sent, ends, "{tally:?}");
    tally
}

/// Goal: a group serves as one name under every strategy, each request by exactly one member, and all of them get some.
#[tokio::test(start_paused = true)]
async fn every_strategy_serves() {
    for strategy in all() {
        let desks = desks(strategy.name(), 4, 16).await;
        for _ in 0..200 {
            let served_by =
                desks.ask("count").await.unwrap_or_else(|error| panic!("{}: {error}", strategy.name()));
            assert!(served_by.starts_with("desk/"), "{served_by}");
        }
        desks.node.send("group:desks", action("count")).expect("room");
        desks.node.deliver("group:desks", action("count")).await.expect("room");
        let decisions = desks.decisions();
        assert_eq!(decisions.iter().sum::<u64>(), 202, "{}", strategy.name());
        assert!(decisions.iter().all(|count| *count > 20), "{}: {decisions:?}", strategy.name());
        let overview = desks.node.group_overview("desks").unwrap();
        assert_eq!((overview.balance, overview.decisions, overview.refused), (Some(strategy.name()), 202, 0));
        assert_eq!(tally(&desks.node).sent, 202);
    }
}

/// Goal: round robin serves in turn.
#[tokio::test(start_paused = true)]
async fn round_robin_in_turn() {
    let desks = desks("round_robin", 3, 4).await;
    let mut served = Vec::new();
    for _ in 0..5 {
        served.push(desks.ask("count").await.unwrap());
    }
    assert_eq!(served, ["desk/0", "desk/1", "desk/2", "desk/0", "desk/1"]);
}

/// Goal: the strategies that look at load see messages that came past the group. Method: flood all but one directly.
#[tokio::test(start_paused = true)]
async fn load_from_elsewhere_is_seen() {
    for strategy in ["least_loaded", "resource_aware"] {
        let desks = desks(strategy, 40, 16).await;
        for index in (0..40).filter(|index| *index != 23) {
            for _ in 0..8 {
                desks.node.send(format!("desk/{index}").as_str(), action("wait")).expect("room");
            }
        }
        // Three decisions read 48 members; from then on everybody's load is known.
        for _ in 0..3 {
            desks.node.send("group:desks", action("count")).expect("room");
        }
        for _ in 0..50 {
            assert_eq!(desks.ask("count").await.as_deref(), Ok("desk/23"), "{strategy}");
        }
    }
}

/// Goal: shares follow the measured response times. Method: one desk takes 10 ms for a request, the other 30 ms.
#[tokio::test(start_paused = true)]
async fn weighted_spares_the_slow() {
    let desks = desks("weighted", 2, 64).await;
    for _ in 0..800 {
        desks.ask("pace").await.unwrap();
    }
    let members = desks.node.group_members("desks").unwrap();
    let [fast, slow] = members.as_slice() else { panic!("{members:?}") };
    assert_eq!(
        (fast.response_ms.map(f64::round), slow.response_ms.map(f64::round)),
        (Some(10.0), Some(30.0))
    );
    assert!((0.7..0.8).contains(&fast.share), "{members:?}");
}

/// Goal: a full member does not cost a message as long as one of the next best has room; then it is one rejection, and nothing
/// is lost. Method: three desks, each busy and with room for one more.
#[tokio::test(start_paused = true)]
async fn full_members_pass_messages_on() {
    for strategy in all() {
        let desks = desks(strategy.name(), OFFERS_MAX, 2).await;
        for index in 0..OFFERS_MAX {
            desks.node.send(format!("desk/{index}").as_str(), action("wait")).expect("room");
        }
        for _ in 0..OFFERS_MAX {
            let sent = desks.node.send("group:desks", action("count"));
            assert_eq!(sent, Ok(()), "{}", strategy.name());
        }
        assert_eq!(desks.decisions(), [1; OFFERS_MAX], "{}: each had room for one", strategy.name());
        let error = desks.node.send("group:desks", action("count"));
        assert_eq!(error, Err(AgentError::Overloaded { queued: 2, limit: 2 }), "{}", strategy.name());
        let refused = desks.ask("count").await;
        assert!(matches!(refused, Err(AgentError::Overloaded { .. })), "{refused:?}");
        let counted = tally(&desks.node);
        assert_eq!((counted.sent, counted.rejected, counted.queued), (8, 2, 6), "{}", strategy.name());
        assert_eq!(desks.node.group_overview("desks").unwrap().refused, 2);

        // Who waits gets in, and has caused no rejection.
        let delivering = desks.node.deliver("group:desks", action("count"));
        tokio::pin!(delivering);
        assert!(futures::poll!(delivering.as_mut()).is_pending());
        desks.gate.add_permits(OFFERS_MAX);
        delivering.await.expect("there is room now");
        for index in 0..OFFERS_MAX {
            desks.node.ask(format!("desk/{index}").as_str(), action("count"), SOON).await.expect("answers");
        }
        let counted = tally(&desks.node);
        assert_eq!((counted.sent, counted.processed, counted.rejected), (12, 10, 2), "{}", strategy.name());
    }
}

/// Goal: no message to a group is lost silently: each mistake has its own error, and its own reason among the dead letters.
#[tokio::test(start_paused = true)]
async fn groups_nobody_can_be_reached_by() {
    let published = node(None);
    let error = published.send("group:desks", action("count"));
    assert_eq!(error, Err(AgentError::NotBalanced { name: "desks".into() }));
    assert!(error.unwrap_err().to_string().contains("balance"), "it names the remedy");
    let error = published.deliver("group:none", action("count")).await;
    assert_eq!(error, Err(AgentError::UnknownGroup { name: "none".into() }));

    let empty = node(Some(named("least_loaded").unwrap()));
    let error = empty.ask("group:desks", action("count"), SOON).await;
    assert_eq!(error, Err(AgentError::NoMember { name: "desks".into(), agents: 0 }));

    let stopped = desks("power_of_two", 2, 4).await;
    for index in 0..2 {
        stopped.node.retire(stopped.cell(index), DeadLetterReason::AgentStopped, false);
    }
    let error = stopped.node.send("group:desks", action("count"));
    assert_eq!(error, Err(AgentError::NoMember { name: "desks".into(), agents: 2 }));

    for (node, reasons) in [
        (&published, &[DeadLetterReason::NotBalanced, DeadLetterReason::UnknownGroup][..]),
        (&empty, &[DeadLetterReason::NoMember]),
        (&stopped.node, &[DeadLetterReason::NoMember]),
    ] {
        let counted = tally(node);
        assert_eq!((counted.sent, counted.dead_lettered), (reasons.len() as u64, reasons.len() as u64));
        let (letters, _) = node.dead_letters().page(0, 9);
        let found: Vec<_> = letters.iter().rev().map(|letter| letter.reason).collect();
        assert_eq!(found, reasons);
        assert!(letters.iter().all(|letter| letter.target.starts_with("group:")));
    }
}

/// Goal: members that go get nothing more, those that come get their part, and every message has an end.
#[tokio::test(start_paused = true)]
async fn members_come_and_go() {
    for strategy in all() {
        let mut desks = desks(strategy.name(), 3, 64).await;
        for _ in 0..30 {
            desks.ask("count").await.unwrap();
        }
        // One stops and stays known, one is forgotten, and two come.
        desks.node.retire(desks.cell(0), DeadLetterReason::AgentStopped, false);
        desks.node.retire(desks.cell(1), DeadLetterReason::AgentStopped, true);
        desks.open("desk/7", 64).await;
        desks.open("desk/1", 64).await;
        assert_eq!(
            desks.node.group("desks").unwrap(),
            ["desk/0".into(), "desk/1".into(), "desk/2".into(), "desk/7".into()] as [Arc<str>; 4]
        );
        let before = desks.decisions();
        for _ in 0..120 {
            let served_by =
                desks.ask("count").await.unwrap_or_else(|error| panic!("{}: {error}", strategy.name()));
            assert_ne!(served_by, "desk/0", "{}", strategy.name());
        }
        let now = desks.decisions();
        assert_eq!(now[0], before[0], "{}", strategy.name());
        assert_eq!(before[1], 0, "an agent that came under an old name is a new member");
        assert!(
            now[1..].iter().zip(&before[1..]).all(|(now, before)| now - before > 15),
            "{now:?} {before:?}"
        );
        let counted = tally(&desks.node);
        assert_eq!((counted.sent, counted.processed), (150, 150), "{}", strategy.name());
    }
}

/// Goal: whatever happens at once, each message is accounted for. Method: threads send to the group while members come and go and
/// inboxes are full most of the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accounts_agree_while_members_come_and_go() {
    const SENDERS: usize = 3;
    const MESSAGES: u64 = 3000;
    for strategy in all() {
        let mut desks = desks(strategy.name(), 6, 3).await;
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let node = desks.node.clone();
                tokio::spawn(async move {
                    let mut ok = 0;
                    for index in 0..MESSAGES {
                        ok += u64::from(node.send("group:desks", action("count")).is_ok());
                        if index % 16 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    ok
                })
            })
            .collect();
        for round in 0..40 {
            let (index, fresh) = (round % desks.specs.len(), format!("desk/new{round}"));
            let old = desks.specs.remove(index);
            let actor = old.cell.actor().expect("it was started");
            actor.stop_and_wait(None, Some(SOON)).await.expect("it ends");
            desks.node.retire(&old.cell, DeadLetterReason::AgentStopped, round % 2 == 0);
            desks.open(&fresh, 3).await;
        }
        let mut accepted = 0;
        for sender in senders {
            accepted += sender.await.expect("no panic");
        }
        // What is still in the inboxes is handled, too.
        let at_rest = async {
            while tally(&desks.node).queued > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, at_rest).await.expect("nothing is left behind");
        let counted = tally(&desks.node);
        assert_eq!(counted.sent, SENDERS as u64 * MESSAGES, "{}", strategy.name());
        assert!(counted.processed + counted.dead_lettered >= accepted, "{}: {counted:?}", strategy.name());
    }
}

/// Goal: an ask that ends in a crash is answered, and makes its member look slow, not fast.
#[tokio::test(start_paused = true)]
async fn crashes_do_not_attract() {
    let desks = desks("weighted", 1, 8).await;
    desks.ask("count").await.unwrap();
    let response = || desks.node.group_members("desks").unwrap()[0].response_ms.unwrap();
    let before = response();
    assert!(matches!(desks.ask("crash").await, Err(AgentError::Crashed { .. })));
    assert!(response() > before + 1.0, "{} ms after {before}", response());
    assert_eq!(tally(&desks.node).dead_lettered, 1);
}
