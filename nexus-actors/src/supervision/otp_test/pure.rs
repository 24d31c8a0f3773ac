//! A world without actors: cores, a queue of what happens next, and a list of timers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::World;
use super::script::{self, Call, Command, HowStart, Node};
use crate::clock::Millis;
use crate::supervision::core::{
    AttemptId, ChildCounts, ChildKey, Core, Effect, Flags, Input, NewChild, Process, Request, StartFailure,
    State, Ticket, TimerId,
};
use crate::supervision::spec::ChildRules;
use crate::supervision::{ChildKind, ExitReason, Restart, Strategy};
use crate::telemetry::Event;

pub(super) struct PureWorld {
    now: Millis,
    supervisors: Vec<Supervisor>,
    processes: BTreeMap<u64, Kind>,
    queue: VecDeque<(usize, PureInput)>,
    timers: BTreeMap<(Millis, u64), (usize, Due)>,
    last_id: u64,
    next_starts: BTreeMap<String, (HowStart, u32)>,
    stubborn: BTreeSet<String>,
    lines: Vec<String>,
    after: Vec<String>,
    /// Everything that was ever emitted.
    log: Vec<(Millis, Event)>,
}

type PureInput = Input<Arc<Node>, Pid>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pid(u64);

impl Process for Pid {
    fn pid(&self) -> u64 {
        self.0
    }
}

struct Supervisor {
    core: Core<Arc<Node>, Pid>,
    path: Arc<str>,
    pid: u64,
    parent: Option<(usize, ChildKey, AttemptId)>,
    booted: bool,
    alive: bool,
}

enum Kind {
    Worker { supervisor: usize, id: String },
    Supervisor(usize),
}

enum Due {
    Timer(TimerId),
    StartTimeout(ChildKey, AttemptId, String),
}

impl World for PureWorld {
    async fn run(&mut self, command: &Command) -> Vec<String> {
        self.carry_out(command);
        self.settle();
        let mut lines = std::mem::take(&mut self.lines);
        lines.append(&mut self.after);
        lines
    }
}

impl PureWorld {
    pub(super) fn new(tree: &Node) -> Self {
        let mut world = Self {
            now: Millis::ZERO,
            supervisors: Vec::new(),
            processes: BTreeMap::new(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            last_id: 0,
            next_starts: BTreeMap::new(),
            stubborn: BTreeSet::new(),
            lines: Vec::new(),
            after: Vec::new(),
            log: Vec::new(),
        };
        world.add_supervisor(tree, None);
        world
    }

    fn add_supervisor(&mut self, node: &Node, parent: Option<(usize, ChildKey, AttemptId)>) -> Pid {
        let path: Arc<str> = match parent {
            Some((parent, ..)) => format!("{}/{}", self.supervisors[parent].path, node.id).into(),
            None => node.id.as_str().into(),
        };
        let flags = node.supervisor.as_ref().unwrap();
        let (template, children) = match flags.strategy {
            Strategy::SimpleOneForOne => (Some(rules(&node.children[0])), &[][..]),
            _ => (None, &node.children[..]),
        };
        let core = Core::new(
            Flags {
                path: path.clone(),
                strategy: flags.strategy,
                auto_shutdown: flags.auto_shutdown,
                intensity: flags.intensity,
                period: flags.period,
                backoff: None,
                template,
            },
            children.iter().map(new_child),
        );
        self.last_id += 1;
        let pid = self.last_id;
        self.processes.insert(pid, Kind::Supervisor(self.supervisors.len()));
        self.supervisors.push(Supervisor { core, path, pid, parent, booted: false, alive: true });
        Pid(pid)
    }

    fn carry_out(&mut self, command: &Command) {
        match command {
            Command::Boot => self.queue.push_back((0, Input::Boot)),
            Command::Shutdown => self.queue.push_back((0, Input::Shutdown)),
            Command::Crash(paths) => {
                for path in paths {
                    self.end(path, ExitReason::Error("boom".into()));
                }
            }
            Command::Panic(path) => self.end(path, ExitReason::Error("ouch".into())),
            Command::Exit { path, reason } => self.end(path, ExitReason::of_stop(reason.as_deref())),
            Command::Kill(path) => {
                let pid = self.process(path);
                self.kill(pid);
            }
            Command::NextStarts { id, how, count } => {
                self.next_starts.insert(id.clone(), (*how, *count));
            }
            Command::Stubborn(id) => drop(self.stubborn.insert(id.clone())),
            Command::Advance(by) => self.advance(self.now + *by),
            Command::Call { supervisor, call } => {
                self.last_id += 1;
                let (ticket, request) = (Ticket(self.last_id), request(call));
                self.queue.push_back((self.supervisor(supervisor), Input::Call { ticket, request }));
            }
            Command::Children(path) => {
                let core = &self.supervisors[self.supervisor(path)].core;
                let children = core.table().iter().map(|(_, child)| {
                    let state = match child.state() {
                        State::Down | State::Exited(_) => "terminated",
                        State::Starting(_) => "starting",
                        State::Up(_) => "running",
                        State::Stopping(_) => "stopping",
                        State::Restarting(_) => "restarting",
                    };
                    format!("{} {state}", child.id)
                });
                self.lines.push(children_line(children));
            }
            Command::Count(path) => {
                let counts = self.supervisors[self.supervisor(path)].core.table().counts();
                self.lines.push(count_line(counts));
            }
        }
    }

    fn settle(&mut self) {
        while let Some((supervisor, input)) = self.queue.pop_front() {
            self.feed(supervisor, input);
        }
    }

    fn advance(&mut self, until: Millis) {
        self.settle();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= until) {
            let (at, _) = *entry.key();
            let (supervisor, due) = entry.remove();
            self.now = at;
            let input = match due {
                Due::Timer(timer) => Input::TimerFired(timer),
                Due::StartTimeout(key, attempt, text) => {
                    Input::StartFailed { key, attempt, failure: StartFailure::Failed(text.into()) }
                }
            };
            self.queue.push_back((supervisor, input));
            self.settle();
        }
        self.now = until;
    }

