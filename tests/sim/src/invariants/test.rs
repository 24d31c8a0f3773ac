//! Each invariant holds for a sound cluster and fires for one that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::Tally;
use nexus_cluster::NodeId;
use nexus_cluster::gossip::{Change, Convergence};

use super::*;
use crate::chronicle::{self, Activation, Books, Heard, Kind, Life};
use crate::trace::Trace;

const AGENT: &str = "each/0";

fn node(place: Place) -> NodeId {
    NodeId { name: format!("n{place}").parse().unwrap(), incarnation: 1 }
}

/// Two nodes; `n0` sends three messages to an agent on `n1`, which handles them, and sleeps after the second.
fn sound() -> Chronicle {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        chronicle::open(Trace::new(None));
        let agent: Arc<str> = AGENT.into();
        let with =
            |write: &mut dyn FnMut(&mut Chronicle)| chronicle::with(|chronicle| write(chronicle)).unwrap();
        with(&mut |chronicle| {
            chronicle.begins(0, node(0));
            chronicle.begins(1, node(1));
        });
        let mut activation = None;
        for id in 0..3 {
            tokio::time::advance(Duration::from_millis(10)).await;
            with(&mut |chronicle| {
                if id != 1 {
                    if let Some(before) = activation {
                        chronicle.stops(before);
                    }
                    let has: Vec<_> = (0..id).collect();
                    activation = chronicle.starts(&agent, "n1.1", &has);
                }
                assert_eq!(chronicle.sends(0, &agent, Kind::Ask), id);
                chronicle.handles(activation.unwrap(), id);
                chronicle.hears(id, Heard::Done);
            });
        }
        with(&mut |chronicle| {
            chronicle.lives[1].books.tally = Tally { sent: 3, processed: 3, ..Tally::default() };
        });
        chronicle::close().unwrap()
    })
}

fn look(sees: [&[Place]; 2]) -> Look {
    let running = (0..2).map(|place| {
        let members: BTreeSet<_> = sees[place].iter().map(|other| node(*other)).collect();
        (place, Running { id: node(place), members })
    });
    let at = Duration::from_secs(60);
    let mut look = Look { at, running: running.collect(), ..Look::default() };
    look.sides = look.find_sides();
    look.steady_since = Some(Duration::from_secs(30));
    for side in look.sides.iter_mut().filter(|side| side.agrees) {
        side.agreed_since = Some(Duration::from_secs(31));
    }
    look
}

fn end() -> End {
    let last = Last {
        convergence: Some(Convergence::Converged { sum: 7 }),
        heard: BTreeMap::from([(0, Some("3".to_owned())), (1, Some("5".to_owned()))]),
        lists: BTreeMap::from([(AGENT.into(), Ok(vec![0, 1, 2]))]),
    };
    End { look: look([&[1], &[0]]), nodes: BTreeMap::from([(0, last.clone()), (1, last)]) }
}

/// What fires at the end.
fn fires(doctor: impl FnOnce(&mut Chronicle, &mut End)) -> Vec<&'static str> {
    let (mut chronicle, mut end) = (sound(), end());
    doctor(&mut chronicle, &mut end);
    let judged = all()
        .into_iter()
        .filter_map(|mut invariant| invariant.end(&end, &chronicle).is_err().then(|| invariant.name()));
    judged.collect()
}

/// What fires while it runs.
fn seen(look: &Look, chronicle: &Chronicle) -> Vec<&'static str> {
    let judged = all()
        .into_iter()
        .filter_map(|mut invariant| invariant.look(look, chronicle).is_err().then(|| invariant.name()));
    judged.collect()
}

/// Goal: no invariant fires without a reason.
#[test]
fn a_sound_cluster_is_sound() {
    assert_eq!(fires(|_, _| {}), [""; 0]);
    assert_eq!(seen(&look([&[1], &[0]]), &sound()), [""; 0]);
}

