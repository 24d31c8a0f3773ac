//! The text of a topology file and positions in it.

use std::ops::Range;

/// A file's name and text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As it is shown to people.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Byte offsets at which lines begin, the first being 0.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(name: String, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, lines }
    }

    /// Line and column, both from 1, of a byte offset. The column counts characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.boundary(offset);
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        (line, self.text[self.lines[line - 1]..offset].chars().count() + 1)
    }

    /// `span` moved inward to character boundaries within the text.
    pub(crate) fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let start = self.boundary(span.start);
        start..self.boundary(span.end).max(start)
    }

    fn boundary(&self, offset: usize) -> usize {
        let inside = offset.min(self.text.len());
        (0..=inside).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: positions count from one, in characters, also at the end and past it.
    #[test]
    fn positions() {
        let source = Source::new("f".to_owned(), "ab\nüb\n".to_owned());
        for (offset, position) in
            [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (4, (2, 1)), (5, (2, 2)), (7, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(source.position(offset), position, "{offset}");
        }
        assert_eq!(Source::new("f".to_owned(), String::new()).position(0), (1, 1));
    }
}
