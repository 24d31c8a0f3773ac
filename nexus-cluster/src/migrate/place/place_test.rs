//! Each strategy on small clusters, and what all of them keep to.

use std::collections::BTreeMap;

use super::*;
use crate::ring::Member;

struct World {
    ring: Ring,
    sites: Vec<Site>,
}

/// `(name, zone, capacity, agents, draining)`, in the order of the names.
fn world(nodes: &[(&str, &str, u64, u64, bool)]) -> World {
    let id = |name: &str| NodeId { name: name.parse().unwrap(), incarnation: 1 };
    let ring = Ring::new(nodes.iter().map(|(name, ..)| Member::new(id(name))));
    let sites = nodes.iter().map(|(name, zone, capacity, agents, draining)| {
        let metadata = Metadata {
            zone: (*zone).to_owned(),
            capacity: *capacity,
            versions: (1, if *zone == "new" { 2 } else { 1 }),
            ..Metadata::default()
        };
        Site { node: id(name), metadata, agents: *agents, draining: *draining }
    });
    World { sites: sites.collect(), ring }
}

/// How often each node is chosen for 3,000 agents.
fn spread(world: &World, placement: &dyn Placement) -> BTreeMap<String, usize> {
    let me = "a".parse().unwrap();
    let cluster = Cluster { me: &me, ring: &world.ring, sites: &world.sites };
    let mut chosen = BTreeMap::new();
    for index in 0..3000 {
        if let Some(node) = placement.place(AgentId::of(&format!("agent/{index}")), &cluster) {
            *chosen.entry(node.name.to_string()).or_default() += 1;
        }
    }
    chosen
}

/// Goal: the ring's owner, unless it is drained; then the next, and agents of other nodes stay where they are.
#[test]
fn ring_passes_drained_nodes_by() {
    let nodes =
        |draining| world(&[("a", "", 9, 0, false), ("b", "", 9, 0, draining), ("c", "", 9, 0, false)]);
    let (open, drained) = (nodes(false), nodes(true));
    assert_eq!(spread(&open, &ByRing).len(), 3);
    assert!(!spread(&drained, &ByRing).contains_key("b"));
    let me = "a".parse().unwrap();
    for index in 0..300 {
        let agent = AgentId::of(&format!("agent/{index}"));
        let place = |world| {
            let World { ring, sites }: &World = world;
            ByRing.place(agent, &Cluster { me: &me, ring, sites }).unwrap().name.to_string()
        };
        assert_eq!(place(&open), open.ring.owner(agent).unwrap().name.to_string());
        assert!(place(&open) == "b" || place(&open) == place(&drained));
    }
}

/// Goal: here, and elsewhere while this node is drained.
#[test]
fn local_is_here() {
    let nodes = |draining| world(&[("a", "", 9, 0, draining), ("b", "", 9, 0, false)]);
    assert_eq!(spread(&nodes(false), &Local), [("a".to_owned(), 3000)].into());
    assert_eq!(spread(&nodes(true), &Local), [("b".to_owned(), 3000)].into());
}

/// Goal: what counts is the share of the capacity, in steps; equals share evenly, and a node without a capacity gets nothing.
#[test]
fn least_loaded_compares_shares() {
    let uneven = world(&[("a", "", 100, 50, false), ("b", "", 1000, 100, false), ("c", "", 0, 0, false)]);
    assert_eq!(spread(&uneven, &LeastLoaded), [("b".to_owned(), 3000)].into());
    let even = world(&[("a", "", 1000, 3, false), ("b", "", 1000, 0, false), ("c", "", 1000, 60, false)]);
    let chosen = spread(&even, &LeastLoaded);
    assert!(chosen.len() == 3 && chosen.values().all(|count| (800..1200).contains(count)), "{chosen:?}");
    let drained = world(&[("a", "", 1000, 900, false), ("b", "", 1000, 0, true)]);
    assert_eq!(spread(&drained, &LeastLoaded), [("a".to_owned(), 3000)].into());
}

/// Goal: only nodes that fit, and none if none does; mistakes in a label are told with what is right.
#[test]
fn labels_must_fit() {
    let zones = world(&[
        ("a", "west", 9, 0, false),
        ("b", "new", 9, 0, false),
        ("c", "new", 9, 0, false),
        ("d", "new", 9, 0, true),
    ]);
    for text in ["zone=new", "version=2"] {
        let chosen = spread(&zones, &Label::parse(text).unwrap());
        assert_eq!(chosen.keys().collect::<Vec<_>>(), ["b", "c"], "{text}");
        assert!(chosen.values().all(|count| *count > 1000), "{chosen:?}");
    }
    assert!(spread(&zones, &Label::parse("zone=east").unwrap()).is_empty());
    for wrong in ["zone", "zone=", "version=x", "rack=1"] {
        assert!(Label::parse(wrong).unwrap_err().to_string().contains("zone=NAME"), "{wrong}");
    }
}

/// Goal: nobody is nowhere: an empty cluster places nothing and nothing fails; names are unique.
#[test]
fn an_empty_cluster_places_nothing() {
    let empty = world(&[]);
    for placement in all() {
        assert!(spread(&empty, &*placement).is_empty(), "{}", placement.name());
    }
    let names: std::collections::BTreeSet<_> = all().iter().map(|placement| placement.name()).collect();
    assert_eq!(names.len(), all().len());
}
