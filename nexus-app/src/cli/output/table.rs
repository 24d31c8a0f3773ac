//! Aligned columns.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

use super::{Tone, clean};

/// Spaces between columns.
const GAP: usize = 2;
/// A terminal too narrow for a table does not squeeze its widest column below this.
const SQUEEZED_MIN: usize = 12;

/// A column's heading, and where its cells stand.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    heading: Cow<'static, str>,
    right: bool,
}

impl Column {
    pub(crate) fn left(heading: impl Into<Cow<'static, str>>) -> Self {
        Self { heading: heading.into(), right: false }
    }

    /// For numbers.
    pub(crate) fn right(heading: impl Into<Cow<'static, str>>) -> Self {
        Self { heading: heading.into(), right: true }
    }
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: clean(text.as_ref()), tone }
    }

    pub(crate) fn status(status: &str) -> Self {
        Self::toned(status, Tone::of_status(status))
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// A table with a heading.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, heading first, without trailing spaces. If `width` is less than they need, the last left-standing column is
    /// cut, since that is where free text stands.
    pub(crate) fn lines(&self, width: Option<usize>, paint: &dyn Fn(Tone, &str) -> String) -> Vec<String> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.heading.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let needed = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let elastic = self.columns.iter().rposition(|column| !column.right);
        if let (Some(width), Some(elastic)) = (width, elastic)
            && needed > width
        {
            let cut = widths[elastic].saturating_sub(needed - width);
            widths[elastic] = cut.max(SQUEEZED_MIN.min(widths[elastic]));
        }
        let heading: Vec<Cell> =
            self.columns.iter().map(|column| Cell::toned(&column.heading, Tone::Strong)).collect();
        std::iter::once(&heading).chain(&self.rows).map(|row| self.line(row, &widths, paint)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: &dyn Fn(Tone, &str) -> String) -> String {
        let mut line = String::new();
        let last_filled = row.iter().rposition(|cell| !cell.text.is_empty());
        for (index, ((cell, column), width)) in row.iter().zip(&self.columns).zip(widths).enumerate() {
            if last_filled.is_none_or(|last| index > last) {
                break;
            }
            if index > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let text = cut(&cell.text, *width);
            let padding = " ".repeat(width - text.width());
            if column.right {
                line.push_str(&padding);
            }
            line.push_str(&paint(cell.tone, &text));
            if !column.right && last_filled != Some(index) {
                line.push_str(&padding);
            }
        }
        line
    }
}

/// `text` in at most `width` columns, with an ellipsis where something is left out.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if kept.width() >= width {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([Column::left("NAME"), Column::right("QUEUED"), Column::left("REASON")]);
        table.row(["aircraft/N14228".into(), "1,024".into(), "panic: index out of bounds".into()]);
        table.row(["塔".into(), "0".into(), "".into()]);
        table
    }

    fn lines(width: Option<usize>) -> String {
        sample().lines(width, &|_, text| text.to_owned()).join("\n")
    }

    /// Goal: columns stand under each other, wide characters counted as two, without trailing spaces.
    #[test]
    fn columns_are_aligned() {
        insta::assert_snapshot!(lines(None), @r"
        NAME             QUEUED  REASON
        aircraft/N14228   1,024  panic: index out of bounds
        塔                    0
        ");
    }

    /// Goal: on a narrow terminal the free text is cut, the rest is whole.
    #[test]
    fn narrow_terminals_cut_the_last_text() {
        insta::assert_snapshot!(lines(Some(40)), @r"
        NAME             QUEUED  REASON
        aircraft/N14228   1,024  panic: index o…
        塔                    0
        ");
        assert_eq!(lines(Some(3)).lines().nth(1).unwrap(), "aircraft/N14228   1,024  panic: inde…");
    }

    /// Goal: names from elsewhere cannot steer the terminal.
    #[test]
    fn control_characters_are_shown_not_sent() {
        let mut table = Table::new([Column::left("NAME")]);
        table.row(["a\x1b[2Jb\n".into()]);
        let lines = table.lines(None, &|_, text| text.to_owned());
        assert_eq!(lines[1], "a\\u{1b}[2Jb\\n");
    }
}