    fn feed(&mut self, supervisor: usize, input: PureInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            if !self.supervisors[supervisor].alive {
                return;
            }
            for effect in self.supervisors[supervisor].core.step(self.now, input) {
                inputs.extend(self.effect(supervisor, effect));
            }
        }
    }

    fn effect(&mut self, supervisor: usize, effect: Effect<Arc<Node>, Pid>) -> Option<PureInput> {
        match effect {
            Effect::Start { key, attempt, id, start, timeout } => {
                if start.supervisor.is_some() {
                    let process = self.add_supervisor(&start, Some((supervisor, key, attempt)));
                    self.queue.push_back((supervisor, Input::Spawned { key, attempt, process }));
                    self.queue.push_back((self.supervisors.len() - 1, Input::Boot));
                    return None;
                }
                let how = self.next_starts.get_mut(&*id).filter(|(_, left)| *left > 0).map(|(how, left)| {
                    *left -= 1;
                    *how
                });
                let failed = |text: &str| StartFailure::Failed(text.into());
                return match how {
                    None => {
                        self.last_id += 1;
                        let worker = Kind::Worker { supervisor, id: id.to_string() };
                        self.processes.insert(self.last_id, worker);
                        Some(Input::Started { key, attempt, process: Pid(self.last_id) })
                    }
                    Some(HowStart::Fails) => {
                        Some(Input::StartFailed { key, attempt, failure: failed("refused") })
                    }
                    Some(HowStart::Panics) => {
                        Some(Input::StartFailed { key, attempt, failure: failed("ouch") })
                    }
                    Some(HowStart::Ignored) => {
                        Some(Input::StartFailed { key, attempt, failure: StartFailure::Ignored })
                    }
                    Some(HowStart::Hangs) => {
                        if let Some(timeout) = timeout {
                            let text = format!("not started within {timeout:?}");
                            self.last_id += 1;
                            let due = Due::StartTimeout(key, attempt, text);
                            self.timers.insert((self.now + timeout, self.last_id), (supervisor, due));
                        }
                        None
                    }
                };
            }
            Effect::Exited { .. } | Effect::Ended { .. } => {}
            Effect::AbortStart { attempt } => {
                let started = self.supervisors.iter().position(|other| {
                    other.alive && other.parent.is_some_and(|(of, _, by)| of == supervisor && by == attempt)
                });
                if let Some(started) = started {
                    self.bury(started);
                }
            }
            Effect::Stop { process, .. } | Effect::Discard { process } => self.stop(process.0),
            Effect::Kill { process } => self.kill(process.0),
            Effect::Arm { timer, after } => {
                self.last_id += 1;
                self.timers.insert((self.now + after, self.last_id), (supervisor, Due::Timer(timer)));
            }
            Effect::Disarm { timer } => self
                .timers
                .retain(|_, (of, due)| *of != supervisor || !matches!(due, Due::Timer(id) if *id == timer)),
            Effect::TryAgain { key, wait } => {
                self.queue.push_back((supervisor, Input::TryAgain { key, wait }));
            }
            Effect::Emit(event) => {
                self.lines.push(script::event_line(&event));
                self.log.push((self.now, event));
            }
            Effect::Reply { result, .. } => {
                self.after.push(script::answer_line(&result.map(|process| process.is_some())));
            }
            Effect::Booted => self.booted(supervisor),
            Effect::Exit { reason } => self.ended(supervisor, reason),
        }
        None
    }

    fn booted(&mut self, supervisor: usize) {
        let this = &mut self.supervisors[supervisor];
        this.booted = true;
        if let Some((parent, key, attempt)) = this.parent {
            let process = Pid(this.pid);
            self.queue.push_back((parent, Input::Started { key, attempt, process }));
        }
    }

    fn ended(&mut self, supervisor: usize, reason: ExitReason) {
        let this = &mut self.supervisors[supervisor];
        this.alive = false;
        let (pid, booted) = (this.pid, this.booted);
        self.processes.remove(&pid);
        match this.parent {
            None if booted => self.after.push(format!("end: {}", script::short(&reason))),
            None => self.after.push(format!("not booted: {}", script::short(&reason))),
            Some((parent, key, attempt)) => {
                let failure = StartFailure::Failed(reason.start_error().into());
                self.queue.push_back((parent, Input::ChildExited { pid, reason }));
                if !booted {
                    self.queue.push_back((parent, Input::StartFailed { key, attempt, failure }));
                }
            }
        }
    }

    fn stop(&mut self, pid: u64) {
        match self.processes.get(&pid) {
            Some(Kind::Supervisor(supervisor)) => self.queue.push_back((*supervisor, Input::Shutdown)),
            Some(Kind::Worker { id, .. }) if self.stubborn.contains(id) => {}
            Some(Kind::Worker { .. }) => self.end_worker(pid, ExitReason::Shutdown(None)),
            None => {}
        }
    }

    fn end(&mut self, path: &str, reason: ExitReason) {
        let pid = self.process(path);
        self.end_worker(pid, reason);
    }

    fn end_worker(&mut self, pid: u64, reason: ExitReason) {
        if let Some(Kind::Worker { supervisor, .. }) = self.processes.remove(&pid) {
            self.queue.push_back((supervisor, Input::ChildExited { pid, reason }));
        }
    }

    fn kill(&mut self, pid: u64) {
        let Some(Kind::Supervisor(supervisor)) = self.processes.get(&pid) else {
            return self.end_worker(pid, ExitReason::Killed);
        };
        let supervisor = *supervisor;
        self.bury(supervisor);
        match self.supervisors[supervisor].parent {
            None => self.after.push("end: killed".into()),
            Some((parent, ..)) => {
                self.queue.push_back((parent, Input::ChildExited { pid, reason: ExitReason::Killed }));
            }
        }
    }

    /// A killed supervisor takes everything below it along.
    fn bury(&mut self, supervisor: usize) {
        self.supervisors[supervisor].alive = false;
        self.timers.retain(|_, (of, _)| *of != supervisor);
        self.processes.remove(&self.supervisors[supervisor].pid);
        self.processes
            .retain(|_, kind| !matches!(kind, Kind::Worker { supervisor: of, .. } if *of == supervisor));
        for other in 0..self.supervisors.len() {
            let parent = self.supervisors[other].parent;
            if self.supervisors[other].alive && parent.is_some_and(|(parent, ..)| parent == supervisor) {
                self.bury(other);
            }
        }
    }

    /// The paths of all running workers or supervisors, below the root.
    pub(super) fn running(&self, kind: ChildKind) -> Vec<String> {
        let mut paths = Vec::new();
        for supervisor in self.supervisors.iter().filter(|supervisor| supervisor.alive) {
            let below = supervisor.path.strip_prefix("root").unwrap();
            for (_, child) in supervisor.core.table().iter() {
                if child.rules.kind == kind && matches!(child.state(), State::Up(_)) {
                    paths.push(format!("{below}/{}", child.id).trim_start_matches('/').to_owned());
                }
            }
        }
        paths
    }

    pub(super) fn trace(&self) -> Vec<(Millis, Event)> {
        self.log.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        !self.supervisors[0].alive
    }

    /// What must hold whenever nothing is left to do. `healed`: nobody hangs, resists or was ended by request, so that all
    /// permanent children run.
    pub(super) fn check(&self, healed: bool) {
        let mut known = 0;
        for supervisor in self.supervisors.iter().filter(|supervisor| supervisor.alive) {
            let counts = supervisor.core.table().counts();
            let states = || supervisor.core.table().iter().map(|(_, child)| child.state());
            let active = states().filter(|state| matches!(state, State::Up(_) | State::Stopping(_)));
            assert_eq!(active.count(), counts.active, "{}: the count is right", supervisor.path);
            known += states().filter(|state| state.process().is_some()).count();
            for (_, child) in supervisor.core.table().iter() {
                if let Some(process) = child.state().process() {
                    assert!(self.processes.contains_key(&process.0), "{} is alive", child.id);
                }
                if healed && child.rules.restart == Restart::Permanent {
                    assert!(matches!(child.state(), State::Up(_)), "{} runs", child.id);
                }
            }
        }
        // The root is nobody's child.
        let root = usize::from(self.supervisors[0].alive);
        assert_eq!(self.processes.len(), known + root, "every process is somebody's child");
        if self.has_ended() {
            assert_eq!(self.timers.values().filter(|(_, due)| matches!(due, Due::Timer(_))).count(), 0);
        }
    }

    /// No supervisor decided on more restarts in a period than its intensity. A decision restarts the causing child once
    /// (group members have another cause, restarts by request do not count).
    pub(super) fn check_intensity(&self, path: &str, intensity: u32, period: Duration) {
        let decisions: Vec<_> = self
            .log
            .iter()
            .filter_map(|(at, event)| match event {
                Event::ChildRestarted { supervisor, child, cause, reason, .. }
                    if **supervisor == *path && child == cause && !on_request(reason) =>
                {
                    Some(*at)
                }
                // A new incarnation counts anew.
                _ => None,
            })
            .collect();
        let incarnations = self.supervisors.iter().filter(|supervisor| &*supervisor.path == path).count();
        let allowed = intensity as usize * incarnations;
        for (index, first) in decisions.iter().enumerate() {
            let within = decisions[index..].iter().take_while(|at| at.since(*first) <= period).count();
            assert!(within <= allowed, "{path}: {within} restarts within {period:?}, allowed {allowed}");
        }
    }

    /// A restart can be explained from the events before it: its cause exited, failed to start, or was terminated by request.
    pub(super) fn check_explained(&self) {
        for (index, (_, event)) in self.log.iter().enumerate() {
            let Event::ChildRestarted { supervisor, child, cause, reason, .. } = event else { continue };
            let explained = self.log[..index].iter().rev().any(|(_, earlier)| match earlier {
                Event::ChildExited { supervisor: of, child, reason: why }
                | Event::StartFailed { supervisor: of, child, reason: why } => {
                    of == supervisor && child == cause && why == reason
                }
                _ => false,
            });
            assert!(explained || on_request(reason), "{supervisor}/{child} was restarted for no reason");
        }
    }

    fn supervisor(&self, path: &str) -> usize {
        if path.is_empty() {
            return 0;
        }
        match self.processes.get(&self.process(path)) {
            Some(Kind::Supervisor(supervisor)) => *supervisor,
            _ => panic!("{path} is not a supervisor"),
        }
    }

    fn process(&self, path: &str) -> u64 {
        let (parent, id) = path.rsplit_once('/').unwrap_or(("", path));
        let table = self.supervisors[self.supervisor(parent)].core.table();
        let child = table.find(id).and_then(|key| table.get(key));
        child.and_then(|child| child.state().process()).unwrap_or_else(|| panic!("{path} does not run")).0
    }
}

