//! `nexus drain`: all agents move off a node.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::connection::Connection;
use super::super::exit::Exit;
use super::super::output::{Tone, clean, count, number, text};
use super::super::{CliError, Context, Outcome};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Agents that are named with a reason.
const NAMED: usize = 5;

/// Move all agents off a node, so that it can be stopped without a loss
///
/// They move in batches to where their placement says, with their state and what waits for them, while they are used. Until it is called
/// off (--undo) the node takes no agents. Agents that are declared one by one stay. Shows how far it is until it is over; ends with code 1
/// if some stay. Any node of the cluster can be asked. Needs `allow_control = true` under [debug].
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus drain air-2                       Then `nexus leave --node air-2`
  nexus drain air-2 --no-wait             Begin, and go on with something else
  nexus drain air-2 --undo                Let it take agents again")]
pub(crate) struct DrainArgs {
    /// The name of the node
    #[arg(value_name = "NODE")]
    name: String,
    /// Let it take agents again instead; those that have moved stay where they are
    #[arg(long)]
    undo: bool,
    /// Begin, and do not wait for the end
    #[arg(long, conflicts_with = "undo")]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn drain(args: &DrainArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client_of_cluster(context.environment)?;
    let body = json!({ "node": args.name, "on": !args.undo });
    let answer = client.post("/cluster/drain", &body)?;
    if args.undo || args.no_wait {
        if context.out.is_json() {
            context.out.json(&answer)?;
        } else {
            let what = if args.undo { "takes agents again" } else { "is being drained" };
            context.out.line(&format!("{} {what}", clean(&args.name)))?;
        }
        return Ok(Exit::Ok);
    }
    let end = follow(&client, &args.name, context)?;
    if context.out.is_json() {
        context.out.json(&end)?;
    } else {
        for line in stays(&end) {
            let line = context.out.tone(Tone::Warn, &line);
            context.out.line(&line)?;
        }
    }
    Ok(if number(&end, "failed") == 0 { Exit::Ok } else { Exit::Failed })
}

/// Tells how far it is until it is over, or called off by somebody else.
fn follow(client: &Client, name: &str, context: &mut Context<'_>) -> Result<Value, CliError> {
    let (mut told, mut begun) = (String::new(), false);
    loop {
        let view = client.get("/cluster/drain", &[("node", Some(name.to_owned()))])?;
        // Word of it comes by gossip, so it may take a moment until it has begun for us.
        begun |= view["draining"] == true;
        let line = words(&view);
        if begun && line != told && !context.out.is_json() {
            context.out.line(&line)?;
            context.out.flush()?;
            told = line;
        }
        if begun && (view["done"] == true || view["draining"] == false) {
            return Ok(view);
        }
        thread::sleep(LOOK);
    }
}

fn words(view: &Value) -> String {
    let number = |key| count(number(view, key));
    let state = match (view["done"] == true, view["draining"] == true) {
        (true, _) => "drained",
        (false, true) => "draining",
        (false, false) => "called off",
    };
    format!(
        "{} {state}: {} of {} agents moved, {} stay, {} bytes",
        text(view, "node"),
        number("moved"),
        number("total"),
        number("failed"),
        number("bytes")
    )
}

/// Who stays, by the reasons, and what to do.
fn stays(end: &Value) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (agent, why) in end["reasons"].as_object().into_iter().flatten() {
        let why = clean(why.as_str().unwrap_or_default()).replace(&format!("`{agent}`"), "it");
        by_reason.entry(why).or_default().push(clean(agent));
    }
    let mut lines: Vec<_> = by_reason
        .iter()
        .map(|(why, agents)| {
            let named = agents.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            match agents.len().checked_sub(NAMED).filter(|more| *more > 0) {
                Some(more) => format!("stay: {why}: {named} and {} more", count(more as u64)),
                None => format!("stay: {why}: {named}"),
            }
        })
        .collect();
    let listed: usize = by_reason.values().map(Vec::len).sum();
    let unlisted = number(end, "failed").saturating_sub(listed as u64);
    if unlisted > 0 {
        lines.push(format!("{} more stay, whose reasons are not known here", count(unlisted)));
    }
    if !lines.is_empty() {
        lines.push(format!("it takes no agents until `nexus drain {} --undo`", text(end, "node")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: reasons are told once, and what is not listed is counted.
    #[test]
    fn reasons_for_people() {
        let mut reasons = serde_json::Map::new();
        for number in 0..7 {
            reasons.insert(format!("box/{number}"), json!(format!("`box/{number}` has no place")));
        }
        reasons.insert("tower".into(), json!("`tower` is declared one by one"));
        let end = json!({ "node": "air-2", "failed": 10, "reasons": reasons });
        assert_eq!(
            stays(&end),
            [
                "stay: it has no place: box/0, box/1, box/2, box/3, box/4 and 2 more",
                "stay: it is declared one by one: tower",
                "2 more stay, whose reasons are not known here",
                "it takes no agents until `nexus drain air-2 --undo`",
            ]
        );
        assert!(stays(&json!({ "node": "air-2", "failed": 0, "reasons": {} })).is_empty());
    }

    #[test]
    fn progress_for_people() {
        let view = json!({ "node": "air-2", "draining": true, "done": false, "total": 1200, "moved": 7, "failed": 1, "bytes": 4096 });
        assert_eq!(words(&view), "air-2 draining: 7 of 1,200 agents moved, 1 stay, 4,096 bytes");
    }
}
