//! `nexus-sim`: whole clusters in one thread, from seeds. See `nexus_sim`.

mod entropy;
mod many;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nexus_sim::plan::{NODES, SECONDS_MIN};
use nexus_sim::trace::first_divergence;
use nexus_sim::{Config, Outcome, run};

/// What a simulation's thread may use: an unoptimized build has large frames.
const STACK_BYTES: usize = 64 << 20;

/// Simulates clusters: real nodes on one thread, a clock that jumps, and faults from a seed.
#[derive(Debug, Parser)]
#[command(name = "nexus-sim", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One simulation. Ends with 1 if an invariant did not hold.
    Run {
        /// The seed, from which all follows.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        size: Size,
        /// Also write the trace into this file.
        #[arg(long)]
        trace: Option<PathBuf>,
    },
    /// A simulation for each seed, each in a process of its own.
    Seeds {
        /// The seeds, `1..500`, both included.
        #[arg(value_parser = seeds)]
        seeds: RangeInclusive<u64>,
        #[command(flatten)]
        size: Size,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// The same, each twice: the traces must be the same.
    Twice {
        /// The seeds, `1..200`, both included.
        #[arg(value_parser = seeds)]
        seeds: RangeInclusive<u64>,
        #[command(flatten)]
        size: Size,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Where two traces part. Ends with 1 if they do.
    Diff {
        /// A trace.
        a: PathBuf,
        /// Another one.
        b: PathBuf,
    },
}

/// What a seed does not say.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Size {
    /// Nodes; three to seven, as the seed says, if this is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(NODES[0] as u64..=NODES[1] as u64))]
    nodes: Option<u64>,
    /// Simulated seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(SECONDS_MIN..=86_400))]
    seconds: u64,
}

impl Size {
    /// As arguments.
    pub(crate) fn arguments(self) -> Vec<String> {
        let mut arguments = vec!["--seconds".to_owned(), self.seconds.to_string()];
        if let Some(nodes) = self.nodes {
            arguments.extend(["--nodes".to_owned(), nodes.to_string()]);
        }
        arguments
    }
}

/// `1..500`, both included, or one seed.
fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first <= last { Ok(first..=last) } else { Err(format!("{first} is more than {last}")) }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { seed, size, trace } => one(seed, size, trace),
        Command::Seeds { seeds, size, jobs } => many::seeds(seeds, size, jobs),
        Command::Twice { seeds, size, jobs } => many::twice(seeds, size, jobs),
        Command::Diff { a, b } => diff(&a, &b),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nexus-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64, size: Size, trace: Option<PathBuf>) -> io::Result<bool> {
    let nodes = size.nodes.and_then(|nodes| usize::try_from(nodes).ok());
    let config = Config { seed, nodes, length: Duration::from_secs(size.seconds) };
    entropy::seed(seed);
    // A new thread: its hash maps draw from the seed.
    let simulation =
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || -> io::Result<Outcome> {
            let copy = trace
                .map(File::create)
                .transpose()?
                .map(|file| Box::new(BufWriter::new(file)) as Box<dyn Write>);
            run(config, copy)
        })?;
    let outcome = simulation.join().map_err(|_| io::Error::other("the simulation panicked"))??;
    let Outcome { nodes, hash, lines, messages, lives, violations } = outcome;
    println!(
        "seed {seed}: {nodes} nodes, {lives} lives, {messages} messages, {lines} lines, hash {hash:016x}, {}",
        if violations.is_empty() { "ok" } else { "VIOLATED" }
    );
    for violation in &violations {
        println!("  {violation}");
    }
    Ok(violations.is_empty())
}

fn diff(a: &PathBuf, b: &PathBuf) -> io::Result<bool> {
    let read = |path| File::open(path).map(BufReader::new);
    match first_divergence(read(a)?, read(b)?)? {
        None => {
            println!("the traces are the same");
            Ok(true)
        }
        Some(divergence) => {
            print!("{divergence}");
            Ok(false)
        }
    }
}
