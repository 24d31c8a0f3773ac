//! Single steps of the core, with the whole list of effects.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Effect, Flags, Input, KILL_GRACE, NewChild, Process, Request, StartFailure, Ticket};
use super::{AutoShutdown, Backoff, ChildRules, ExitReason, Restart, Shutdown, Strategy, SupervisorError};
use crate::clock::Millis;
use crate::telemetry::Event;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pid(u64);

impl Process for Pid {
    fn pid(&self) -> u64 {
        self.0
    }
}

type TestCore = Core<(), Pid>;

fn core(strategy: Strategy, children: &[(&str, ChildRules)]) -> TestCore {
    let flags = Flags {
        path: "root".into(),
        strategy,
        auto_shutdown: AutoShutdown::Never,
        intensity: 1,
        period: Duration::from_secs(5),
        backoff: None,
        template: Some(ChildRules::worker("dynamic")),
    };
    let children =
        children.iter().map(|(id, rules)| NewChild { id: (*id).into(), start: (), rules: rules.clone() });
    Core::new(flags, children)
}

/// The effects as text: their ids are the core's own business, their order and content are not. Notices to start objects
/// have a test of their own.
fn texts(effects: &[Effect<(), Pid>]) -> Vec<String> {
    effects
        .iter()
        .filter(|effect| !matches!(effect, Effect::Exited { .. } | Effect::Ended { .. }))
        .map(|effect| match effect {
            Effect::Start { id, timeout, .. } => format!("start {id} {timeout:?}"),
            Effect::AbortStart { .. } => "abort start".into(),
            Effect::Stop { process, mass } => format!("stop {} mass={mass}", process.0),
            Effect::Kill { process } => format!("kill {}", process.0),
            Effect::Discard { process } => format!("discard {}", process.0),
            Effect::Arm { after, .. } => format!("arm {after:?}"),
            Effect::Disarm { .. } => "disarm".into(),
            Effect::TryAgain { .. } => "try again".into(),
            Effect::Emit(event) => event.name().into(),
            Effect::Exited { .. } | Effect::Ended { .. } => unreachable!("filtered out"),
            Effect::Reply { result, .. } => format!("reply {result:?}"),
            Effect::Booted => "booted".into(),
            Effect::Exit { reason } => format!("exit {reason}"),
        })
        .collect()
}

/// What the start objects are told.
fn notices(effects: &[Effect<(), Pid>]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Exited { reason, .. } => Some(format!("exited {reason}")),
            Effect::Ended { .. } => Some("ended".into()),
            _ => None,
        })
        .collect()
}

struct Driver {
    core: TestCore,
    now: Millis,
    last_pid: u64,
}

impl Driver {
    fn booted(core: TestCore) -> Self {
        let mut driver = Self { core, now: Millis::ZERO, last_pid: 0 };
        let effects = driver.step(Input::Boot);
        driver.start_all(effects);
        driver
    }

    fn step(&mut self, input: Input<(), Pid>) -> Vec<Effect<(), Pid>> {
        self.core.step(self.now, input)
    }

    /// Lets every start succeed; the first process is 1. Returns the effects other than starts.
    fn start_all(&mut self, effects: Vec<Effect<(), Pid>>) -> Vec<Effect<(), Pid>> {
        let mut others = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start { key, attempt, .. } => {
                    self.last_pid += 1;
                    let process = Pid(self.last_pid);
                    let next = self.step(Input::Started { key, attempt, process });
                    others.extend(self.start_all(next));
                }
                other => others.push(other),
            }
        }
        others
    }

    /// The timer armed by `effects` fires.
    fn fire(&mut self, effects: &[Effect<(), Pid>]) -> Vec<Effect<(), Pid>> {
        let armed = effects.iter().find_map(|effect| match effect {
            Effect::Arm { timer, after } => Some((*timer, *after)),
            _ => None,
        });
        let (timer, after) = armed.expect("a timer was armed");
        self.now = self.now + after;
        self.step(Input::TimerFired(timer))
    }

    fn call(&mut self, request: Request<()>) -> Vec<Effect<(), Pid>> {
        self.step(Input::Call { ticket: Ticket(7), request })
    }
}

fn worker() -> ChildRules {
    ChildRules::worker("test")
}

fn error() -> ExitReason {
    ExitReason::Error("boom".into())
}

