//! The language of the crash traces.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::supervision::{AutoShutdown, Backoff, ExitReason, Restart, Shutdown, Strategy, SupervisorError};
use crate::telemetry::Event;

pub(super) struct Case {
    pub(super) name: String,
    /// The sentence of the manual it comes from.
    pub(super) rule: String,
    pub(super) tree: Node,
    tree_text: Vec<String>,
    pub(super) steps: Vec<Step>,
}

pub(super) struct Step {
    text: String,
    pub(super) command: Command,
    pub(super) expected: Vec<String>,
}

/// A child or supervisor; its children are empty for workers.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) supervisor: Option<Flags>,
    pub(super) children: Vec<Node>,
    pub(super) restart: Restart,
    pub(super) significant: bool,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) backoff: Option<Backoff>,
}

#[derive(Clone, Debug)]
pub(super) struct Flags {
    pub(super) strategy: Strategy,
    pub(super) intensity: u32,
    pub(super) period: Duration,
    pub(super) auto_shutdown: AutoShutdown,
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    Boot,
    /// All at the same moment.
    Crash(Vec<String>),
    Panic(String),
    Exit {
        path: String,
        reason: Option<String>,
    },
    Kill(String),
    /// The next starts of a worker with this id turn out so.
    NextStarts {
        id: String,
        how: HowStart,
        count: u32,
    },
    /// A worker with this id does not end when told to.
    Stubborn(String),
    Advance(Duration),
    Call {
        supervisor: String,
        call: Call,
    },
    Children(String),
    Count(String),
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum HowStart {
    Fails,
    Panics,
    Ignored,
    Hangs,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Start(Box<Node>),
    StartDynamic(String),
    Terminate(String),
    Restart(String),
    Delete(String),
    Cycle(String),
}

impl Case {
    /// The commands with what was or should be seen.
    pub(super) fn session(&self, seen: &[Vec<String>]) -> String {
        let mut text = String::new();
        for (step, seen) in self.steps.iter().zip(seen) {
            text.push_str(&format!("> {}\n", step.text));
            for line in seen {
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "=== {}", self.name)?;
        let mut line = String::from("#");
        for word in self.rule.split_whitespace() {
            if line.len() + word.len() > 110 {
                writeln!(f, "{line}")?;
                line = String::from("#");
            }
            line = format!("{line} {word}");
        }
        writeln!(f, "{line}")?;
        for line in &self.tree_text {
            writeln!(f, "{line}")?;
        }
        let expected: Vec<_> = self.steps.iter().map(|step| step.expected.clone()).collect();
        f.write_str(&self.session(&expected))
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Case>, String> {
    text.split("=== ").skip(1).map(parse_case).collect()
}

fn parse_case(text: &str) -> Result<Case, String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let name = lines.next().ok_or("a case without a name")?.to_owned();
    let mut rule = String::new();
    let (mut tree_text, mut steps) = (Vec::new(), Vec::<Step>::new());
    for line in lines {
        if let Some(words) = line.strip_prefix('#') {
            rule = format!("{rule}{words}");
        } else if let Some(command) = line.strip_prefix("> ") {
            let parsed = parse_command(command).ok_or_else(|| format!("{name}: `{command}`?"))?;
            steps.push(Step { text: command.to_owned(), command: parsed, expected: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push(line.to_owned());
        } else {
            tree_text.push(line.to_owned());
        }
    }
    let tree = parse_tree(&tree_text).ok_or_else(|| format!("{name}: bad tree"))?;
    Ok(Case { name, rule: rule.trim().to_owned(), tree, tree_text, steps })
}

fn parse_tree(lines: &[String]) -> Option<Node> {
    let mut open: Vec<Node> = Vec::new();
    for line in lines {
        let depth = (line.len() - line.trim_start().len()) / 2;
        while open.len() > depth {
            close_last(&mut open)?;
        }
        open.push(parse_node(line.trim())?);
    }
    while open.len() > 1 {
        close_last(&mut open)?;
    }
    open.pop()
}

/// Hangs the last open node below the one before.
fn close_last(open: &mut Vec<Node>) -> Option<()> {
    let node = open.pop()?;
    open.last_mut()?.children.push(node);
    Some(())
}

/// `worker a transient shutdown=2s` or `supervisor s one_for_all 3/5s`.
fn parse_node(text: &str) -> Option<Node> {
    let mut words = text.split_whitespace();
    let kind = words.next()?;
    let mut node = Node {
        id: words.next()?.to_owned(),
        supervisor: None,
        children: Vec::new(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: None,
        start_timeout: None,
        backoff: None,
    };
    if kind == "supervisor" {
        node.supervisor = Some(Flags {
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
        });
    }
    for word in words {
        parse_word(&mut node, word)?;
    }
    Some(node)
}

fn parse_word(node: &mut Node, word: &str) -> Option<()> {
    match word {
        "permanent" => node.restart = Restart::Permanent,
        "transient" => node.restart = Restart::Transient,
        "temporary" => node.restart = Restart::Temporary,
        "significant" => node.significant = true,
        "any_significant" => node.supervisor.as_mut()?.auto_shutdown = AutoShutdown::AnySignificant,
        "all_significant" => node.supervisor.as_mut()?.auto_shutdown = AutoShutdown::AllSignificant,
        "one_for_one" => node.supervisor.as_mut()?.strategy = Strategy::OneForOne,
        "one_for_all" => node.supervisor.as_mut()?.strategy = Strategy::OneForAll,
        "rest_for_one" => node.supervisor.as_mut()?.strategy = Strategy::RestForOne,
        "simple_one_for_one" => node.supervisor.as_mut()?.strategy = Strategy::SimpleOneForOne,
        _ => match word.split_once(['=', '/'])? {
            ("shutdown", "brutal_kill") => node.shutdown = Some(Shutdown::BrutalKill),
            ("shutdown", "infinity") => node.shutdown = Some(Shutdown::Infinity),
            ("shutdown", time) => node.shutdown = Some(Shutdown::Timeout(parse_time(time)?)),
            ("start_timeout", time) => node.start_timeout = Some(parse_time(time)?),
            ("backoff", range) => {
                let (base, cap) = range.split_once("..")?;
                node.backoff = Some(Backoff::doubling(parse_time(base)?, parse_time(cap)?));
            }
            (intensity, period) => {
                let flags = node.supervisor.as_mut()?;
                flags.intensity = intensity.parse().ok()?;
                flags.period = parse_time(period)?;
            }
        },
    }
    Some(())
}

fn parse_time(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

fn parse_command(text: &str) -> Option<Command> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let call = |call: fn(String) -> Call| {
        let (supervisor, id) = in_supervisor(rest)?;
        Some(Command::Call { supervisor, call: call(id) })
    };
    let next = |how| {
        let (id, count) = rest.split_once(' ').unwrap_or((rest, "1"));
        Some(Command::NextStarts { id: id.to_owned(), how, count: count.parse().ok()? })
    };
    match verb {
        "boot" => Some(Command::Boot),
        "crash" => Some(Command::Crash(rest.split(", ").map(str::to_owned).collect())),
        "panic" => Some(Command::Panic(rest.to_owned())),
        "exit" => {
            let (path, reason) = rest.split_once(' ').map_or((rest, None), |(path, why)| (path, Some(why)));
            Some(Command::Exit { path: path.to_owned(), reason: reason.map(str::to_owned) })
        }
        "kill" => Some(Command::Kill(rest.to_owned())),
        "fails" => next(HowStart::Fails),
        "panics" => next(HowStart::Panics),
        "ignores" => next(HowStart::Ignored),
        "hangs" => next(HowStart::Hangs),
        "stubborn" => Some(Command::Stubborn(rest.to_owned())),
        "advance" => Some(Command::Advance(parse_time(rest)?)),
        "start" => {
            let (supervisor, spec) = in_supervisor(rest)?;
            let node = Box::new(parse_node(&spec)?);
            Some(Command::Call { supervisor, call: Call::Start(node) })
        }
        "start_dynamic" => call(Call::StartDynamic),
        "terminate" => call(Call::Terminate),
        "restart" => call(Call::Restart),
        "delete" => call(Call::Delete),
        "cycle" => call(Call::Cycle),
        "children" => Some(Command::Children(rest.to_owned())),
        "count" => Some(Command::Count(rest.to_owned())),
        "shutdown" => Some(Command::Shutdown),
        _ => None,
    }
}

/// `in s/t x` is `x` at the supervisor `s/t`; without `in` it is at the root.
fn in_supervisor(text: &str) -> Option<(String, String)> {
    match text.strip_prefix("in ") {
        Some(rest) => rest.split_once(' ').map(|(path, rest)| (path.to_owned(), rest.to_owned())),
        None => Some((String::new(), text.to_owned())),
    }
}

/// An event as a line of a trace; paths are relative to the root.
pub(super) fn event_line(event: &Event) -> String {
    let child = |supervisor: &Arc<str>, child: &Arc<str>| match supervisor.split_once('/') {
        Some((_, below)) => format!("{below}/{child}"),
        None => child.to_string(),
    };
    match event {
        Event::ChildStarted { supervisor, child: id } => format!("started {}", child(supervisor, id)),
        Event::ChildExited { supervisor, child: id, reason } => {
            format!("exited {}: {}", child(supervisor, id), short(reason))
        }
        Event::ChildRestarted { supervisor, child: id, restarts, cause, reason } => {
            let reason = short(reason);
            format!("restarted {} ({restarts}), for `{cause}` ended: {reason}", child(supervisor, id))
        }
        Event::ChildTerminated { supervisor, child: id, reason, .. } => {
            format!("terminated {}: {}", child(supervisor, id), short(reason))
        }
        Event::StartFailed { supervisor, child: id, reason } => {
            format!("not started {}: {}", child(supervisor, id), short(reason))
        }
        Event::RestartDelayed { supervisor, child: id, delay_ms, .. } => {
            format!("waits {delay_ms} ms {}", child(supervisor, id))
        }
        Event::ChildUnresponsive { supervisor, child: id, .. } => {
            format!("unresponsive {}", child(supervisor, id))
        }
        Event::Escalated { supervisor, .. } => format!("gives up {supervisor}"),
        other => panic!("not an event of supervision: {other:?}"),
    }
}

/// A reason without the numbers that are in the tree anyway.
pub(super) fn short(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Escalated(escalation) => {
            format!("escalated by `{}`, for {}", escalation.child, short(&escalation.reason))
        }
        reason => reason.to_string(),
    }
}

pub(super) fn answer_line(answer: &Result<bool, SupervisorError>) -> String {
    match answer {
        Ok(true) => "=> a child".to_owned(),
        Ok(false) => "=> ok".to_owned(),
        Err(SupervisorError::StartFailed { id, reason }) => format!("=> `{id}` failed: {}", short(reason)),
        Err(error) => format!("=> {error}"),
    }
}

/// A plain worker.
pub(super) fn worker(id: &str) -> Node {
    parse_node(&format!("worker {id}")).unwrap()
}
