//! The host around a behavior, without a supervisor: what happens to messages, replies and counters.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Semaphore;

use super::*;
use crate::AgentError;
use crate::clock::{Clock, Millis};
use crate::node::{Node, NodeConfig};
use crate::route::{DeadLetterReason, GroupSpec};
use crate::store::Persist;

/// Counts; can be told to fail, to panic, to keep its asker waiting, or to wait for a permit.
#[derive(Default)]
struct Probe;

struct ProbeState {
    count: u64,
    gate: Arc<Semaphore>,
    kept: Vec<ReplyPort>,
}

tokio::task_local! {
    static GATE: Arc<Semaphore>;
}

impl Actor for Probe {
    type Msg = AgentMessage;
    type State = ProbeState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<ProbeState, ActorProcessingErr> {
        let gate = GATE.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Semaphore::new(0)));
        Ok(ProbeState { count: 0, gate, kept: Vec::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut ProbeState,
    ) -> Result<(), ActorProcessingErr> {
        let (request, reply) = match message {
            AgentMessage::Request(request, reply) => (request, reply),
            AgentMessage::Inspect(reply) => {
                reply.value(&state.count);
                return Ok(());
            }
            AgentMessage::Host(_) => return Ok(()),
        };
        match &*request.key {
            "count" => {
                state.count += 1;
                reply.value(&state.count);
            }
            "refuse" => reply.error(AgentError::Invalid { reason: "x".repeat(5000) }),
            "missing" => reply.error(AgentError::NotFound { key: "missing".into() }),
            "silent" => {}
            "keep" => state.kept.push(reply),
            "wait" => state.gate.acquire().await.expect("never closed").forget(),
            "fail" => return Err("told to fail".into()),
            "panic" => panic!("told to panic"),
            other => reply.error(AgentError::Unsupported { what: other.into() }),
        }
        Ok(())
    }
}

fn node() -> Node {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Probe>("probe");
    let config = NodeConfig { agents_max: 4, batch: 8, ..NodeConfig::default() };
    Node::new(config, behaviors, Clock::start_at(0), &global::meter("test"))
}

fn template(inbox: u32) -> AgentTemplate {
    AgentTemplate {
        behavior: "probe".into(),
        args: Payload::EMPTY,
        inbox,
        level: Level::Reactive,
        persist: Persist::None,
    }
}

struct Started {
    node: Node,
    spec: AgentSpec,
    gate: Arc<Semaphore>,
    actor: ActorRef<AgentMessage>,
}

async fn start(inbox: u32) -> Started {
    let node = node();
    let spec = node.declare("probe".into(), &template(inbox)).expect("free name");
    let gate = Arc::new(Semaphore::new(0));
    let actor = spawn(&spec, &gate).await;
    Started { node, spec, gate, actor }
}

async fn spawn(spec: &AgentSpec, gate: &Arc<Semaphore>) -> ActorRef<AgentMessage> {
    let starting = Agent::spawn(None, Agent::new(Probe), spec.clone());
    GATE.scope(gate.clone(), starting).await.expect("starts").0
}

fn action(key: &str) -> Request {
    Request::action(key, Payload::EMPTY)
}

fn balanced(node: &Node) -> Tally {
    let tally = node.tally();
    assert_eq!(
        tally.sent,
        tally.processed + tally.rejected + tally.dead_lettered + tally.queued,
        "{tally:?}"
    );
    tally
}

const SOON: Duration = Duration::from_secs(5);

/// Goal: every kind of answer arrives. Method: ask for each.
#[tokio::test(start_paused = true)]
async fn every_request_is_answered() {
    let Started { node, actor, .. } = start(16).await;
    let ask = |key: &'static str| node.ask("probe", action(key), SOON);
    assert_eq!(ask("count").await, Payload::encode(&1));
    assert_eq!(ask("silent").await, Err(AgentError::NoReply));
    assert_eq!(ask("nonsense").await, Err(AgentError::Unsupported { what: "nonsense".into() }));
    assert_eq!(
        node.ask("nobody", action("count"), SOON).await,
        Err(AgentError::UnknownAgent { name: "nobody".into() })
    );

    let default = Payload::encode("the default").unwrap();
    assert_eq!(node.ask("probe", Request::query_or("missing", default.clone()), SOON).await, Ok(default));
    let missing = node.ask("probe", Request::query("missing"), SOON).await;
    assert_eq!(missing, Err(AgentError::NotFound { key: "missing".into() }));

    assert_eq!(ask("keep").await, Err(AgentError::TimedOut { after_ms: 5000 }), "kept, but never answered");
    assert_eq!(ask("panic").await, Err(AgentError::Crashed { reason: "told to panic".into() }));
    actor.get_cell().wait(None).await.expect("no time-out");
    assert_eq!(balanced(&node).dead_lettered, 2, "the panic and the message to nobody");
}

