//! Three nodes over the simulated carrier: the same trees as in production.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::{
    AgentId, AgentMessage, AgentSpec, AgentTemplate, Behaviors, FamilyRules, Level, Payload, Request,
};
use nexus_actors::clock::Clock;
use nexus_actors::rng::Seed;
use nexus_actors::route::FeedLoss;
use nexus_actors::store::{Follows, Origin, Persist};
use nexus_actors::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use nexus_actors::{AgentError, Node, NodeConfig};
use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Cluster, ClusterSetup, Standing};
use crate::census::News;
use crate::membership::MembershipConfig;
use crate::transport::sim::{Faults, Network, SimCarrier};
use crate::{NodeId, NodeName};

const SOON: Option<Duration> = Some(Duration::from_secs(5));
const NODES: [&str; 3] = ["a", "b", "c"];

/// Writes numbers down, and says where it is.
#[derive(Default)]
struct Scribe;

impl Actor for Scribe {
    type Msg = AgentMessage;
    type State = (Vec<u64>, Arc<str>);
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok((Vec::new(), spec.node.name().clone()))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        (numbers, home): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let AgentMessage::Request(request, reply) = message else { return Ok(()) };
        match &*request.key {
            "add" => {
                numbers.push(request.payload.decode()?);
                reply.done();
            }
            "list" => reply.value(numbers),
            _ => reply.value(&**home),
        }
        Ok(())
    }
}

