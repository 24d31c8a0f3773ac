//! `nexus kill`, `stop`, `restart` and `level`: the commands that steer what runs.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, encode};
use super::connection::Connection;
use super::error::CliError;
use super::exit::Exit;
use super::output::{clean, text};
use super::{Context, Outcome};

/// What a command is aimed at.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// An agent's name, such as aircraft/N14228, or a supervisor's path, such as nexus/agents.sup/airspace
    #[arg(value_name = "TARGET")]
    name: String,
    /// TARGET is a supervisor; without it an agent of that name comes first
    #[arg(long)]
    supervisor: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Kill an agent or supervisor, as a crash would, and let its supervisor do what its strategy says
///
/// The message an agent was handling goes to the dead letters; its inbox waits for the next incarnation. A supervisor takes its
/// children with it. Needs `allow_control = true` under [debug] in the topology, like all commands that steer.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus kill aircraft/N14228              Kill an agent; `nexus events` shows how it comes back
  nexus kill nexus/agents.sup/airspace    Kill a supervisor and all below it")]
pub(crate) struct KillArgs {
    #[command(flatten)]
    target: Target,
}

/// Stop an agent in order, and keep it stopped
///
/// It ends after its current message and runs its post_stop; what waits in its inbox goes to the dead letters. `nexus restart`
/// starts it again. A member of a family (`aircraft/*`) is forgotten instead, and comes to life anew with its next message.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  nexus stop tower                        End it; `nexus restart tower` starts it again"
)]
pub(crate) struct StopArgs {
    /// The agent's name, such as aircraft/N14228
    agent: String,
    #[command(flatten)]
    connection: Connection,
}

/// End an agent or supervisor in order, if it runs, and start it again; it does not count as a crash
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus restart aircraft/N14228           Stop and start an agent
  nexus restart nexus/agents.sup/airspace Stop and start a supervisor with all below it")]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    target: Target,
}

/// Set an agent's intelligence level; the highest there is up to it serves the agent from then on
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus level carrier/UA reactive")]
pub(crate) struct LevelArgs {
    /// The agent's name, such as carrier/UA
    agent: String,
    /// The level asked for
    level: LevelName,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelName {
    Reactive,
    Proactive,
    Adaptive,
    Emergent,
}

impl LevelName {
    const fn name(self) -> &'static str {
        match self {
            Self::Reactive => "reactive",
            Self::Proactive => "proactive",
            Self::Adaptive => "adaptive",
            Self::Emergent => "emergent",
        }
    }
}

pub(crate) fn kill(args: &KillArgs, context: &mut Context<'_>) -> Outcome {
    aimed(&args.target, "kill", "killed", context)
}

pub(crate) fn restart(args: &RestartArgs, context: &mut Context<'_>) -> Outcome {
    aimed(&args.target, "restart", "restarted", context)
}

pub(crate) fn stop(args: &StopArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let answer = client.post(&agent_path(&args.agent, "stop"), &json!({}))?;
    done(&answer, &format!("stopped agent {}", args.agent), context)
}

pub(crate) fn level(args: &LevelArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let body = json!({ "level": args.level.name() });
    let answer = client.post(&agent_path(&args.agent, "level"), &body)?;
    let granted = text(&answer, "granted");
    let said = match granted.as_str() {
        "" => format!("{}: asked for {}", args.agent, args.level.name()),
        granted if granted == args.level.name() => format!("{}: {granted}", args.agent),
        granted => format!("{}: {granted} (asked for {})", args.agent, args.level.name()),
    };
    done(&answer, &said, context)
}

/// Does `verb` to the agent, or to the supervisor if there is no such agent.
fn aimed(target: &Target, verb: &str, past: &str, context: &mut Context<'_>) -> Outcome {
    let client = target.connection.client(context.environment)?;
    if !target.supervisor {
        match client.post(&agent_path(&target.name, verb), &json!({})) {
            Ok(answer) => return done(&answer, &format!("{past} agent {}", target.name), context),
            Err(error) if is_unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let answer = supervisor(&client, target, verb)?;
    done(&answer, &format!("{past} supervisor {}", target.name), context)
}

fn supervisor(client: &Client, target: &Target, verb: &str) -> Result<Value, CliError> {
    let path = format!("/debug/supervisors/{}/{verb}", encode(&target.name));
    client.post(&path, &json!({})).map_err(|error| match error {
        CliError::Problem { status: status @ 404, problem, .. } => CliError::Problem {
            status,
            detail: if target.supervisor {
                format!("no supervisor is at `{}`", clean(&target.name))
            } else {
                format!("neither an agent nor a supervisor is called `{}`", clean(&target.name))
            },
            problem,
            remedy: Some("`nexus tree` shows all paths, `nexus agents` all agents".to_owned()),
        },
        error => error,
    })
}

fn is_unknown(error: &CliError) -> bool {
    let CliError::Problem { status, problem, .. } = error else { return false };
    // A path may be no name that an agent can have.
    *status == 404 || problem["code"] == "bad_name"
}

fn agent_path(agent: &str, verb: &str) -> String {
    format!("/debug/agents/{}/{verb}", encode(agent))
}

fn done(answer: &Value, said: &str, context: &mut Context<'_>) -> Outcome {
    if context.out.is_json() {
        context.out.json(answer)?;
    } else {
        context.out.line(&clean(said))?;
    }
    Ok(Exit::Ok)
}
