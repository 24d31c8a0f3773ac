//! `nexus cluster up`: a whole cluster of real processes on this machine.
//!
//! ```text
//!  signals ──┐
//!  output  ──┼─ News ─▶ main thread: core (what to do) ─▶ start, signal, print
//!  readiness─┘          looks every 50 ms for processes that have ended
//! ```
//!
//! The main thread starts every process: the system takes the end of that thread for the end of the parent, and then stops them.

mod child;
mod core;
#[cfg(test)]
mod core_test;
mod plan;

use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;
use nexus_cluster::transport::cluster::{CertificateAuthority, TlsFiles};
use rand::{Rng as _, TryRngCore as _};
use serde_json::json;

use self::child::{Child, News, Origin, Starter};
use self::core::{Effect, Fleet, Input, Plan};
use self::plan::NodePlan;
use super::super::exit::Exit;
use super::super::output::{Tone, clean};
use super::super::run::Overrides;
use super::super::{CliError, Context, Outcome, check, signals};
use crate::topology::Topology;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// More than the topology's own limit for an ordered stop, since a node needs a moment to begin and to end.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// Ports that are looked for when one is to be free: below those that the system itself gives away, so that nobody gets it meanwhile.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Start several nodes of one topology as a cluster on this machine
///
/// Each is a `nexus run` process: node 2 of `air.toml` is `air-2`, or `NAME-2` where the file gives node.name = "NAME". The first has the
/// topology's ports, each further one has them plus ten (port 0 stays a free one), and its own folder in the store's. They share a cookie
/// made for this run; [cluster] need not be in the file. Their output is shown with their names before it. Ctrl-C stops them in order, the
/// last one first.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus cluster up 3 airspace.toml                   Three nodes; then `nexus members`
  nexus cluster up 3 airspace.toml --restart         Start again what dies: try kill -9
  nexus cluster up 3 airspace.toml --tls             With TLS between them
  nexus cluster up 5 air.toml --exit-when-done       End when the feeds have ended
  nexus cluster up 2 air.toml --set cluster.partition=quorum")]
pub(crate) struct UpArgs {
    /// How many nodes
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    /// The topology file
    file: PathBuf,
    /// Start a node again that has ended, after 1 s at first
    #[arg(long)]
    restart: bool,
    /// Protect what goes between them by TLS, with certificates made for this run
    #[arg(long)]
    tls: bool,
    /// Stop all nodes when one has ended in order because its feeds have
    #[arg(long)]
    exit_when_done: bool,
    /// What all nodes log, such as `debug` [default: the topology's telemetry.log]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) fn run(args: &UpArgs, context: &mut Context<'_>) -> Outcome {
    // A cluster without a word about it in the file is one with the defaults.
    let mut overrides = args.overrides.clone();
    overrides.set.insert(0, "cluster={}".parse().map_err(|problem: String| CliError::usage(problem, ""))?);
    let topology = check::load(&args.file, &overrides, context)
        .map_err(|report| CliError::Topology(Box::new(report)))?;
    if !topology.debug.enabled {
        let problem = "`debug.enabled` is false, so that nobody could tell when the nodes are ready";
        return Err(CliError::usage(problem, "give --set debug.enabled=true"));
    }
    let nodes = plan::nodes(&topology, args.count, free_port)?;
    let certificates = args.tls.then(|| Certificates::make(&nodes)).transpose()?;
    let (news, heard) = mpsc::channel();
    let starter = Starter::new(args, &topology, context, news.clone())?;
    let (first, second) = (news.clone(), news);
    // Whoever does not listen any more has nothing to stop.
    let stop = move |signal: signals::StopSignal| drop(first.send(News::Stop(signal)));
    let stop_now = move |_| drop(second.send(News::StopNow));
    signals::watch(stop, stop_now).map_err(CliError::system("cannot handle Ctrl-C and SIGTERM"))?;
    let plan = Plan {
        names: nodes.iter().map(|node| node.name.clone()).collect(),
        restart: args.restart,
        exit_when_done: args.exit_when_done,
        patience: topology.node.shutdown + STOP_MARGIN,
    };
    let starts: Vec<Vec<String>> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let tls = certificates.as_ref().map(|made| &made.files[at]);
            node.overrides(&nodes, tls, &args.overrides.set)
        })
        .collect();
    let up = Up { starter, starts, children: nodes.iter().map(|_| None).collect(), plan: plan.clone() };
    up.run(plan, &heard, context)
}

/// Certificates for one run; gone with it.
struct Certificates {
    _folder: tempfile::TempDir,
    files: Vec<TlsFiles>,
}

impl Certificates {
    fn make(nodes: &[NodePlan]) -> Result<Self, CliError> {
        let folder = tempfile::Builder::new().prefix("nexus-cluster-").tempdir();
        let folder = folder.map_err(CliError::system("cannot make a folder for certificates"))?;
        let (authority, _) = super::cert::authority(folder.path())?;
        let issue = |authority: &CertificateAuthority, node: &NodePlan| {
            let name = node.name.parse().map_err(|problem: nexus_cluster::NodeNameError| {
                CliError::usage(problem.to_string(), "give it another name with --set node.name=NAME")
            })?;
            super::cert::issue_local(authority, name)
        };
        let files: Result<Vec<_>, _> = nodes.iter().map(|node| issue(&authority, node)).collect();
        Ok(Self { files: files?, _folder: folder })
    }
}

