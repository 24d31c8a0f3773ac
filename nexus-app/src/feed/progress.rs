//! Progress for people: a bar for each feed on a terminal, log lines elsewhere.
//!
//! One actor shows all feeds. Supervised by `feeds.sup` as `transient`: it stops when every feed is over, and a restart loses
//! nothing, since all it shows is read from the feeds' slots.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::slot::FeedSlot;
use super::status::{FeedState, FeedStatus};

/// How often bars move.
const BAR_PERIOD: Duration = Duration::from_millis(200);
/// How often a line is logged.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Clone, Debug)]
pub enum ProgressDisplay {
    /// A bar for each feed. Whoever else writes to the terminal uses [`MultiProgress::suspend`].
    Bars(MultiProgress),
    /// A log line for each feed every five seconds, and one when it is over.
    Lines,
}

impl ProgressDisplay {
    /// Bars if standard error is a terminal, else lines.
    #[must_use]
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars(MultiProgress::new()) } else { Self::Lines }
    }
}

/// What the progress actor is told.
#[derive(Debug)]
pub enum ProgressMsg {
    /// Shows what is; the actor sends it to itself.
    Tick,
}

impl ractor::Message for ProgressMsg {}

/// What the progress actor starts with.
#[derive(Clone, Debug)]
pub struct ProgressArgs {
    /// The feeds, in the order they are shown.
    pub slots: Vec<Arc<FeedSlot>>,
    /// How.
    pub display: ProgressDisplay,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgressActor;

/// The feeds that are not over yet.
#[derive(Debug)]
pub struct ProgressState {
    feeds: Vec<Shown>,
    period: Duration,
}

/// A feed, and how it was shown last.
#[derive(Debug)]
struct Shown {
    slot: Arc<FeedSlot>,
    bar: Option<ProgressBar>,
    /// Whether it was shown that it is over.
    is_over: bool,
}

impl Actor for ProgressActor {
    type Msg = ProgressMsg;
    type State = ProgressState;
    type Arguments = ProgressArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        ProgressArgs { slots, display }: ProgressArgs,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (bars, period) = match display {
            ProgressDisplay::Bars(bars) => (Some(bars), BAR_PERIOD),
            ProgressDisplay::Lines => (None, LINE_PERIOD),
        };
        let feeds = slots
            .into_iter()
            .map(|slot| {
                let bar = bars.as_ref().map(|bars| bars.add(new_bar(slot.name())));
                Shown { slot, bar, is_over: false }
            })
            .collect();
        myself.send_after(period, || ProgressMsg::Tick);
        Ok(ProgressState { feeds, period })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProgressMsg::Tick => state.on_tick(&myself),
        }
        Ok(())
    }
}

impl ProgressState {
    fn on_tick(&mut self, myself: &ActorRef<ProgressMsg>) {
        self.feeds.retain_mut(|Shown { slot, bar, is_over }| {
            let status = slot.status();
            let was_over = std::mem::replace(is_over, status.state.is_over());
            match bar {
                Some(bar) => move_bar(bar, &status),
                None if status.state == FeedState::Waiting || (was_over && *is_over) => {}
                // The node that runs it tells.
                None if status.node.is_some() => {}
                None => tracing::info!(feed = %status.name, "{}", Line(&status)),
            }
            // One that its cluster runs may go back.
            !status.state.is_over() || slot.relay().is_some()
        });
        if self.feeds.is_empty() {
            myself.stop(None);
        } else {
            myself.send_after(self.period, || ProgressMsg::Tick);
        }
    }
}

fn new_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(name.to_owned());
    bar.set_style(ProgressStyle::default_spinner());
    bar
}

fn move_bar(bar: &ProgressBar, status: &FeedStatus) {
    if bar.length() != status.bytes_total {
        let template = match status.bytes_total {
            Some(total) => {
                bar.set_length(total);
                "{prefix:16} {bar:30} {percent:>3} %  {msg}  ETA {eta}"
            }
            None => "{prefix:16} {spinner}  {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is written by its rules");
        bar.set_style(style);
    }
    bar.set_position(status.bytes_read);
    let message = Line(status).to_string();
    if status.state.is_over() { bar.abandon_with_message(message) } else { bar.set_message(message) }
}

/// A status in one line.
struct Line<'a>(&'a FeedStatus);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        if let Some(node) = &status.node {
            write!(f, "on {node}: ")?;
        }
        if let Some(replay) = &status.replay {
            let done = status.confirmed.saturating_sub(replay.from);
            let all = replay.until.saturating_sub(replay.from);
            write!(f, "replaying after {}: {done} of {all}; ", replay.cause)?;
        }
        match (status.state, &status.error) {
            (FeedState::Failed, Some(error)) => write!(f, "failed: {error}; ")?,
            (FeedState::Completed, _) => write!(f, "completed: ")?,
            (FeedState::Paused, _) => write!(f, "paused: ")?,
            _ => {}
        }
        write!(
            f,
            "{} records, {:.0} a second, {} requests",
            status.records, status.records_per_s, status.confirmed
        )?;
        if let (Some(total), false) = (status.bytes_total.filter(|total| *total > 0), status.state.is_over())
        {
            let tenths = status.bytes_read.saturating_mul(1000) / total;
            write!(f, ", {}.{} % read", tenths / 10, tenths % 10)?;
        }
        for (count, what) in [
            (status.malformed, "malformed"),
            (status.late, "late"),
            (status.hurried, "hurried"),
            (status.dead_lettered, "dead-lettered"),
            (status.behind, "agents behind"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "progress_test.rs"]
mod tests;
