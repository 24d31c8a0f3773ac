//! Cuts a stream of bytes into records and never holds more than the longest allowed one.
//!
//! Pure: bytes go in through [`Splitter::space`] and [`Splitter::filled`], records come out of [`Splitter::next`], and where
//! the input was cut into reads never shows in the result.
//!
//! For CSV a record ends at the first line break outside of quotes (RFC 4180, and like the `csv` crate: `\r`, `\n` or both).
//! A quote opens only at the start of a field; anywhere else it is text. What departs from `csv` is damage: a quote that is
//! not closed within the longest allowed record would swallow everything after it. Its first line is malformed, and
//! splitting goes on at the next line.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

/// Free room offered for one read.
const READ_BYTES: usize = 64 * 1024;
/// How much of a malformed stretch is shown.
const HEAD_BYTES: usize = 1024;

/// What a record is in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line, or several where quotes hold line breaks.
    Csv,
    /// A line that ends with `\n`; blank lines are no records.
    Lines,
}

/// The next piece of the input. Ranges are read through [`Splitter::bytes`] and hold until the next [`Splitter::space`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole record without its line break.
    Record {
        span: Range<usize>,
        /// The line it starts on, from 1.
        line: u64,
        /// Whether a field opened with a quote.
        quoted: bool,
    },
    /// A stretch that is no record.
    Malformed {
        /// Its beginning, for the report.
        head: Range<usize>,
        line: u64,
        fault: Fault,
    },
    /// Nothing more without another read.
    More,
    /// Nothing more.
    End,
}

/// Why a stretch is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Longer than allowed.
    TooLong,
    /// A quoted field is not closed before the end of the input, or within the longest allowed record.
    Unclosed,
}

/// The state between two records, or in the middle of one.
#[derive(Debug)]
pub(crate) struct Splitter {
    style: Style,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    /// The current record's first byte; everything before is done with.
    start: usize,
    /// The end of what was read.
    end: usize,
    /// How far the current record has been looked at.
    scan: usize,
    /// Whether `scan` stands inside a quoted field.
    in_quotes: bool,
    /// Whether any field of the current record opened with a quote.
    quoted: bool,
    /// The line the current record starts on, from 1.
    line: u64,
    /// The last record ended with `\r`: a `\n` right after it belongs to the same line break.
    after_cr: bool,
    /// In the rest of a line that is too long.
    skipping: bool,
    /// No more input follows.
    at_end: bool,
    /// A byte order mark was looked for.
    begun: bool,
}

impl Splitter {
    /// A splitter at line 1.
    pub(crate) fn new(style: Style, record_bytes_max: usize) -> Self {
        Self {
            style,
            record_bytes_max,
            buffer: vec![0; 2 * READ_BYTES],
            start: 0,
            end: 0,
            scan: 0,
            in_quotes: false,
            quoted: false,
            line: 1,
            after_cr: false,
            skipping: false,
            at_end: false,
            begun: false,
        }
    }

    /// Room for the next read; the caller reports with [`Splitter::filled`] how much of it was used.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.scan -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < READ_BYTES {
            // Held bytes never exceed the longest record and one read, since a longer record is given up at once.
            let len = (2 * self.buffer.len()).min(self.record_bytes_max + 1 + 2 * READ_BYTES);
            self.buffer.resize(len.max(self.end + READ_BYTES), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// `bytes` more bytes are in the room; none means that the input has ended.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
        self.at_end = bytes == 0;
    }

    /// The bytes of a piece.
    pub(crate) fn bytes(&self, span: Range<usize>) -> &[u8] {
        &self.buffer[span]
    }

    /// The line that the next record starts on.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next piece.
    pub(crate) fn next(&mut self) -> Piece {
        if !self.begun && !self.skip_mark() {
            return Piece::More;
        }
        loop {
            if self.skipping && !self.skip_line() {
                return if self.at_end { Piece::End } else { Piece::More };
            }
            self.skip_line_feed();
            let Some(line_break) = self.find_break() else {
                return self.without_break();
            };
            let span = self.start..line_break;
            let (line, quoted) = (self.line, self.quoted);
            self.line += 1 + self.lines_within(span.clone());
            self.after_cr = self.buffer[line_break] == b'\r';
            self.begin_at(line_break + 1);
            if let Some(span) = self.trimmed(span) {
                return Piece::Record { span, line, quoted };
            }
        }
    }

    /// Skips UTF-8's byte order mark; `false` if too little has been read to tell.
    fn skip_mark(&mut self) -> bool {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let held = &self.buffer[self.start..self.end];
        if held.len() < MARK.len() && !self.at_end && MARK.starts_with(held) {
            return false;
        }
        if held.starts_with(MARK) {
            self.begin_at(self.start + MARK.len());
        }
        self.begun = true;
        true
    }

