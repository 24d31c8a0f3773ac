//! `nexus where`: on which node an agent lives.

use clap::Args;
use serde_json::Value;

use super::super::client::encode;
use super::super::connection::Connection;
use super::super::exit::Exit;
use super::super::output::{Tone, clean, text};
use super::super::{Context, Outcome};
use super::list;

/// Show on which node of the cluster an agent lives
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus where aircraft/N14228
  nexus where aircraft/N14228 -o json | jq -r .node")]
pub(crate) struct WhereArgs {
    /// The agent's name, such as aircraft/N14228
    agent: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &WhereArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client_of_cluster(context.environment)?;
    let answer = client.get(&format!("/debug/where/{}", encode(&args.agent)), &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let (line, rest) = told(&answer);
    let line = context.out.tone(Tone::Strong, &line);
    context.out.line(&line)?;
    let rest = context.out.tone(Tone::Dim, &rest);
    context.out.line(&rest)?;
    Ok(Exit::Ok)
}

/// Where it is, and who knows.
fn told(answer: &Value) -> (String, String) {
    let agent = text(answer, "agent");
    let owner = text(answer, "owner");
    let line = match answer["node"].as_str() {
        Some(node) => format!("{agent} lives on {}", clean(node)),
        None => format!("{agent} lives nowhere yet; the ring has {owner} for it"),
    };
    let successors: Vec<_> = list(answer, "successors").iter().filter_map(Value::as_str).map(clean).collect();
    let copies = if successors.is_empty() {
        String::new()
    } else {
        format!(", copies on {}", successors.join(" and "))
    };
    (line, format!("entry on {owner}{copies}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whereabouts_for_people() {
        let mut answer =
            json!({ "agent": "kv/a", "node": "air-2", "owner": "air-1", "successors": ["air-2", "air-3"] });
        let expected = ("kv/a lives on air-2", "entry on air-1, copies on air-2 and air-3");
        assert_eq!(told(&answer), (expected.0.to_owned(), expected.1.to_owned()));
        answer["node"] = Value::Null;
        answer["successors"] = json!([]);
        let expected = ("kv/a lives nowhere yet; the ring has air-1 for it", "entry on air-1");
        assert_eq!(told(&answer), (expected.0.to_owned(), expected.1.to_owned()));
    }
}
