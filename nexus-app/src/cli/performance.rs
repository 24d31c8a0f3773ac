//! `nexus performance`.

use clap::Args;

use super::connection::Connection;
use super::exit::Exit;
use super::output::clean;
use super::{Context, Outcome};

/// Show what presses the node (memory, CPU, imbalance) and what is done about it
///
/// Readings and levels, what is active since when, and the last actions with their reasons; the events (nexus events --event
/// performance.) go further back. The topology's [performance] says when it acts and how far it may go.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus performance\n  nexus performance -o json | jq .measures")]
pub(crate) struct PerformanceArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &PerformanceArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    if context.out.is_json() {
        context.out.json(&client.get("/debug/performance", &[])?)?;
        return Ok(Exit::Ok);
    }
    for line in client.text("/debug/performance", &[("format", Some("text".to_owned()))])?.lines() {
        context.out.line(&clean(line))?;
    }
    Ok(Exit::Ok)
}
