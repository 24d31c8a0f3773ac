//! What commands print: aligned text for people, JSON for programs.

mod table;
mod units;
mod value;

use std::io::{self, IsTerminal as _, Write};

use clap::ValueEnum;
use serde_json::Value;

pub(crate) use table::{Cell, Column, Table, cut};
pub(crate) use units::{clock_time, count, duration, rate};
pub(crate) use value::{clean, flat, number, render, text};

use super::environment::Environment;

/// How a command prints its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: the endpoint's own JSON; streams are one JSON value a line.
    Json,
}

/// A meaning that a terminal shows as a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Headings and names of things.
    Strong,
    /// What is secondary.
    Dim,
    Good,
    Warn,
    Bad,
}

impl Tone {
    /// The SGR parameters of ECMA-48.
    const fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }

    /// The tone of an agent's or supervisor's status.
    pub(crate) fn of_status(status: &str) -> Self {
        match status {
            "running" | "completed" | "ok" => Self::Good,
            "restarting" | "starting" | "stopping" | "down" | "degraded" | "waiting" | "paused" => Self::Warn,
            "failed" => Self::Bad,
            "dormant" | "stopped" | "terminated" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

/// The standard output of a command.
pub(crate) struct Out<'a> {
    writer: Box<dyn Write + 'a>,
    pub(crate) format: Format,
    pub(crate) terminal: bool,
    color: bool,
    /// Columns of the terminal; text elsewhere is not cut.
    pub(crate) width: Option<usize>,
}

impl<'a> Out<'a> {
    /// The process's own.
    pub(crate) fn standard(format: Format, environment: &Environment) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = if terminal { ratatui::crossterm::terminal::size().ok() } else { None };
        Self {
            writer: Box::new(io::BufWriter::new(io::stdout().lock())),
            format,
            terminal,
            color: terminal && use_color(environment),
            width: width.map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0),
        }
    }

    #[cfg(test)]
    pub(crate) fn to(writer: &'a mut Vec<u8>, format: Format) -> Self {
        Self::to_writer(writer, format)
    }

    #[cfg(test)]
    pub(crate) fn to_writer(writer: impl Write + 'a, format: Format) -> Self {
        Self { writer: Box::new(writer), format, terminal: false, color: false, width: None }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether text may be coloured: on terminals, unless `NO_COLOR` is set.
    pub(crate) const fn color(&self) -> bool {
        self.color
    }

    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.writer, "{line}")
    }

    /// `value` as JSON, indented.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.writer, value)?;
        writeln!(self.writer)
    }

    /// `value` as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, value)?;
        writeln!(self.writer)
    }

    /// `text` in its tone, where tones can be shown.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.color, tone, text)
    }

    /// `text` in the `at`th of six colours, where colours can be shown: for what is told apart and means nothing by its colour.
    pub(crate) fn hue(&self, at: usize, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", 31 + (at + 5) % 6) } else { text.to_owned() }
    }

    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        for line in table.lines(self.width, &|tone, text| self.tone(tone, text)) {
            writeln!(self.writer, "{line}")?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// `text` in its tone, if `color`.
pub(crate) fn paint(color: bool, tone: Tone, text: &str) -> String {
    if color && tone != Tone::Plain { format!("\x1b[{}m{text}\x1b[0m", tone.sgr()) } else { text.to_owned() }
}

/// Whether a terminal shall be coloured. Source: no-color.org; `TERM=dumb` has no colours.
pub(crate) fn use_color(environment: &Environment) -> bool {
    environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: `NO_COLOR` with any value but the empty one turns colours off.
    #[test]
    fn no_color_is_honoured() {
        assert!(use_color(&Environment::default()));
        assert!(use_color(&Environment::of([("NO_COLOR", "")])));
        assert!(!use_color(&Environment::of([("NO_COLOR", "1")])));
        assert!(!use_color(&Environment::of([("TERM", "dumb")])));
    }
}
