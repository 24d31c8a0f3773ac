//! `nexus run`: starts a node and stays until it ends.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressDrawTarget};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::output::{Format, use_color};
use super::runtime_file::{self, RuntimeFile};
use super::{CliError, Context, Outcome, check, session, signals};
use crate::logging::{self, LogFormat};
use crate::topology::{Override, Secret, Topology};

/// After the tree has stopped, blocking threads (a feed that waits for standard input) are given this long.
const LEFTOVERS: Duration = Duration::from_millis(200);

/// Start the node that a topology describes
///
/// Runs until its tree ends or it is told to stop. Ctrl-C or SIGTERM stops the tree in order within its shutdown limits; a
/// second one ends the process at once. Address and token of the debug endpoint are shown at the start, and left for the
/// other commands in a file that only this user can read.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus run airspace.toml                    Run until Ctrl-C
  nexus run airspace.toml --exit-when-done   End when all records of all feeds are handled
  nexus run airspace.toml --log debug        Log more than the topology says
  nexus run air.toml --set node.name=air-2   Another value than the topology's
  zcat day.csv.gz | nexus run stdin.toml     Feed from standard input (source = \"-\")")]
pub(crate) struct RunArgs {
    /// The topology file
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Stop in order when all feeds have ended and everything they sent is handled; a feed that failed makes it fail
    #[arg(long)]
    exit_when_done: bool,
    /// Show no progress bars; elsewhere than on a terminal there are none anyway
    #[arg(long)]
    no_progress: bool,
    /// What to log, such as `debug` or `info,nexus_app::feed=trace` [env: NEXUS_LOG] [default: the topology's telemetry.log]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How logs look: text for people, JSON for programs [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "text|json", value_enum, hide_possible_values = true)]
    log_format: Option<Format>,
    /// Stop in order when process PID, which started this one, has ended, however it ended
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    stop_with_parent: Option<i32>,
}

/// Values in place of the topology's.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// A value in place of the topology's, such as `node.name=air-2` or `limits.inbox=64`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Override>,
}

/// What the command line hands to the boot module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// End in order when all feeds have ended and their requests are handled.
    pub exit_when_done: bool,
    /// Where feeds put their progress bars; it is hidden where none are wanted. Write to the standard error only within its
    /// `suspend`, or the bars tear.
    pub progress: MultiProgress,
    /// How results (the table at the end of `--exit-when-done`) are printed.
    pub format: Format,
    /// Cancelled when the process is asked to stop: stop the tree in order then, and return.
    pub stop: CancellationToken,
    runtime_dir: PathBuf,
    announced: Arc<Mutex<Option<PathBuf>>>,
}

/// A node that other commands can find. Dropping it makes them forget it: keep it until the endpoint closes.
#[derive(Debug)]
#[must_use = "dropping it takes the announcement back"]
pub struct Announced {
    path: Arc<Mutex<Option<PathBuf>>>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        take_back(&self.path);
    }
}

fn take_back(announced: &Mutex<Option<PathBuf>>) {
    if let Some(path) = announced.lock().take() {
        // What cannot be removed is recognised as stale by its process number.
        let _ = runtime_file::remove(&path);
    }
}

impl RunOptions {
    /// Options with an empty announcement, for the command line and for tests of the boot module.
    #[must_use]
    pub fn new(exit_when_done: bool, progress: MultiProgress, format: Format, runtime_dir: PathBuf) -> Self {
        Self {
            exit_when_done,
            progress,
            format,
            stop: CancellationToken::new(),
            runtime_dir,
            announced: Arc::default(),
        }
    }

    /// Leaves address and token of the debug endpoint for other commands. Blocks on a small file.
    ///
    /// # Errors
    /// Those of [`runtime_file::write`]. The node can run without: then commands need `--url` and a token.
    pub fn announce(
        &self,
        node: &str,
        url: &str,
        cluster: Option<&str>,
        token: Option<Secret>,
    ) -> io::Result<Announced> {
        let mut entry = RuntimeFile::of_this_process(node.to_owned(), url.to_owned(), token);
        entry.cluster = cluster.map(str::to_owned);
        let path = runtime_file::write(&self.runtime_dir, &entry)?;
        *self.announced.lock() = Some(path);
        Ok(Announced { path: self.announced.clone() })
    }