/// Goal: starts are ordered one at a time, each after the one before has succeeded.
#[test]
fn children_start_one_after_the_other() {
    let timeout = worker().start_timeout(Duration::from_secs(1));
    let mut core = core(Strategy::OneForOne, &[("a", worker()), ("b", timeout)]);
    let first = core.step(Millis::ZERO, Input::Boot);
    assert_eq!(texts(&first), ["start a None"]);
    let Effect::Start { key, attempt, .. } = first[0] else { panic!("a start") };
    let second = core.step(Millis::ZERO, Input::Started { key, attempt, process: Pid(1) });
    assert_eq!(texts(&second), ["supervision.child_started", "start b Some(1s)"]);
    let Effect::Start { key, attempt, .. } = second[1] else { panic!("a start") };
    let last = core.step(Millis::ZERO, Input::Started { key, attempt, process: Pid(2) });
    assert_eq!(texts(&last), ["supervision.child_started", "booted"]);
}

/// Goal: a child that neither ends when told to nor when killed is reported and left behind, and its late exit is ignored.
#[test]
fn an_unresponsive_child_is_left_behind() {
    let rules = worker().shutdown(Shutdown::Timeout(Duration::from_secs(2)));
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker()), ("b", rules)]));
    let stop = driver.step(Input::Shutdown);
    assert_eq!(texts(&stop), ["arm 2s", "stop 2 mass=false"]);
    let kill = driver.fire(&stop);
    assert_eq!(texts(&kill), ["arm 5s", "kill 2"]);
    let go_on = driver.fire(&kill);
    assert_eq!(
        texts(&go_on),
        ["supervision.child_unresponsive", "supervision.child_terminated", "arm 5s", "stop 1 mass=false"]
    );
    assert!(driver.step(Input::ChildExited { pid: 2, reason: ExitReason::Killed }).is_empty());
    let end = driver.step(Input::ChildExited { pid: 1, reason: ExitReason::Shutdown(None) });
    assert_eq!(texts(&end), ["disarm", "supervision.child_terminated", "exit shutdown"]);
}

/// Goal: also when all dynamic children are killed together.
#[test]
fn unresponsive_dynamic_children_are_left_behind() {
    let mut driver = Driver::booted(core(Strategy::SimpleOneForOne, &[]));
    for id in ["a", "b"] {
        let effects = driver.call(Request::StartDynamic { id: id.into(), start: () });
        driver.start_all(effects);
    }
    let stop = driver.step(Input::Shutdown);
    assert_eq!(texts(&stop), ["stop 1 mass=true", "stop 2 mass=true", "arm 5s"]);
    let kill = driver.fire(&stop);
    assert_eq!(texts(&kill), ["kill 1", "kill 2", "arm 5s"]);
    let one_ends = driver.step(Input::ChildExited { pid: 1, reason: ExitReason::Killed });
    assert_eq!(texts(&one_ends), ["supervision.child_terminated"]);
    let end = driver.fire(&kill);
    assert_eq!(
        texts(&end),
        ["supervision.child_unresponsive", "supervision.child_terminated", "exit shutdown"]
    );
    assert_eq!(driver.now.since(Millis::ZERO), Duration::from_secs(5) + KILL_GRACE);
}

/// Goal: a start that returns after it was dropped leaves nothing running.
#[test]
fn a_late_start_is_discarded() {
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker())]));
    let restart = driver.step(Input::ChildExited { pid: 1, reason: error() });
    assert_eq!(texts(&restart), ["supervision.child_exited", "start a None"]);
    let Effect::Start { key, attempt, .. } = restart[2] else { panic!("a start") };
    assert_eq!(texts(&driver.step(Input::Shutdown)), ["abort start", "exit shutdown"]);
    let late = driver.step(Input::Started { key, attempt, process: Pid(2) });
    assert_eq!(texts(&late), ["discard 2"]);
    let failure = StartFailure::Ignored;
    assert!(driver.step(Input::StartFailed { key, attempt, failure }).is_empty());
}

/// Goal: a nested supervisor that is starting its children is not dropped but told to end in order.
#[test]
fn a_known_process_is_stopped_while_it_starts() {
    let mut core = core(Strategy::OneForOne, &[("s", ChildRules::supervisor("s"))]);
    let effects = core.step(Millis::ZERO, Input::Boot);
    let Effect::Start { key, attempt, .. } = effects[0] else { panic!("a start") };
    assert!(core.step(Millis::ZERO, Input::Spawned { key, attempt, process: Pid(9) }).is_empty());
    assert_eq!(texts(&core.step(Millis::ZERO, Input::Shutdown)), ["stop 9 mass=false"]);
    let end = core.step(Millis::ZERO, Input::ChildExited { pid: 9, reason: ExitReason::Shutdown(None) });
    assert_eq!(texts(&end), ["supervision.child_terminated", "exit shutdown"]);
}

