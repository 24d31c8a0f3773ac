//! `nexus join` and `nexus leave`: a node goes into a cluster, and out of it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::exit::Exit;
use super::super::output::text;
use super::super::{Context, Outcome};
use super::list;

/// A node may take some seconds to be a member.
const JOIN_MAX: Duration = Duration::from_secs(20);

/// Let a node join the cluster that another one is in
///
/// What `seeds` in the topology do at the start, while the node runs. Both need the same cluster name and cookie. Waits until it is a
/// member. Needs `allow_control = true` under [debug].
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  nexus join 10.0.0.5:7072 --node air-4    air-4 joins the cluster of the node that listens there"
)]
pub(crate) struct JoinArgs {
    /// Where a node of the cluster listens for others (its `cluster.listen`), HOST:PORT
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn join(args: &JoinArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?.with_timeout(JOIN_MAX);
    let answer = client.post("/cluster/join", &json!({ "address": args.address }))?;
    if context.out.is_json() {
        context.out.json(&answer)?;
    } else {
        let members: Vec<_> = list(&answer, "members").iter().filter_map(Value::as_str).collect();
        context.out.line(&format!("joined: {} members: {}", members.len(), members.join(", ")))?;
    }
    Ok(Exit::Ok)
}

/// Let a node leave its cluster, and stop
///
/// It tells the others, so that they neither miss nor dial it, and stops in order: a life that has left does not come back; the next start
/// does. Its agents start on other nodes with their next message. Needs `allow_control = true` under [debug].
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus leave --node air-4")]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn leave(args: &LeaveArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client(context.environment)?.post("/cluster/leave", &json!({}))?;
    if context.out.is_json() {
        context.out.json(&answer)?;
    } else {
        context.out.line(&format!("{} leaves its cluster and stops", text(&answer, "leaving")))?;
    }
    Ok(Exit::Ok)
}