/// One life of a node.
struct Site {
    node: Node,
    cluster: Cluster,
    root: Root,
    _carrier: Arc<SimCarrier>,
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

async fn site(network: &Network, own: &str, incarnation: u64) -> Site {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Scribe>("scribe");
    let config = NodeConfig { name: own.into(), seed: Seed::new(1), ..NodeConfig::default() };
    let node = Node::new(config, behaviors, Clock::start_at(0), &global::meter("test"));
    let me = NodeId { name: name(own), incarnation };
    let seeds = NODES.map(str::to_owned).to_vec();
    let mut setup = ClusterSetup::new(node.clone(), me.clone(), own, seeds);
    setup.membership = MembershipConfig::local();
    setup.expect = NODES.len();
    let mut carrier = None;
    let cluster = Cluster::new(setup, |exchange| {
        let joined = network.join(me, own, exchange);
        carrier = Some(joined.clone());
        Ok::<_, Infallible>(joined)
    });
    let cluster = cluster.unwrap();
    let template = AgentTemplate {
        behavior: "scribe".into(),
        args: Payload::EMPTY,
        inbox: 1000,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let family = |name: &str, eager| FamilyRules {
        name: name.into(),
        agent: ChildRules::worker("scribe"),
        intensity: 10,
        period: Duration::from_secs(1),
        backoff: None,
        eager,
        hibernate_after: None,
    };
    let lazy = node.family_child("lazy/*".parse().unwrap(), template.clone(), family("lazy", false)).unwrap();
    let eager = node.family_child("eager/{0..29}".parse().unwrap(), template, family("eager", true)).unwrap();
    let spec = SupervisorSpec::new(own).child(cluster.child()).child(lazy).child(eager);
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::spawn(spec, env).await.unwrap();
    root.boot().await.unwrap();
    Site { node, cluster, root, _carrier: carrier.unwrap() }
}

impl Site {
    async fn ready(&self) {
        let mut standing = self.cluster.watch();
        let ready = tokio::time::timeout(Duration::from_secs(30), standing.wait_for(Standing::is_ready));
        let ready = ready.await.map(|standing| *standing.unwrap());
        assert!(ready.is_ok(), "{} is {}", self.node.name(), self.cluster.standing());
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, agent: &str, key: &str) -> Result<T, AgentError> {
        self.node.ask(agent, Request::action(key, Payload::EMPTY), SOON).await?.decode()
    }
}

async fn three() -> (Network, Vec<Site>) {
    let network = Network::new(Seed::new(3), Faults::default());
    let mut sites = Vec::new();
    for own in NODES {
        sites.push(site(&network, own, 1).await);
    }
    for site in &sites {
        site.ready().await;
    }
    (network, sites)
}

fn balanced(sites: &[Site]) {
    for site in sites {
        let tally = site.node.tally();
        let ended = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
        assert_eq!(tally.sent, ended, "{}: {tally:?}", site.node.name());
    }
}

/// Goal: agents are spread over the nodes by the ring, each is on one of them, and each is reached from everywhere, in order.
#[tokio::test(start_paused = true)]
async fn a_name_is_one_agent_wherever_it_is_asked_for() {
    let (_network, sites) = three().await;
    let mut homes = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..30 {
        let agent = format!("lazy/{number}");
        for round in 0..10 {
            for site in &sites {
                let request = Request::action("add", Payload::encode(&round).unwrap());
                site.node.send(&*agent, request).unwrap();
            }
        }
        let mut seen = Vec::new();
        for site in &sites {
            seen.push(site.ask::<String>(&agent, "home").await.unwrap());
        }
        assert!(seen.iter().all(|home| *home == seen[0]), "{agent}: {seen:?}");
        *homes.entry(seen[0].clone()).or_default() += 1;
        let mut numbers = sites[0].ask::<Vec<u64>>(&agent, "list").await.unwrap();
        numbers.sort_unstable();
        let expected: Vec<u64> = (0..10).flat_map(|round| [round; 3]).collect();
        assert_eq!(numbers, expected, "{agent}");
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
    let eager: usize = sites.iter().map(|site| site.node.agent_count()).sum();
    assert_eq!(eager, 30 + 30, "each of the eager ones is on one node");
    balanced(&sites);
}

/// Goal: the agents of a node that is gone are started elsewhere by their next message, those of the others stay where they are, and the
/// node that comes back takes part again.
#[tokio::test(start_paused = true)]
async fn a_node_that_dies_is_replaced() {
    let (network, mut sites) = three().await;
    let mut homes = Vec::new();
    for number in 0..30 {
        homes.push(sites[0].ask::<String>(&format!("lazy/{number}"), "home").await.unwrap());
    }
    let lost = sites.remove(2);
    network.crash(&name("c"));
    lost.root.supervisor().cell().kill();
    let (mut moved, mut refused) = (0, 0);
    for (number, home) in homes.iter().enumerate() {
        let agent = format!("lazy/{number}");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let now = loop {
            match sites[1].ask::<String>(&agent, "home").await {
                Ok(now) => break now,
                Err(error) => {
                    refused += 1;
                    assert!(tokio::time::Instant::now() < deadline, "{agent}: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        if home == "c" {
            moved += 1;
            assert_ne!(now, "c");
        } else {
            assert_eq!(now, *home, "{agent} stays");
        }
    }
    assert!(moved > 0 && refused > 0, "{moved} moved, {refused} refused meanwhile");
    sites.push(site(&network, "c", 2).await);
    for site in &sites {
        site.ready().await;
    }
    let mut back = 0;
    for number in 30..60 {
        let agent = format!("lazy/{number}");
        let seen = [
            sites[0].ask::<String>(&agent, "home").await.unwrap(),
            sites[2].ask::<String>(&agent, "home").await.unwrap(),
        ];
        assert_eq!(seen[0], seen[1]);
        back += usize::from(seen[0] == "c");
    }
    assert!(back > 0, "the new life of `c` has agents");
    balanced(&sites);
}

/// Goal: whoever marks an ask need not know that a node has died: it is answered by the agent that takes the place of the lost one, and it is
/// nobody's dead letter. Method: the same agents are asked with and without the mark at the moment of the crash.
#[tokio::test(start_paused = true)]
async fn a_marked_ask_outlives_a_node() {
    let (network, mut sites) = three().await;
    let agents: Vec<String> = (0..30).map(|number| format!("lazy/{number}")).collect();
    let mut homes = Vec::new();
    for agent in &agents {
        homes.push(sites[0].ask::<String>(agent, "home").await.unwrap());
    }
    let lost = sites.remove(2);
    network.crash(&name("c"));
    lost.root.supervisor().cell().kill();
    let patience = Duration::from_secs(60);
    let add = || Request::action("add", Payload::encode(&1).unwrap());
    let marked: Vec<_> =
        agents.iter().map(|agent| sites[0].node.ask(&**agent, add().at_least_once(), patience)).collect();
    let plain: Vec<_> = agents.iter().map(|agent| sites[0].node.ask(&**agent, add(), patience)).collect();
    let mut refused = 0;
    for ((home, plain), marked) in homes.iter().zip(plain).zip(marked) {
        assert_eq!(marked.await, Ok(Payload::EMPTY));
        let plain = plain.await;
        assert_eq!(plain.is_err(), home == "c", "{plain:?}");
        refused += u64::from(plain.is_err());
    }
    assert!(refused > 0);
    for (agent, home) in agents.iter().zip(&homes) {
        let expected: &[u64] = if home == "c" { &[1] } else { &[1, 1] };
        assert_eq!(sites[1].ask::<Vec<u64>>(agent, "list").await.unwrap(), expected, "{agent}");
    }
    assert_eq!(sites[0].node.dead_letters().total(), refused);
    balanced(&sites);
}

/// Goal: what is asked of all nodes is answered by all: names, how far agents have come in a feed, and what is under way; and when a node
/// is lost, whoever runs the feed hears that part of it is, and finds out where each agent stands.
#[tokio::test(start_paused = true)]
async fn a_census_is_taken_of_all_nodes() {
    const FEED: u16 = 0x8007;
    let (network, mut sites) = three().await;
    let agents: Vec<String> = (0..30).map(|number| format!("lazy/{number}")).collect();
    let ids: Vec<AgentId> = agents.iter().map(|agent| AgentId::of(agent)).collect();
    // Round r has the places 30 r + 1 to 30 r + 30.
    let give = async |site: &Site, round: u64| {
        for (at, agent) in (1..).zip(&agents) {
            let origin = Origin::new(FEED, 30 * round + at).unwrap();
            let seq = if round == 0 { 0 } else { 30 * (round - 1) + at };
            let request = Request::action("add", Payload::encode(&round).unwrap());
            let request = request.from_feed_after(origin, Follows { seq, pass: 1 });
            // To a node that is lost, it is lost too.
            let _ = site.node.deliver(&**agent, request).await;
        }
    };
    let census = sites[0].cluster.census().clone();
    let marks = async || census.marks(FEED, &ids).await.unwrap();
    let rest = async || {
        while census.queued().await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(marks().await.iter().all(Option::is_none));
    for round in 0..3 {
        give(&sites[0], round).await;
    }
    rest().await;
    assert_eq!(marks().await, (61..=90).map(Some).collect::<Vec<_>>());
    let mut sorted: Vec<Arc<str>> = agents.iter().map(|agent| agent.as_str().into()).collect();
    sorted.sort_unstable();
    assert_eq!(census.names(&"lazy/*".parse().unwrap(), 1000).await.unwrap(), sorted);
    assert_eq!(census.names(&"lazy/*".parse().unwrap(), 7).await.unwrap(), sorted[..7]);

    let (told, mut news) = tokio::sync::mpsc::unbounded_channel();
    census.subscribe(move |news| told.send(news.clone()).unwrap());
    let lost = sites.remove(2);
    let of_lost: Vec<bool> = ids.iter().map(|id| lost.node.has_agent(id)).collect();
    network.crash(&name("c"));
    lost.root.supervisor().cell().kill();
    give(&sites[0], 3).await;
    let heard = tokio::time::timeout(Duration::from_secs(60), news.recv()).await.unwrap().unwrap();
    let News::Lost(FeedLoss { feed: FEED, pass: 1, after }) = heard else { panic!("{heard:?}") };
    assert!((61..=90).contains(&after), "{after}: what the first lost one followed");
    // From the second node too: those whose agents are anew on the other one find them without what they follow.
    give(&sites[0], 4).await;
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let News::Lost(loss) = news.recv().await.unwrap() else { panic!("nothing is finished") };
            if loss.after == 0 {
                return;
            }
            give(&sites[0], 5).await;
        }
    })
    .await
    .unwrap();
    rest().await;
    for (lost, mark) in of_lost.iter().zip(marks().await) {
        let mark = mark.unwrap_or(0);
        assert_eq!(*lost, mark == 0, "{mark}: whoever was not lost has come on");
    }
    // All is delivered again: whoever has it skips it.
    for round in 0..6 {
        give(&sites[1], round).await;
    }
    rest().await;
    assert!(marks().await.iter().zip(1..).all(|(mark, at)| *mark == Some(150 + at)));
    for agent in &agents {
        let numbers = sites[1].ask::<Vec<u64>>(agent, "list").await.unwrap();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{agent}: each once, in order");
    }
    sites[1].cluster.census().finish().await;
    while news.recv().await.unwrap() != News::Finished(NodeId { name: name("b"), incarnation: 1 }) {}
    balanced(&sites);
}
