//! `nexus dead-letters`.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::exit::Exit;
use super::output::{Column, Table, Tone, clock_time, count, flat, number, text};
use super::{Context, Outcome};

/// Characters shown of a payload.
const PAYLOAD_CHARS: usize = 80;

/// List the last messages that could not be handled, newest first, and why
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus dead-letters
  nexus dead-letters --limit 1000         More of them
  nexus dead-letters -o json | jq .counts")]
pub(crate) struct DeadLettersArgs {
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &DeadLettersArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let answer = client.get(
        "/debug/dead-letters",
        &[("offset", Some(args.offset.to_string())), ("limit", Some(args.limit.to_string()))],
    )?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let letters = list(&answer);
    if !letters.is_empty() {
        context.out.table(&table(letters))?;
    }
    let counts = totals(&answer);
    let counts = context.out.tone(Tone::Dim, &counts);
    context.out.line(&counts)?;
    Ok(Exit::Ok)
}

fn list(answer: &Value) -> &[Value] {
    answer["dead_letters"].as_array().map_or(&[], Vec::as_slice)
}

fn table(letters: &[Value]) -> Table {
    let mut table = Table::new([
        Column::right("SEQ"),
        Column::left("TIME"),
        Column::left("REASON"),
        Column::left("TARGET"),
        Column::left("OPERATION"),
        Column::left("KEY"),
        Column::left("PAYLOAD"),
    ]);
    for letter in letters {
        let target = text(letter, "target");
        table.row([
            text(letter, "seq").into(),
            clock_time(number(letter, "unix_ms")).into(),
            text(letter, "reason").into(),
            target.into(),
            text(letter, "operation").into(),
            text(letter, "key").into(),
            super::output::cut(&flat(&letter["payload"]), PAYLOAD_CHARS).into(),
        ]);
    }
    table
}

/// All that ever were, by reason.
fn totals(answer: &Value) -> String {
    let counts = answer["counts"].as_object();
    let counts = counts.into_iter().flatten().filter(|(_, number)| number.as_u64().is_some_and(|n| n > 0));
    let counts: Vec<String> =
        counts.map(|(reason, number)| format!("{reason} {}", count(number.as_u64().unwrap_or(0)))).collect();
    if counts.is_empty() { "no dead letters".to_owned() } else { format!("in all: {}", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: letters as a table, counts of all that ever were below it.
    #[test]
    fn dead_letters_as_a_table() {
        let answer = json!({
            "dead_letters": [{
                "seq": 7, "unix_ms": 1_357_017_420_000_u64, "reason": "crashed", "target": "aircraft/N14228",
                "operation": "action", "key": "departure", "payload": { "flight": 1545, "note": "x".repeat(100) },
            }],
            "counts": { "crashed": 1, "unknown_agent": 1200, "expired": 0 },
        });
        let lines = table(list(&answer)).lines(None, &|_, text| text.to_owned());
        insta::assert_snapshot!(format!("{}\n{}", lines.join("\n"), totals(&answer)));
        assert_eq!(totals(&json!({})), "no dead letters");
    }
}