/// Goal: a failing message is dead-lettered alone, the rest waits for the next incarnation.
#[tokio::test(start_paused = true)]
async fn the_inbox_survives_the_agent() {
    let Started { node, spec, gate, actor } = start(16).await;
    for key in ["wait", "count", "fail", "count", "count"] {
        node.send("probe", action(key)).expect("room");
    }
    let asked = node.ask("probe", action("count"), None);
    gate.add_permits(1);
    actor.get_cell().wait(None).await.expect("no time-out");
    let tally = balanced(&node);
    assert_eq!((tally.processed, tally.dead_lettered, tally.queued), (2, 1, 3));
    assert_eq!(node.agent("probe").unwrap().status, AgentStatus::Down);
    assert_eq!(node.dead_letters().page(0, 9).0[0].reason, DeadLetterReason::Crashed);

    spawn(&spec, &gate).await;
    assert_eq!(asked.await, Payload::encode(&3), "a fresh state counted what was left");
    assert_eq!(balanced(&node).processed, 5);
    assert_eq!(node.agent("probe").unwrap().incarnation, 2);
}

/// Goal: a full inbox refuses at once, `deliver` waits instead, nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_full_inbox_pushes_back() {
    let Started { node, gate, .. } = start(2).await;
    node.send("probe", action("wait")).expect("room");
    node.send("probe", action("count")).expect("room");
    let refused = node.send("probe", action("count"));
    assert_eq!(refused, Err(AgentError::Overloaded { queued: 2, limit: 2, shed_below_percent: None }));
    assert_eq!(
        node.ask("probe", action("count"), SOON).await,
        Err(AgentError::Overloaded { queued: 2, limit: 2, shed_below_percent: None }),
        "an ask fails fast"
    );
    let mut waiting = std::pin::pin!(node.deliver("probe", action("count")));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    gate.add_permits(1);
    waiting.await.expect("delivered once there is room");
    assert_eq!(node.ask("probe", action("count"), SOON).await, Payload::encode(&3));
    let tally = balanced(&node);
    assert_eq!((tally.sent, tally.processed, tally.rejected), (6, 4, 2));
}

/// Goal: kill in the middle of a message: it alone is lost, its asker hears of it.
#[tokio::test(start_paused = true)]
async fn a_killed_agent_loses_the_message_at_hand() {
    let Started { node, gate, spec, actor } = start(16).await;
    let asked = node.ask("probe", action("wait"), None);
    node.send("probe", action("count")).expect("room");
    tokio::task::yield_now().await;
    actor.kill();
    assert!(matches!(asked.await, Err(AgentError::Crashed { .. })));
    spawn(&spec, &gate).await;
    assert_eq!(node.ask("probe", action("count"), SOON).await, Payload::encode(&2));
    let tally = balanced(&node);
    assert_eq!((tally.sent, tally.processed, tally.dead_lettered), (3, 2, 1));
}

/// Goal: requests nobody waits for any more are not handled.
#[tokio::test(start_paused = true)]
async fn expired_and_cancelled_requests_are_not_handled() {
    let Started { node, gate, .. } = start(16).await;
    node.send("probe", action("wait")).expect("room");
    drop(node.ask("probe", action("count"), SOON));
    let late = node.ask("probe", action("count").with_deadline(Millis::new(10)), None);
    tokio::time::advance(Duration::from_millis(20)).await;
    gate.add_permits(1);
    assert_eq!(late.await, Err(AgentError::DeadlineExceeded));
    assert_eq!(node.ask("probe", action("count"), SOON).await, Payload::encode(&1));
    let reasons: Vec<_> = node.dead_letters().page(0, 9).0.into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [DeadLetterReason::Expired, DeadLetterReason::Cancelled]);
    balanced(&node);
}

