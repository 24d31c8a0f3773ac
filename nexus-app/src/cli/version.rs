//! `nexus version`.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::{Context, Outcome};

/// Print this binary's version and the behaviors it knows
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus version\n  nexus version -o json")]
pub(crate) struct VersionArgs {}

pub(crate) fn run(_: &VersionArgs, context: &mut Context<'_>) -> Outcome {
    let behaviors: Vec<&str> = context.behaviors.names().map(|name| &**name).collect();
    let version = env!("CARGO_PKG_VERSION");
    if context.out.is_json() {
        context.out.json(&json!({ "version": version, "behaviors": behaviors }))?;
    } else {
        context.out.line(&format!("nexus {version}"))?;
        context.out.line(&format!("behaviors: {}", behaviors.join(", ")))?;
    }
    Ok(Exit::Ok)
}
