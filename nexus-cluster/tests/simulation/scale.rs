//! Gossip and membership at many sizes: how long news and deaths take to be known, what it costs, and who is wronged.

use bytes::Bytes;
use nexus_cluster::gossip::{self, GossipConfig, Urgency, rounds};
use nexus_cluster::membership::{self, MembershipConfig, MembershipEvent};
use rand::Rng as _;

use super::world::{Faults, Parts, World};

/// Pieces of news whose spread is measured.
const NEWS: usize = 8;

/// Nodes that write each second while it is busy.
const BUSY: usize = 16;

/// What one size showed.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) nodes: usize,
    /// ⌈log₂ N⌉.
    pub(crate) log: usize,
    /// Rounds until all knew a piece of news: the mean and the most.
    pub(crate) rounds: (f64, f64),
    /// Gossip's bytes a node and second: when nothing is new, and when 16 nodes write each second.
    pub(crate) gossip_bytes: (f64, f64),
    /// Membership's bytes a node and second when nothing happens.
    pub(crate) membership_bytes: f64,
    /// Seconds until a death was known to the first and to the last.
    pub(crate) detected: Option<(f64, f64)>,
    /// Nodes that were declared down and were not, at 1 % loss, and in how many seconds.
    pub(crate) wronged: (usize, u64),
}

impl Row {
    /// Of the slowest news: rounds against ⌈log₂ N⌉.
    pub(crate) fn ratio(&self) -> f64 {
        self.rounds.1 / self.log as f64
    }
}

pub(crate) fn measure(nodes: usize, seed: u64, lossy_secs: u64) -> Row {
    let (took, gossip_bytes) = gossip(nodes, seed);
    let (membership_bytes, detected, wronged) = membership(nodes, seed, lossy_secs);
    Row {
        nodes,
        log: rounds(nodes),
        rounds: took,
        gossip_bytes,
        membership_bytes,
        detected,
        wronged: (wronged, lossy_secs),
    }
}

/// Nodes that all know each other and one key of each.
fn gossiping(nodes: usize, seed: u64) -> World {
    let parts = Parts { membership: None, gossip: Some(GossipConfig::lan()), connections: false, zones: 4 };
    let mut world = World::new(seed, nodes, parts);
    for at in 0..nodes {
        world.start(at);
    }
    for at in 0..nodes {
        for other in 0..nodes {
            let zone = format!("z{}", other % 4);
            world.gossip(at, gossip::Input::MemberUp { node: world.id(other), zone });
        }
        world.write(at, "load", Some(Bytes::from_static(b"12345678")), Urgency::Routine);
    }
    // One learns all of it, and everyone else from that one.
    let mut first = world.hosts[0].gossip.take().unwrap();
    for host in &world.hosts[1..] {
        first.restore(host.gossip.as_ref().unwrap());
    }
    for host in &mut world.hosts[1..] {
        host.gossip.as_mut().unwrap().restore(&first);
    }
    world.hosts[0].gossip = Some(first);
    // What is hot from the beginning cools down.
    world.pass(30_000);
    world
}

fn gossip(nodes: usize, seed: u64) -> ((f64, f64), (f64, f64)) {
    let mut world = gossiping(nodes, seed);
    let mut took = Vec::new();
    for news in 0..NEWS {
        let at = world.rng.random_range(0..nodes);
        world.pass(3000 + 100 * news as u64);
        world.write(at, "load", Some(Bytes::from(format!("news {news}"))), Urgency::Routine);
        let (from, name) = (world.now, world.names[at].clone());
        let position = world.hosts[at].gossip.as_ref().unwrap().position(&name);
        let known = |world: &World| {
            world.hosts.iter().all(|host| host.gossip.as_ref().unwrap().position(&name) == position)
        };
        assert!(world.run_until(120_000, 50, known), "{nodes} nodes: not known after two minutes");
        took.push((world.now - from) as f64 / 1000.0);
    }
    let rounds = (took.iter().sum::<f64>() / NEWS as f64, took.iter().copied().fold(0.0, f64::max));
    world.pass(20_000);
    let quiet = bytes_of(&mut world, 10, |_, _| ());
    let busy = bytes_of(&mut world, 10, |world, second| {
        for writer in 0..BUSY {
            let at = writer * world.hosts.len() / BUSY;
            world.write(at, "load", Some(Bytes::from(format!("{second:08}"))), Urgency::Routine);
        }
    });
    (rounds, (quiet, busy))
}

