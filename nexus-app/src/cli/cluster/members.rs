//! `nexus members`: who is in the cluster.

use clap::Args;
use serde_json::Value;

use super::super::connection::Connection;
use super::super::exit::Exit;
use super::super::output::{Cell, Column, Table, Tone, count, text};
use super::super::{Context, Outcome};
use super::list;

/// Show the cluster's nodes as one of them sees them
///
/// `alive`; `suspect` while a node does not answer and may defend itself; `down`; `left` if it went on purpose. Agents are what each node
/// told last, some seconds ago. VERSION is that of the topology's cluster, or the release of Nexus where a node has none. Where several nodes
/// of one cluster run on this machine, any of them answers.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus members                           All nodes, as any of this machine's sees them
  nexus members --node air-2              As air-2 sees them
  nexus members -o json | jq '.members[] | select(.state == \"down\")'")]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &MembersArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client_of_cluster(context.environment)?.get("/cluster/members", &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let tone = if answer["ready"] == true { Tone::Good } else { Tone::Warn };
    let standing = context.out.tone(tone, &text(&answer, "standing"));
    let line = format!(
        "cluster {}, as {} sees it, which is {standing}",
        text(&answer, "cluster"),
        text(&answer, "node")
    );
    context.out.line(&line)?;
    context.out.table(&table(&answer))?;
    Ok(Exit::Ok)
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new([
        Column::left("NODE"),
        Column::left("STATE"),
        Column::left("ZONE"),
        Column::right("WEIGHT"),
        Column::right("AGENTS"),
        Column::left("ADDRESS"),
        Column::left("DEBUG"),
        Column::left("VERSION"),
    ]);
    for member in list(answer, "members") {
        let state = text(member, "state");
        let here = member["me"] == true;
        // Members that are well and not connected are on their way to be.
        let is_apart = !here && state == "alive" && member["connected"] == false;
        let tone = match state.as_str() {
            "alive" if is_apart => Tone::Warn,
            "alive" => Tone::Good,
            "suspect" => Tone::Warn,
            "down" => Tone::Bad,
            _ => Tone::Dim,
        };
        let shown = if is_apart { format!("{state}, not connected") } else { state };
        let name = text(member, "name");
        let agents = member["agents"].as_u64().map(count).unwrap_or_default();
        table.row([
            if here { Cell::toned(format!("{name} *"), Tone::Strong) } else { Cell::new(name) },
            Cell::toned(shown, tone),
            text(member, "zone").into(),
            member["weight"].as_f64().map(|weight| weight.to_string()).unwrap_or_default().into(),
            agents.into(),
            text(member, "address").into(),
            text(member, "debug").into(),
            match text(member, "version") {
                version if version.is_empty() => text(member, "nexus"),
                version => version,
            }
            .into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: states are told apart, and nothing is invented of nodes that told nothing.
    #[test]
    fn members_as_a_table() {
        let member = |name: &str, state: &str, agents: Option<u64>, connected: bool| {
            json!({
                "name": name, "me": name == "air-1", "state": state, "connected": connected, "zone": "east", "weight": 1.0,
                "agents": agents, "address": "10.0.0.1:7072", "debug": agents.map(|_| "http://10.0.0.1:7070"), "version": if name == "air-2" { "7" } else { "" },
                "nexus": agents.map(|_| "0.1.0"),
            })
        };
        let answer = json!({ "members": [
            member("air-1", "alive", Some(1234), false), member("air-2", "alive", Some(7), true), member("air-3", "alive", None, false),
            member("air-4", "suspect", Some(7), true), member("air-5", "down", None, false), member("air-6", "left", None, false),
        ] });
        insta::assert_snapshot!(table(&answer).lines(None, &|_, text| text.to_owned()).join("\n"));
    }
}
