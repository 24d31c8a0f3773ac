//! What an operator sees of a node from its start to its end: the tree, the address, the progress of the feeds, the reports,
//! and a last word.

use std::io::{self, IsTerminal as _};

use std::time::Duration;

use nexus_actors::supervision::ExitReason;
use serde_json::{Value, json};

use super::exit::Exit;
use super::output::{Cell, Column, Format, Out, Table, Tone, count};
use super::run::{Announced, RunOptions};
use super::{CliError, Context, Outcome};
use crate::boot::{self, BootError, FeedsEnd, RunningNode};
use crate::debug::tree_text;
use crate::feed::{FeedStatus, ProgressDisplay};
use crate::report::{self, Report, ReportConfig};
use crate::topology::Topology;

/// Levels of the tree that are shown at the start.
const TREE_DEPTH: usize = 5;
/// Children shown of each supervisor.
const TREE_CHILDREN: usize = 12;
/// How often it is looked whether the endpoint is up.
const LOOK: Duration = Duration::from_millis(20);
/// How long the results wait for agents that are still busy.
const REST_WAIT: Duration = Duration::from_secs(1);

/// Runs the node to its end.
pub(super) async fn run(topology: Topology, context: &mut Context<'_>, options: RunOptions) -> Outcome {
    let reports = topology.report.clone();
    let limit = topology.node.shutdown;
    let display = if options.progress.is_hidden() {
        ProgressDisplay::Lines
    } else {
        ProgressDisplay::Bars(options.progress.clone())
    };
    let behaviors = context.behaviors.clone();
    let failed = |error: BootError| CliError::Tree(with_causes(&error));
    let node = boot::prepare(topology, behaviors, display).await.map_err(failed)?;
    let mut announced = None;
    let ended = match come_up(&node, &mut announced, &options).await.map_err(failed)? {
        true => watch(&node, &reports, context, &options).await,
        false => Ok(Exit::Ok),
    };
    // The feeds' bars must not be drawn over what is said from here on.
    let stopped = node.shutdown(limit).await;
    if stopped.is_none() {
        options.say(&format!(
            "the tree had not stopped within {limit:?} (node.shutdown): what was left was killed"
        ));
        return ended.map(|_| Exit::Failed);
    }
    ended
}

/// Until the tree is up; false if the node was told to stop before. Its endpoint may be up long before agents that wait for other nodes:
/// then other commands find it.
async fn come_up(
    node: &RunningNode,
    announced: &mut Option<Announced>,
    options: &RunOptions,
) -> Result<bool, BootError> {
    let up = node.come_up();
    tokio::pin!(up);
    loop {
        tokio::select! {
            biased;
            () = options.stop.cancelled() => return Ok(false),
            up = &mut up => {
                up?;
                if announced.is_none() {
                    *announced = announce(node, options);
                }
                introduce(node, options);
                return Ok(true);
            }
            () = tokio::time::sleep(LOOK), if announced.is_none() => {
                if node.address().is_some() {
                    *announced = announce(node, options);
                }
            }
        }
    }
}

/// Until the node is told to stop, its tree gives up, or, if so wanted, its feeds are over.
async fn watch(
    node: &RunningNode,
    reports: &[ReportConfig],
    context: &mut Context<'_>,
    options: &RunOptions,
) -> Outcome {
    let mut feeds_left = true;
    loop {
        tokio::select! {
            biased;
            () = options.stop.cancelled() => return Ok(Exit::Ok),
            () = node.asked_to_leave() => {
                options.say("leaving the cluster, and stopping in order");
                return Ok(Exit::Ok);
            }
            reason = node.exited() => return Err(gave_up(&reason)),
            end = node.feeds_over(), if feeds_left => {
                feeds_left = false;
                show_results(node, reports, &end, context, options).await?;
                if options.exit_when_done {
                    return match end.failed.is_empty() {
                        true => Ok(Exit::Ok),
                        false => Ok(Exit::Failed),
                    };
                }
                options.say("all feeds are over; the node stays up, Ctrl-C stops it");
            }
        }
    }
}

fn gave_up(reason: &ExitReason) -> CliError {
    let mut lines = reason.chain().into_iter();
    let mut text = format!("the tree ended: {}", lines.next().unwrap_or_default());
    for line in lines {
        text.push_str(&format!("\n  because: {line}"));
    }
    CliError::Tree(text)
}

/// Leaves the address of the endpoint for other commands.
fn announce(node: &RunningNode, options: &RunOptions) -> Option<Announced> {
    let url = format!("http://{}", node.address()?);
    let cluster = node.cluster().map(|cluster| cluster.config().name.as_str());
    match options.announce(node.node().name(), &url, cluster, node.token().cloned()) {
        Ok(announced) => Some(announced),
        Err(error) => {
            let remedy = "other commands need --url and a token (debug.token)";
            options.say(&format!("the runtime file cannot be written: {error}; {remedy}"));
            None
        }
    }
}

/// Shows the tree and where to look. Only people on a terminal are shown the token: elsewhere the standard error is a log, and the
/// runtime file, which only this user can read, has it.
fn introduce(node: &RunningNode, options: &RunOptions) {
    if let Some((cluster, address)) = node.cluster().and_then(|cluster| Some((cluster, cluster.listening()?)))
    {
        let name = &cluster.config().name;
        options.say(&format!("cluster         {name} at {address}; `nexus members` shows its nodes"));
    }
    if let Some(address) = node.clients_address() {
        options.say(&format!("clients         ws://{address}{}", nexus_client::protocol::PATH));
    }
    let Some(address) = node.address() else {
        options.say("no debug endpoint (debug.enabled = false)");
        return;
    };
    let url = format!("http://{address}");
    if io::stderr().is_terminal() {
        options.say(&tree_text(node.node(), node.root().view(), TREE_DEPTH, TREE_CHILDREN));
        options.say(&format!("debug endpoint  {url}"));
        if let Some(token) = node.token() {
            // The page reads the token from the fragment, which browsers keep to themselves.
            options.say(&format!("token           {0}\npage            {url}/#token={0}", token.expose()));
        }
    } else {
        tracing::info!(url, node = &**node.node().name(), "node is up");
    }
}

