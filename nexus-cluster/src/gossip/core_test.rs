//! A few nodes by hand: what each input makes gossip do.

use std::collections::VecDeque;

use bytes::Bytes;
use nexus_actors::clock::Millis;
use nexus_actors::rng::Seed;
use rand::Rng as _;

use super::*;
use crate::{NodeId, NodeName};

fn id(name: &str) -> NodeId {
    NodeId { name: name.parse().unwrap(), incarnation: 1 }
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn value(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

fn node(of: &str, members: &[&str]) -> Gossip {
    let rng = Seed::new(5).stream(of);
    let mut gossip = Gossip::new(id(of), "z".into(), GossipConfig::lan(), rng).unwrap();
    for member in members {
        gossip.step(Millis::ZERO, Input::MemberUp { node: id(member), zone: "z".into() });
    }
    gossip
}

/// Carries everything to where it goes until nothing is left; what is for others than `nodes` is lost.
fn carry(nodes: &mut [&mut Gossip], now: u64, from: &str, effects: Vec<Effect>) -> usize {
    let mut queue: VecDeque<_> = effects.into_iter().map(|effect| (from.to_owned(), effect)).collect();
    let mut carried = 0;
    while let Some((from, effect)) = queue.pop_front() {
        let Effect::Send { to, bytes } = effect else { continue };
        carried += 1;
        if let Some(node) = nodes.iter_mut().find(|node| node.overview().me.name == to) {
            let input = Input::Message { from: id(&from), bytes };
            queue.extend(node.step(Millis::new(now), input).into_iter().map(|next| (to.to_string(), next)));
        }
    }
    carried
}

/// Goal: what a node wrote is pushed in its next round, arrives with a change told once, and both see that they agree; when nothing is
/// new a round is one small message.
#[test]
fn news_are_pushed() {
    let (mut a, mut b) = (node("a", &["b"]), node("b", &["a"]));
    let told = a.write(Millis::ZERO, "load", value("7"), Urgency::Routine).unwrap();
    assert!(matches!(&told[..], [Effect::Changed(change)] if change.version == 1));
    assert!(
        matches!(a.convergence(), Convergence::NotConverged { ref lagging, more: 0, .. } if lagging.len() == 1)
    );
    let round = a.step(Millis::new(1000), Input::Round);
    carry(&mut [&mut a, &mut b], 1000, "a", round);
    assert_eq!(b.get(&name("a"), "load"), value("7").as_ref());
    assert!(matches!(b.convergence(), Convergence::Converged { .. }));
    let round = b.step(Millis::new(1100), Input::Round);
    carry(&mut [&mut a, &mut b], 1100, "b", round);
    assert!(matches!(a.convergence(), Convergence::Converged { .. }));
    let later: Vec<_> = (2..9).map(|second| a.step(Millis::new(second * 1000), Input::Round)).collect();
    let last = later.last().unwrap();
    assert!(
        matches!(&last[..], [Effect::Arm(_), Effect::Send { bytes, .. }] if bytes.len() < 20),
        "{last:?}"
    );
}

/// Goal: two nodes that have missed each other's news know the union after one exchange, and it costs no more when said again.
#[test]
fn differences_are_exchanged_both_ways() {
    let (mut a, mut b) = (node("a", &["b", "c"]), node("b", &["a", "c"]));
    for (node, key) in [(&mut a, "x"), (&mut b, "y")] {
        node.write(Millis::ZERO, key, value(key), Urgency::Routine).unwrap();
        // Pushed until it is not hot any more, and lost each time.
        for second in 1..9 {
            node.step(Millis::new(second * 1000), Input::Round);
        }
    }
    let round: Vec<Effect> =
        (10..30).flat_map(|second| a.step(Millis::new(second * 1000), Input::Round)).collect();
    carry(&mut [&mut a, &mut b], 40_000, "a", round);
    assert_eq!((b.get(&name("a"), "x"), a.get(&name("b"), "y")), (value("x").as_ref(), value("y").as_ref()));
    assert_eq!(a.sum(), b.sum());
}

/// Goal: important news are sent without waiting for a round and passed on at once, a bounded number of times.
#[test]
fn urgent_news_do_not_wait() {
    let (mut a, mut b) = (node("a", &["b"]), node("b", &["a", "c"]));
    let now = a.write(Millis::ZERO, "down", value("1"), Urgency::Urgent).unwrap();
    let [Effect::Changed(_), Effect::Send { bytes, .. }] = &now[..] else { panic!("{now:?}") };
    let passed = b.step(Millis::ZERO, Input::Message { from: id("a"), bytes: bytes.clone() });
    assert!(passed.iter().any(|effect| matches!(effect, Effect::Send { to, .. } if *to == name("c"))));
    let sent = (0..100)
        .filter(|n| a.write(Millis::ZERO, "down", value(&n.to_string()), Urgency::Urgent).unwrap().len() > 1);
    assert_eq!(sent.count(), 3);
}

/// Goal: a tombstone is collected once all have acknowledged it, or after its time if someone does not; both are news.
#[test]
fn tombstones_are_collected() {
    let tombstones = |gossip: &Gossip| gossip.overview().owners[0].tombstones;
    for acknowledges in [true, false] {
        let (mut a, mut b) = (node("a", &["b"]), node("b", &["a"]));
        a.write(Millis::ZERO, "x", value("1"), Urgency::Routine).unwrap();
        a.write(Millis::ZERO, "x", None, Urgency::Routine).unwrap();
        assert_eq!(tombstones(&a), 1);
        let round = a.step(Millis::new(1000), Input::Round);
        if acknowledges {
            carry(&mut [&mut a, &mut b], 1000, "a", round);
            let round = b.step(Millis::new(1500), Input::Round);
            carry(&mut [&mut a, &mut b], 1500, "b", round);
        }
        a.step(Millis::new(2000), Input::Round);
        assert_eq!(tombstones(&a), usize::from(!acknowledges));
        a.step(Millis::new(3_600_000), Input::Round);
        assert_eq!((tombstones(&a), a.position(&name("a"))), (0, (1, 3)));
    }
}

/// Goal: a node that was started anew in the same life hears what was known of it, and what it says then is believed over that.
#[test]
fn a_restarted_shell_is_believed() {
    let (mut a, mut b) = (node("a", &["b"]), node("b", &["a"]));
    for version in 0..9 {
        a.write(Millis::ZERO, "old", value(&version.to_string()), Urgency::Routine).unwrap();
    }
    let round = a.step(Millis::new(1000), Input::Round);
    carry(&mut [&mut a, &mut b], 1000, "a", round);
    let mut a = node("a", &["b"]);
    a.write(Millis::new(2000), "new", value("1"), Urgency::Routine).unwrap();
    for second in 3..12 {
        for at in [0, 1] {
            let effects = [&mut a, &mut b][at].step(Millis::new(second * 1000), Input::Round);
            carry(&mut [&mut a, &mut b], second * 1000, ["a", "b"][at], effects);
        }
    }
    assert_eq!((b.get(&name("a"), "old"), b.get(&name("a"), "new")), (None, value("1").as_ref()));
}

/// Goal: writes that would not fit are refused with the numbers, and deleting what is not there is nothing.
#[test]
fn writes_are_bounded() {
    let mut a = node("a", &[]);
    let mut write = |key: &str, bytes: usize| {
        a.write(Millis::ZERO, key, Some(vec![0; bytes].into()), Urgency::Routine).map(|told| told.len())
    };
    assert_eq!(write("", 1), Err(WriteError::Key { bytes: 0, limit: 128 }));
    assert_eq!(write(&"k".repeat(129), 1), Err(WriteError::Key { bytes: 129, limit: 128 }));
    assert_eq!(write("k", 17_000), Err(WriteError::Full { bytes: 17_017, limit: 16_384 }));
    assert_eq!((write("k", 9), write("k", 9)), (Ok(1), Ok(0)));
    assert_eq!(a.write(Millis::ZERO, "other", None, Urgency::Routine), Ok(vec![]));
}

/// Goal: what no honest node sends is counted and changes nothing, and neither does what comes from someone who is no member.
/// Method: a real message cut, extended and changed at random, and random bytes.
#[test]
fn seeded_bad_messages_change_nothing() {
    let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(13);
    println!("NEXUS_TEST_SEED={seed}");
    let mut rng = Seed::new(seed).stream("messages");
    let (mut a, mut b) = (node("a", &["b"]), node("b", &["a"]));
    let good = b.write(Millis::ZERO, "k", value("v"), Urgency::Urgent).unwrap();
    let [_, Effect::Send { bytes: good, .. }] = &good[..] else { panic!("{good:?}") };
    let stranger = Input::Message { from: id("c"), bytes: good.clone() };
    assert_eq!(a.step(Millis::ZERO, stranger), []);
    for turn in 0..3000_usize {
        let mut bad = good.to_vec();
        match turn % 3 {
            0 => bad.truncate(rng.random_range(0..good.len())),
            1 => bad.push(rng.random()),
            // The first byte of no message.
            _ => {
                bad =
                    (0..rng.random_range(1..99)).map(|at| if at == 0 { 0xc1 } else { rng.random() }).collect()
            }
        }
        assert_eq!(a.step(Millis::ZERO, Input::Message { from: id("b"), bytes: bad.into() }), []);
    }
    let counts = a.counts();
    assert_eq!((counts.malformed, counts.unknown, counts.received), (3000, 1, 0));
    assert_eq!((a.sum(), a.position(&name("b"))), (0, (0, 0)));
}