/// Goal: an exit nobody reported is not lost, and what is known about it is not made up.
#[test]
fn a_process_that_is_gone_has_exited() {
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker())]));
    let effects = driver.step(Input::ChildGone { pid: 1 });
    let reason = ExitReason::Error("the exit was not reported".into());
    let exited = Event::ChildExited { supervisor: "root".into(), child: "a".into(), reason };
    assert!(matches!(&effects[1], Effect::Emit(event) if *event == exited), "{effects:?}");
    driver.start_all(effects);
    let stop = driver.step(Input::Shutdown);
    assert_eq!(texts(&stop), ["arm 5s", "stop 2 mass=false"]);
    let end = driver.step(Input::ChildGone { pid: 2 });
    let why: Arc<str> = "its supervisor ends".into();
    let reason = ExitReason::Shutdown(None);
    let terminated = Event::ChildTerminated { supervisor: "root".into(), child: "a".into(), why, reason };
    assert!(matches!(&end[2], Effect::Emit(event) if *event == terminated), "{end:?}");
}

/// Goal: whoever waits for an answer gets one when the supervisor ends: the one being served and those in the queue.
#[test]
fn a_shutdown_answers_everybody() {
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker())]));
    driver.call(Request::TerminateChild("a".into()));
    assert!(driver.call(Request::RestartChild("a".into())).is_empty());
    let effects = driver.step(Input::Shutdown);
    let refused = format!("reply {:?}", Err::<Option<Pid>, _>(SupervisorError::ShuttingDown));
    assert_eq!(texts(&effects), [refused.clone(), refused.clone()]);
    assert_eq!(texts(&driver.call(Request::DeleteChild("a".into()))), [refused]);
}

/// Goal: a wait that was overtaken does nothing: the back-off of a child that was cycled meanwhile.
#[test]
fn a_stale_back_off_is_ignored() {
    let pause = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(1));
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker().backoff(pause))]));
    let wait = driver.step(Input::ChildExited { pid: 1, reason: error() });
    assert_eq!(texts(&wait), ["supervision.child_exited", "supervision.restart_delayed", "arm 1s"]);
    let cycle = driver.call(Request::CycleChild("a".into()));
    assert_eq!(texts(&cycle), ["disarm", "start a None"]);
    driver.start_all(cycle);
    assert!(driver.fire(&wait).is_empty());
}

/// Goal: an empty id is refused at run time as it is in a specification.
#[test]
fn empty_ids_are_refused() {
    let new = NewChild { id: "".into(), start: (), rules: worker().restart(Restart::Temporary) };
    let effects = Driver::booted(core(Strategy::OneForOne, &[])).call(Request::StartChild(new));
    assert_eq!(texts(&effects), ["reply Err(InvalidSpec(EmptyId))"]);
}

/// Goal: a child's record is small enough for a million of them; with its three index entries it stays below 250 bytes.
#[test]
fn records_are_compact() {
    use super::core::Child;
    use super::{StartChild, Started};
    let record = size_of::<Child<Arc<dyn StartChild>, Started>>();
    // Sparsely filled tables double their entries: 16 bytes in the order, 24 by id, 16 by process.
    assert!(record + 2 * (16 + 24 + 16) <= 250, "{record} bytes");
}

/// Goal: a start object hears of every exit, and of the end only when nobody will start the child again by himself.
#[test]
fn start_objects_are_told() {
    let boom = |pid| Input::ChildExited { pid, reason: error() };
    let children = [
        ("permanent", worker()),
        ("temporary", worker().restart(Restart::Temporary)),
        ("transient", worker().restart(Restart::Transient)),
    ];
    let mut driver = Driver::booted(core(Strategy::OneForOne, &children));
    let restarted = driver.step(boom(1));
    assert_eq!(notices(&restarted), ["exited error: boom"]);
    driver.start_all(restarted);
    assert_eq!(notices(&driver.step(boom(2))), ["exited error: boom", "ended"]);
    let normal = Input::ChildExited { pid: 3, reason: ExitReason::Normal };
    assert_eq!(notices(&driver.step(normal)), ["exited normal", "ended"]);
    driver.call(Request::TerminateChild("permanent".into()));
    let terminated = driver.step(Input::ChildExited { pid: 4, reason: ExitReason::Shutdown(None) });
    assert_eq!(notices(&terminated), ["exited shutdown", "ended"]);
}

/// Goal: the end of a whole supervisor is not the end of its children: its own supervisor may start it again.
#[test]
fn a_closing_supervisor_ends_nobody() {
    let mut driver = Driver::booted(core(Strategy::OneForOne, &[("a", worker())]));
    driver.step(Input::Shutdown);
    let gone = driver.step(Input::ChildExited { pid: 1, reason: ExitReason::Shutdown(None) });
    assert_eq!(notices(&gone), ["exited shutdown"]);
}
