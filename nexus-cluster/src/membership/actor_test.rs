//! The shells of membership and gossip over a control lane in memory, with paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::clock::Clock;
use nexus_actors::rng::Seed;
use nexus_actors::supervision::{Root, Strategy, SupervisorEnv, SupervisorSpec};
use nexus_actors::telemetry::Events;
use parking_lot::Mutex;

use super::*;
use crate::gossip::{Convergence, GossipConfig, GossipHandle, GossipSetup, Urgency};
use crate::transport::{Carrier, CloseReason, ControlError, ControlEvent, ControlLane, Service};
use crate::{NodeId, NodeName};

/// Connects whoever dials; an address is a name.
#[derive(Debug, Default)]
struct Hub {
    nodes: Mutex<BTreeMap<NodeName, Node>>,
    links: Mutex<BTreeSet<(NodeName, NodeName)>>,
}

#[derive(Clone, Debug)]
struct Node {
    membership: MembershipHandle,
    gossip: GossipHandle,
}

impl Node {
    fn id(&self) -> NodeId {
        self.membership.me().id().clone()
    }

    fn control(&self, service: Service, event: ControlEvent) {
        match service {
            Service::Membership => self.membership.control(event),
            Service::Gossip => self.gossip.control(event),
            other => panic!("{other:?}"),
        }
    }
}

/// A node's end of the hub.
#[derive(Clone, Debug)]
struct End {
    hub: Arc<Hub>,
    name: NodeName,
}

impl End {
    fn node(&self, name: &NodeName) -> Option<Node> {
        self.hub.nodes.lock().get(name).cloned()
    }

    fn linked(&self, to: &NodeName) -> bool {
        self.hub.links.lock().contains(&(self.name.clone(), to.clone()))
    }
}

impl Carrier for End {
    fn keep(&self, address: &str) {
        let to: NodeName = address.parse().unwrap();
        let (Some(here), Some(there)) = (self.node(&self.name), self.node(&to)) else { return };
        let mut links = self.hub.links.lock();
        if links.insert((self.name.clone(), to.clone())) {
            links.insert((to, self.name.clone()));
            here.membership.control(ControlEvent::Connected(there.id()));
            there.membership.control(ControlEvent::Connected(here.id()));
        }
    }

    fn forget(&self, address: &str) {
        let to: NodeName = address.parse().unwrap();
        let mut links = self.hub.links.lock();
        links.remove(&(to.clone(), self.name.clone()));
        if links.remove(&(self.name.clone(), to.clone()))
            && let (Some(here), Some(there)) = (self.node(&self.name), self.node(&to))
        {
            let closed = || CloseReason::Closed("forgotten".into());
            there.membership.control(ControlEvent::Disconnected(here.id(), closed()));
            here.membership.control(ControlEvent::Disconnected(there.id(), closed()));
        }
    }

    fn close(&self, peer: &NodeName, _: CloseReason) {
        self.forget(peer.as_str());
    }
}

impl ControlLane for End {
    fn send(&self, to: &NodeName, service: Service, bytes: Bytes) -> Result<(), ControlError> {
        let there = self.node(to).filter(|_| self.linked(to));
        let there = there.ok_or_else(|| ControlError::NotConnected { to: to.clone() })?;
        let from = self.node(&self.name).unwrap().id();
        there.control(service, ControlEvent::Message { from, bytes });
        Ok(())
    }

    fn peers(&self) -> Vec<NodeId> {
        let links = self.hub.links.lock().clone();
        let mine = links.iter().filter(|(from, _)| *from == self.name);
        mine.filter_map(|(_, to)| Some(self.node(to)?.id())).collect()
    }
}