/// Goal: an agent that ended for good turns its inbox into dead letters and says so to whoever comes later.
#[tokio::test(start_paused = true)]
async fn a_retired_agent_refuses() {
    let Started { node, spec, gate, actor } = start(16).await;
    node.send("probe", action("wait")).expect("room");
    let waiting = node.ask("probe", action("count"), None);
    tokio::task::yield_now().await;
    actor.kill();
    actor.get_cell().wait(None).await.expect("no time-out");
    node.retire(&spec.cell, DeadLetterReason::AgentStopped, false);
    assert!(matches!(waiting.await, Err(AgentError::Stopped { .. })));
    assert!(matches!(node.send("probe", action("count")), Err(AgentError::Stopped { .. })));
    assert_eq!(balanced(&node).dead_lettered, 3);

    spawn(&spec, &gate).await;
    assert_eq!(
        node.ask("probe", action("count"), SOON).await,
        Payload::encode(&1),
        "a restart opens it again"
    );

    node.retire(&spec.cell, DeadLetterReason::AgentStopped, true);
    assert!(matches!(node.send("probe", action("count")), Err(AgentError::UnknownAgent { .. })));
    let tally = balanced(&node);
    assert_eq!((tally.sent, tally.processed, tally.dead_lettered), (5, 1, 4));
}

/// Goal: plain ractor calls, inspection and level changes reach the agent past its inbox.
#[tokio::test(start_paused = true)]
async fn ractor_and_control_messages_work() {
    let Started { node, actor, .. } = start(16).await;
    let call = actor.call(|port| AgentMessage::Request(action("count"), port.into()), None).await;
    assert_eq!(call.expect("sent").unwrap(), Payload::encode(&1));
    actor.cast(AgentMessage::Request(action("count"), ReplyPort::nobody())).expect("alive");
    assert_eq!(node.inspect("probe", SOON).await, Payload::encode(&2));
    let granted = node.set_level("probe", Level::Emergent, SOON).await;
    assert_eq!(granted, Ok(LevelGranted { requested: Level::Emergent, granted: Level::Reactive }));
    assert_eq!(balanced(&node).processed, 2);
}

/// Goal: a group's members hear what is published, in the order of their names; families stay within the node's limit.
#[tokio::test(start_paused = true)]
async fn groups_and_families() {
    let Started { node, .. } = start(1).await;
    let pattern: NamePattern = "sensor/*".parse().expect("a family");
    node.declare_group(GroupSpec { name: "all".into(), members: vec![pattern.clone()], balance: None });
    node.declare_family(pattern, template(1), None).expect("known behavior");
    for name in ["sensor/b", "sensor/a", "sensor/c"] {
        node.send(name, action("count")).expect("created, and its inbox has room");
    }
    assert_eq!(
        node.group("all").unwrap(),
        ["sensor/a".into(), "sensor/b".into(), "sensor/c".into()] as [Arc<str>; 3]
    );
    let published = node.publish("all", action("count")).expect("a group");
    assert_eq!((published.delivered, published.rejected), (0, 3), "their inboxes hold one message");
    assert!(matches!(node.publish("none", action("count")), Err(AgentError::UnknownGroup { .. })));
    assert!(matches!(
        node.send("sensor/d", action("count")),
        Err(AgentError::TooManyAgents { limit: 4, .. })
    ));
    let tally = balanced(&node);
    assert_eq!((tally.sent, tally.rejected, tally.dead_lettered, tally.queued), (7, 3, 1, 3));
}

/// Goal: what nobody asked for is refused aloud: counted, and named with its reason, which is kept short.
#[tokio::test(start_paused = true)]
async fn refusals_nobody_asked_for_are_told() {
    let Started { node, .. } = start(16).await;
    assert!(node.ask("probe", action("refuse"), SOON).await.is_err(), "whoever asks is told himself");
    assert_eq!(node.refused(), 0);
    node.send("probe", action("refuse")).expect("room");
    node.send("probe", action("count")).expect("room");
    assert_eq!(node.ask("probe", action("count"), SOON).await, Payload::encode(&2));
    assert_eq!((node.refused(), node.agent("probe").unwrap().refused, balanced(&node).processed), (1, 1, 4));
    let told = node.events().since(0).0.into_iter().find_map(|record| match &record.event {
        crate::telemetry::Event::RequestRefused { key, reason, .. } => Some((key.clone(), reason.len())),
        _ => None,
    });
    assert!(told.is_some_and(|(key, length)| key == "refuse" && length < 1100));
}