pub(super) fn children_line(children: impl Iterator<Item = String>) -> String {
    let line = children.collect::<Vec<_>>().join(", ");
    if line.is_empty() { "no children".to_owned() } else { line }
}

pub(super) fn count_line(counts: ChildCounts) -> String {
    format!(
        "specs {}, active {}, supervisors {}, workers {}",
        counts.specs, counts.active, counts.supervisors, counts.workers
    )
}

fn on_request(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Shutdown(Some(why)) if &**why == "restart on request")
}

fn request(call: &Call) -> Request<Arc<Node>> {
    match call {
        Call::Start(node) => Request::StartChild(new_child(node)),
        Call::StartDynamic(id) => {
            let node = script::worker(id);
            Request::StartDynamic { id: id.as_str().into(), start: Arc::new(node) }
        }
        Call::Terminate(id) => Request::TerminateChild(id.as_str().into()),
        Call::Restart(id) => Request::RestartChild(id.as_str().into()),
        Call::Delete(id) => Request::DeleteChild(id.as_str().into()),
        Call::Cycle(id) => Request::CycleChild(id.as_str().into()),
    }
}

fn new_child(node: &Node) -> NewChild<Arc<Node>> {
    NewChild { id: node.id.as_str().into(), start: Arc::new(node.clone()), rules: rules(node) }
}

pub(super) fn rules(node: &Node) -> ChildRules {
    let rules = match &node.supervisor {
        Some(flags) => ChildRules::supervisor(flags.strategy.name()),
        None => ChildRules::worker("worker"),
    };
    ChildRules {
        restart: node.restart,
        significant: node.significant,
        shutdown: node.shutdown.unwrap_or(rules.shutdown),
        start_timeout: node.start_timeout,
        backoff: node.backoff,
        ..rules
    }
}