fn bytes_of(world: &mut World, seconds: u64, mut each: impl FnMut(&mut World, u64)) -> f64 {
    let before = world.bytes;
    for second in 0..seconds {
        each(world, second);
        world.pass(1000);
    }
    (world.bytes - before) as f64 / seconds as f64 / world.hosts.len() as f64
}

fn membership(nodes: usize, seed: u64, lossy_secs: u64) -> (f64, Option<(f64, f64)>, usize) {
    let parts =
        Parts { membership: Some(MembershipConfig::lan()), gossip: None, connections: false, zones: 4 };
    let mut world = World::new(seed, nodes, parts);
    for at in 0..nodes {
        world.start(at);
    }
    let members: Vec<_> = (0..nodes).map(|at| world.member(at)).collect();
    for at in 0..nodes {
        // Each starts its periods at another time.
        let apart = 1000 * at as u64 / nodes as u64;
        world.pass(apart.saturating_sub(world.now));
        let others = members.iter().enumerate().filter(|(other, _)| *other != at);
        let others = others.map(|(_, member)| member.clone()).collect();
        world.membership(at, membership::Input::Restore(others));
    }
    world.pass(5000);
    let bytes = bytes_of(&mut world, 10, |_, _| ());
    world.told.clear();
    world.faults = Faults { loss: 10, ..Faults::NONE };
    world.pass(lossy_secs * 1000);
    let wronged = deaths(&world).count();
    world.faults = Faults::NONE;
    world.pass(5000);
    world.told.clear();
    let (died, dead) = (world.now, world.rng.random_range(0..nodes));
    world.crash(dead);
    let name = world.names[dead].clone();
    let known = world.run_until(120_000, 50, |world| {
        deaths(world).filter(|(.., member)| **member == name).count() == nodes - 1
    });
    let at = |time: u64| (time - died) as f64 / 1000.0;
    let times: Vec<_> =
        deaths(&world).filter(|(_, _, member)| **member == name).map(|(time, ..)| time).collect();
    let detected = known.then(|| (at(times[0]), at(*times.last().unwrap())));
    (bytes, detected, wronged)
}

fn deaths(world: &World) -> impl Iterator<Item = (u64, usize, &nexus_cluster::NodeName)> {
    world.told.iter().filter_map(|(time, at, event)| match event {
        MembershipEvent::MemberDown(member) => Some((*time, *at, member.name())),
        _ => None,
    })
}

/// Goal: at small sizes what the bench shows at large ones: news are known to all within 1.5 × ⌈log₂ N⌉ rounds, a death is known to
/// all, and at 1 % loss nobody is wronged.
#[test]
fn seeded_news_and_deaths_are_known_to_all() {
    let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("NEXUS_TEST_SEED={seed}");
    for nodes in [16, 64] {
        let row = measure(nodes, seed, 30);
        assert!(row.ratio() <= 1.5, "{row:?}");
        let (first, last) = row.detected.expect("a death is known to all");
        let patience = MembershipConfig::lan().suspicion(nodes).as_secs_f64();
        assert!(first >= patience * 0.9 && last <= patience * 2.0 + 4.0, "{row:?}");
        assert_eq!(row.wronged.0, 0, "{row:?}");
        // A quiet round is a few bytes to each of a logarithm of peers, and news of 16 nodes are far below the budget.
        let (quiet, busy) = row.gossip_bytes;
        assert!(quiet < 20.0 * row.log as f64 && busy > quiet && busy < 16_384.0, "{row:?}");
        assert!(row.nodes == nodes && row.membership_bytes > 0.0);
    }
}
