//! `nexus tree`.

use clap::Args;
use serde_json::Value;

use super::agents::{restarts, uptime};
use super::connection::Connection;
use super::exit::Exit;
use super::output::{Out, Tone, count, number, text};
use super::{Context, Outcome};

/// Show the supervision tree
///
/// Each line has name, behavior or strategy, status, and what is out of the ordinary: waiting messages, restarts, the last
/// exit.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus tree                              The whole tree, the first children of each supervisor
  nexus tree nexus/agents.sup --depth 1   One supervisor and its children
  nexus tree nexus/agents.sup --limit 1000 --offset 1000
  nexus tree -o json | jq .")]
pub(crate) struct TreeArgs {
    /// Show only what is under this path
    path: Option<String>,
    /// Levels to show below it, 0 to 64; default all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=64))]
    depth: Option<u64>,
    /// Children to show of each supervisor at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Children to skip of the supervisor at PATH
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &TreeArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let answer = client.get(
        "/debug/tree",
        &[
            ("path", args.path.clone()),
            ("depth", args.depth.map(|depth| depth.to_string())),
            ("offset", Some(args.offset.to_string())),
            ("limit", Some(args.limit.to_string())),
        ],
    )?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    for line in lines(answer.get("tree").unwrap_or(&answer), &context.out) {
        context.out.line(&line)?;
    }
    Ok(Exit::Ok)
}

/// The tree as text, with the guides of `tree(1)`.
pub(crate) fn lines(root: &Value, out: &Out<'_>) -> Vec<String> {
    let mut lines = vec![describe(root, out)];
    push_children(root, "", out, &mut lines);
    lines
}

fn push_children(node: &Value, indent: &str, out: &Out<'_>, lines: &mut Vec<String>) {
    let children = node["children"].as_array().map_or(&[][..], Vec::as_slice);
    let before = number(node, "children_offset");
    let total = number(node, "children_total");
    let after = total.saturating_sub(before + children.len() as u64);
    let guide = |text: &str| out.tone(Tone::Dim, &format!("{indent}{text}"));
    if before > 0 && total > 0 {
        lines.push(guide(&format!("├── … {} before", count(before))));
    }
    for (index, child) in children.iter().enumerate() {
        let last = after == 0 && index + 1 == children.len();
        let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        lines.push(format!("{}{}", guide(branch), describe(child, out)));
        push_children(child, &format!("{indent}{below}"), out, lines);
    }
    if after > 0 {
        lines.push(guide(&format!("└── … {} more", count(after))));
    }
}

/// One node in one line.
fn describe(node: &Value, out: &Out<'_>) -> String {
    let is_supervisor = text(node, "kind") == "supervisor";
    let name = first(node, &["name", "id"]);
    let mut parts = vec![if is_supervisor { out.tone(Tone::Strong, &name) } else { name }];
    let what = first(node, &["behavior", "label"]);
    if !what.is_empty() {
        parts.push(out.tone(Tone::Dim, &format!("({what})")));
    }
    let status = text(node, "status");
    if !status.is_empty() {
        parts.push(out.tone(Tone::of_status(&status), &status));
    }
    let up = uptime(node);
    if !up.is_empty() {
        parts.push(out.tone(Tone::Dim, &format!("up {up}")));
    }
    for (field, what) in [("queued", "queued"), ("processed", "processed")] {
        if number(node, field) > 0 {
            parts.push(format!("{} {what}", count(number(node, field))));
        }
    }
    let restarts = restarts(node);
    if restarts > 0 {
        let times = format!("{} restart{}", count(restarts), if restarts == 1 { "" } else { "s" });
        parts.push(out.tone(Tone::Warn, &times));
    }
    let exit = text(&node["last_exit"], "reason");
    if !exit.is_empty() {
        parts.push(out.tone(Tone::Dim, &format!("last exit: {exit}")));
    }
    parts.join("  ")
}

fn first(node: &Value, fields: &[&str]) -> String {
    fields.iter().map(|field| text(node, field)).find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Format;

    /// Goal: guides, pages and what is out of the ordinary, from the endpoint's JSON.
    #[test]
    fn a_tree_as_text() {
        let worker = |name: &str, more: Value| {
            let mut worker =
                json!({ "name": name, "kind": "agent", "behavior": "aircraft", "status": "running" });
            worker.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            worker
        };
        let tree = json!({
            "name": "nexus", "kind": "supervisor", "behavior": "one_for_one", "status": "running", "uptime_ms": 61_000,
            "children_total": 2, "children_offset": 0, "children": [
                {
                    "name": "agents.sup", "kind": "supervisor", "status": "running", "children_total": 4044,
                    "children_offset": 1, "children": [
                        worker("aircraft/N14228", json!({ "processed": 1234, "queued": 7, "restarts": 1,
                            "last_exit": { "reason": "error: boom\u{1b}[2J", "normal": false } })),
                        worker("aircraft/N24211", json!({ "status": "restarting", "last_exit": null })),
                    ],
                },
                worker("flights", json!({ "behavior": "feed", "kind": "worker" })),
            ],
        });
        let mut sink = Vec::new();
        let out = Out::to(&mut sink, Format::Text);
        insta::assert_snapshot!(lines(&tree, &out).join("\n"));
    }
}
