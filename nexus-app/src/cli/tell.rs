//! `nexus tell`.

use clap::Args;

use super::ask::Change;
use super::client::encode;
use super::connection::Connection;
use super::error::CliError;
use super::exit::Exit;
use super::output::clean;
use super::{Context, Outcome};

/// Send an agent a change without waiting for its answer
///
/// Ends with 0 when the message is in the agent's inbox. Whether it is handled is seen with `nexus inspect` or `nexus ask`; what
/// could not be handled is among `nexus dead-letters`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus tell kv/settings limit --update 25            Set a key; the value is JSON, or else text
  nexus tell kv/settings increment --action key=limit by=3
                                                      Do something, with arguments
  nexus tell kv/settings append --action --json '{\"key\": \"tags\", \"value\": [1, 2]}'")]
pub(crate) struct TellArgs {
    /// The agent's name, such as carrier/UA, or group:NAME for one of a group
    agent: String,
    /// The key to set, or with --action what to do
    key: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &TellArgs, context: &mut Context<'_>) -> Outcome {
    if !args.change.is_given() {
        return Err(CliError::usage(
            "a message without an answer must change something",
            format!("add --update VALUE or --action, or read with `nexus ask {} {}`", args.agent, args.key),
        ));
    }
    let request = args.change.request(&args.key)?;
    let client = args.connection.client(context.environment)?;
    let answer = client.post(&format!("/api/agents/{}/tell", encode(&args.agent)), &request.into())?;
    if context.out.is_json() {
        context.out.json(&answer)?;
    } else {
        context.out.line(&format!("sent to {}", clean(&args.agent)))?;
    }
    Ok(Exit::Ok)
}
