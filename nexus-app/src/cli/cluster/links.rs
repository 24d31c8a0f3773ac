//! `nexus links`: what goes between a node and the others.

use clap::Args;
use serde_json::Value;

use super::super::connection::Connection;
use super::super::exit::Exit;
use super::super::output::{Cell, Column, Table, Tone, count, number, rate, text};
use super::super::{Context, Outcome};
use super::list;

/// Show what goes between a node and the others: rates, delays, queues, and who was refused
///
/// DELAY is the way there and back, smoothed. QUEUED waits to be sent; UNACKED was sent and is not acknowledged; ASKS wait for the other's
/// answer. Below, whose links these are, and streams that did not become connections, by reason. Where several nodes of one cluster run on
/// this machine, the first of them answers: --node names another.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus links
  nexus links --node air-2
  nexus links --node air-1 -o json | jq .handshakes.refused")]
pub(crate) struct LinksArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &LinksArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client_of_cluster(context.environment)?.get("/cluster/links", &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    context.out.table(&table(&answer))?;
    let line = context.out.tone(Tone::Dim, &summary(&answer));
    context.out.line(&line)?;
    for (tone, line) in troubles(&answer) {
        let line = context.out.tone(tone, &line);
        context.out.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new([
        Column::left("PEER"),
        Column::left("STATE"),
        Column::right("DELAY"),
        Column::right("OUT B/s"),
        Column::right("IN B/s"),
        Column::right("QUEUED"),
        Column::right("UNACKED"),
        Column::right("ASKS"),
    ]);
    for link in list(answer, "links") {
        let state = match (link["connected"] == true, link["dialed"] == true) {
            (true, true) => Cell::toned("dialed", Tone::Good),
            (true, false) => Cell::toned("accepted", Tone::Good),
            (false, _) => Cell::toned("not connected", Tone::Bad),
        };
        table.row([
            text(link, "peer").into(),
            state,
            link["delay_ms"].as_f64().map(|ms| format!("{ms:.2} ms")).unwrap_or_default().into(),
            rate(link["sent_per_s"].as_f64().unwrap_or(0.0)).into(),
            rate(link["received_per_s"].as_f64().unwrap_or(0.0)).into(),
            count(number(link, "queued")).into(),
            count(number(link, "unacknowledged")).into(),
            count(number(link, "pending_asks")).into(),
        ]);
    }
    table
}

fn summary(answer: &Value) -> String {
    let listening =
        answer["listening"].as_str().map_or("not listening".to_owned(), |at| format!("listening at {at}"));
    let security = if answer["tls"] == true { "TLS" } else { "no TLS" };
    let handshakes = &answer["handshakes"];
    let number = |key| count(number(handshakes, key));
    format!(
        "{}: {listening}, {security}; {} streams accepted, {} connections made, {} dials unanswered",
        text(answer, "node"),
        number("accepted"),
        number("connected"),
        number("unreachable")
    )
}

/// What an operator should not have to look for.
fn troubles(answer: &Value) -> Vec<(Tone, String)> {
    // What nodes that are well do to each other.
    let usual = ["duplicate", "own_name", "outdated", "closed"];
    let mut lines = Vec::new();
    for (key, who) in [("refused", "refused here"), ("refused_by_peer", "refused by the other")] {
        let counts = answer["handshakes"][key].as_object();
        for (reason, times) in counts.into_iter().flatten() {
            let tone = if usual.contains(&reason.as_str()) { Tone::Dim } else { Tone::Warn };
            lines.push((tone, format!("{who}: {reason}, {} times", count(times.as_u64().unwrap_or(0)))));
        }
    }
    let error = text(answer, "tls_error");
    if !error.is_empty() {
        lines.push((
            Tone::Bad,
            format!("changed certificates cannot be read, the former are in use: {error}"),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: links, what is refused and what is wrong with certificates, for people.
    #[test]
    fn links_as_a_table() {
        let link = |peer: &str, connected: bool, delay: Option<f64>| {
            json!({
                "peer": peer, "connected": connected, "dialed": connected.then_some(true), "delay_ms": delay, "sent_per_s": 1234.5,
                "received_per_s": 0.0, "queued": 12, "unacknowledged": 3456, "pending_asks": 1,
            })
        };
        let answer = json!({
            "node": "air-1", "listening": "10.0.0.1:7072", "tls": true, "tls_error": "no such file",
            "handshakes": {
                "accepted": 12, "connected": 2, "unreachable": 5, "refused": { "wrong_cookie": 7 }, "refused_by_peer": { "duplicate": 1 },
            },
            "links": [link("air-2", true, Some(0.4321)), link("air-3", false, None)],
        });
        let mut lines = table(&answer).lines(None, &|_, text| text.to_owned());
        lines.push(summary(&answer));
        lines.extend(troubles(&answer).into_iter().map(|(tone, line)| format!("{tone:?} {line}")));
        insta::assert_snapshot!(lines.join("\n"));
    }
}
