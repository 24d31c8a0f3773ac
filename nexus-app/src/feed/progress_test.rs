//! Tests of what people read, and of the actor that shows it.

use indicatif::ProgressDrawTarget;
use nexus_actors::clock::Clock;

use super::*;
use crate::feed::ReplayStatus;
use crate::feed::test_support::{Folder, PLAIN, config};

fn status() -> FeedStatus {
    FeedStatus {
        name: "f".into(),
        state: FeedState::Running,
        error: None,
        records: 1200,
        confirmed: 2400,
        dead_lettered: 0,
        malformed: 0,
        late: 0,
        hurried: 0,
        bytes_read: 255,
        bytes_total: Some(1000),
        records_per_s: 399.6,
        started_unix_ms: Some(1),
        finished_unix_ms: None,
        resumes: 0,
        first_malformed: Vec::new(),
        checkpoint: None,
        not_kept: None,
        node: None,
        replays: 0,
        replay: None,
        behind: 0,
    }
}

#[test]
fn a_status_in_one_line() {
    let running = status();
    assert_eq!(Line(&running).to_string(), "1200 records, 400 a second, 2400 requests, 25.5 % read");
    let replay = ReplayStatus { cause: "the loss of n2".into(), from: 100, until: 40_100 };
    let replaying =
        FeedStatus { replay: Some(replay), node: Some("n3".into()), bytes_total: None, ..running.clone() };
    assert_eq!(
        Line(&replaying).to_string(),
        "on n3: replaying after the loss of n2: 2300 of 40000; 1200 records, 400 a second, 2400 requests"
    );
    let failed = FeedStatus {
        state: FeedState::Failed,
        error: Some("f.csv: gone".into()),
        malformed: 3,
        dead_lettered: 1,
        ..running.clone()
    };
    assert_eq!(
        Line(&failed).to_string(),
        "failed: f.csv: gone; 1200 records, 400 a second, 2400 requests, 3 malformed, 1 dead-lettered"
    );
    let piped = FeedStatus { bytes_total: None, state: FeedState::Paused, ..running };
    assert_eq!(Line(&piped).to_string(), "paused: 1200 records, 400 a second, 2400 requests");
}

/// Goal: a bar has the share of bytes, one for a source of unknown length the counts alone; both keep their last line.
#[test]
fn bars_follow_the_status() {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let (known, unknown) = (bars.add(new_bar("known")), bars.add(new_bar("unknown")));
    move_bar(&known, &status());
    move_bar(&unknown, &FeedStatus { bytes_total: None, ..status() });
    assert_eq!((known.length(), known.position(), unknown.length()), (Some(1000), 255, None));
    assert_eq!(known.message(), Line(&status()).to_string());
    let completed = FeedStatus { state: FeedState::Completed, bytes_read: 1000, ..status() };
    move_bar(&known, &completed);
    assert!(known.is_finished() && !unknown.is_finished());
    assert_eq!((known.position(), known.message()), (1000, Line(&completed).to_string()));
}

/// Goal: the actor shows feeds until the last one is over, then stops by itself.
#[tokio::test(start_paused = true)]
async fn ends_with_the_last_feed() {
    let folder = Folder::new();
    let slots: Vec<Arc<FeedSlot>> = ["one", "two"]
        .map(|_| FeedSlot::new(config("source = \"f.csv\"", PLAIN), folder.path(), Clock::start_at(0)))
        .into();
    let args = ProgressArgs { slots: slots.clone(), display: ProgressDisplay::Lines };
    let (actor, join) = Actor::spawn(None, ProgressActor, args).await.unwrap();
    slots[0].enter(FeedState::Completed, None);
    tokio::time::sleep(LINE_PERIOD * 3).await;
    assert_eq!(actor.get_status(), ractor::ActorStatus::Running);
    slots[1].enter(FeedState::Failed, Some("gone".into()));
    join.await.unwrap();
}