/// The processes.
struct Up {
    starter: Starter,
    /// What each is given with `--set`.
    starts: Vec<Vec<String>>,
    children: Vec<Option<Child>>,
    plan: Plan,
}

impl Up {
    fn run(mut self, plan: Plan, heard: &mpsc::Receiver<News>, context: &mut Context<'_>) -> Outcome {
        let began = Instant::now();
        let (mut fleet, effects) = Fleet::new(plan);
        if let Some(exit) = self.carry_out(effects, context)? {
            return Ok(exit);
        }
        loop {
            let mut inputs = Vec::new();
            match heard.recv_timeout(LOOK) {
                Ok(news) => inputs.extend(self.hear(news, context)?),
                Err(RecvTimeoutError::Timeout) => inputs.push(Input::Tick),
                Err(RecvTimeoutError::Disconnected) => inputs.push(Input::StopNow),
            }
            // What is said at the same time is shown at once, and before what is said about an end.
            while let Ok(news) = heard.try_recv() {
                inputs.extend(self.hear(news, context)?);
            }
            for (at, child) in self.children.iter_mut().enumerate() {
                if let Some(ended) = child.as_mut().and_then(Child::ended) {
                    *child = None;
                    inputs.push(Input::Ended(at, ended));
                }
            }
            for input in inputs {
                let effects = fleet.step(began.elapsed(), input);
                if let Some(exit) = self.carry_out(effects, context)? {
                    return Ok(exit);
                }
            }
            context.out.flush()?;
        }
    }

    fn hear(&self, news: News, context: &mut Context<'_>) -> Result<Option<Input>, CliError> {
        Ok(match news {
            News::Line { node, origin, text } => {
                self.show(node, origin, &text, context)?;
                None
            }
            News::Ready { node, url } => Some(Input::Ready(node, url)),
            News::NotReady { node, why } => {
                self.say(Tone::Warn, &format!("{} is not ready yet: {why}", self.plan.names[node]), context)?;
                None
            }
            News::Stop(signal) => Some(Input::Stop(signal.to_string())),
            News::StopNow => Some(Input::StopNow),
        })
    }

    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        context: &mut Context<'_>,
    ) -> Result<Option<Exit>, CliError> {
        for effect in effects {
            match effect {
                Effect::Start(at) => {
                    let child = self.starter.start(at, &self.starts[at])?;
                    self.children[at] = Some(child);
                }
                Effect::Terminate(at) => self.children[at].iter().for_each(Child::terminate),
                Effect::Kill(at) => self.children[at].iter_mut().for_each(Child::kill),
                Effect::Say(tone, text) => self.say(tone, &text, context)?,
                Effect::End(exit) => return Ok(Some(exit)),
            }
        }
        Ok(None)
    }

    /// A line of a node, after its name.
    fn show(
        &self,
        node: usize,
        origin: Origin,
        text: &str,
        context: &mut Context<'_>,
    ) -> Result<(), CliError> {
        let name = &self.plan.names[node];
        if context.out.is_json() {
            let origin = origin.as_str();
            return Ok(context.out.json_line(&json!({ "node": name, "from": origin, "line": text }))?);
        }
        // The names are columns of one width, each in its own colour.
        let width = self.plan.names.iter().map(String::len).max().unwrap_or(0);
        let name = context.out.hue(node, &format!("{name:width$} |"));
        // Colours are the node's own, for a terminal; anything else that steers one is not shown.
        let text = if context.out.color() { text.to_owned() } else { clean(text) };
        Ok(context.out.line(&format!("{name} {text}"))?)
    }

    /// A line of our own.
    fn say(&self, tone: Tone, text: &str, context: &mut Context<'_>) -> Result<(), CliError> {
        if context.out.is_json() {
            context.out.json_line(&json!({ "node": null, "from": "cluster", "line": text }))?;
        } else {
            let text = context.out.tone(tone, text);
            context.out.line(&text)?;
        }
        Ok(context.out.flush()?)
    }
}

/// A port of `ip` that nobody listens on.
fn free_port(ip: IpAddr) -> Result<u16, CliError> {
    let mut rng = rand::rngs::OsRng.unwrap_err();
    for _ in 0..1000 {
        let port = rng.random_range(FREE_PORTS);
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(CliError::usage(
        format!("no free port of {ip} was found among {FREE_PORTS:?}"),
        "name one with --set cluster.listen=HOST:PORT",
    ))
}

/// The program that runs now, to start it again for each node.
fn this_program() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(CliError::system("cannot find this program"))
}

/// `path`, as other processes in this folder know it too.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where the cookie is expected.
fn cookie_env(topology: &Topology) -> &str {
    topology.cluster.as_ref().map_or("NEXUS_COOKIE", |cluster| cluster.cookie_env.as_str())
}
