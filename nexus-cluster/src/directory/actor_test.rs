//! Directories as actors, on lanes in memory and with tokio's clock paused.

use std::time::Duration;

use nexus_actors::supervision::{Root, SupervisorEnv, SupervisorSpec};
use nexus_actors::telemetry::Events;

use super::*;
use crate::ring::Member;
use crate::transport::{CloseReason, ControlError};

/// All directories, each with the side of the network that it is on.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<NodeName, (u8, Directory)>>>);

/// One node's way into it.
struct Lane(NodeId, Net);

impl ControlLane for Lane {
    fn send(&self, to: &NodeName, _: Service, bytes: bytes::Bytes) -> Result<(), ControlError> {
        let peer = {
            let net = self.1.0.lock();
            let side = net[&self.0.name].0;
            net.get(to).filter(|(other, _)| *other == side).map(|(_, peer)| peer.clone())
        };
        // It may answer at once.
        let peer = peer.ok_or(ControlError::NotConnected { to: to.clone() })?;
        peer.control(ControlEvent::Message { from: self.0.clone(), bytes });
        Ok(())
    }

    fn peers(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

/// Keeps what it is told, and prefers the lower claim; panics when it is told of orphans.
#[derive(Default)]
struct Heard(Mutex<Vec<News>>);

impl Listener for Heard {
    fn tell(&self, directory: &Directory, news: News) {
        if let News::Merge { id, lower, .. } = &news {
            directory.judged(*id, Some(lower.node.name.clone()));
        }
        let orphaned = matches!(news, News::Orphaned { .. });
        self.0.lock().push(news);
        assert!(!orphaned, "told of orphans");
    }
}

struct Running {
    id: NodeId,
    directory: Directory,
    heard: Arc<Heard>,
    _root: Root,
}

fn ring(nodes: &[Running]) -> Arc<Ring> {
    Arc::new(Ring::new(nodes.iter().map(|node| Member::new(node.id.clone()))))
}

async fn start(count: usize) -> (Net, Vec<Running>) {
    let (net, mut nodes) = (Net::default(), Vec::new());
    for n in 0..count {
        let id = NodeId { name: format!("n{n}").parse().unwrap(), incarnation: 1000 + n as u64 };
        let (clock, heard) = (Clock::start_at(id.incarnation), Arc::new(Heard::default()));
        let lane = Arc::new(Lane(id.clone(), net.clone()));
        let directory =
            Directory::new(id.clone(), DirectoryConfig::default(), clock, lane, heard.clone()).unwrap();
        net.0.lock().insert(id.name.clone(), (0, directory.clone()));
        let spec = SupervisorSpec::new("top").child(directory.child());
        let env = SupervisorEnv { clock, events: Events::new(clock, 100) };
        let root = Root::start(spec, env).await.unwrap();
        nodes.push(Running { id, directory, heard, _root: root });
    }
    nodes.iter().for_each(|node| node.directory.ring_changed(ring(&nodes)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (net, nodes)
}

/// Goal: what the core decides happens. Method: register, refuse, find, read without asking, unregister, through the actors.
#[tokio::test(start_paused = true)]
async fn a_name_is_registered_and_found() {
    let (_, nodes) = start(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| nodes[n].directory.clone());
    for n in 0..100 {
        let id = AgentId::of(&format!("agent/{n}"));
        assert_eq!(c.find(id).await, Ok(None));
        assert_eq!(a.register(id, None).await, Ok(None));
        assert_eq!(a.lookup(id), Some(Whereabouts::Here));
        assert_eq!(b.register(id, None).await, Ok(Some(nodes[0].id.clone())));
        assert_eq!(c.find(id).await, Ok(Some(nodes[0].id.clone())));
        assert_eq!(c.lookup(id), Some(Whereabouts::There(nodes[0].id.clone())));
    }
    assert!(nodes.iter().all(|node| node.directory.overview().held == 100));
    let id = AgentId::of("agent/5");
    a.unregister(id);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!((a.lookup(id), c.find(id).await), (None, Ok(None)));
    c.control(ControlEvent::Message { from: nodes[0].id.clone(), bytes: bytes::Bytes::from_static(b"\xc1") });
    c.control(ControlEvent::Disconnected(nodes[0].id.clone(), CloseReason::Idle));
    assert_eq!(c.find(AgentId::of("agent/6")).await, Ok(Some(nodes[0].id.clone())));
    assert_eq!(c.lost(), 1);
}

/// Goal: after a heal one is left, by the behavior's judgement, and both are told. Method: two sides register one name.
#[tokio::test(start_paused = true)]
async fn both_sides_of_a_duplicate_are_told() {
    let (net, nodes) = start(2).await;
    let id = AgentId::of("agent/1");
    for n in 0..2 {
        net.0.lock().get_mut(&nodes[n].id.name).unwrap().0 = n as u8;
        nodes[n].directory.ring_changed(ring(&nodes[n..=n]));
        assert_eq!(nodes[n].directory.register(id, None).await, Ok(None));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for node in &nodes {
        net.0.lock().get_mut(&node.id.name).unwrap().0 = 0;
        node.directory.ring_changed(ring(&nodes));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (winner, loser) = (nodes[0].id.clone(), nodes[1].id.clone());
    let told = |n: usize, news: &News| nodes[n].heard.0.lock().contains(news);
    assert!(told(0, &News::Prevailed { id, over: loser.clone() }));
    assert!(told(1, &News::Yield { id, to: winner.clone() }));
    let event = News::Duplicate { id, winner: winner.clone(), loser };
    assert!(told(0, &event) || told(1, &event));
    assert_eq!(nodes[0].directory.lookup(id), Some(Whereabouts::Here));
    assert_eq!(nodes[1].directory.find(id).await, Ok(Some(winner)));
}

/// Goal: whoever waits for the actor is answered when that ends, and the next one forgets nothing. Method: it panics with requests behind.
#[tokio::test(start_paused = true)]
async fn requests_end_with_the_actor() {
    let (_, nodes) = start(2).await;
    let [a, b] = [0, 1].map(|n| nodes[n].directory.clone());
    let ids = (0..20).map(|n| AgentId::of(&format!("agent/{n}")));
    for id in ids.clone() {
        assert_eq!(b.register(id, None).await, Ok(None));
    }
    let kept = AgentId::of("kept");
    assert_eq!(a.register(kept, None).await, Ok(None));
    a.ring_changed(ring(&nodes[..1]));
    let answers = futures::future::join_all(ids.map(|id| a.find(id))).await;
    assert!(answers.iter().all(|answer| *answer == Err(Unavailable::Stopped)), "{answers:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(nodes[0].heard.0.lock().iter().any(|news| matches!(news, News::Orphaned { .. })));
    assert_eq!(a.find(kept).await, Ok(Some(nodes[0].id.clone())));
    assert_eq!(a.find(AgentId::of("nobody")).await, Ok(None));
}

/// Goal: whoever asks is answered, also when nobody can. Method: a node cut off before it asks, and one without an actor.
#[tokio::test(start_paused = true)]
async fn every_request_ends() {
    let (net, nodes) = start(2).await;
    net.0.lock().get_mut(&nodes[1].id.name).unwrap().0 = 1;
    let asked = (0..20).map(|n| nodes[0].directory.find(AgentId::of(&format!("agent/{n}"))));
    let mut late = 0;
    for answer in asked {
        match answer.await {
            Ok(None) => {}
            Err(Unavailable::TimedOut) => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..20).contains(&late), "{late} of 20 are owned by the node that is cut off");
    let lane = Arc::new(Lane(nodes[0].id.clone(), net));
    let clock = Clock::start_at(1);
    let alone = Directory::new(
        nodes[0].id.clone(),
        DirectoryConfig::default(),
        clock,
        lane,
        Arc::new(Heard::default()),
    )
    .unwrap();
    assert_eq!(alone.find(AgentId::of("agent/1")).await, Err(Unavailable::Stopped));
}
