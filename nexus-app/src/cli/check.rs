//! `nexus check`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::output::count;
use super::run::Overrides;
use super::{CliError, Context, Outcome};
use crate::feed::FeedConfig;
use crate::topology::{self, BehaviorNames, Report, SupervisorConfig, Topology};

/// Check a topology without starting anything
///
/// Reports all mistakes at once, each with file, line, column and remedy, and ends with code 3 if there are any.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus check airspace.toml               Report all mistakes
  nexus check airspace.toml -o json       The same for editors and CI
  nexus check --schema > nexus.schema.json  JSON Schema, for completion in editors")]
pub(crate) struct CheckArgs {
    /// The topology file
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the JSON Schema of topology files instead
    #[arg(long, conflicts_with = "file")]
    schema: bool,
    #[command(flatten)]
    overrides: Overrides,
}

pub(crate) fn run(args: &CheckArgs, context: &mut Context<'_>) -> Outcome {
    let Some(file) = &args.file else {
        context.out.json(&topology::schema())?;
        return Ok(Exit::Ok);
    };
    match load(file, &args.overrides, context) {
        Ok(topology) => valid(&file.display().to_string(), &topology, context),
        Err(report) => invalid(&report, context),
    }
}

/// Reads and checks the topology with what this binary knows.
pub(crate) fn load(
    file: &std::path::Path,
    overrides: &Overrides,
    context: &Context<'_>,
) -> Result<Topology, Report> {
    let behaviors = BehaviorNames::of(context.behaviors);
    Topology::load_with(file, &overrides.set, &behaviors, &|name| context.environment.lookup(name))
}

fn valid(file: &str, topology: &Topology, context: &mut Context<'_>) -> Outcome {
    let supervisors = count_supervisors(&topology.supervisor);
    let (agents, groups, feeds) = (topology.agents().len(), topology.group.len(), topology.feed.len());
    let notes = notes(topology);
    if context.out.is_json() {
        context.out.json(&json!({
            "valid": true, "node": topology.node_name(), "supervisors": supervisors, "agents": agents,
            "groups": groups, "feeds": feeds, "notes": notes,
        }))?;
    } else {
        let parts =
            [(supervisors, "supervisor"), (agents, "agent entry"), (groups, "group"), (feeds, "feed")];
        let parts = parts.map(|(number, what)| plural(number, what)).join(", ");
        context.out.line(&format!("{file}: valid; node {}: {parts}", topology.node_name()))?;
        for note in notes {
            context.out.line(&format!("note: {note}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// What a node with a store does not keep: right as it is written, and perhaps not what was meant.
fn notes(topology: &Topology) -> Vec<String> {
    if topology.store.is_none() {
        return Vec::new();
    }
    let note = |feed: &FeedConfig| match topology.not_kept(feed) {
        Some(why) => Some(format!("feed `{}` begins anew when the node is started again: {why}", feed.name)),
        None => {
            let reached = topology.reached_by(feed);
            let forgets: Vec<_> = reached.iter().filter(|agent| agent.persist.is_none()).collect();
            let names: Vec<_> = forgets.iter().map(|agent| format!("`{}`", agent.name)).collect();
            (!names.is_empty()).then(|| {
                format!(
                    "feed `{}` goes on where it was when the node is started again, but {} begin anew: they have no `persist`",
                    feed.name,
                    names.join(", ")
                )
            })
        }
    };
    topology.feed.iter().filter_map(note).collect()
}

fn invalid(report: &Report, context: &mut Context<'_>) -> Outcome {
    if context.out.is_json() {
        let mut value = json!({ "valid": false });
        let report = serde_json::to_value(report).expect("a report is plain data");
        if let (Some(all), Some(fields)) = (value.as_object_mut(), report.as_object()) {
            all.extend(fields.clone());
        }
        context.out.json(&value)?;
    } else {
        let text = report.render(context.out.color());
        context.out.line(text.trim_end()).map_err(CliError::Output)?;
    }
    Ok(Exit::Config)
}

fn count_supervisors(supervisors: &[SupervisorConfig]) -> usize {
    supervisors.iter().map(|supervisor| 1 + count_supervisors(&supervisor.supervisor)).sum()
}

fn plural(number: usize, what: &str) -> String {
    let shown = count(number as u64);
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("{shown} {what}"),
        (_, Some(stem)) => format!("{shown} {stem}ies"),
        (_, None) => format!("{shown} {what}s"),
    }
}
