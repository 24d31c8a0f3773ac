//! One node as a process: started, listened to, watched until it is ready, signalled.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::super::client::Client;
use super::super::super::connection::Endpoint;
use super::super::super::output::Format;
use super::super::super::runtime_file;
use super::super::super::signals::StopSignal;
use super::super::super::{CliError, Context};
use super::core::Ended;
use super::{UpArgs, absolute, this_program};
use crate::topology::Topology;

/// How often a node is asked whether it is ready.
const ASK: Duration = Duration::from_millis(100);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a node may take until its reason is told, and between two reasons.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer line is shown in pieces.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the threads around the processes tell.
#[derive(Debug)]
pub(super) enum News {
    /// A node wrote a line.
    Line { node: usize, origin: Origin, text: String },
    /// A node is ready; its debug endpoint is there.
    Ready { node: usize, url: String },
    /// A node is not, for this reason.
    NotReady { node: usize, why: String },
    /// The first signal.
    Stop(StopSignal),
    /// The second.
    StopNow,
}

/// Where a line was written to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Output,
    Error,
}

impl Origin {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }
}

/// Starts nodes, each like the others.
pub(super) struct Starter {
    program: PathBuf,
    arguments: Vec<String>,
    file: PathBuf,
    cookie: (String, String),
    runtime_dir: PathBuf,
    /// Whether people see what is told: only they are shown tokens.
    for_people: bool,
    news: Sender<News>,
}

impl Starter {
    pub(super) fn new(
        args: &UpArgs,
        topology: &Topology,
        context: &Context<'_>,
        news: Sender<News>,
    ) -> Result<Self, CliError> {
        let mut arguments: Vec<String> = ["--no-progress", "--stop-with-parent"].map(str::to_owned).to_vec();
        arguments.push(process::id().to_string());
        if args.exit_when_done {
            arguments.push("--exit-when-done".to_owned());
        }
        if let Some(log) = &args.log {
            arguments.extend(["--log".to_owned(), log.clone()]);
        }
        let format = if context.out.format == Format::Json { "json" } else { "text" };
        arguments.extend(["--log-format", format, "-o", format].map(str::to_owned));
        let variable = super::cookie_env(topology);
        // Whoever has set one may want to join nodes by hand.
        let cookie = match context.environment.get(variable) {
            Some(cookie) => cookie.to_owned(),
            None => crate::debug::generate_token().map_err(CliError::Tree)?.expose().to_owned(),
        };
        Ok(Self {
            program: this_program()?,
            arguments,
            file: absolute(&args.file),
            cookie: (variable.to_owned(), cookie),
            runtime_dir: context.environment.runtime_dir(),
            for_people: context.out.terminal,
            news,
        })
    }

    /// Starts node `at`, and threads that tell what it writes and when it is ready.
    pub(super) fn start(&self, at: usize, overrides: &[String]) -> Result<Child, CliError> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&self.file).args(&self.arguments);
        command.args(overrides.iter().flat_map(|text| ["--set", text.as_str()]));
        // Ctrl-C on a terminal is for us: we stop them one after the other.
        command.env(&self.cookie.0, &self.cookie.1).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(CliError::system("cannot start a node"))?;
        let outputs: [(Option<Box<dyn Read + Send>>, Origin); 2] = [
            (process.stdout.take().map(|pipe| Box::new(pipe) as _), Origin::Output),
            (process.stderr.take().map(|pipe| Box::new(pipe) as _), Origin::Error),
        ];
        let mut readers = Vec::new();
        for (pipe, origin) in outputs {
            let (news, pipe) = (self.news.clone(), pipe.expect("it is piped"));
            readers.push(thread::spawn(move || read(at, pipe, origin, &news)));
        }
        let gone = Arc::new(AtomicBool::new(false));
        let watcher = Watcher {
            node: at,
            pid: process.id(),
            runtime_dir: self.runtime_dir.clone(),
            for_people: self.for_people,
            news: self.news.clone(),
            gone: gone.clone(),
        };
        thread::spawn(move || watcher.watch());
        Ok(Child { process, readers, gone })
    }
}

/// A started process. Killed when it is dropped, if it still runs.
pub(super) struct Child {
    process: process::Child,
    readers: Vec<thread::JoinHandle<()>>,
    gone: Arc<AtomicBool>,
}

impl Child {
    /// How it has ended, if it has; all that it wrote has been told then.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        // An error means that there is nothing to wait for.
        let status = match self.process.try_wait() {
            Ok(status) => status?,
            Err(_) => return Some(Ended { code: None, signal: None }),
        };
        self.gone.store(true, Ordering::Relaxed);
        // What it has started itself may hold its pipes open; that is not waited for.
        for reader in self.readers.drain(..) {
            let limit = Instant::now() + Duration::from_millis(500);
            while !reader.is_finished() && Instant::now() < limit {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Some(Ended { code: status.code(), signal: status.signal() })
    }

    /// Asks it to stop in order.
    pub(super) fn terminate(&self) {
        // It has not been waited for, so the number is still its own; if it has ended, that is what was wanted.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
    }

    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        self.kill();
        let _ = self.process.wait();
    }
}

/// Tells each line of `pipe` until it ends.
fn read(node: usize, pipe: impl Read, origin: Origin, news: &Sender<News>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = pipe.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        line.clear();
        if news.send(News::Line { node, origin, text }).is_err() {
            return;
        }
    }
}

/// Waits until a node is ready.
struct Watcher {
    node: usize,
    pid: u32,
    runtime_dir: PathBuf,
    for_people: bool,
    news: Sender<News>,
    gone: Arc<AtomicBool>,
}

impl Watcher {
    fn watch(self) {
        let mut told = Instant::now();
        while !self.gone.load(Ordering::Relaxed) {
            let news = match self.look() {
                Ok(url) => News::Ready { node: self.node, url },
                Err(why) if told.elapsed() > PATIENCE => {
                    told = Instant::now();
                    News::NotReady { node: self.node, why }
                }
                Err(_) => {
                    thread::sleep(ASK);
                    continue;
                }
            };
            let is_over = matches!(news, News::Ready { .. });
            if self.news.send(news).is_err() || is_over {
                return;
            }
        }
    }

    /// The node's address (for people, that of its page) if it is ready, else why not.
    fn look(&self) -> Result<String, String> {
        let running = runtime_file::find(&self.runtime_dir).map_err(|error| error.to_string())?;
        let file = running.into_iter().find(|file| file.pid == self.pid).ok_or("it has no endpoint yet")?;
        let shown = match &file.token {
            Some(token) if self.for_people => format!("{}/#token={}", file.url, token.expose()),
            _ => file.url.clone(),
        };
        let endpoint = Endpoint { url: file.url, token: file.token };
        let client = Client::new(endpoint).map_err(|error| error.to_string())?.with_timeout(ANSWER);
        match client.get("/readyz", &[]) {
            Ok(_) => Ok(shown),
            // In its own words, it is waiting for something.
            Err(error) => Err(error.to_string()),
        }
    }
}
