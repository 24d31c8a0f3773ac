//! `nexus top`: the node live in the terminal.
//!
//! ```text
//! poll.rs ─ Sample ─▶ state.rs (pure) ─▶ view.rs ─▶ terminal
//!    ▲                    ▲
//!    └────── Query ───────┴── keys
//! ```

mod column;
mod poll;
mod sample;
mod state;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::column::Column;
use self::poll::Poller;
use self::sample::{Query, Sample};
use self::state::{State, Wish};
use super::connection::Connection;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Cell, Column as TextColumn, Table, Tone, count, duration, rate};
use super::{Context, Outcome, ask, signals};

/// How long a look at the keyboard waits; also the longest delay of a new look on the screen.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Watch a node live in the terminal
///
/// Elsewhere than on a terminal, and with --once or -o json, it prints one picture and ends. The rates need two looks, so that
/// takes one interval.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Keys: q quit, arrows PgUp PgDn move, s S sort by the next, previous column, r reverse,
      / filter, p pause, ? help

Examples:
  nexus top                               Watch; the longest inboxes first
  nexus top --sort rate --filter carrier/
  nexus top --once --limit 20             One picture, for scripts and logs")]
pub(crate) struct TopArgs {
    /// Time between looks, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// The column to sort by at first
    #[arg(long, value_name = "COLUMN", default_value = "queued")]
    sort: Column,
    /// Show only agents whose name contains this at first
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Print one picture and end
    #[arg(long)]
    once: bool,
    /// Agents in that picture at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=state::ROWS_MAX))]
    limit: u64,
    #[command(flatten)]
    connection: Connection,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = ask::parse_timeout(text)?;
    if interval < Duration::from_millis(100) {
        Err("it must be at least 100ms".to_owned())
    } else {
        Ok(interval)
    }
}

pub(crate) fn run(args: &TopArgs, context: &mut Context<'_>) -> Outcome {
    let client = args.connection.client(context.environment)?;
    let mut state = State::new(args.sort, args.filter.clone());
    if args.once || context.out.is_json() || !context.out.terminal {
        return once(args, &client, state, context);
    }
    // A node that is not there from the beginning is an error like any command's; later it is waited for.
    Sample::take(&client, &Query { limit: 1, ..state.query() })?;
    let connection = args.connection.clone();
    let poller = Poller::start(client, connection, context.environment.clone(), args.interval, state.query());
    let poller = poller.map_err(CliError::system("cannot start a thread"))?;
    let told_to_end = watch_signals()?;
    let mut terminal = ratatui::try_init().map_err(CliError::system("cannot use the terminal"))?;
    let watched = watch(&mut terminal, &mut state, &poller, &told_to_end, context.out.color());
    ratatui::restore();
    watched.map(|()| Exit::Ok)
}

/// The first signal ends the watch in order, the second at once; either way the terminal is as before.
fn watch_signals() -> Result<Arc<AtomicBool>, CliError> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    let flag = told_to_end.clone();
    let watching = signals::watch(
        move |_| flag.store(true, Ordering::Relaxed),
        |_| {
            ratatui::restore();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        },
    );
    watching.map_err(CliError::system("cannot handle signals"))?;
    Ok(told_to_end)
}

fn watch(
    terminal: &mut DefaultTerminal,
    state: &mut State,
    poller: &Poller,
    told_to_end: &AtomicBool,
    color: bool,
) -> Result<(), CliError> {
    let broken = || CliError::system("cannot use the terminal");
    while !told_to_end.load(Ordering::Relaxed) {
        terminal.draw(|frame| view::draw(frame, state, color)).map_err(broken())?;
        if event::poll(KEY_WAIT).map_err(broken())?
            && let Event::Key(key) = event::read().map_err(broken())?
            && key.kind != KeyEventKind::Release
        {
            match state.key(key) {
                Wish::Quit => return Ok(()),
                // A poller that is gone shows below.
                Wish::Look => drop(poller.queries.send(state.query())),
                Wish::Nothing => {}
            }
        }
        loop {
            match poller.looks.try_recv() {
                Ok((at, found)) => state.looked(at, found),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    let source = std::io::Error::other("its thread ended");
                    return Err(CliError::System { what: "cannot look at the node", source });
                }
            }
        }
    }
    Ok(())
}

fn once(
    args: &TopArgs,
    client: &super::client::Client,
    mut state: State,
    context: &mut Context<'_>,
) -> Outcome {
    let query = Query { limit: args.limit, ..state.query() };
    let started = Instant::now();
    state.looked(started.elapsed(), Ok(Sample::take(client, &query)?));
    thread::sleep(args.interval);
    state.looked(started.elapsed(), Ok(Sample::take(client, &query)?));
    if context.out.is_json() {
        let mut value = serde_json::to_value(&state.sample).expect("a sample is plain data");
        value["per_second"] = state.node_per_second.into();
        let agents = value["agents"].as_array_mut().expect("agents are a list");
        // The sample has them in the endpoint's order, the rows in that of the screen.
        let rates = |name: &str| state.rows.iter().find(|row| row.agent.name == name)?.per_second;
        for agent in agents {
            agent["per_second"] = agent["name"].as_str().and_then(rates).into();
        }
        context.out.json(&value)?;
    } else {
        for line in summary(&state) {
            context.out.line(&line)?;
        }
        context.out.table(&table(&state))?;
    }
    Ok(Exit::Ok)
}

fn summary(state: &State) -> Vec<String> {
    let node = &state.sample.node;
    let up = duration(Duration::from_millis(node.uptime_ms));
    let mut totals = format!("agents {}", count(node.agents));
    if let Some(tally) = &state.sample.tally {
        let per_second = state.node_per_second.map_or_else(|| "-".to_owned(), rate);
        let (queued, handled, rejected) =
            (count(tally.queued), count(tally.processed), count(tally.rejected));
        totals
            .push_str(&format!("  queued {queued}  handled {handled}, {per_second}/s  rejected {rejected}"));
    }
    totals.push_str(&format!("  dead letters {}", count(state.sample.dead_letters.values().sum())));
    let mut lines = vec![format!("node {}  up {up}  {}", node.node, node.status), totals];
    lines.extend(state.sample.feeds.iter().map(|feed| {
        let progress = feed.progress.map(|done| format!("  {:.0}%", done * 100.0)).unwrap_or_default();
        let records = count(feed.records);
        format!(
            "feed {}  {}{progress}  {records} records, {}/s",
            feed.name,
            feed.state,
            rate(feed.records_per_s)
        )
    }));
    lines.push(String::new());
    lines.iter().map(|line| super::output::clean(line)).collect()
}

fn table(state: &State) -> Table {
    let column = |column: Column| {
        if column.is_number() {
            TextColumn::right(column.heading())
        } else {
            TextColumn::left(column.heading())
        }
    };
    let mut table = Table::new(Column::ALL.map(column));
    for row in &state.rows {
        table.row(Column::ALL.map(|column| {
            let (text, tone): (String, Tone) = view::cell(column, row);
            Cell::toned(text, tone)
        }));
    }
    table
}
