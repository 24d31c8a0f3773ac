//! A running node with an endpoint, and the client's side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexus_actors::agent::{AgentMessage, AgentSpec, AgentTemplate, Behaviors, FamilyRules, Level, Payload};
use nexus_actors::clock::Clock;
use nexus_actors::route::{GroupSpec, balance};
use nexus_actors::store::Persist;
use nexus_actors::supervision::{ChildRules, ChildSpec, Root, SupervisorEnv, SupervisorSpec};
use nexus_actors::{AgentError, Node, NodeConfig};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::debug::{BoundAddress, DebugActor, DebugArgs, DebugSources, DebugState, Readiness};
use crate::feed::FeedSlot;
use crate::telemetry::Telemetry;
use crate::topology::{DebugConfig, Secret, TelemetryConfig};

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Nothing here takes this long unless it is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps one value; fails, panics and keeps its asker waiting when told to.
#[derive(Default)]
struct Probe;

impl Actor for Probe {
    type Msg = AgentMessage;
    type State = Option<Payload>;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        value: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Inspect(reply) => {
                reply.value(&value.as_ref().and_then(|value| value.to_json().ok()));
            }
            AgentMessage::Request(request, reply) => match &*request.key {
                "get" => match value {
                    Some(value) => reply.send(Ok(value.clone())),
                    None => reply.error(AgentError::NotFound { key: "get".into() }),
                },
                "set" => {
                    *value = Some(request.payload);
                    reply.done();
                }
                "invalid" => reply.error(AgentError::Invalid { reason: "told so".into() }),
                "fail" => return Err("told to fail".into()),
                "panic" => panic!("told to panic"),
                "hang" => std::future::pending::<()>().await,
                other => reply.error(AgentError::Unsupported { what: other.into() }),
            },
            AgentMessage::Host(_) => {}
        }
        Ok(())
    }
}

/// `nexus` with `agents.sup` (`tower`, `a/b/c`, the family `f/*`, each with an inbox of 4) and `ops.sup` (the endpoint).
pub(super) struct Site {
    pub(super) node: Node,
    pub(super) root: Root,
    pub(super) state: DebugState,
    pub(super) readiness: Arc<Readiness>,
    bound: BoundAddress,
}

impl Site {
    pub(super) async fn start() -> Self {
        Self::configured(|_| {}).await
    }

    pub(super) async fn configured(change: impl FnOnce(&mut DebugConfig)) -> Self {
        Self::exporting(change, &TelemetryConfig::default()).await
    }

    pub(super) async fn exporting(
        change: impl FnOnce(&mut DebugConfig),
        telemetry: &TelemetryConfig,
    ) -> Self {
        let mut config = DebugConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: Some(Secret::new(TOKEN.to_owned())),
            allow_control: true,
            ..DebugConfig::default()
        };
        change(&mut config);

        let telemetry = Telemetry::start(telemetry, "test").unwrap();
        let mut behaviors = Behaviors::new();
        behaviors.register::<Probe>("probe");
        let limits = NodeConfig { dead_letters: 16, events: 256, ..NodeConfig::default() };
        let node = Node::new(limits, behaviors, Clock::start(), &telemetry.meter());
        let feed = r#"name = "rows"
            source = "nowhere.csv"
            [[emit]]
            to = ["f/{a}"]
            action = "set"
            [emit.fields]
            b = { column = "b" }"#;
        let feed = FeedSlot::new(toml::from_str(feed).unwrap(), Path::new("."), *node.clock());
        let feeds = vec![feed];
        telemetry.observe(&node, &feeds);
        node.declare_group(GroupSpec {
            name: "all".into(),
            members: vec!["tower".parse().unwrap()],
            balance: None,
        });
        node.declare_group(GroupSpec {
            name: "desks".into(),
            members: vec!["tower".parse().unwrap(), "a/b/c".parse().unwrap()],
            balance: balance::named("round_robin"),
        });
        let readiness = Arc::new(Readiness::awaiting(["tree"]));
        let slot = Arc::new(OnceLock::new());
        let sources = DebugSources {
            node: node.clone(),
            telemetry,
            root: slot.clone(),
            feeds,
            readiness: readiness.clone(),
            payload_bytes_max: 1024,
            clients: None,
            performance: None,
            restored: None,
            cluster: None,
        };
        let state = DebugState::new(config, sources).unwrap();
        let bound = BoundAddress::default();
        let args = DebugArgs { state: state.clone(), bound: bound.clone() };
        let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
        let spec = SupervisorSpec::new("nexus").child(ChildSpec::supervisor(agents(&node))).child(
            ChildSpec::supervisor(SupervisorSpec::new("ops.sup").child(ChildSpec::actor(
                "debug",
                DebugActor::default,
                args,
            ))),
        );
        let root = Root::spawn(spec, env).await.unwrap();
        slot.set(root.clone()).ok().unwrap();
        root.boot().await.unwrap();
        readiness.set("tree", true, "started");
        Self { node, root, state, readiness, bound }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.bound.get().unwrap()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends a request on a connection of its own and reads the answer to its end.
    pub(super) async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        Answer::read(&mut stream).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[("authorization", &format!("Bearer {TOKEN}"))], b"")).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        self.send(request("POST", path, &headers, body.to_string().as_bytes())).await
    }

    /// Waits until `holds`, looking after each event of the node.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut events = self.node.events().listen();
        let waiting = async {
            while !holds(self) {
                // Some conditions come a moment after their event: look again soon in any case.
                let _ = tokio::time::timeout(Duration::from_millis(20), events.recv()).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn agents(node: &Node) -> SupervisorSpec {
    let template = AgentTemplate {
        behavior: "probe".into(),
        args: Payload::EMPTY,
        inbox: 4,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let rules = || ChildRules::worker("probe");
    let family = FamilyRules {
        name: "f".into(),
        agent: rules(),
        intensity: 1000,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    };
    SupervisorSpec::new("agents.sup")
        .intensity(1000, Duration::from_secs(1))
        .child(node.agent_child("tower", &template, rules()).unwrap())
        .child(node.agent_child("a/b/c", &template, rules()).unwrap())
        .child(node.family_child("f/*".parse().unwrap(), template, family).unwrap())
}

/// A request that closes its connection afterwards.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Reads until the connection is closed. A connection closed without an answer has status 0.
    pub(super) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let reading = async {
            let mut chunk = [0; 4096];
            // A reset after the answer ends it as well.
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                bytes.extend_from_slice(&chunk[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the answer ends");
        Self::parse(&bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self {
            status,
            headers: lines.filter_map(pair).collect(),
            body: bytes[(end + 4).min(bytes.len())..].into(),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of a problem, which has all that problems have.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}
