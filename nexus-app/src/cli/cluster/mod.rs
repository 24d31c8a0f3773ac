//! `nexus cluster`: certificates for the nodes of a cluster, and a whole cluster on this machine. Beside it the commands that show and
//! steer a node's part in its cluster.

mod cert;
mod links;
mod members;
mod membership;
mod up;
mod whereabouts;

use clap::{Args, Subcommand};
use serde_json::Value;

pub(crate) use links::{LinksArgs, run as links};
pub(crate) use members::{MembersArgs, run as members};
pub(crate) use membership::{JoinArgs, LeaveArgs, join, leave};
pub(crate) use whereabouts::{WhereArgs, run as whereabouts};

use super::{Context, Outcome};

/// Run a whole cluster on this machine, or make the certificates of one
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus cluster up 3 airspace.toml        Three nodes as processes on this machine
  nexus cluster cert certs air-1 air-2    An authority, and certificates of two nodes
  nexus members                           Who is in the cluster")]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ClusterCommand {
    Up(up::UpArgs),
    Cert(cert::CertArgs),
}

pub(crate) fn run(args: ClusterArgs, context: &mut Context<'_>) -> Outcome {
    match args.command {
        ClusterCommand::Up(args) => up::run(&args, context),
        ClusterCommand::Cert(args) => cert::run(&args, context),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}
