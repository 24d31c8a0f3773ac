//! How `nexus top` looks.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Row as TableRow, Table, TableState};

use super::column::Column;
use super::sample::FeedRow;
use super::state::{Mode, Row, State};
use crate::cli::output::{Tone, clean, count, duration, rate};

/// Feeds shown in the header; the rest is counted.
const FEEDS_MAX: usize = 4;
/// Width of a feed's bar.
const BAR: usize = 24;

const HELP: &str = "\
q Esc Ctrl-C   quit
↑ ↓ PgUp PgDn  move            Home End  first, last
s → / S ←      sort by the next, previous column
r              reverse the order
/              filter by a part of the name; Enter keeps it, Esc drops it
p Space        pause
?              this help

QUEUED     messages waiting or being handled
PER S      messages handled per second; sorted by it, the agents
           shown are those that have handled most
REJECTED   refused because the inbox was full
DEAD       accepted and not handled to the end
";

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, color: bool) {
    let header = header(state, color);
    let height = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([Constraint::Length(height), Constraint::Min(2), Constraint::Length(1)]);
    let [top, middle, bottom] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(header), top);
    state.page = usize::from(middle.height.saturating_sub(2)).max(1);
    table(frame, middle, state, color);
    frame.render_widget(Paragraph::new(footer(state, color)), bottom);
    if state.mode == Mode::Help {
        help(frame);
    }
}

fn style(tone: Tone, color: bool) -> Style {
    let colored = |hue| if color { Style::new().fg(hue) } else { Style::new() };
    match tone {
        Tone::Plain => Style::new(),
        Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
        Tone::Dim => Style::new().add_modifier(Modifier::DIM),
        Tone::Good => colored(Color::Green),
        Tone::Warn => colored(Color::Yellow),
        Tone::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// A counter that should be 0.
const fn alarm(number: u64) -> Tone {
    if number == 0 { Tone::Plain } else { Tone::Warn }
}

fn header(state: &State, color: bool) -> Vec<Line<'static>> {
    let span = |tone: Tone, text: String| Span::styled(text, style(tone, color));
    let sample = &state.sample;
    let health = &sample.node;
    let mut first = vec![
        span(Tone::Strong, format!("nexus {}", clean(&health.node))),
        span(Tone::Dim, format!("  {}", clean(&health.version))),
        span(Tone::Plain, format!("  up {}  ", duration(Duration::from_millis(health.uptime_ms)))),
    ];
    if state.paused {
        first.push(span(Tone::Warn, "paused  ".to_owned()));
    }
    if state.trouble.is_none() {
        first.push(span(Tone::of_status(&health.status), clean(&health.status)));
    }
    let dead: u64 = sample.dead_letters.values().sum();
    let reasons = sample.dead_letters.iter().filter(|(_, number)| **number > 0);
    let reasons: Vec<String> =
        reasons.map(|(reason, number)| format!("{} {reason}", count(*number))).collect();
    let reasons =
        if reasons.is_empty() { String::new() } else { format!(" ({})", clean(&reasons.join(", "))) };
    let mut second = vec![span(Tone::Plain, format!("agents {}", count(health.agents)))];
    if let Some(tally) = &sample.tally {
        let per_second = state.node_per_second.map_or_else(|| "-".to_owned(), rate);
        second.push(span(Tone::Plain, format!("  queued {}", count(tally.queued))));
        second.push(span(Tone::Plain, format!("  handled {}, {per_second}/s", count(tally.processed))));
        second.push(span(alarm(tally.rejected), format!("  rejected {}", count(tally.rejected))));
    }
    second.push(span(alarm(dead), format!("  dead letters {}{reasons}", count(dead))));
    let mut lines = vec![Line::from(first), Line::from(second)];
    lines.extend(sample.feeds.iter().take(FEEDS_MAX).map(|feed| feed_line(feed, color)));
    if sample.feeds.len() > FEEDS_MAX {
        let more = format!("… {} more feeds: nexus feeds", sample.feeds.len() - FEEDS_MAX);
        lines.push(Line::from(span(Tone::Dim, more)));
    }
    // The empty line above the table has room for a long address.
    lines.push(match &state.trouble {
        Some(trouble) => Line::from(span(Tone::Bad, format!("{}; trying again", clean(trouble)))),
        None => Line::default(),
    });
    lines
}

fn feed_line(feed: &FeedRow, color: bool) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("feed {}  ", clean(&feed.name)))];
    if let Some(progress) = feed.progress {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let filled = ((progress * BAR as f64) as usize).min(BAR);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        spans.push(Span::styled(bar, style(Tone::of_status(&feed.state), color)));
        spans.push(Span::raw(format!(" {:>3.0}%  ", progress * 100.0)));
    }
    spans.push(Span::styled(clean(&feed.state), style(Tone::of_status(&feed.state), color)));
    spans.push(Span::raw(format!("  {} records, {}/s", count(feed.records), rate(feed.records_per_s))));
    if feed.malformed > 0 {
        let malformed = format!("  {} malformed", count(feed.malformed));
        spans.push(Span::styled(malformed, style(Tone::Warn, color)));
    }
    Line::from(spans)
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &State, color: bool) {
    let heading = Column::ALL.map(|column| {
        let mark = match (column == state.sort, state.descending) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        aligned(column, format!("{}{mark}", column.heading()), Style::new())
    });
    let heading = TableRow::new(heading).style(style(Tone::Strong, color).add_modifier(Modifier::UNDERLINED));
    // Stale rows step back.
    let tone = if state.trouble.is_some() { Tone::Dim } else { Tone::Plain };
    let rows = state.rows.iter().map(|row| {
        let cells = Column::ALL.map(|column| {
            let (text, tone) = cell(column, row);
            aligned(column, text, style(tone, color))
        });
        TableRow::new(cells)
    });
    let names = state.rows.iter().map(|row| row.agent.name.chars().count()).max().unwrap_or(0);
    let names = u16::try_from(names.clamp(16, 48)).unwrap_or(48);
    let widths = Column::ALL.map(|column| match column {
        Column::Name => Constraint::Length(names),
        Column::Behavior | Column::Processed => Constraint::Length(12),
        Column::Status | Column::Rejected | Column::Restarts => Constraint::Length(9),
        Column::Queued | Column::DeadLettered | Column::Uptime => Constraint::Length(8),
        Column::Rate => Constraint::Length(7),
    });
    let table = Table::new(rows, widths)
        .header(heading)
        .style(style(tone, color))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(Some(state.selected));
    frame.render_stateful_widget(table, area, &mut selection);
}