/// Goal: one message more or less on any account is found.
#[test]
fn accounting_fires() {
    let doctored: [fn(&mut Chronicle); 7] = [
        |chronicle| chronicle.lives[1].books.tally.sent += 1,
        |chronicle| chronicle.lives[1].books.tally.processed -= 1,
        |chronicle| {
            chronicle.lives[1].books.tally.processed -= 1;
            chronicle.lives[1].books.tally.queued += 1;
        },
        |chronicle| chronicle.lives[1].books.tally = Tally { sent: 2, processed: 2, ..Tally::default() },
        |chronicle| chronicle.lives[1].books.tally = Tally { sent: 4, processed: 4, ..Tally::default() },
        |chronicle| chronicle.lives[0].books.tally = Tally { sent: 1, dead_lettered: 1, ..Tally::default() },
        |chronicle| chronicle.lives[0].books.in_links = 1,
    ];
    for doctor in doctored {
        assert_eq!(fires(|chronicle, _| doctor(chronicle)), ["accounting"]);
    }
    // One that was given up as lost may have been handled as well, and what a node had on its way when it crashed is lost.
    let given_up = Books {
        tally: Tally { sent: 1, dead_lettered: 1, ..Tally::default() },
        given_up: 1,
        dead: vec![9],
        ..Books::default()
    };
    assert_eq!(fires(|chronicle, _| chronicle.lives[0].books = given_up), [""; 0]);
    let crashed = fires(|chronicle, _| {
        chronicle.lives[1].books.tally = Tally { sent: 2, processed: 2, ..Tally::default() };
        chronicle.lives[0].until = Some(Duration::from_secs(1));
        chronicle.lives[0].books.in_links = 1;
    });
    assert_eq!(crashed, [""; 0]);
}

/// Goal: what was answered and not handled is found, what was handled twice, out of order, or is gone after a sleep or a crash.
#[test]
fn messages_are_watched() {
    assert_eq!(fires(|chronicle, _| chronicle.messages[2].handled.clear()), ["answered"]);
    assert_eq!(
        fires(|chronicle, _| chronicle.messages[2].handled[0].1 = Duration::from_secs(9)),
        ["answered"]
    );
    let twice = fires(|chronicle, _| {
        let again = chronicle.messages[1].handled[0];
        chronicle.messages[1].handled.push(again);
    });
    assert_eq!(twice, ["once"]);
    let swapped = fires(|chronicle, _| {
        let first = chronicle.messages[0].handled[0].1;
        chronicle.messages[0].handled[0].1 = chronicle.messages[1].handled[0].1;
        chronicle.messages[1].handled[0].1 = first;
        chronicle.messages[0].heard_at = chronicle.messages[1].heard_at;
    });
    assert_eq!(swapped, ["order"]);
    // The earlier one has gone by way of `n2`. Both were sent before `n0` lost a node, and handled after that.
    let lost = |whom: Place, when: u64| {
        fires(|chronicle, _| {
            let home = Life { id: node(2), books: Books::default(), ..chronicle.lives[1].clone() };
            chronicle.lives.push(home);
            let millis = Duration::from_millis;
            for (id, at) in [(0, 28), (1, 25)] {
                chronicle.messages[id].handled[0].1 = millis(at);
                chronicle.messages[id].heard_at = Some(millis(at));
            }
            chronicle.messages[0].hops = vec![(0, 2), (2, 1)];
            chronicle.messages[1].hops = vec![(0, 1)];
            chronicle.lives[0].losses.push((node(whom), millis(when)));
        })
    };
    assert_eq!(lost(2, 22), [""; 0], "what was sent later need not wait for it any more");
    assert_eq!(lost(1, 22), ["order"], "it has not gone that way");
    assert_eq!([lost(2, 9), lost(2, 27)], [["order"], ["order"]], "it was lost at another time");
    let forgotten = |_: &mut Chronicle, end: &mut End| {
        for last in end.nodes.values_mut() {
            last.lists.insert(AGENT.into(), Ok(vec![0, 2]));
        }
    };
    assert_eq!(fires(forgotten), ["kept"]);
    let lost_by_crash = |heard: Heard| {
        fires(|chronicle, end| {
            chronicle.lives[1].until = Some(Duration::from_secs(1));
            chronicle.messages[1].heard = heard;
            forgotten(chronicle, end);
        })
    };
    assert_eq!(lost_by_crash(Heard::Done), ["kept"], "what was answered under each-update survives its node");
    assert_eq!(lost_by_crash(Heard::Nothing), [""; 0]);
}

