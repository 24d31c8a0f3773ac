//! `nexus store`: the store of a running node, and stores that no node uses.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use nexus_actors::store::{Contents, FILE_NAME, Store, StoreConfig};
use serde_json::json;

use super::connection::Connection;
use super::exit::Exit;
use super::output::{Tone, clean, count, duration};
use super::{CliError, Context, Outcome};
use crate::debug::store_text;

/// Show a node's durable store, or check or compact one that no node uses
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  nexus store                             State, size, commits and the feeds' places
  nexus store check state                 Read a store that no node uses, every record
  nexus store compact state/nexus.redb    Give the unused parts of its file back to the disk")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: Option<StoreCommand>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Debug, Subcommand)]
enum StoreCommand {
    /// Read every record of a store that no node uses, and say what is in it
    ///
    /// Changes no record. Ends with code 1 if something is damaged.
    Check(StorePath),
    /// Give the unused parts of a store's file back to the disk
    ///
    /// Only while no node uses it. A node does so by itself when it starts and less than half of a large file is used.
    Compact(StorePath),
}

#[derive(Args, Clone, Debug)]
struct StorePath {
    /// The store's folder, as in `store.path`, or the file in it
    path: PathBuf,
}

pub(crate) fn run(args: &StoreArgs, context: &mut Context<'_>) -> Outcome {
    match &args.command {
        None => status(args, context),
        Some(StoreCommand::Check(store)) => check(&store.path, context),
        Some(StoreCommand::Compact(store)) => compact(&store.path, context),
    }
}

fn status(args: &StoreArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client(context.environment)?.get("/debug/store", &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let is_degraded = answer["state"] == "degraded";
    for line in store_text(&answer).lines() {
        let tone = if is_degraded && line.starts_with("state") { Tone::Bad } else { Tone::Plain };
        let line = context.out.tone(tone, &clean(line));
        context.out.line(&line)?;
    }
    Ok(Exit::Ok)
}

/// Opens a store that is there: unlike a node, a command makes none.
fn open(path: &Path) -> Result<Store, CliError> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let file = folder.join(FILE_NAME);
    if !file.is_file() || !(path.is_dir() || path == file) {
        let reason = format!(
            "is no store: give the folder that a topology has as `store.path`, or the {FILE_NAME} in it"
        );
        return Err(CliError::Store { path: path.to_owned(), reason });
    }
    Store::open(StoreConfig::new(folder)).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &dyn std::error::Error) -> CliError {
    CliError::Store { path: path.to_owned(), reason: error.to_string() }
}

fn check(path: &Path, context: &mut Context<'_>) -> Outcome {
    let began = Instant::now();
    let store = open(path)?;
    let contents = store.contents().map_err(|error| failed(path, &error))?;
    let is_sound = contents.damaged.is_empty();
    if context.out.is_json() {
        context.out.json(&serde_json::to_value(&contents).expect("plain data"))?;
    } else {
        for line in described(&contents, store.status().file_bytes) {
            context.out.line(&clean(&line))?;
        }
        for (agent, reason) in &contents.damaged {
            let line = context.out.tone(Tone::Bad, &clean(&format!("damaged: {agent}: {reason}")));
            context.out.line(&line)?;
        }
        let line = if is_sound { "every record is sound" } else { "the other records are sound" };
        context.out.line(&format!("{line} ({})", duration(began.elapsed())))?;
    }
    Ok(if is_sound { Exit::Ok } else { Exit::Failed })
}

/// What is in a store, a fact a line.
fn described(contents: &Contents, file_bytes: u64) -> Vec<String> {
    let (agents, bytes) = (count(contents.agents), count(contents.record_bytes));
    let mut lines = vec![format!("{agents} agents in {bytes} bytes; the file has {}", count(file_bytes))];
    let behaviors = contents.behaviors.iter();
    lines.extend(
        behaviors.map(|(behavior, agents)| format!("behavior {behavior}: {} agents", count(*agents))),
    );
    lines.extend(
        contents.feeds.iter().map(|mark| format!("feed {}: {} requests", mark.feed, count(mark.position))),
    );
    if contents.put_aside > 0 {
        lines.push(format!("{} damaged records were put aside earlier", count(contents.put_aside)));
    }
    lines
}

fn compact(path: &Path, context: &mut Context<'_>) -> Outcome {
    let began = Instant::now();
    let store = open(path)?;
    let before = store.status().file_bytes;
    if !context.out.is_json() {
        context.out.line(&format!("compacting {} bytes …", count(before)))?;
        context.out.flush()?;
    }
    store.compact().map_err(|error| failed(path, &error))?;
    let after = store.status().file_bytes;
    if context.out.is_json() {
        context.out.json(&json!({ "bytes_before": before, "bytes_after": after }))?;
    } else {
        let line = format!(
            "{} bytes, {} fewer, in {}",
            count(after),
            count(before.saturating_sub(after)),
            duration(began.elapsed())
        );
        context.out.line(&line)?;
    }
    Ok(Exit::Ok)
}