fn aligned(column: Column, text: String, style: Style) -> Line<'static> {
    let line = Line::styled(text, style);
    if column.is_number() { line.right_aligned() } else { line }
}

/// What stands in a cell.
pub(super) fn cell(column: Column, row: &Row) -> (String, Tone) {
    let agent = &row.agent;
    match column {
        Column::Name => (clean(&agent.name), Tone::Plain),
        Column::Behavior => (clean(&agent.behavior), Tone::Plain),
        Column::Status => (clean(&agent.status), Tone::of_status(&agent.status)),
        Column::Queued => {
            let tight = agent.inbox_limit > 0 && agent.queued.saturating_mul(2) >= agent.inbox_limit;
            (count(agent.queued), if tight { Tone::Warn } else { Tone::Plain })
        }
        Column::Rate => (row.per_second.map_or_else(|| "-".to_owned(), rate), Tone::Plain),
        Column::Processed => (count(agent.processed), Tone::Plain),
        Column::Rejected => (count(agent.rejected), alarm(agent.rejected)),
        Column::DeadLettered => (count(agent.dead_lettered), alarm(agent.dead_lettered)),
        Column::Restarts => (count(agent.restarts), alarm(agent.restarts)),
        Column::Uptime if agent.uptime_ms == 0 => (String::new(), Tone::Plain),
        Column::Uptime => (duration(Duration::from_millis(agent.uptime_ms)), Tone::Plain),
    }
}

