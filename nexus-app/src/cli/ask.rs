//! `nexus ask`, and what it shares with `nexus tell`: how a request is written on the command line.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::encode;
use super::connection::Connection;
use super::error::CliError;
use super::exit::Exit;
use super::output::render;
use super::{Context, Outcome};

/// The HTTP request may take this much longer than the agent.
const HTTP_MARGIN: Duration = Duration::from_secs(5);
/// The longest payload read from the standard input.
const STDIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Ask an agent and print its answer
///
/// Without --update and --action it is a query: it reads KEY and changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus ask carrier/UA summary                        Query a key
  nexus ask group:desks status                        Query one of a group
  nexus ask kv/settings limit --update 25             Set a key
  nexus ask kv/settings other --default 10            Query, with a default
  nexus ask kv/settings increment --action key=limit by=3
                                                      Do something, with arguments
  nexus ask kv/settings append --action --json '{\"key\": \"tags\", \"value\": [1, 2]}'
  generate | nexus ask kv/settings append --action --json -

A query does not bring an agent to life: until an update, an action or a message has, its name is
unknown. A VALUE that reads as JSON is sent as such (25, true, [1,2]), everything else as text (WN).
Write '\"25\"' to send digits as text.")]
pub(crate) struct AskArgs {
    /// The agent's name, such as carrier/UA, or group:NAME for one of a group
    agent: String,
    /// The key to read or set, or with --action what to do
    key: String,
    /// Answered if KEY has no value (queries only)
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["update", "action"], allow_hyphen_values = true)]
    default: Option<String>,
    #[command(flatten)]
    change: Change,
    /// How long to wait for the answer, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
    /// Handling it more than once does no harm: try again when the way to the agent's node is lost
    #[arg(long)]
    at_least_once: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What kind of request it is, and how much it matters. Two kinds change an agent.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Change {
    /// Set KEY to this value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    update: Option<String>,
    /// Do what KEY names
    #[arg(long, conflicts_with = "update")]
    action: bool,
    /// The action's arguments as JSON; `-` reads them from the standard input
    #[arg(long, value_name = "JSON", requires = "action", conflicts_with = "arguments")]
    json: Option<String>,
    /// The action's arguments
    #[arg(value_name = "NAME=VALUE", requires = "action")]
    arguments: Vec<String>,
    /// From 0 (whenever) to 1 (first): a node short of CPU refuses the lowest first [default: 0.5]
    #[arg(long, value_name = "0..1", value_parser = parse_priority)]
    priority: Option<f64>,
}

impl Change {
    pub(crate) const fn is_given(&self) -> bool {
        self.update.is_some() || self.action
    }

    /// The request's operation and payload. Without a change it is a query.
    pub(crate) fn request(&self, key: &str) -> Result<Map<String, Value>, CliError> {
        let (operation, payload) = match &self.update {
            Some(value) => ("update", Some(json_or_text(value))),
            None if self.action => ("action", self.arguments()?),
            None => ("query", None),
        };
        let mut request = Map::new();
        request.insert("operation".to_owned(), operation.into());
        request.insert("key".to_owned(), key.into());
        if let Some(payload) = payload {
            request.insert("payload".to_owned(), payload);
        }
        if let Some(priority) = self.priority {
            request.insert("priority".to_owned(), priority.into());
        }
        Ok(request)
    }

    fn arguments(&self) -> Result<Option<Value>, CliError> {
        if let Some(json) = &self.json {
            let text = if json == "-" { read_stdin()? } else { json.clone() };
            return serde_json::from_str(&text).map(Some).map_err(|error| {
                CliError::usage(format!("--json: {error}"), "give one JSON value, such as '{\"limit\": 3}'")
            });
        }
        if self.arguments.is_empty() {
            return Ok(None);
        }
        let mut fields = Map::new();
        for argument in &self.arguments {
            let (name, value) =
                argument.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                    CliError::usage(
                        format!("argument {argument:?} is no NAME=VALUE"),
                        "write arguments as limit=3, or all of them as --json '{\"limit\": 3}'",
                    )
                })?;
            if fields.insert(name.to_owned(), json_or_text(value)).is_some() {
                return Err(CliError::usage(format!("argument `{name}` is given twice"), "give it once"));
            }
        }
        Ok(Some(Value::Object(fields)))
    }
}

pub(crate) fn run(args: &AskArgs, context: &mut Context<'_>) -> Outcome {
    let mut request = args.change.request(&args.key)?;
    if let Some(default) = &args.default {
        request.insert("default".to_owned(), json_or_text(default));
    }
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    request.insert("timeout_ms".to_owned(), timeout_ms.into());
    if args.at_least_once {
        request.insert("at_least_once".to_owned(), true.into());
    }
    let client = args.connection.client(context.environment)?.with_timeout(args.timeout + HTTP_MARGIN);
    let answer = client.post(&format!("/api/agents/{}/ask", encode(&args.agent)), &request.into())?;
    if context.out.is_json() {
        context.out.json(&answer)?;
    } else {
        for line in render(answer.get("value").unwrap_or(&answer)) {
            context.out.line(&line)?;
        }
    }
    Ok(Exit::Ok)
}

/// `text` as JSON if it is that, else as text.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn read_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(STDIN_BYTES_MAX).read_to_string(&mut text);
    read.map_err(CliError::system("cannot read the standard input"))?;
    Ok(text)
}

fn parse_priority(text: &str) -> Result<f64, String> {
    let priority = text.parse().ok().filter(|priority| (0.0..=1.0).contains(priority));
    priority.ok_or_else(|| "write a number from 0 to 1, such as 0.25".to_owned())
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let time = humantime_serde::re::humantime::parse_duration(text);
    let time = time.map_err(|_| "write a time such as 500ms, 5s or 1m".to_owned())?;
    if (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&time) {
        Ok(time)
    } else {
        Err("it must be between 1ms and 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(arguments: &[&str], json: Option<&str>) -> Change {
        Change {
            action: true,
            json: json.map(str::to_owned),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            ..Change::default()
        }
    }

    /// Goal: each way of writing a request gives the body that the endpoint reads.
    #[test]
    fn requests_as_written() {
        let body = |change: &Change| Value::Object(change.request("k").unwrap());
        assert_eq!(body(&Change::default()), json!({ "operation": "query", "key": "k" }));
        for (written, payload) in [
            ("25", json!(25)),
            ("WN", json!("WN")),
            ("\"25\"", json!("25")),
            ("[1]", json!([1])),
            ("-3.5", json!(-3.5)),
        ] {
            let update = Change { update: Some(written.to_owned()), ..Change::default() };
            assert_eq!(body(&update), json!({ "operation": "update", "key": "k", "payload": payload }));
        }
        assert_eq!(body(&action(&[], None)), json!({ "operation": "action", "key": "k" }));
        assert_eq!(
            body(&action(&["by=3", "to=a=b", "x="], None))["payload"],
            json!({ "by": 3, "to": "a=b", "x": "" })
        );
        assert_eq!(body(&action(&[], Some("[1, null]")))["payload"], json!([1, null]));
    }

    /// Goal: arguments that cannot be meant are refused with what to write.
    #[test]
    fn bad_arguments() {
        for change in [
            action(&["novalue"], None),
            action(&["=1"], None),
            action(&["a=1", "a=2"], None),
            action(&[], Some("{")),
        ] {
            let error = change.request("k").unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{error}");
            assert!(error.remedy().is_some());
        }
    }

    /// Goal: time limits within their range.
    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "0s", "2h", "-1s"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }
}