async fn start(hub: &Arc<Hub>, name: &str) -> (Node, Root) {
    let metadata = Metadata { address: name.into(), zone: "z".into(), ..Metadata::default() };
    let name: NodeName = name.parse().unwrap();
    let id = NodeId { name: name.clone(), incarnation: 1 };
    let node = Node {
        membership: MembershipHandle::new(Member::new(id, metadata)),
        gossip: GossipHandle::default(),
    };
    hub.nodes.lock().insert(name.clone(), node.clone());
    let (end, clock, seed) = (Arc::new(End { hub: hub.clone(), name }), Clock::start_at(0), Seed::new(3));
    let membership = MembershipSetup {
        handle: node.membership.clone(),
        config: MembershipConfig::local(),
        seeds: vec!["a".into()],
        seed,
        clock,
        lane: end.clone(),
        carrier: end.clone(),
    };
    let gossip = GossipSetup {
        handle: node.gossip.clone(),
        membership: node.membership.clone(),
        config: GossipConfig::local(),
        seed,
        clock,
        lane: end,
    };
    let spec = SupervisorSpec::new("cluster").strategy(Strategy::RestForOne);
    let spec = spec.child(membership.child().unwrap()).child(gossip.child().unwrap());
    let root = Root::start(spec, SupervisorEnv { clock, events: Events::new(clock, 64) }).await.unwrap();
    (node, root)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn names(node: &Node) -> Vec<String> {
    node.membership.members().iter().map(|member| member.name().to_string()).collect()
}

/// Goal: three nodes find each other by one seed, spread keys, agree, notice metadata, and part with one that leaves: all through the
/// shells. Time is paused: `pass` lets timers fire.
#[tokio::test(start_paused = true)]
async fn three_nodes_live_together() {
    let hub = Arc::new(Hub::default());
    let (a, _) = start(&hub, "a").await;
    let (b, root) = start(&hub, "b").await;
    let (c, _) = start(&hub, "c").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = told.clone();
    a.membership.subscribe(move |event| into.lock().push(event.clone()));
    pass(5).await;
    assert_eq!(
        (names(&a), names(&b), names(&c)),
        (vec!["b".into(), "c".into()], vec!["a".into(), "c".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(told.lock().len(), 2);

    let changes = Arc::new(Mutex::new(Vec::new()));
    let into = changes.clone();
    c.gossip.subscribe(move |change| into.lock().push(change.value.clone()));
    let value = Some(Bytes::from_static(b"7"));
    b.gossip.write("load", value.clone(), Urgency::Routine).await.unwrap().unwrap();
    pass(3).await;
    for node in [&a, &c] {
        assert_eq!(node.gossip.get(&"b".parse().unwrap(), "load").await.unwrap(), value);
        assert!(matches!(node.gossip.convergence().await.unwrap(), Convergence::Converged { .. }));
    }
    assert_eq!(*changes.lock(), [value]);

    // Both of b's actors die, and what b said and knew is there again; nobody has missed it.
    root.view().child("membership").unwrap().cell.unwrap().kill();
    pass(3).await;
    assert_eq!(b.gossip.get(&"b".parse().unwrap(), "load").await.unwrap(), Some(Bytes::from_static(b"7")));
    assert_eq!(
        (names(&a), names(&b), told.lock().len()),
        (vec!["b".into(), "c".into()], vec!["a".into(), "c".into()], 2)
    );

    c.membership.set_metadata(Metadata { address: "c".into(), zone: "y".into(), ..Metadata::default() });
    pass(3).await;
    assert_eq!(a.membership.members()[1].metadata().zone, "y");
    assert_eq!((c.membership.me().metadata().zone.as_str(), c.membership.me().renewal()), ("y", 1));

    b.membership.leave().await.unwrap();
    pass(2).await;
    assert_eq!((names(&a), names(&c)), (vec!["c".into()], vec!["a".into()]));
    assert!(matches!(told.lock().last(), Some(MembershipEvent::MemberLeft(_))));
    let overview = a.membership.overview().await.unwrap();
    assert_eq!(overview.members[1].state, MemberState::Left);
    assert_eq!(a.gossip.overview().await.unwrap().owners.len(), 3);
}

/// Writes down who is to be dialed.
#[derive(Debug, Default)]
struct Dials(Mutex<Vec<String>>);

impl Carrier for Dials {
    fn keep(&self, address: &str) {
        self.0.lock().push(address.into());
    }

    fn forget(&self, _: &str) {}

    fn close(&self, _: &NodeName, _: CloseReason) {}
}

/// Goal: seeds are dialed as they are, those of the domain name system by the addresses found, and again while nobody is a member.
#[tokio::test(start_paused = true)]
async fn seeds_are_resolved_and_dialed_again() {
    let (dials, clock, me) =
        (Arc::new(Dials::default()), Clock::start_at(0), NodeName::from_str("a").unwrap());
    let id = NodeId { name: me.clone(), incarnation: 1 };
    let setup = MembershipSetup {
        handle: MembershipHandle::new(Member::new(id, Metadata::default())),
        config: MembershipConfig::local(),
        seeds: vec!["host:1".into(), "dns:127.0.0.1:7000".into()],
        seed: Seed::new(3),
        clock,
        lane: Arc::new(End { hub: Arc::default(), name: me }),
        carrier: dials.clone(),
    };
    let spec = SupervisorSpec::new("cluster").child(setup.child().unwrap());
    Root::start(spec, SupervisorEnv { clock, events: Events::new(clock, 64) }).await.unwrap();
    pass(2).await;
    let dialed = dials.0.lock().clone();
    assert!(dialed.len() >= 8, "{dialed:?}");
    assert!(dialed.chunks(2).all(|pair| pair == ["host:1", "127.0.0.1:7000"]), "{dialed:?}");
}