    /// Tells people on a terminal, without tearing progress bars; elsewhere it is a log record, so no place for secrets.
    pub fn say(&self, line: &str) {
        if io::stderr().is_terminal() {
            self.progress.suspend(|| eprintln!("{line}"));
        } else {
            tracing::info!("{line}");
        }
    }
}

pub(crate) fn run(args: RunArgs, context: &mut Context<'_>) -> Outcome {
    let topology = check::load(&args.file, &args.overrides, context)
        .map_err(|report| CliError::Topology(Box::new(report)))?;
    let bars = !args.no_progress && io::stderr().is_terminal();
    let target = if bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let progress = MultiProgress::with_draw_target(target);
    start_logging(&args, &topology, &progress, context)?;
    let options =
        RunOptions::new(args.exit_when_done, progress, context.out.format, context.environment.runtime_dir());
    watch_signals(&options)?;
    if let Some(parent) = args.stop_with_parent {
        stop_with_parent(parent)
            .map_err(CliError::system("cannot watch the process that started this one"))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("nexus").build();
    let runtime = runtime.map_err(CliError::system("cannot start the tokio runtime"))?;
    let ended = runtime.block_on(session::run(topology, context, options));
    runtime.shutdown_timeout(LEFTOVERS);
    ended
}

fn start_logging(
    args: &RunArgs,
    topology: &Topology,
    progress: &MultiProgress,
    context: &Context<'_>,
) -> Result<(), CliError> {
    let environment = context.environment;
    let filter = logging::filter(args.log.as_deref(), environment.get("NEXUS_LOG"), &topology.telemetry.log);
    let color = use_color(environment);
    let format = match args.log_format {
        None => LogFormat::of_stderr(color),
        Some(Format::Json) => LogFormat::Json,
        Some(Format::Text) => LogFormat::Human { color: color && io::stderr().is_terminal() },
    };
    let set_up = filter.and_then(|filter| logging::init(filter, format, progress));
    set_up.map_err(|error| {
        CliError::usage(error.to_string(), "write it as `info` or `info,nexus_app::feed=debug`")
    })
}

fn watch_signals(options: &RunOptions) -> Result<(), CliError> {
    let (first, second) = (options.clone(), options.clone());
    let watching = signals::watch(
        move |signal| {
            first.say(&format!("{signal}: stopping in order; once more to end at once"));
            first.stop.cancel();
        },
        move |signal| {
            second.say(&format!("{signal} again: ending at once"));
            take_back(&second.announced);
            std::process::exit(i32::from(Exit::Interrupted.code()));
        },
    );
    watching.map_err(CliError::system("cannot handle Ctrl-C and SIGTERM"))
}

/// From now on the end of `parent` is a SIGTERM for this process. To the system it is the end of the thread that started it, so that must
/// be one that lives as long as its process.
fn stop_with_parent(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        kill_process(getpid(), Signal::TERM)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(dir: &Path) -> RunOptions {
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        RunOptions::new(false, hidden, Format::Text, dir.join("nexus"))
    }

    /// Goal: a node is found from its announcement on and until that is dropped, and what the second signal does removes it too.
    #[test]
    fn announcements_last_as_long_as_the_node() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nexus");
        let options = options(home.path());
        let announced = options.announce("air", "http://127.0.0.1:1", None, None).unwrap();
        assert_eq!(runtime_file::find(&dir).unwrap()[0].url, "http://127.0.0.1:1");
        drop(announced);
        assert_eq!(runtime_file::find(&dir).unwrap(), []);
        let announced = options.announce("air", "http://127.0.0.1:1", None, None).unwrap();
        take_back(&options.announced);
        assert_eq!(runtime_file::find(&dir).unwrap(), []);
        drop(announced);
    }
}