fn footer(state: &State, color: bool) -> Line<'static> {
    if state.mode == Mode::Filter {
        return Line::from(format!("/{}_   Enter keeps it, Esc drops it", state.filter));
    }
    let shown = if state.filter.is_empty() {
        format!("{} of {}", count(state.rows.len() as u64), count(state.sample.matching))
    } else {
        format!(
            "{} of {} like \"{}\"",
            count(state.rows.len() as u64),
            count(state.sample.matching),
            state.filter
        )
    };
    Line::styled(
        format!("{shown}   q quit  s sort  r reverse  / filter  p pause  ? help"),
        style(Tone::Dim, color),
    )
}

fn help(frame: &mut Frame<'_>) {
    let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX);
    let widest = HELP.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let widest = u16::try_from(widest).unwrap_or(u16::MAX);
    let area = frame.area().centered(Constraint::Max(widest + 4), Constraint::Max(lines + 2));
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(HELP).block(Block::bordered().title(" nexus top ").padding(Padding::horizontal(1))),
        area,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use serde_json::{Value, json};

    use super::super::sample::Sample;
    use super::*;

    fn answers(seconds: u64) -> [Value; 4] {
        let agent = |name: &str, status: &str, queued: u64, processed: u64, restarts: u64| {
            json!({
                "name": name, "behavior": name.split('/').next(), "status": status, "queued": queued, "inbox_limit": 1024,
                "processed": processed * seconds, "rejected": 0, "dead_lettered": restarts, "restarts": restarts,
                "uptime_ms": if status == "running" { seconds * 1000 } else { 0 },
            })
        };
        [
            json!({ "node": "airspace", "version": "0.1.0", "status": "ok", "uptime_ms": seconds * 1000, "agents": 4164 }),
            json!({
                "agents": [
                    agent("carrier/UA", "running", 700, 5800, 0),
                    agent("aircraft/N14228", "running", 3, 120, 2),
                    agent("airport/EWR", "down", 0, 12_000, 1),
                ],
                "total": 4164,
                "tally": { "sent": 18_000, "processed": 17_920 * seconds, "rejected": 0, "dead_lettered": 3, "queued": 703 },
            }),
            json!({ "feeds": [
                { "name": "flights", "state": "running", "records": 168_388, "records_per_s": 98_765.4, "malformed": 2,
                  "bytes_read": 61, "bytes_total": 100 },
                { "name": "stdin", "state": "completed", "records": 10, "records_per_s": 0.0 },
            ]}),
            json!({ "counts": { "crashed": 3, "expired": 0 } }),
        ]
    }

    fn watched() -> State {
        let mut state = State::new(Column::Queued, String::new());
        for seconds in [60, 62] {
            let [health, agents, feeds, letters] = answers(seconds);
            let sample = Sample::of(&health, &agents, &feeds, &letters);
            state.looked(Duration::from_secs(seconds), Ok(sample));
        }
        state
    }

    fn screen(state: &mut State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, true)).unwrap();
        terminal.backend().to_string()
    }

    /// Goal: the whole screen, with rates from two looks.
    #[test]
    fn the_screen() {
        insta::assert_snapshot!(screen(&mut watched(), 110, 12));
    }

    /// Goal: a node that went away keeps its last picture and says so.
    #[test]
    fn the_screen_without_a_node() {
        let mut state = watched();
        state.looked(Duration::from_secs(63), Err("no node answers at http://127.0.0.1:7070".to_owned()));
        insta::assert_snapshot!(screen(&mut state, 110, 10));
    }

    /// Goal: help and filter; and no terminal is too small.
    #[test]
    fn other_modes() {
        let mut state = watched();
        let mut press = |code| state.key(KeyEvent::new(code, KeyModifiers::NONE));
        press(KeyCode::Char('/'));
        press(KeyCode::Char('u'));
        let filtered = screen(&mut state, 60, 10);
        assert!(filtered.contains("/u_"), "{filtered}");
        state.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
        state.key(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::NONE));
        insta::assert_snapshot!(screen(&mut state, 80, 20));
        for (width, height) in [(1, 1), (5, 2), (20, 3)] {
            screen(&mut state, width, height);
        }
    }

    /// Goal: without colours, nothing is coloured.
    #[test]
    fn no_color() {
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).unwrap();
        terminal.draw(|frame| draw(frame, &mut watched(), false)).unwrap();
        let cells = terminal.backend().buffer().content();
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }
}
