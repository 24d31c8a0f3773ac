//! What `nexus cluster up` does about its nodes: which to start, to stop, to start again, and when it is over. Pure: what happened comes
//! in, what to do goes out.

use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::output::Tone;

/// The first pause before a node is started again; each is twice as long until it was ready once more.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal, if one did.
    pub(super) signal: Option<i32>,
}

/// What happened. Nodes are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A node is ready, and reached here.
    Ready(usize, String),
    /// A node's process has ended.
    Ended(usize, Ended),
    /// To stop in order is asked for.
    Stop(String),
    /// To end at once is.
    StopNow,
    /// Time passes.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start the node's process.
    Start(usize),
    /// Ask it to stop in order.
    Terminate(usize),
    /// Kill it.
    Kill(usize),
    /// Tell the user.
    Say(Tone, String),
    /// It is over. No process is left.
    End(Exit),
}

/// What is wanted of the nodes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Their names.
    pub(super) names: Vec<String>,
    /// Whether one that ends is started again.
    pub(super) restart: bool,
    /// Whether one that ends by itself, in order, ends all.
    pub(super) exit_when_done: bool,
    /// How long one may take to stop in order.
    pub(super) patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its process runs; whether it was ready yet.
    Runs { ready: bool },
    /// It is started again at this time.
    Waits { until: Duration },
    /// It was asked to stop; it is killed at this time.
    Stops { until: Duration },
    /// It has ended, and stays so.
    Over,
}

#[derive(Debug)]
struct Node {
    state: State,
    /// Starts since it was ready last.
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fleet {
    plan: Plan,
    nodes: Vec<Node>,
    /// Whether all were ready at one time.
    complete: bool,
    /// How it will end, once it stops.
    stopping: Option<Exit>,
    ended: bool,
}

impl Fleet {
    /// The nodes of `plan`, and what to do first.
    pub(super) fn new(plan: Plan) -> (Self, Vec<Effect>) {
        let node = |_: &String| Node { state: State::Runs { ready: false }, failures: 0 };
        let nodes: Vec<_> = plan.names.iter().map(node).collect();
        let effects = (0..nodes.len()).map(Effect::Start).collect();
        (Self { plan, nodes, complete: false, stopping: None, ended: false }, effects)
    }

    /// What to do when `input` happened at `now`, the time since the start.
    pub(super) fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Ready(at, url) => self.ready(at, &url, &mut effects),
            Input::Ended(at, how) => self.over(now, at, how, &mut effects),
            Input::Stop(why) => {
                effects.push(say(
                    Tone::Plain,
                    format!("{why}: stopping all nodes in order; once more to end at once"),
                ));
                self.stop(Exit::Ok);
            }
            Input::StopNow => {
                self.stopping = Some(Exit::Interrupted);
                effects.extend(self.running().map(Effect::Kill));
                self.nodes
                    .iter_mut()
                    .filter(|node| !runs(node.state))
                    .for_each(|node| node.state = State::Over);
            }
            Input::Tick => self.tick(now, &mut effects),
        }
        self.go_on(now, &mut effects);
        effects
    }

    fn running(&self) -> impl DoubleEndedIterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| runs(node.state)).map(|(at, _)| at)
    }

    fn ready(&mut self, at: usize, url: &str, effects: &mut Vec<Effect>) {
        let node = &mut self.nodes[at];
        if node.state != (State::Runs { ready: false }) {
            return;
        }
        node.state = State::Runs { ready: true };
        node.failures = 0;
        effects.push(say(Tone::Good, format!("{} is ready at {url}", self.plan.names[at])));
        let all = self.nodes.iter().all(|node| node.state == State::Runs { ready: true });
        if all && !self.complete {
            self.complete = true;
            let first = &self.plan.names[0];
            let text = format!(
                "all {} nodes are ready: try `nexus members`, or `nexus tree --node {first}`; Ctrl-C stops them",
                self.nodes.len()
            );
            effects.push(say(Tone::Strong, text));
        }
    }

    fn over(&mut self, now: Duration, at: usize, how: Ended, effects: &mut Vec<Effect>) {
        let was = std::mem::replace(&mut self.nodes[at].state, State::Over);
        let name = &self.plan.names[at];
        if self.stopping.is_some() {
            // What came first says how it ends.
            if how.code != Some(0) && self.stopping == Some(Exit::Ok) {
                effects.push(say(Tone::Bad, format!("{name} did not stop in order: {}", words(how))));
                self.stopping = Some(Exit::Failed);
            }
            return;
        }
        let exit =
            how.code.and_then(|code| Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == code));
        let done = self.plan.exit_when_done && matches!(exit, Some(Exit::Ok | Exit::Failed));
        let hopeless = was == State::Runs { ready: false }
            && matches!(exit, Some(Exit::Usage | Exit::Config | Exit::Tree));
        if let (true, Some(exit)) = (done || hopeless, exit) {
            let what = if done { "is done" } else { "cannot start" };
            effects.push(say(Tone::Plain, format!("{name} {what} ({}); stopping the others", words(how))));
            self.stop(exit);
            return;
        }
        let left = self.running().count();
        let of = format!("{left} of {} nodes are left", self.nodes.len());
        if self.plan.restart {
            let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(self.nodes[at].failures));
            self.nodes[at].failures += 1;
            self.nodes[at].state = State::Waits { until: now + pause };
            let text = format!("{name} {}; it is started again in {} s; {of}", words(how), pause.as_secs());
            effects.push(say(Tone::Bad, text));
        } else {
            let name = &self.plan.names[at];
            effects.push(say(
                Tone::Bad,
                format!("{name} {}; {of} (--restart would start it again)", words(how)),
            ));
            if left == 0 {
                self.stop(Exit::Failed);
            }
        }
    }

    fn stop(&mut self, exit: Exit) {
        self.stopping.get_or_insert(exit);
        for node in &mut self.nodes {
            if matches!(node.state, State::Waits { .. }) {
                node.state = State::Over;
            }
        }
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            match node.state {
                State::Waits { until } if until <= now => {
                    node.state = State::Runs { ready: false };
                    effects.push(Effect::Start(at));
                }
                State::Stops { until } if until <= now => {
                    let name = &self.plan.names[at];
                    let text = format!(
                        "{name} has not stopped within {} s and is killed",
                        self.plan.patience.as_secs()
                    );
                    effects.extend([say(Tone::Bad, text), Effect::Kill(at)]);
                    // Its end comes; nobody kills it twice.
                    node.state = State::Stops { until: Duration::MAX };
                }
                _ => {}
            }
        }
    }

    /// While it stops: one after the other, the last that was started first; at the end it is over.
    fn go_on(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some(exit) = self.stopping else { return };
        let last = self.running().next_back();
        match last {
            None if !self.ended => {
                self.ended = true;
                effects.push(Effect::End(exit));
            }
            Some(last)
                if exit != Exit::Interrupted && matches!(self.nodes[last].state, State::Runs { .. }) =>
            {
                self.nodes[last].state = State::Stops { until: now + self.plan.patience };
                effects.push(Effect::Terminate(last));
            }
            _ => {}
        }
    }
}

/// Whether there is a process.
const fn runs(state: State) -> bool {
    matches!(state, State::Runs { .. } | State::Stops { .. })
}

fn say(tone: Tone, text: String) -> Effect {
    Effect::Say(tone, text)
}

/// How it ended, for people.
fn words(how: Ended) -> String {
    match (how.code, how.signal) {
        (Some(0), _) => "ended in order".to_owned(),
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(9)) => "was killed (SIGKILL)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
