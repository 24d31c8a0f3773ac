//! `nexus bench`: the project's targets, measured on the machine it runs on, each beside a baseline in the same run.
//!
//! ```text
//! row (row/*.rs) ─▶ rounds: contestants take turns ─▶ Samples ─▶ Figures ─▶ table, JSON, chart
//!   └─ part, in a process of its own: what memory and CPU time are measured for
//! ```
//!
//! Nodes are started from topologies, and agents are sent messages through [`Node`](nexus_actors::Node), as any program would.
//! A row is a file in `row/` and a line in [`rows`].

mod chart;
mod child;
mod contestant;
mod erlang;
mod figure;
mod plan;
mod process;
mod remote;
mod row;
mod sample;
mod site;

use std::cell::OnceCell;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

pub(crate) use chart::{growth_chart, table_chart};
pub(crate) use child::run_part;
use erlang::Erlang;
pub(crate) use figure::Figure;
pub(crate) use plan::Plan;
pub(crate) use row::{remote_rows, rows};
use sample::Samples;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The node that was to be measured did not start.
    #[error("the node to be measured: {0}")]
    Node(String),
    /// A contestant ended before it was measured.
    #[error("a contestant ended early: {0}")]
    Contestant(String),
    /// The process that measures one part of a row ended without figures.
    #[error("`{part}` in a process of its own: {reason}")]
    Child {
        /// The part.
        part: String,
        /// How it ended, with the last of what it said.
        reason: String,
    },
    /// The system has no threads, processes or files left, or does not show what is measured.
    #[error("the system: {0}")]
    System(std::io::Error),
    /// The chart could not be drawn.
    #[error("the chart: {0}")]
    Chart(String),
}

/// One row: what is measured, and how.
pub(crate) struct Row {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// What it measures, in one line.
    pub(crate) about: &'static str,
    pub(crate) measure: fn(&Run<'_>) -> Result<Vec<Figure>, BenchError>,
    /// What it measures in processes of their own.
    pub(crate) parts: &'static [Part],
}

/// What a row measures in a process of its own.
pub(crate) struct Part {
    /// Unique among all rows' parts.
    pub(crate) name: &'static str,
    pub(crate) measure: fn(&Plan) -> Result<Measures, BenchError>,
}

/// What a part came to, by measure.
pub(crate) type Measures = std::collections::BTreeMap<String, f64>;

/// Bytes of dormant agents by their number, for the growth chart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    /// Dormant agents.
    pub(crate) agents: usize,
    /// The memory they hold together.
    pub(crate) bytes: f64,
}

impl Growth {
    #[expect(clippy::cast_precision_loss, reason = "counts of agents, far below 2^52")]
    pub(crate) fn of(agents: usize, bytes_each: f64) -> Self {
        Self { agents, bytes: bytes_each * agents as f64 }
    }
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    /// One point unless the plan asks for more; empty without dormant agents.
    pub(crate) growth: Vec<Growth>,
    /// Why there are no figures of Erlang, if there are none.
    pub(crate) erlang_absent: Option<String>,
    /// Whether the binary was built without optimization, so that its figures say nothing.
    pub(crate) unoptimized: bool,
}

impl Outcome {
    /// Figures that miss a target.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.met() == Some(false)).count()
    }
}

/// What a row works with.
pub(crate) struct Run<'a> {
    pub(crate) plan: Plan,
    bar: &'a ProgressBar,
    erlang: &'a OnceCell<Result<Erlang, String>>,
    /// Between two nodes.
    erlang_remote: &'a OnceCell<Result<Erlang, String>>,
    growth: std::cell::RefCell<Vec<Growth>>,
}

impl Run<'_> {
    /// Says what is being done.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
        self.bar.tick();
    }

    /// Calls `round` for each round.
    pub(crate) fn rounds(
        &self,
        mut round: impl FnMut(&mut Samples) -> Result<(), BenchError>,
    ) -> Result<Samples, BenchError> {
        let mut samples = Samples::default();
        for number in 1..=self.plan.rounds {
            self.doing(format!("round {number} of {}", self.plan.rounds));
            round(&mut samples)?;
        }
        Ok(samples)
    }

    /// Adds Erlang's figure to `samples`, if Erlang is there. It is measured once for all rows.
    pub(crate) fn erlang(&self, samples: &mut Samples, measure: &str, key: &str) {
        let measured = self.erlang.get_or_init(|| {
            self.doing("Erlang");
            Erlang::measure(&self.plan)
        });
        if let Some(value) = measured.as_ref().ok().and_then(|erlang| erlang.get(key)) {
            samples.add("erlang", measure, value);
        }
    }

    /// The same for its figure between two nodes.
    pub(crate) fn erlang_remote(
        &self,
        samples: &mut Samples,
        load: remote::load::Load,
        measure: &str,
        key: &str,
    ) {
        let measured = self.erlang_remote.get_or_init(|| {
            self.doing("Erlang");
            Erlang::measure_remote(&self.plan, load)
        });
        if let Some(value) = measured.as_ref().ok().and_then(|erlang| erlang.get(key)) {
            samples.add("erlang", measure, value);
        }
    }

    /// Notes what dormant agents hold.
    pub(crate) fn note_growth(&self, growth: Growth) {
        self.growth.borrow_mut().push(growth);
    }
}

/// Measures `rows`, with progress on the standard error if `terminal`.
///
/// # Errors
/// [`BenchError`], with the row it happened in; what was measured before is lost.
pub(crate) fn run(
    rows: &[&'static Row],
    plan: Plan,
    terminal: bool,
) -> Result<Outcome, (&'static str, BenchError)> {
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows.len() as u64), target);
    bar.set_style(
        ProgressStyle::with_template("{bar:24} {pos}/{len}  {prefix:12} {msg}").expect("a constant template"),
    );
    let (erlang, erlang_remote) = (OnceCell::new(), OnceCell::new());
    let run =
        Run { plan, bar: &bar, erlang: &erlang, erlang_remote: &erlang_remote, growth: Default::default() };
    let mut figures = Vec::new();
    for row in rows {
        bar.set_prefix(row.name);
        let measured = (row.measure)(&run).map_err(|error| (row.name, error))?;
        figures.extend(measured.into_iter().map(|figure| Figure { row: row.name, ..figure }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let growth = run.growth.into_inner();
    let absent = [erlang, erlang_remote].into_iter().filter_map(OnceCell::into_inner).find_map(Result::err);
    let erlang_absent = absent;
    Ok(Outcome { figures, growth, erlang_absent, unoptimized: cfg!(debug_assertions) })
}

/// Draws the figures, and the growth if it was measured, into `file`.
///
/// # Errors
/// [`BenchError::Chart`], [`BenchError::System`] if the file cannot be written.
pub(crate) fn draw(outcome: &Outcome, file: &Path) -> Result<(), BenchError> {
    let svg = if outcome.growth.len() > 1 {
        growth_chart(&outcome.growth)?
    } else {
        table_chart(&outcome.figures)?
    };
    std::fs::write(file, svg).map_err(BenchError::System)
}
