//! What must hold of membership and gossip whatever the network does, and what must come true once it does no more.

use std::collections::BTreeSet;

use bytes::Bytes;
use nexus_cluster::gossip::{Convergence, GossipConfig, Urgency};
use nexus_cluster::membership::{
    self, Member, MembershipConfig, MembershipEvent, PartitionPolicy, PartitionState,
};
use rand::Rng as _;

use super::world::{Faults, Parts, World};

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("NEXUS_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("NEXUS_TEST_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

/// Runs `test` with each seed and says which it is.
fn each(count: u64, mut test: impl FnMut(u64)) {
    for seed in seeds(count) {
        println!("NEXUS_TEST_SEED={seed}");
        test(seed);
    }
}

fn parts(zones: usize) -> Parts {
    // Small, so that budgets and collections are met within a minute.
    let gossip = GossipConfig {
        budget_bytes: 8192,
        node_bytes: 1024,
        tombstone_after: std::time::Duration::from_secs(20),
        ..GossipConfig::lan()
    };
    Parts { membership: Some(MembershipConfig::lan()), gossip: Some(gossip), connections: true, zones }
}

fn started(seed: u64, hosts: usize, parts: Parts) -> World {
    let mut world = World::new(seed, hosts, parts);
    for at in 0..hosts {
        world.start(at);
    }
    world
}

/// Whether every host that is up has exactly those that are up for members, with their present identities.
fn agreed(world: &World) -> bool {
    let identity = |member: &Member| (member.id().clone(), member.renewal());
    let membership = |at: usize| world.hosts[at].membership.as_ref().unwrap();
    let up: BTreeSet<_> = world.up().into_iter().map(|at| identity(membership(at).me())).collect();
    world.up().into_iter().all(|at| {
        let mut seen: BTreeSet<_> = membership(at).members().map(identity).collect();
        seen.insert(identity(membership(at).me()));
        seen == up
    })
}

/// Whether everyone that is up knows the same of everyone that is up.
fn converged(world: &World) -> bool {
    let up = world.up();
    up.iter().all(|owner| {
        let position = |at: &usize| world.hosts[*at].gossip.as_ref().unwrap().position(&world.names[*owner]);
        let own = position(owner);
        up.iter().all(|at| own.1 == 0 || position(at) == own)
    })
}

/// One thing that goes wrong, or a while that passes.
fn trouble(world: &mut World) {
    let hosts = world.hosts.len();
    let at = world.rng.random_range(0..hosts);
    match world.rng.random_range(0..8) {
        0 => {
            let loss = world.rng.random_range(0..300);
            let slowest = world.rng.random_range(5..400);
            world.faults = Faults { delay: (1, slowest), loss, twice: 100 };
        }
        1 => {
            let sides: Vec<u8> = (0..hosts).map(|_| world.rng.random_range(0..2)).collect();
            world.partition(|at| sides[at]);
        }
        2 => world.partition(|_| 0),
        3 if world.hosts[at].up && world.up().len() > 2 => world.crash(at),
        4 if !world.hosts[at].up => world.start(at),
        _ => {}
    }
    for _ in 0..world.rng.random_range(0..20) {
        let up = world.up();
        let (at, key) =
            (up[world.rng.random_range(0..up.len())], format!("k{}", world.rng.random_range(0..6)));
        let bytes = Bytes::from(vec![world.rng.random::<u8>(); world.rng.random_range(0..60)]);
        let value = world.rng.random_bool(0.7).then_some(bytes);
        let urgency = if world.rng.random_bool(0.2) { Urgency::Urgent } else { Urgency::Routine };
        world.write(at, &key, value, urgency);
    }
    let while_ = world.rng.random_range(100..8000);
    world.pass(while_);
}

/// Goal: after any faults, once the network is good again, every node has exactly the nodes that run for members (completeness and
/// accuracy), knows the same of their keys, shows no deleted key, and the detector says so. During it no budget is broken and no older
/// version is shown after a newer one; the world asserts both at every step.
#[test]
fn seeded_all_agree_after_faults_end() {
    each(30, |seed| {
        let mut world = started(seed, 3 + (seed % 7) as usize, parts(1 + (seed % 3) as usize));
        for _ in 0..25 {
            trouble(&mut world);
        }
        world.heal();
        assert!(world.run_until(120_000, 500, agreed), "members differ");
        assert!(world.run_until(30_000, 500, converged), "keys differ");
        for owner in world.up() {
            let keys = |at: usize| -> Vec<_> {
                world.hosts[at].gossip.as_ref().unwrap().keys(&world.names[owner]).collect()
            };
            assert!(world.up().into_iter().all(|at| keys(at) == keys(owner)));
        }
        let said = |world: &World| {
            world.up().into_iter().all(|at| {
                let gossip = world.hosts[at].gossip.as_ref().unwrap();
                matches!(gossip.convergence(), Convergence::Converged { .. })
            })
        };
        assert!(world.run_until(60_000, 500, said), "the detector does not say so");
        // It stays, once the last words from before are spoken.
        world.pass(10_000);
        assert!(world.run_until(30_000, 500, agreed));
        world.told.clear();
        world.pass(60_000);
        assert!(agreed(&world) && converged(&world));
        assert!(world.told.is_empty(), "{:?}", world.told);
    });
}

/// Goal: tombstones end as well: what all have acknowledged is kept nowhere.
#[test]
fn seeded_tombstones_are_collected_everywhere() {
    each(10, |seed| {
        let mut world = started(seed, 6, parts(2));
        assert!(world.run_until(30_000, 100, agreed));
        world.faults.loss = 100;
        for round in 0..20 {
            let (at, key) = (round % 6, format!("k{}", round % 4));
            world.write(at, &key, Some(Bytes::from(vec![1; round])), Urgency::Routine);
            world.pass(700);
            world.write(at, &key, None, Urgency::Routine);
        }
        let clean = |world: &World| {
            world.hosts.iter().all(|host| {
                let overview = host.gossip.as_ref().unwrap().overview();
                overview.owners.iter().all(|owner| owner.keys + owner.tombstones == 0)
            })
        };
        assert!(world.run_until(60_000, 500, clean));
    });
}

/// Goal: without loss nobody is declared down that runs, and whoever crashes is, by all, within the suspicion and eight periods: until
/// someone probes it, until that fails, and until all have heard of it.
#[test]
fn seeded_the_dead_and_only_the_dead_are_declared_down() {
    each(20, |seed| {
        let hosts = 3 + (seed % 10) as usize;
        let mut world = started(seed, hosts, parts(1));
        world.faults.delay = (1, 100);
        assert!(world.run_until(30_000, 100, agreed));
        world.pass(30_000);
        let down = |world: &World| {
            let is_down = |event: &MembershipEvent| matches!(event, MembershipEvent::MemberDown(_));
            world.told.iter().filter(|(.., event)| is_down(event)).count()
        };
        assert_eq!(down(&world), 0);
        world.crash(seed as usize % hosts);
        let config = MembershipConfig::lan();
        let bound = config.suspicion(hosts) + config.probe_period * 8;
        assert!(world.run_until(bound.as_millis() as u64, 100, agreed), "not down everywhere in {bound:?}");
        assert_eq!(down(&world), hosts - 1);
    });
}

/// Goal: of two sides of a partition at most one goes on under `quorum`, and after it all do.
#[test]
fn seeded_one_side_goes_on() {
    each(10, |seed| {
        let membership = MembershipConfig { partition: PartitionPolicy::Quorum, ..MembershipConfig::lan() };
        let hosts = 3 + (seed % 5) as usize;
        let mut world = started(seed, hosts, Parts { membership: Some(membership), ..parts(1) });
        assert!(world.run_until(30_000, 100, agreed));
        world.pass(40_000);
        let cut = world.rng.random_range(1..hosts);
        world.partition(|at| u8::from(at >= cut));
        world.pass(40_000);
        let whole = |world: &World, at: usize| {
            world.hosts[at].membership.as_ref().unwrap().partition() == PartitionState::Whole
        };
        // The smallest name is on the first side.
        let first_goes_on = cut * 2 >= hosts;
        for at in 0..hosts {
            assert_eq!(whole(&world, at), (at < cut) == first_goes_on, "n{at} of {hosts}, cut at {cut}");
        }
        world.heal();
        assert!(world.run_until(60_000, 500, agreed));
        assert!((0..hosts).all(|at| whole(&world, at)));
    });
}

/// Goal: who leaves is told from who dies, whatever is lost on the way.
#[test]
fn seeded_leaving_is_not_dying() {
    each(10, |seed| {
        let mut world = started(seed, 5, parts(1));
        assert!(world.run_until(30_000, 100, agreed));
        world.faults.loss = 50;
        world.told.clear();
        world.membership(2, membership::Input::Leave);
        world.crash(2);
        assert!(world.run_until(30_000, 100, agreed));
        let of_it = |event: &MembershipEvent| match event {
            MembershipEvent::MemberLeft(member) => (member.name() == &world.names[2]).then_some(true),
            MembershipEvent::MemberDown(member) => (member.name() == &world.names[2]).then_some(false),
            _ => None,
        };
        let told: Vec<_> = world.told.iter().filter_map(|(.., event)| of_it(event)).collect();
        assert_eq!(told, [true; 4]);
    });
}

/// Goal: one seed gives one run, another seed another.
#[test]
fn seeded_runs_repeat() {
    let trace = |seed| {
        let mut world = started(seed, 6, parts(2));
        for _ in 0..10 {
            trouble(&mut world);
        }
        (world.trace, world.messages, world.bytes)
    };
    each(3, |seed| {
        assert_eq!(trace(seed), trace(seed));
        assert_ne!(trace(seed), trace(seed + 1000));
    });
}
