//! `nexus events`.

use std::io;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::connection::Connection;
use super::environment::Environment;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Out, Tone, clock_time, flat, number, text};
use super::sse::{SseEvent, SseReader};
use super::{Context, Outcome};

/// Pauses between attempts to reach a node that went away: short at first, for a mere restart.
const RETRY: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Show what happened: starts, exits, restarts with their reasons, feeds
///
/// Without --follow the events that the node still keeps; with it, also those to come, until Ctrl-C. A node that goes away and
/// comes back is followed on.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus events                            What the node still remembers
  nexus events --agent aircraft/N14228    What happened to one agent
  nexus events --follow --since 1200      From event 1200 on, and live
  nexus events --follow --event supervision. -o json | jq .reason")]
pub(crate) struct EventsArgs {
    /// Go on with events as they happen
    #[arg(short, long)]
    follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    since: u64,
    /// Only events whose name begins with this, such as agent. or supervision.escalated
    #[arg(long, value_name = "PREFIX")]
    event: Option<String>,
    /// Only events about this agent, child, feed or target
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &EventsArgs, context: &mut Context<'_>) -> Outcome {
    let mut client = args.client(context.environment)?;
    let mut since = args.since;
    if !args.follow {
        args.kept(&client, since, &mut context.out)?;
        return Ok(Exit::Ok);
    }
    let (mut connected, mut failures) = (false, 0);
    loop {
        let before = since;
        match args.stream(&client, &mut since, &mut context.out) {
            // The stream ended: the node stops, or the connection was cut.
            Ok(()) => {}
            // Only a node that has been there is waited for.
            Err(CliError::Unreachable { .. } | CliError::TimedOut { .. }) if connected || since != before => {
            }
            Err(error) => return Err(error),
        }
        connected = true;
        failures = if since == before { failures + 1 } else { 0 };
        thread::sleep(RETRY[failures.min(RETRY.len() - 1)]);
        // It may come back with another port or token.
        client = args.client(context.environment).unwrap_or(client);
    }
}

impl EventsArgs {
    pub(super) fn client(&self, environment: &Environment) -> Result<Client, CliError> {
        self.connection.client(environment)
    }

    fn query(&self, since: u64) -> [(&'static str, Option<String>); 3] {
        [("since", Some(since.to_string())), ("event", self.event.clone()), ("agent", self.agent.clone())]
    }

    /// Prints what the node keeps, page by page, up to what was the newest at the beginning.
    fn kept(&self, client: &Client, mut since: u64, out: &mut Out<'_>) -> Result<(), CliError> {
        let mut newest = None;
        loop {
            let mut query = self.query(since).to_vec();
            query.push(("format", Some("json".to_owned())));
            let page = client.get("/debug/events", &query)?;
            let events = page["events"].as_array().map_or(&[][..], Vec::as_slice);
            for event in events {
                print(event, out)?;
            }
            let newest = *newest.get_or_insert(number(&page, "newest"));
            let next = number(&page, "next_since");
            if next <= since || next >= newest {
                return Ok(());
            }
            since = next;
        }
    }

    /// Prints events after `since` until the stream ends, and moves `since` on.
    pub(super) fn stream(&self, client: &Client, since: &mut u64, out: &mut Out<'_>) -> Result<(), CliError> {
        for event in SseReader::new(client.stream("/debug/events", &self.query(*since))?) {
            let event = event.map_err(|error| broken(client, &error))?;
            let value = decode(&event);
            print(&value, out)?;
            out.flush()?;
            if let Some(seq) = value["seq"].as_u64() {
                *since = seq;
            }
        }
        Ok(())
    }
}

fn broken(client: &Client, error: &io::Error) -> CliError {
    CliError::Unreachable { url: client.url().to_owned(), reason: error.to_string() }
}

/// The event's data; what is no JSON is shown as text.
fn decode(event: &SseEvent) -> Value {
    serde_json::from_str(&event.data)
        .unwrap_or_else(|_| serde_json::json!({ "event": event.kind, "data": event.data }))
}

fn print(event: &Value, out: &mut Out<'_>) -> io::Result<()> {
    if out.is_json() { out.json_line(event) } else { out.line(&line(event, out)) }
}

/// Number, time, name and the remaining fields as `name=value`.
fn line(event: &Value, out: &Out<'_>) -> String {
    let name = text(event, "event");
    let mut line = format!(
        "{:>6}  {}  {}",
        text(event, "seq"),
        out.tone(Tone::Dim, &clock_time(number(event, "unix_ms"))),
        out.tone(tone(&name), &name),
    );
    for (field, value) in event.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "seq" | "at" | "at_ms" | "unix_ms" | "event") {
            let value = if field == "reason" { reason(value) } else { flat(value) };
            line.push_str(&format!("  {field}={value}"));
        }
    }
    line
}

/// An exit's reason in words; that of a supervisor that gave up goes on with its cause, and the cause's cause.
fn reason(value: &Value) -> String {
    let kind = text(value, "kind");
    let detail = &value["detail"];
    match (kind.is_empty(), detail) {
        (true, _) => flat(value),
        (false, Value::Null) => kind,
        (false, Value::Object(gave_up)) if gave_up.contains_key("reason") => {
            let (supervisor, child) = (text(detail, "supervisor"), text(detail, "child"));
            let limit = format!("{} restarts in {} ms", text(detail, "intensity"), text(detail, "period_ms"));
            format!("{kind}: {supervisor} allows {limit}; then {child}: {}", reason(&detail["reason"]))
        }
        (false, detail) => format!("{kind}: {}", flat(detail)),
    }
}

fn tone(name: &str) -> Tone {
    match name {
        "supervision.escalated" | "supervision.start_failed" | "feed.failed" => Tone::Bad,
        "supervision.child_exited"
        | "supervision.child_restarted"
        | "route.dead_letter"
        | "feed.rewound"
        | "performance.pressure_changed" => Tone::Warn,
        "agent.started" | "feed.completed" => Tone::Good,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Format;

    /// Goal: an event is one line with its reason; what is no JSON is not lost.
    #[test]
    fn events_as_lines() {
        let mut sink = Vec::new();
        let out = Out::to(&mut sink, Format::Text);
        let event = json!({
            "seq": 41, "at": 1500, "unix_ms": 1_357_017_420_000_u64, "event": "supervision.child_restarted",
            "supervisor": "nexus/agents.sup", "child": "aircraft/N14228", "restarts": 2, "cause": "aircraft/N14228",
            "reason": { "kind": "killed" },
        });
        insta::assert_snapshot!(line(&event, &out));
        let killed = json!({ "kind": "error", "detail": "boom" });
        let inner = json!({ "kind": "escalated", "detail": {
            "supervisor": "nexus/a/b", "intensity": 1, "period_ms": 5000, "child": "c", "reason": killed,
        }});
        assert_eq!(reason(&inner), "escalated: nexus/a/b allows 1 restarts in 5000 ms; then c: error: boom");
        assert_eq!(reason(&json!("unknown_agent")), "unknown_agent");
        let odd = SseEvent { id: None, kind: "lagged".to_owned(), data: "12 missed".to_owned() };
        assert_eq!(decode(&odd), json!({ "event": "lagged", "data": "12 missed" }));
    }
}
