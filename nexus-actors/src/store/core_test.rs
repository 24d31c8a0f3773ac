//! The store's decisions, step by step. Waiters are letters.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Changes, Core, FeedRow, News, Step, Write};
use super::error::StoreError;
use crate::clock::Millis;

const NOW: Millis = Millis::ZERO;

fn write(text: &str, keep: bool) -> Write {
    Write { record: text.as_bytes().into(), keep }
}

fn full() -> StoreError {
    StoreError::Full { reason: "test".into() }
}

fn commit(core: &mut Core<char>, now: Millis) -> Arc<Changes> {
    match core.next(now) {
        Step::Commit(changes) => changes,
        other => panic!("{other:?}"),
    }
}

fn records(changes: &Changes) -> Vec<(&str, &str)> {
    changes
        .agents
        .iter()
        .map(|(name, write)| (&**name, std::str::from_utf8(&write.record).unwrap()))
        .collect()
}

/// Goal: what comes while a commit runs is gathered, one snapshot an agent, the last one; all who wait for it are answered.
#[test]
fn commits_are_shared() {
    let mut core = Core::new(1000);
    assert_eq!(core.next(NOW), Step::Idle);
    core.write("a".into(), write("1", false), Some('a')).unwrap();
    assert_eq!(records(&commit(&mut core, NOW)), [("a", "1")]);
    for (name, text, waiter) in [("b", "1", Some('b')), ("a", "2", None), ("a", "3", Some('c'))] {
        core.write(name.into(), write(text, true), waiter).unwrap();
    }
    assert_eq!(core.next(NOW), Step::Idle, "one at a time");
    let ended = core.ended(NOW, Ok(()));
    assert_eq!((ended.answers, ended.news), (vec![('a', Ok(()))], None));
    assert_eq!(records(&commit(&mut core, NOW)), [("a", "3"), ("b", "1")]);
    assert_eq!(core.ended(NOW, Ok(())).answers, [('b', Ok(())), ('c', Ok(()))]);
    assert_eq!(core.next(NOW), Step::Idle);
}

/// Goal: what waits is bounded in bytes, whoever comes; a lone write always has room, however large, and so has one that takes the
/// place of a larger one.
#[test]
fn what_waits_is_bounded() {
    let mut core = Core::<char>::new(200);
    core.write("a".into(), write(&"x".repeat(500), true), None).unwrap();
    let busy = core.write("b".into(), write("1", true), None).unwrap_err();
    assert_eq!(busy, StoreError::Busy { waiting: 565, limit: 200 });
    core.write("a".into(), write("1", true), None).unwrap();
    core.write("b".into(), write("1", true), None).unwrap();
    assert_eq!(core.waiting_bytes(), 2 * 66);
    assert!(matches!(core.write("c".into(), write("1234", true), Some('c')), Err(StoreError::Busy { .. })));
    commit(&mut core, NOW);
    core.write("c".into(), write("123", true), Some('c')).unwrap();
}

/// Goal: after a failure all who wait hear of it, what is not kept is gone, what is kept is written once the store is well, and the
/// pauses grow to ten seconds.
#[test]
fn failures_are_told_and_survived() {
    let mut core = Core::new(1000);
    core.write("kept".into(), write("1", true), None).unwrap();
    core.write("lost".into(), write("1", false), Some('a')).unwrap();
    commit(&mut core, NOW);
    core.write("kept".into(), write("2", true), None).unwrap();
    core.write("late".into(), write("1", false), Some('b')).unwrap();
    let ended = core.ended(NOW, Err(full()));
    assert_eq!(ended.answers, [('a', Err(full())), ('b', Err(full()))]);
    assert_eq!(ended.news, Some(News::Degraded(full())));
    assert_eq!(core.write("lost".into(), write("2", false), Some('c')), Err(full()));
    assert_eq!(core.write("other".into(), write("1", true), None), Ok(()), "nobody waits: it has time");

    let mut pauses = Vec::new();
    let mut now = NOW;
    for _ in 0..9 {
        let Step::Wait(at) = core.next(now) else { panic!("degraded") };
        pauses.push(at.since(now).as_millis());
        now = at;
        assert_eq!(records(&commit(&mut core, now)), [("kept", "2"), ("other", "1")]);
        assert_eq!(core.ended(now, Err(full())).news, None, "told once");
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    core.hurry();
    commit(&mut core, now);
    let after = Duration::from_millis(32_700);
    assert_eq!(core.ended(now, Ok(())).news, Some(News::Recovered { after }));
    assert_eq!(core.next(now), Step::Idle);
    core.write("lost".into(), write("3", false), Some('d')).unwrap();
}

/// Goal: a degraded store with nothing to write finds out by itself whether it can.
#[test]
fn an_empty_commit_probes() {
    let mut core = Core::new(1000);
    core.write("a".into(), write("1", false), Some('a')).unwrap();
    commit(&mut core, NOW);
    core.ended(NOW, Err(full()));
    let later = Millis::new(100);
    assert_eq!(*commit(&mut core, later), Changes::default());
    assert!(matches!(core.ended(later, Ok(())).news, Some(News::Recovered { .. })));
}

/// Goal: a feed's number is written in the end whatever fails, before or with the snapshots that use it; its mark is given up, since
/// whoever waited for it was told so.
#[test]
fn numbers_are_kept_and_marks_are_not() {
    let mut core = Core::new(1000);
    core.feed("f".into(), FeedRow { number: 0, mark: None }, None).unwrap();
    commit(&mut core, NOW);
    core.feed("f".into(), FeedRow { number: 0, mark: Some((7, 9)) }, Some('f')).unwrap();
    assert_eq!(core.ended(NOW, Err(full())).answers, [('f', Err(full()))]);
    let again = core.feed("f".into(), FeedRow { number: 0, mark: Some((8, 9)) }, Some('g'));
    assert_eq!(again, Err(full()));
    let later = Millis::new(100);
    let changes = commit(&mut core, later);
    assert_eq!(changes.feeds.values().collect::<Vec<_>>(), [&FeedRow { number: 0, mark: None }]);
}

/// Goal: a commit whose actor was killed is done again, with what came meanwhile; a closed store takes nothing and answers all.
#[test]
fn actors_come_and_go() {
    let mut core = Core::new(1000);
    core.write("a".into(), write("1", false), Some('a')).unwrap();
    core.write("b".into(), write("1", false), Some('b')).unwrap();
    commit(&mut core, NOW);
    core.write("a".into(), write("2", false), Some('c')).unwrap();
    core.begin_again();
    assert_eq!(records(&commit(&mut core, NOW)), [("a", "2"), ("b", "1")]);
    core.write("d".into(), write("1", true), Some('d')).unwrap();
    assert_eq!(core.close(), ['d', 'a', 'b', 'c']);
    assert_eq!(core.write("e".into(), write("1", true), None), Err(StoreError::Closed));
    assert_eq!(core.refusal(), Some(StoreError::Closed));
}