    /// Drops the rest of a line that is too long; `false` if its end has not been read yet.
    fn skip_line(&mut self) -> bool {
        let held = &self.buffer[self.start..self.end];
        let found = match self.style {
            Style::Csv => memchr2(b'\n', b'\r', held),
            Style::Lines => memchr(b'\n', held),
        };
        let Some(at) = found else {
            self.begin_at(self.end);
            return false;
        };
        self.after_cr = held[at] == b'\r';
        self.begin_at(self.start + at + 1);
        self.line += 1;
        self.skipping = false;
        true
    }

    fn skip_line_feed(&mut self) {
        if self.after_cr && self.start < self.end {
            self.after_cr = false;
            if self.buffer[self.start] == b'\n' {
                self.begin_at(self.start + 1);
            }
        }
    }

    /// The part of the current record that may be looked at. It is the same however the input was cut, so that a record that
    /// is too long is found out at the same byte every time.
    fn window_end(&self) -> usize {
        self.end.min(self.start + self.record_bytes_max + 1)
    }

    /// The current record's line break, if it is in the window.
    fn find_break(&mut self) -> Option<usize> {
        let window_end = self.window_end();
        if self.style == Style::Lines {
            let found = memchr(b'\n', &self.buffer[self.scan..window_end]).map(|at| self.scan + at);
            self.scan = found.unwrap_or(window_end);
            return found;
        }
        while self.scan < window_end {
            let unseen = &self.buffer[self.scan..window_end];
            if self.in_quotes {
                let Some(at) = memchr(b'"', unseen) else {
                    self.scan = window_end;
                    return None;
                };
                if at + 1 == unseen.len() {
                    // Whether it closes the field or stands for a quote, the next byte tells.
                    if !(self.at_end && window_end == self.end) {
                        self.scan += at;
                        return None;
                    }
                    self.in_quotes = false;
                    self.scan = window_end;
                } else if unseen[at + 1] == b'"' {
                    self.scan += at + 2;
                } else {
                    self.in_quotes = false;
                    self.scan += at + 1;
                }
            } else {
                let Some(at) = memchr3(b'\n', b'\r', b'"', unseen) else {
                    self.scan = window_end;
                    return None;
                };
                let position = self.scan + at;
                if unseen[at] != b'"' {
                    return Some(position);
                }
                if position == self.start || self.buffer[position - 1] == b',' {
                    self.in_quotes = true;
                    self.quoted = true;
                }
                self.scan = position + 1;
            }
        }
        None
    }

    /// The window has no line break: more input is needed, or the record is too long, or it is the last one.
    fn without_break(&mut self) -> Piece {
        let held = self.end - self.start;
        if held > self.record_bytes_max {
            return self.overflow();
        }
        if !self.at_end {
            return Piece::More;
        }
        if held == 0 {
            return Piece::End;
        }
        if self.in_quotes {
            return self.first_line_unclosed();
        }
        let (span, line, quoted) = (self.start..self.end, self.line, self.quoted);
        self.line += 1 + self.lines_within(span.clone());
        self.begin_at(self.end);
        match self.trimmed(span) {
            Some(span) => Piece::Record { span, line, quoted },
            None => Piece::End,
        }
    }

    fn overflow(&mut self) -> Piece {
        let window = &self.buffer[self.start..self.window_end()];
        if self.in_quotes && memchr2(b'\n', b'\r', window).is_some() {
            return self.first_line_unclosed();
        }
        let piece =
            Piece::Malformed { head: self.head(self.window_end()), line: self.line, fault: Fault::TooLong };
        self.line += self.lines_within(self.start..self.window_end());
        let resume = self.window_end();
        self.begin_at(resume);
        self.skipping = true;
        piece
    }

    /// Gives up the first line of a record whose quotes are not closed, and goes on behind it.
    fn first_line_unclosed(&mut self) -> Piece {
        let held = &self.buffer[self.start..self.end];
        let line_end = memchr2(b'\n', b'\r', held).map_or(self.end, |at| self.start + at);
        let piece = Piece::Malformed { head: self.head(line_end), line: self.line, fault: Fault::Unclosed };
        self.line += 1;
        self.after_cr = line_end < self.end && self.buffer[line_end] == b'\r';
        self.begin_at(self.end.min(line_end + 1));
        piece
    }

    fn head(&self, end: usize) -> Range<usize> {
        self.start..end.min(self.start + HEAD_BYTES)
    }

    /// Line breaks inside of a record, which only quotes can hold.
    fn lines_within(&self, span: Range<usize>) -> u64 {
        if self.quoted { memchr_iter(b'\n', &self.buffer[span]).count() as u64 } else { 0 }
    }

    /// The record's own bytes; `None` if it is a blank line.
    fn trimmed(&self, span: Range<usize>) -> Option<Range<usize>> {
        let bytes = &self.buffer[span.clone()];
        match self.style {
            Style::Csv => (!bytes.is_empty()).then_some(span),
            Style::Lines => {
                let kept = bytes.trim_ascii_end().len();
                (kept > 0).then(|| span.start..span.start + kept)
            }
        }
    }

    fn begin_at(&mut self, start: usize) {
        self.start = start;
        self.scan = start;
        self.in_quotes = false;
        self.quoted = false;
    }
}

#[cfg(test)]
#[path = "split_test.rs"]
mod tests;