async fn show_results(
    node: &RunningNode,
    reports: &[ReportConfig],
    end: &FeedsEnd,
    context: &mut Context<'_>,
    options: &RunOptions,
) -> Result<(), CliError> {
    let statuses: Vec<FeedStatus> = node.feeds().iter().map(|slot| slot.status()).collect();
    let mut made = Vec::with_capacity(reports.len());
    for config in reports {
        made.push(report::make(node.node(), config).await);
    }
    for (feed, reason) in &end.failed {
        options.say(&format!("feed {feed} failed: {reason}"));
    }
    // The reports have just asked. Agents that never rest by themselves are counted as they are.
    let _ = tokio::time::timeout(REST_WAIT, node.at_rest()).await;
    let tally = node.node().tally();
    let refused = node.node().refused();
    if refused > 0 {
        let events = "`nexus events --event agent.request_refused` names some";
        options.say(&format!("agents refused {} requests of those they processed: {events}", count(refused)));
    }
    let shown = options.progress.suspend(|| {
        if options.format == Format::Json {
            context.out.json(
                &json!({ "feeds": statuses, "messages": tally, "refused": refused, "reports": made }),
            )?;
        } else {
            for status in &statuses {
                context.out.line(&summary(status))?;
            }
            for report in &made {
                write_report(&mut context.out, report)?;
            }
        }
        context.out.flush()
    });
    shown.map_err(CliError::Output)
}

/// One line about a feed that is over.
fn summary(status: &FeedStatus) -> String {
    let took = match (status.started_unix_ms, status.finished_unix_ms) {
        (Some(started), Some(finished)) => Duration::from_millis(finished.saturating_sub(started)),
        _ => Duration::ZERO,
    };
    let state = serde_json::to_value(status.state).unwrap_or_default();
    format!(
        "feed {} {}: {} records in {took:.2?} ({} records/s), {} requests, {} malformed, {} late, {} dead-lettered",
        status.name,
        state.as_str().unwrap_or_default(),
        count(status.records),
        count(whole(status.records_per_s)),
        count(status.confirmed),
        count(status.malformed),
        count(status.late),
        count(status.dead_lettered),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative and far below 2^64"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn write_report(out: &mut Out<'_>, report: &Report) -> io::Result<()> {
    out.line("")?;
    let title = out.tone(Tone::Strong, &report.title);
    out.line(&title)?;
    let is_number = |at: usize| report.rows.iter().all(|row| row[at].is_number() || row[at].is_null());
    let columns: Vec<Column> = report
        .columns
        .iter()
        .enumerate()
        .map(|(at, heading)| match is_number(at) {
            true => Column::right(heading.clone()),
            false => Column::left(heading.clone()),
        })
        .collect();
    let mut table = Table::new(columns);
    for row in &report.rows {
        table.row(row.iter().map(|value| Cell::new(cell(value))).collect::<Vec<_>>());
    }
    out.table(&table)?;
    for (agent, reason) in &report.silent {
        out.line(&format!("{agent} did not answer: {reason}"))?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => count(whole),
            (None, Some(float)) if number.is_f64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The error and its causes, one a line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_actors::supervision::Escalation;

    use super::*;

    /// Goal: the last word has the whole chain of reasons, outermost first.
    #[test]
    fn the_last_word_tells_the_chain() {
        let inner = Escalation {
            supervisor: "nexus/agents.sup".into(),
            intensity: 1,
            period_ms: 5000,
            child: "kv/a".into(),
            reason: ExitReason::Error("boom".into()),
        };
        let outer = Escalation {
            supervisor: "nexus".into(),
            intensity: 0,
            period_ms: 5000,
            child: "agents.sup".into(),
            reason: ExitReason::Escalated(Arc::new(inner)),
        };
        insta::assert_snapshot!(gave_up(&ExitReason::Escalated(Arc::new(outer))).to_string(), @r"
        the tree ended: supervisor `nexus` gave up: more than 0 restarts within 5000 ms; the last exit was that of `agents.sup`
          because: supervisor `nexus/agents.sup` gave up: more than 1 restarts within 5000 ms; the last exit was that of `kv/a`
          because: error: boom
        ");
    }

    /// Goal: numbers stand on the right and are readable, what is missing is a dash.
    #[test]
    fn reports_are_tables() {
        let report = Report {
            title: "Carriers".into(),
            columns: vec!["carrier".into(), "flights".into(), "mean".into()],
            rows: vec![
                vec![json!("UA"), json!(12345), json!(-1.25)],
                vec![json!("HA"), json!(7), Value::Null],
            ],
            silent: vec![("carrier/XX".into(), "no reply within 10 ms".into())],
        };
        let mut written = Vec::new();
        write_report(&mut Out::to(&mut written, Format::Text), &report).unwrap();
        insta::assert_snapshot!(String::from_utf8(written).unwrap(), @r"

        Carriers
        carrier  flights  mean
        UA        12,345  -1.2
        HA             7     -
        carrier/XX did not answer: no reply within 10 ms
        ");
    }
}
