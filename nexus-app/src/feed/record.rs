//! One record, borrowed: the cells of the columns that the mapping uses.

use std::fmt::Write;

use super::error::Malformed;
use super::time::clock_minutes;

/// A range of a record's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Records are at most 16 MiB long, so that positions fit 32 bits.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let narrow = |position| u32::try_from(position).expect("a record is at most 16 MiB long");
        Self { start: narrow(start), end: narrow(end) }
    }
}

/// The content of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    /// No value.
    Na,
    /// Text, from a CSV field or a JSON string.
    Text(Span),
    /// A JSON number without fraction.
    Int(i64),
    /// A JSON number with fraction or exponent.
    Float(f64),
    /// JSON's `true` or `false`.
    Bool(bool),
}

/// The cells by slot, and the text they point into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    text: &'a str,
    cells: &'a [Cell],
}

impl<'a> Record<'a> {
    pub(crate) const fn new(text: &'a str, cells: &'a [Cell]) -> Self {
        Self { text, cells }
    }

    pub(crate) fn is_na(self, slot: usize) -> bool {
        matches!(self.cells[slot], Cell::Na)
    }

    /// The text of a text cell.
    pub(crate) fn str(self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    pub(crate) fn cell(self, slot: usize) -> Cell {
        self.cells[slot]
    }

    /// Appends the cell as text; `false` if it is NA.
    pub(crate) fn write_text(self, slot: usize, out: &mut String) -> bool {
        let written = match self.cells[slot] {
            Cell::Na => return false,
            Cell::Text(span) => {
                out.push_str(self.str(span));
                Ok(())
            }
            Cell::Int(value) => write!(out, "{value}"),
            Cell::Float(value) => write!(out, "{value}"),
            Cell::Bool(value) => write!(out, "{value}"),
        };
        written.expect("writing to a string does not fail");
        true
    }

    /// The cell as a whole number; `None` if NA.
    pub(crate) fn int(self, slot: usize) -> Result<Option<i64>, Malformed> {
        match self.cells[slot] {
            Cell::Na => Ok(None),
            Cell::Int(value) => Ok(Some(value)),
            Cell::Text(span) => match self.str(span).parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.not_a("whole number", slot)),
            },
            Cell::Float(_) | Cell::Bool(_) => Err(self.not_a("whole number", slot)),
        }
    }

    /// The cell as a finite number; `None` if NA.
    pub(crate) fn float(self, slot: usize) -> Result<Option<f64>, Malformed> {
        let value = match self.cells[slot] {
            Cell::Na => return Ok(None),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the documented reading of a whole number as a float"
            )]
            Cell::Int(value) => Some(value as f64),
            Cell::Float(value) => Some(value),
            Cell::Text(span) => self.str(span).parse::<f64>().ok(),
            Cell::Bool(_) => None,
        };
        match value {
            Some(value) if value.is_finite() => Ok(Some(value)),
            _ => Err(self.not_a("finite number", slot)),
        }
    }

    /// The cell as a truth value; `None` if NA.
    pub(crate) fn bool(self, slot: usize) -> Result<Option<bool>, Malformed> {
        match self.cells[slot] {
            Cell::Na => Ok(None),
            Cell::Bool(value) => Ok(Some(value)),
            Cell::Int(1) => Ok(Some(true)),
            Cell::Int(0) => Ok(Some(false)),
            Cell::Text(span) => match self.str(span) {
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                _ => Err(self.not_a("truth value (`true`, `false`, `1` or `0`)", slot)),
            },
            Cell::Int(_) | Cell::Float(_) => {
                Err(self.not_a("truth value (`true`, `false`, `1` or `0`)", slot))
            }
        }
    }

    /// The cell as a clock reading in minutes since midnight; `None` if NA.
    pub(crate) fn clock(self, slot: usize) -> Result<Option<u16>, Malformed> {
        match self.int(slot) {
            Ok(None) => Ok(None),
            Ok(Some(reading)) => match clock_minutes(reading) {
                Some(minutes) => Ok(Some(minutes)),
                None => Err(self.not_a("clock reading (hours × 100 + minutes)", slot)),
            },
            Err(_) => Err(self.not_a("clock reading (hours × 100 + minutes)", slot)),
        }
    }

    /// The reason without the column's name, which the mapping adds.
    fn not_a(self, what: &str, slot: usize) -> Malformed {
        let mut text = String::new();
        self.write_text(slot, &mut text);
        Malformed(format!("{} is not a {what}", excerpt(&text)))
    }
}

/// The beginning of `text` for a message, quoted; control characters are escaped.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let cut: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() { format!("`{cut}…`") } else { format!("`{cut}`") }
}
