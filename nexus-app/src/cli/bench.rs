//! `nexus bench`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::output::{Cell, Column, Table, Tone};
use super::{CliError, Context, Outcome};
use crate::bench::{self, BenchError, Figure, Plan, Row};

/// Measure this machine: the project's targets, beside bare ractor, bare tokio and Erlang
///
/// Every figure is the median of some rounds in which Nexus and the baselines take turns, so that the ratio holds where absolute
/// times do not. Memory and processor time are measured in processes of their own. Erlang takes part where `erl` and `erlc` are
/// installed. Use an optimized build on a quiet machine; a missed target is marked, and fails the command only with --strict.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus bench                                    All rows, some minutes
  nexus bench --list                             The rows there are
  nexus bench tell ask --rounds 7                Two of them, more rounds
  nexus bench --remote                           Between two processes over loopback
  nexus bench --quick                            Does it run, and roughly where does it stand
  nexus bench dormant --agents 10000000 --live 1000000 --rounds 1
  nexus bench dormant --growth --agents 10000000 --live 0 --rounds 1 --svg growth.svg
  nexus bench --svg ratios.svg -o json           A chart to look at, figures for a program")]
pub(crate) struct BenchArgs {
    /// Rows to measure; all of one process if none is named
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// List the rows and measure nothing
    #[arg(long)]
    list: bool,
    /// Measure messages between two processes instead: all rows of that, beside ractor_cluster, Erlang distribution and bare TCP
    #[arg(long, conflicts_with = "rows")]
    remote: bool,
    /// Rounds of each row
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Do a twentieth of the work
    #[arg(long)]
    quick: bool,
    /// Dormant agents
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    agents: u32,
    /// Agents that are awake at one time, each some 11 KB; with 0 what needs them is left out
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=5_000_000))]
    live: u32,
    /// Also measure 10,000, 100,000, … dormant agents up to --agents, and draw their growth
    #[arg(long)]
    growth: bool,
    /// Draw a chart into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// End with code 1 if a target is missed
    #[arg(long)]
    strict: bool,
    /// What a process of its own measures
    #[arg(long, hide = true, requires = "plan")]
    part: Option<String>,
    /// How much of it, in JSON
    #[arg(long, hide = true, requires = "part", value_parser = plan)]
    plan: Option<Plan>,
}

fn plan(text: &str) -> Result<Plan, serde_json::Error> {
    serde_json::from_str(text)
}

pub(crate) fn run(args: &BenchArgs, context: &mut Context<'_>) -> Outcome {
    if let (Some(part), Some(plan)) = (&args.part, &args.plan) {
        return run_part(part, plan, context);
    }
    if args.list {
        return list(context);
    }
    let rows = if args.remote { bench::remote_rows().iter().collect() } else { rows(&args.rows)? };
    // Before some minutes of work rather than after.
    if let Some(file) = &args.svg {
        std::fs::write(file, "").map_err(|source| CliError::File { path: file.clone(), source })?;
    }
    let plan = Plan {
        rounds: args.rounds.into(),
        quick: args.quick,
        agents: args.agents as usize,
        live: args.live as usize,
        growth: args.growth,
    };
    let plan = Plan { agents: plan.of(plan.agents), live: plan.of(plan.live), ..plan };
    let outcome = bench::run(&rows, plan, io::stderr().is_terminal())
        .map_err(|(row, error)| failed(&format!("row `{row}`"), error))?;
    if let Some(file) = &args.svg {
        bench::draw(&outcome, file).map_err(|error| failed("--svg", error))?;
    }
    show(&outcome, &plan, context)?;
    Ok(if args.strict && outcome.missed() > 0 { Exit::Failed } else { Exit::Ok })
}

fn failed(what: &str, error: BenchError) -> CliError {
    CliError::Bench(format!("{what}: {error}"))
}

fn run_part(part: &str, plan: &Plan, context: &mut Context<'_>) -> Outcome {
    let measured = bench::run_part(part, plan).ok_or_else(|| {
        CliError::usage(format!("no row has a part `{part}`"), "nexus bench --list shows the rows")
    })?;
    let measures = measured.map_err(|error| failed(part, error))?;
    context.out.json_line(&json!(measures))?;
    Ok(Exit::Ok)
}

