//! What happens to nodes, told as stories.

use super::core::*;
use super::*;
use crate::cli::exit::Exit;

fn plan(restart: bool, exit_when_done: bool) -> Plan {
    let names = ["air-1", "air-2", "air-3"].map(str::to_owned).to_vec();
    Plan { names, restart, exit_when_done, patience: Duration::from_secs(10) }
}

/// Steps with what is done about them, talk aside.
struct Story {
    fleet: Fleet,
    said: Vec<String>,
}

impl Story {
    fn of(plan: Plan) -> Self {
        let (fleet, effects) = Fleet::new(plan);
        assert_eq!(effects, [Effect::Start(0), Effect::Start(1), Effect::Start(2)]);
        Self { fleet, said: Vec::new() }
    }

    /// The same, with all nodes ready.
    fn ready(plan: Plan) -> Self {
        let mut story = Self::of(plan);
        for at in 0..3 {
            assert_eq!(story.then(1, Input::Ready(at, format!("http://h:{at}"))), []);
        }
        assert!(story.said.iter().any(|text| text.starts_with("all 3 nodes are ready")), "{:?}", story.said);
        story
    }

    fn then(&mut self, seconds: u64, input: Input) -> Vec<Effect> {
        let effects = self.fleet.step(Duration::from_secs(seconds), input);
        let talk = |effect: &Effect| match effect {
            Effect::Say(_, text) => Some(text.clone()),
            _ => None,
        };
        self.said.extend(effects.iter().filter_map(talk));
        effects.into_iter().filter(|effect| talk(effect).is_none()).collect()
    }
}

fn ended(at: usize, code: i32) -> Input {
    Input::Ended(at, Ended { code: Some(code), signal: None })
}

fn killed(at: usize) -> Input {
    Input::Ended(at, Ended { code: None, signal: Some(9) })
}

/// Goal: an ordered stop goes from the last to the first, one at a time.
#[test]
fn stops_in_reverse_order() {
    let mut story = Story::ready(plan(false, false));
    assert_eq!(story.then(2, Input::Stop("Ctrl-C".to_owned())), [Effect::Terminate(2)]);
    assert_eq!(story.then(3, Input::Tick), []);
    assert_eq!(story.then(3, ended(2, 0)), [Effect::Terminate(1)]);
    assert_eq!(story.then(3, Input::Stop("again".to_owned())), []);
    assert_eq!(story.then(4, ended(1, 0)), [Effect::Terminate(0)]);
    assert_eq!(story.then(5, ended(0, 0)), [Effect::End(Exit::Ok)]);
    assert_eq!(story.then(6, Input::Tick), []);
}

/// Goal: one that does not stop is killed after the patience, once, and that is no success.
#[test]
fn who_does_not_stop_is_killed() {
    let mut story = Story::ready(plan(false, false));
    assert_eq!(story.then(2, Input::Stop("Ctrl-C".to_owned())), [Effect::Terminate(2)]);
    assert_eq!(story.then(11, Input::Tick), []);
    assert_eq!(story.then(12, Input::Tick), [Effect::Kill(2)]);
    assert_eq!(story.then(13, Input::Tick), []);
    assert_eq!(story.then(13, killed(2)), [Effect::Terminate(1)]);
    assert_eq!(story.then(14, ended(1, 0)), [Effect::Terminate(0)]);
    assert_eq!(story.then(15, ended(0, 0)), [Effect::End(Exit::Failed)]);
}

/// Goal: the second signal leaves nobody, whatever state they are in.
#[test]
fn the_second_signal_kills_all() {
    let mut story = Story::ready(plan(true, false));
    assert_eq!(story.then(2, killed(0)), []);
    assert_eq!(story.then(2, Input::Stop("Ctrl-C".to_owned())), [Effect::Terminate(2)]);
    assert_eq!(story.then(2, Input::StopNow), [Effect::Kill(1), Effect::Kill(2)]);
    assert_eq!(story.then(3, killed(1)), []);
    assert_eq!(story.then(3, killed(2)), [Effect::End(Exit::Interrupted)]);
}

/// Goal: a death is told; the others go on, and without any left there is nothing to wait for.
#[test]
fn deaths_are_told() {
    let mut story = Story::ready(plan(false, false));
    assert_eq!(story.then(2, killed(1)), []);
    assert_eq!(
        story.said.last().unwrap(),
        "air-2 was killed (SIGKILL); 2 of 3 nodes are left (--restart would start it again)"
    );
    assert_eq!(story.then(3, ended(0, 6)), []);
    assert_eq!(story.then(4, killed(2)), [Effect::End(Exit::Failed)]);
}

/// Goal: with `--restart` they come back, later and later while they do not get ready.
#[test]
fn restarts_wait_longer_each_time() {
    let mut story = Story::ready(plan(true, false));
    let mut now = 10;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(story.then(now, killed(1)), []);
        assert_eq!(story.then(now + pause - 1, Input::Tick), []);
        now += pause;
        assert_eq!(story.then(now, Input::Tick), [Effect::Start(1)]);
    }
    assert_eq!(story.then(now, Input::Ready(1, "http://h:1".to_owned())), []);
    assert_eq!(story.then(now, killed(1)), []);
    assert_eq!(story.then(now + 1, Input::Tick), [Effect::Start(1)]);
}

/// Goal: a mistake that every start would meet ends it all with its own code, also under `--restart`.
#[test]
fn a_start_that_cannot_work_ends_all() {
    let mut story = Story::of(plan(true, false));
    assert_eq!(story.then(1, ended(0, 3)), [Effect::Terminate(2)]);
    assert_eq!(story.then(1, ended(1, 3)), []);
    assert_eq!(story.then(1, ended(2, 0)), [Effect::End(Exit::Config)]);
    // Once it was ready, the same is an end like any other.
    let mut story = Story::ready(plan(true, false));
    assert_eq!(story.then(1, ended(0, 6)), []);
}

/// Goal: with `--exit-when-done` the node that is done ends all, with its code.
#[test]
fn done_is_done() {
    for (code, exit) in [(0, Exit::Ok), (1, Exit::Failed)] {
        let mut story = Story::ready(plan(false, true));
        assert_eq!(story.then(2, ended(0, code)), [Effect::Terminate(2)]);
        assert_eq!(story.then(2, ended(2, 0)), [Effect::Terminate(1)]);
        assert_eq!(story.then(3, ended(1, 0)), [Effect::End(exit)]);
    }
    let mut story = Story::ready(plan(false, true));
    assert_eq!(story.then(2, killed(0)), []);
}