/// Goal: agents that run twice, that are not found, or are found elsewhere, are noticed; but not while the cluster cannot know.
#[test]
fn duplicates_and_lost_names_are_found() {
    let agreed = look([&[1], &[0]]);
    let mut chronicle = sound();
    let again = Activation { life: 0, until: None, ..chronicle.activations[1].clone() };
    chronicle.run(again);
    assert_eq!(seen(&agreed, &chronicle), ["one activation"]);
    let mut young = agreed.clone();
    young.sides[0].agreed_since = Some(Duration::from_secs(56));
    assert_eq!(seen(&young, &chronicle), [""; 0]);
    let mut apart = agreed.clone();
    apart.blocked = BTreeSet::from([(0, 1), (1, 0)]);
    apart.sides = apart.find_sides();
    assert_eq!(apart.sides.len(), 2);

    let chronicle = sound();
    let survey = |found: Result<Option<NodeId>, String>| {
        let found = BTreeMap::from([(AGENT.into(), BTreeMap::from([(0, found)]))]);
        let running = BTreeMap::from([(AGENT.into(), 1)]);
        Look {
            survey: Some(Survey { steady_since: agreed.steady_since, running, found, ..Survey::default() }),
            ..agreed.clone()
        }
    };
    assert_eq!(seen(&survey(Ok(Some(node(1)))), &chronicle), [""; 0]);
    for wrong in [Ok(Some(node(0))), Ok(None), Err("late".to_owned())] {
        assert_eq!(seen(&survey(wrong), &chronicle), ["registry"]);
    }
    let differs = |_: &mut Chronicle, end: &mut End| {
        end.nodes.get_mut(&1).unwrap().lists.insert(AGENT.into(), Ok(vec![0]));
    };
    assert_eq!(fires(differs), ["registry"]);
}

/// Goal: a member that is missing or no member is noticed once there was time, and gossip that has not converged at the end.
#[test]
fn views_are_compared() {
    let chronicle = sound();
    let mut missing = look([&[1], &[]]);
    assert_eq!(seen(&missing, &chronicle), ["membership"]);
    missing.steady_since = Some(Duration::from_secs(57));
    assert_eq!(seen(&missing, &chronicle), [""; 0]);
    assert_eq!(seen(&look([&[1, 2], &[0]]), &chronicle), ["membership"]);

    let stale = |_: &mut Chronicle, end: &mut End| {
        end.nodes.get_mut(&0).unwrap().heard.insert(1, Some("4".to_owned()));
    };
    assert_eq!(fires(stale), ["gossip"]);
    let lags = |_: &mut Chronicle, end: &mut End| {
        let lagging = Convergence::NotConverged { sum: 7, lagging: Vec::new(), more: 1 };
        end.nodes.get_mut(&1).unwrap().convergence = Some(lagging);
    };
    assert_eq!(fires(lags), ["gossip"]);
    let older = |chronicle: &mut Chronicle, _: &mut End| {
        let news = |version| Change {
            owner: "n1".parse().unwrap(),
            incarnation: 1,
            version,
            key: "written".to_owned(),
            value: None,
        };
        [2, 3, 2].iter().for_each(|version| chronicle.learns(0, &news(*version)));
    };
    assert_eq!(fires(older), ["gossip"]);
}

/// Goal: the judge keeps the first violation of each invariant, and reckons since when a side agrees: from the first look on that
/// finds it so, and from what has disturbed it on, though two looks find the same.
#[test]
fn the_judge_reckons_time() {
    let (mut judge, mut chronicle) = (Judge::default(), sound());
    let seconds = Duration::from_secs;
    let at = |at, sees, since: Option<u64>| {
        let mut look = Look { at: seconds(at), steady_since: since.map(seconds), ..look(sees) };
        look.sides.iter_mut().for_each(|side| side.agreed_since = None);
        look
    };
    judge.look(at(1, [&[1], &[0]], Some(0)), &mut chronicle);
    let later = judge.look(at(7, [&[1], &[0]], Some(0)), &mut chronicle);
    assert!(later.is_one_for(seconds(6)) && !later.is_one_for(seconds(7)));
    let disturbed = judge.look(at(8, [&[1], &[0]], Some(7)), &mut chronicle);
    assert!(disturbed.is_one_for(seconds(1)) && !disturbed.is_one_for(seconds(2)));
    judge.look(at(9, [&[1], &[]], None), &mut chronicle);
    for (now, since) in [(10, 9), (18, 17), (24, 17), (25, 17), (26, 17)] {
        judge.look(at(now, [&[1], &[]], Some(since)), &mut chronicle);
    }
    let violations = judge.into_violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!((violations[0].invariant, violations[0].at), ("membership", seconds(25)));
}
