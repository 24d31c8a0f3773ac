//! The command line: one file per command.
//!
//! ```text
//! arguments ─ clap ─▶ Command ─▶ command's file ─▶ Client ─ HTTP ─▶ debug endpoint of a node
//!                                            └───▶ boot (run), topology (check)
//! ```
//!
//! Every command ends with an [`Exit`]; every error says what was tried and what to do. With `-o json` the output is the
//! endpoint's own JSON.

mod agents;
mod ask;
mod bench;
mod check;
mod client;
mod cluster;
mod connection;
mod control;
mod dead_letters;
mod environment;
mod error;
mod events;
mod exit;
mod feeds;
mod groups;
mod inspect;
mod output;
mod performance;
mod run;
pub mod runtime_file;
mod schedulers;
mod session;
mod signals;
mod sse;
mod store;
mod tell;
mod top;
mod tree;
mod version;

#[cfg(test)]
mod help_test;
#[cfg(test)]
mod server_test;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nexus_actors::agent::Behaviors;

pub use error::CliError;
pub use exit::Exit;
pub use output::Format;
pub(crate) use output::count;
pub use run::{Announced, RunOptions};
pub use signals::{Signals, StopSignal};

use environment::Environment;
use output::{Out, Tone};

/// Runs fleets of stateful agents on supervised actors, and shows and steers them.
///
/// `nexus run FILE` starts a node. The other commands talk to it through its debug endpoint and find it by themselves if it
/// runs on this machine as the same user.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = after_help())]
struct Cli {
    /// How data is printed: aligned text for people, or the endpoint's JSON for programs (streams: one value a line)
    #[arg(short, long, global = true, display_order = 900, value_enum, default_value_t)]
    #[arg(value_name = "text|json", hide_possible_values = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    const EXAMPLES: &str = "\
Examples:
  nexus check airspace.toml               Find all mistakes of a topology
  nexus run airspace.toml                 Start the node it describes
  nexus cluster up 3 airspace.toml        Start three nodes of it as one cluster
  nexus top                               Watch it live
  nexus tree                              Show its supervision tree
  nexus ask carrier/UA summary            Ask an agent
  nexus kill aircraft/N14228              Break something, and see it heal
  nexus agents --sort queued -o json      The longest inboxes, for a program

";
    format!("{EXAMPLES}{}", Exit::help().trim_end())
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Cluster(cluster::ClusterArgs),
    Tree(tree::TreeArgs),
    Agents(agents::AgentsArgs),
    Inspect(inspect::InspectArgs),
    Ask(ask::AskArgs),
    Tell(tell::TellArgs),
    Kill(control::KillArgs),
    Stop(control::StopArgs),
    Restart(control::RestartArgs),
    Level(control::LevelArgs),
    Members(cluster::MembersArgs),
    Links(cluster::LinksArgs),
    Where(cluster::WhereArgs),
    Join(cluster::JoinArgs),
    Leave(cluster::LeaveArgs),
    Top(top::TopArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Events(events::EventsArgs),
    Feeds(feeds::FeedsArgs),
    Schedulers(schedulers::SchedulersArgs),
    Performance(performance::PerformanceArgs),
    Store(store::StoreArgs),
    Groups(groups::GroupsArgs),
    Bench(bench::BenchArgs),
    Version(version::VersionArgs),
}

/// What a command works with.
struct Context<'a> {
    environment: &'a Environment,
    behaviors: &'a Behaviors,
    out: Out<'a>,
}

type Outcome = Result<Exit, CliError>;

/// Runs the command that `arguments` (the program's name first) ask for.
pub(crate) fn main(behaviors: &Behaviors, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to the standard output and are no errors; if nobody reads them, nothing is lost.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let environment = Environment::of_process();
    let out = Out::standard(cli.output, &environment);
    let color = io::stderr().is_terminal() && output::use_color(&environment);
    execute(cli, Context { environment: &environment, behaviors, out }, &mut io::stderr(), color).into()
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches_mut(&mut Cli::command().try_get_matches_from(arguments)?)
}

fn execute(cli: Cli, mut context: Context<'_>, stderr: &mut dyn Write, color: bool) -> Exit {
    let ended = dispatch(cli.command, &mut context);
    let flushed = context.out.flush().map_err(CliError::Output);
    match ended.and_then(|exit| flushed.map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) => {
            // A standard error that cannot be written to leaves the exit code.
            let _ = report(&error, cli.output, stderr, color);
            error.exit()
        }
    }
}

fn dispatch(command: Command, context: &mut Context<'_>) -> Outcome {
    match command {
        Command::Run(args) => run::run(args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Cluster(args) => cluster::run(args, context),
        Command::Tree(args) => tree::run(&args, context),
        Command::Agents(args) => agents::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Ask(args) => ask::run(&args, context),
        Command::Tell(args) => tell::run(&args, context),
        Command::Kill(args) => control::kill(&args, context),
        Command::Stop(args) => control::stop(&args, context),
        Command::Restart(args) => control::restart(&args, context),
        Command::Level(args) => control::level(&args, context),
        Command::Members(args) => cluster::members(&args, context),
        Command::Links(args) => cluster::links(&args, context),
        Command::Where(args) => cluster::whereabouts(&args, context),
        Command::Join(args) => cluster::join(&args, context),
        Command::Leave(args) => cluster::leave(&args, context),
        Command::Top(args) => top::run(&args, context),
        Command::DeadLetters(args) => dead_letters::run(&args, context),
        Command::Events(args) => events::run(&args, context),
        Command::Feeds(args) => feeds::run(&args, context),
        Command::Schedulers(args) => schedulers::run(&args, context),
        Command::Performance(args) => performance::run(&args, context),
        Command::Store(args) => store::run(&args, context),
        Command::Groups(args) => groups::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::Version(args) => version::run(&args, context),
    }
}

fn report(error: &CliError, format: Format, stderr: &mut dyn Write, color: bool) -> io::Result<()> {
    if error.exit() == Exit::Ok {
        return Ok(());
    }
    if format == Format::Json {
        return writeln!(stderr, "{}", error.to_json());
    }
    if let CliError::Topology(report) = error {
        return write!(stderr, "{}", report.render(color));
    }
    let paint = |tone: Tone, text: &str| output::paint(color, tone, text);
    writeln!(stderr, "{} {error}", paint(Tone::Bad, "error:"))?;
    if let Some(remedy) = error.remedy() {
        writeln!(stderr, "{} {remedy}", paint(Tone::Good, "remedy:"))?;
    }
    Ok(())
}
