//! `nexus groups`.

use clap::Args;
use serde_json::Value;

use super::client::encode;
use super::connection::Connection;
use super::exit::Exit;
use super::output::{Cell, Column, Table, Tone, clean, count, number, text};
use super::{Context, Outcome, agents::alarming};

/// List groups, or the agents of one and how messages to it are shared among them
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus groups
  nexus groups desks                      Each agent's share, load and speed
  nexus groups desks -o json | jq .members")]
pub(crate) struct GroupsArgs {
    /// A group's name
    group: Option<String>,
    /// How many of its agents to skip
    #[arg(long, value_name = "N", default_value_t = 0, requires = "group")]
    offset: u64,
    /// How many of its agents to show at most
    #[arg(long, value_name = "N", default_value_t = 100, requires = "group")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &GroupsArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let answer = match &args.group {
        None => client.get("/debug/groups", &[])?,
        Some(group) => client.get(
            &format!("/debug/groups/{}", encode(group)),
            &[("offset", Some(args.offset.to_string())), ("limit", Some(args.limit.to_string()))],
        )?,
    };
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    match &args.group {
        None if array(&answer, "groups").is_empty() => context.out.line("the topology has no groups")?,
        None => context.out.table(&groups(array(&answer, "groups")))?,
        Some(_) if text(&answer, "balance").is_empty() => {
            for agent in array(&answer, "agents") {
                context.out.line(&clean(agent.as_str().unwrap_or_default()))?;
            }
        }
        Some(_) => context.out.table(&members(array(&answer, "members")))?,
    }
    Ok(Exit::Ok)
}

fn array<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

fn groups(groups: &[Value]) -> Table {
    let mut table = Table::new([
        Column::left("NAME"),
        Column::left("BALANCE"),
        Column::right("AGENTS"),
        Column::right("DECISIONS"),
        Column::right("REFUSED"),
    ]);
    for group in groups {
        table.row([
            text(group, "name").into(),
            text(group, "balance").into(),
            count(number(group, "agents")).into(),
            count(number(group, "decisions")).into(),
            alarming(number(group, "refused"), Tone::Warn),
        ]);
    }
    table
}

fn members(members: &[Value]) -> Table {
    let mut table = Table::new([
        Column::left("NAME"),
        Column::left("STATE"),
        Column::right("DECISIONS"),
        Column::right("SHARE"),
        Column::right("QUEUED"),
        Column::right("RESPONSE"),
        Column::right("CPU"),
    ]);
    let percent = |member: &Value, key: &str| {
        member[key].as_f64().map(|share| format!("{:.1}%", share * 100.0)).unwrap_or_default()
    };
    for member in members {
        let stopped = member["stopped"].as_bool().unwrap_or(false);
        let response = member["response_ms"].as_f64().map(|ms| format!("{ms:.3} ms"));
        table.row([
            text(member, "name").into(),
            if stopped { Cell::status("stopped") } else { "".into() },
            count(number(member, "decisions")).into(),
            percent(member, "share").into(),
            count(number(member, "queued")).into(),
            response.unwrap_or_default().into(),
            percent(member, "cpu").into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: groups and shares as columns, and nothing invented where nothing is known.
    #[test]
    fn groups_as_tables() {
        let shown = |table: Table| table.lines(None, &|_, text| text.to_owned()).join("\n");
        let listed = json!([
            { "name": "desks", "agents": 1000, "balance": "least_loaded", "decisions": 123_456, "refused": 3 },
            { "name": "everybody", "agents": 0, "balance": null, "decisions": 0, "refused": 0 },
        ]);
        let balanced = json!([
            { "name": "desk/1", "decisions": 75, "share": 0.75, "queued": 12, "response_ms": 1.5, "cpu": 0.031,
              "memory": null, "stopped": false },
            { "name": "desk/2", "decisions": 25, "share": 0.25, "queued": 0, "response_ms": null, "cpu": null,
              "memory": null, "stopped": true },
        ]);
        let (listed, balanced) = (listed.as_array().unwrap(), balanced.as_array().unwrap());
        insta::assert_snapshot!(format!("{}\n\n{}", shown(groups(listed)), shown(members(balanced))));
    }
}
