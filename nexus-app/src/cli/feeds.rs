//! `nexus feeds`.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::exit::Exit;
use super::output::{Cell, Column, Table, Tone, count, number, rate, text};
use super::{Context, Outcome, agents::alarming};

/// List feeds with their progress
///
/// READ is how much of the source has been read, ahead of what is due; REQUESTS is how many agents have handled. LATE came out of order by
/// more than the feed's `reorder`. RESUMES is how often the feed's actor was started again in this process; REPLAYS how often it went back because
/// part of it was lost in the cluster; KEPT the requests its place in the store stands for. Where several nodes of one cluster run on this
/// machine, any of them answers.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus feeds\n  nexus feeds -o json")]
pub(crate) struct FeedsArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &FeedsArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client_of_cluster(context.environment)?.get("/debug/feeds", &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let feeds = list(&answer);
    if feeds.is_empty() {
        context.out.line("the topology has no feeds")?;
        return Ok(Exit::Ok);
    }
    context.out.table(&table(feeds))?;
    for feed in feeds {
        let error = text(feed, "error");
        if !error.is_empty() {
            let line = context.out.tone(Tone::Bad, &format!("{}: {error}", text(feed, "name")));
            context.out.line(&line)?;
        }
        if feed["replay"].is_object() {
            let line = context.out.tone(Tone::Warn, &replaying(feed));
            context.out.line(&line)?;
        }
        let error = text(&feed["checkpoint"], "error");
        if !error.is_empty() {
            let line = format!(
                "{}: its place is not kept since request {}: {error}",
                text(feed, "name"),
                count(number(&feed["checkpoint"], "position"))
            );
            let line = context.out.tone(Tone::Warn, &line);
            context.out.line(&line)?;
        }
    }
    Ok(Exit::Ok)
}

/// That a feed gives again what was lost, and how far it is.
fn replaying(feed: &Value) -> String {
    let replay = &feed["replay"];
    let from = number(replay, "from");
    let done = number(feed, "confirmed").saturating_sub(from);
    let all = number(replay, "until").saturating_sub(from);
    let (name, cause) = (text(feed, "name"), text(replay, "cause"));
    format!("{name}: replaying after {cause}: {} of {}", count(done), count(all))
}

/// The feeds of an answer of `/debug/feeds`.
pub(crate) fn list(answer: &Value) -> &[Value] {
    answer["feeds"].as_array().or_else(|| answer.as_array()).map_or(&[], Vec::as_slice)
}

/// How much of the source is read, 0 to 1, if that can be known.
#[expect(clippy::cast_precision_loss, reason = "a percentage needs no 53 bits")]
pub(crate) fn progress(feed: &Value) -> Option<f64> {
    if text(feed, "state") == "completed" {
        return Some(1.0);
    }
    let total = feed["bytes_total"].as_u64().filter(|total| *total > 0)?;
    Some((number(feed, "bytes_read") as f64 / total as f64).min(1.0))
}

fn table(feeds: &[Value]) -> Table {
    let mut table = Table::new([
        Column::left("NAME"),
        Column::left("STATE"),
        Column::right("READ"),
        Column::right("RECORDS"),
        Column::right("PER SECOND"),
        Column::right("REQUESTS"),
        Column::right("MALFORMED"),
        Column::right("DEAD"),
        Column::right("LATE"),
        Column::right("RESUMES"),
        Column::right("REPLAYS"),
        Column::right("KEPT"),
        Column::left("NODE"),
    ]);
    for feed in feeds {
        table.row([
            text(feed, "name").into(),
            Cell::status(&text(feed, "state")),
            progress(feed).map(|done| format!("{:.0}%", done * 100.0)).unwrap_or_default().into(),
            count(number(feed, "records")).into(),
            rate(feed["records_per_s"].as_f64().unwrap_or(0.0)).into(),
            count(number(feed, "confirmed")).into(),
            alarming(number(feed, "malformed"), Tone::Warn),
            alarming(number(feed, "dead_lettered"), Tone::Warn),
            alarming(number(feed, "late"), Tone::Warn),
            alarming(number(feed, "resumes"), Tone::Warn),
            alarming(number(feed, "replays"), Tone::Warn),
            feed["checkpoint"]["position"].as_u64().map(count).unwrap_or_default().into(),
            text(feed, "node").into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: progress by bytes where the size is known, and nothing invented where it is not.
    #[test]
    fn feeds_as_a_table() {
        let feeds = json!({ "feeds": [
            {
                "name": "flights", "state": "running", "records": 168_388, "confirmed": 505_164, "malformed": 2,
                "bytes_read": 50, "bytes_total": 200, "records_per_s": 98_765.4, "resumes": 1,
                "checkpoint": { "position": 500_000, "unix_ms": 1, "failures": 0, "error": null },
            },
            {
                "name": "days", "state": "running", "confirmed": 12_445, "replays": 2, "node": "air-3",
                "replay": { "cause": "the loss of air-2", "from": 100, "until": 40_100 },
            },
            { "name": "stdin", "state": "completed", "records": 0, "bytes_read": 10, "bytes_total": null },
            { "name": "pipe", "state": "waiting", "bytes_read": 10, "bytes_total": null },
        ]});
        let days = &list(&feeds)[1];
        assert_eq!(replaying(days), "days: replaying after the loss of air-2: 12,345 of 40,000");
        insta::assert_snapshot!(table(list(&feeds)).lines(None, &|_, text| text.to_owned()).join("\n"));
    }
}
