//! `nexus inspect`.

use clap::Args;
use serde_json::Value;

use super::client::encode;
use super::connection::Connection;
use super::exit::Exit;
use super::output::{Tone, clean, clock_time, render, text};
use super::{Context, Outcome};

/// Show one agent: its counters, recent exits and state
///
/// The state is what the behavior chooses to show.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus inspect carrier/UA
  nexus inspect carrier/UA -o json | jq .state")]
pub(crate) struct InspectArgs {
    /// The agent's name, such as carrier/UA
    agent: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &InspectArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let answer = client.get(&format!("/debug/agents/{}", encode(&args.agent)), &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let heading = context.out.tone(Tone::Strong, &clean(&args.agent));
    context.out.line(&heading)?;
    for line in render(&for_people(answer)) {
        context.out.line(&format!("  {line}"))?;
    }
    Ok(Exit::Ok)
}

/// The answer without its name, with exits in one line each.
fn for_people(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.shift_remove("name");
        // The first of the exits below it.
        if fields.get("exits").is_some_and(Value::is_array) {
            fields.shift_remove("last_exit");
        }
    }
    if let Some(exits) = answer.get_mut("exits").and_then(Value::as_array_mut) {
        for exit in exits {
            let time =
                exit["unix_ms"].as_u64().map_or_else(String::new, |ms| format!("{}  ", clock_time(ms)));
            *exit = format!("{time}{}", text(exit, "reason")).into();
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: exits are readable lines with their time; the behavior's state is shown as it is.
    #[test]
    fn an_agent_for_people() {
        let exit =
            json!({ "at_ms": 5, "unix_ms": 1_357_017_420_000_u64, "reason": "killed", "normal": false });
        let answer = json!({
            "name": "carrier/UA", "behavior": "carrier", "status": "running", "restarts": 1, "last_exit": exit,
            "exits": [exit], "state": { "flights": 58_665, "delay": { "p50": 0.0 } },
        });
        insta::assert_snapshot!(render(&for_people(answer)).join("\n"), @r"
        behavior: carrier
        status: running
        restarts: 1
        exits: [2013-01-01T05:17:00.000Z  killed]
        state:
          flights: 58665
          delay:
            p50: 0.0
        ");
    }
}