/// Those of one process and those of two.
fn all_rows() -> impl Iterator<Item = &'static Row> {
    bench::rows().iter().chain(bench::remote_rows())
}

fn rows(names: &[String]) -> Result<Vec<&'static Row>, CliError> {
    if names.is_empty() {
        return Ok(bench::rows().iter().collect());
    }
    let known = || all_rows().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let found = all_rows().find(|row| row.name == name);
        found.ok_or_else(|| {
            CliError::usage(format!("there is no row `{name}`"), format!("the rows are {}", known()))
        })
    };
    names.iter().map(find).collect()
}

fn list(context: &mut Context<'_>) -> Outcome {
    if context.out.is_json() {
        let rows: Vec<_> = all_rows().map(|row| json!({ "name": row.name, "about": row.about })).collect();
        context.out.json(&json!(rows))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([Column::left("ROW"), Column::left("MEASURES")]);
    for row in all_rows() {
        table.row([Cell::toned(row.name, Tone::Strong), row.about.into()]);
    }
    context.out.table(&table)?;
    Ok(Exit::Ok)
}

fn show(outcome: &bench::Outcome, plan: &Plan, context: &mut Context<'_>) -> io::Result<()> {
    if context.out.is_json() {
        let figures: Vec<_> = outcome.figures.iter().map(figure_json).collect();
        return context.out.json(&json!({
            "plan": plan, "unoptimized": outcome.unoptimized, "erlang_absent": outcome.erlang_absent,
            "missed": outcome.missed(), "growth": outcome.growth, "figures": figures,
        }));
    }
    context.out.table(&table(&outcome.figures))?;
    let (met, missed) = (outcome.figures.iter().filter(|f| f.met() == Some(true)).count(), outcome.missed());
    let rounds = plan.rounds;
    let notes = [
        Some((
            Tone::Dim,
            format!(
                "medians of {rounds} rounds; × is the figure over its baseline; {met} targets met, {missed} missed"
            ),
        )),
        outcome.erlang_absent.as_ref().map(|reason| (Tone::Warn, format!("no Erlang: {reason}"))),
        outcome.unoptimized.then(|| (Tone::Warn, UNOPTIMIZED.to_owned())),
        plan.quick.then(|| (Tone::Warn, "a twentieth of the work (--quick): figures are rough".to_owned())),
    ];
    for (tone, note) in notes.into_iter().flatten() {
        let line = context.out.tone(tone, &note);
        context.out.line(&line)?;
    }
    Ok(())
}

const UNOPTIMIZED: &str =
    "this build is not optimized: its figures say nothing; use `cargo run --release -- bench`";

fn figure_json(figure: &Figure) -> serde_json::Value {
    let mut value = serde_json::to_value(figure).expect("a figure is plain data");
    value["ratio"] = json!(figure.ratio());
    value["met"] = json!(figure.met());
    value
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new([
        Column::left("ROW"),
        Column::left("FIGURE"),
        Column::right("NEXUS"),
        Column::right("BASELINE"),
        Column::left(""),
        Column::right("×"),
        Column::right("TOKIO"),
        Column::right("ERLANG"),
        Column::left("TARGET"),
        Column::left(""),
    ]);
    let mut last = "";
    for figure in figures {
        let row = if figure.row == last { "" } else { figure.row };
        last = figure.row;
        let show = |value: Option<f64>| value.map_or_else(String::new, |value| figure.unit.show(value));
        // Erlang has a column of its own.
        let first = figure.baselines.first().filter(|baseline| baseline.name != "erlang");
        table.row([
            Cell::toned(row, Tone::Strong),
            figure.what.as_str().into(),
            figure.unit.show(figure.nexus).into(),
            show(first.and_then(|baseline| baseline.value)).into(),
            first.map_or("", |baseline| baseline.name).into(),
            first.and(figure.ratio()).map_or_else(String::new, |ratio| format!("{ratio:.2}")).into(),
            show(figure.baseline("tokio")).into(),
            show(figure.baseline("erlang")).into(),
            figure.show_targets().into(),
            match figure.met() {
                Some(true) => Cell::toned("met", Tone::Good),
                Some(false) => Cell::toned("MISSED", Tone::Bad),
                None => Cell::default(),
            },
        ]);
    }
    table
}
