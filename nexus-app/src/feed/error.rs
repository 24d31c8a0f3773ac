//! What ends a feed, and what spoils one record.

use std::io;
use std::ops::Range;

use crate::path::Path;

/// A feed cannot go on. Everything read before the error has been handed to the agents; the feed's state keeps the text.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The source could not be opened: missing, unreadable, or not a file. The operator corrects it and starts the feed again.
    #[error("{file}: cannot open: {source}")]
    Open {
        /// The source's name.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The source is a directory.
    #[error("{file}: is a directory, not a file")]
    Directory {
        /// The source's name.
        file: String,
    },
    /// The archive could not be used: damaged, encrypted, packed in an unknown way, or its entry is not plain to see.
    #[error("{file}: {reason}")]
    Archive {
        /// The archive's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The source failed while it was read: a device error, a damaged or a cut-off archive. The records before are kept.
    #[error("{file}:{line}: reading failed after {bytes} bytes: {source}")]
    Read {
        /// The source's name.
        file: String,
        /// The first line that could not be read to its end.
        line: u64,
        /// Bytes of the (packed) source that had been read.
        bytes: u64,
        /// The system's or the unpacker's reason.
        source: io::Error,
    },
    /// The file's size changed while it was read, so its last record may be a part of one. The whole records are kept.
    #[error(
        "{file}:{line}: the file changed while it was read: {expected} bytes when opened, {found} bytes at its end"
    )]
    Changed {
        /// The source's name.
        file: String,
        /// The last line.
        line: u64,
        /// Size when it was opened.
        expected: u64,
        /// Bytes read up to its end.
        found: u64,
    },
    /// The CSV source has no usable header line.
    #[error("{file}:{line}: {reason}")]
    Header {
        /// The source's name.
        file: String,
        /// The header's line.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The mapping is wrong in itself.
    #[error("feed `{feed}`: {}", join(.problems))]
    Config {
        /// The feed's name.
        feed: String,
        /// Every mistake found.
        problems: Vec<ConfigProblem>,
    },
    /// Too large a share of the records was malformed.
    #[error(
        "{file}:{line}: {malformed} of {records} records are malformed, more than the allowed share of {share}; the first one: {first}"
    )]
    TooManyMalformed {
        /// The source's name.
        file: String,
        /// The line of the record that was one too many.
        line: u64,
        /// Malformed records.
        malformed: u64,
        /// All records so far.
        records: u64,
        /// The configured share.
        share: f64,
        /// The first malformed record, `line N: reason`.
        first: String,
    },
    /// A malformed record could not be written to the reject file. It is counted, but it is in no file: the feed stops
    /// rather than lose more of them.
    #[error("reject file {file}: cannot write: {source}")]
    Rejects {
        /// The reject file.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The reject file is the source itself.
    #[error("reject file {file} is the feed's own source")]
    RejectsAreSource {
        /// The file.
        file: String,
    },
    /// The thread that reads the source is gone without a word, and the source cannot be read a second time.
    #[error(
        "{file}: the reader crashed after {confirmed} confirmed requests, and this source cannot be read again"
    )]
    NotReopenable {
        /// The source's name.
        file: String,
        /// Requests that were confirmed.
        confirmed: u64,
    },
    /// The source gave fewer requests than had been confirmed before it was opened again.
    #[error(
        "{file}: has {found} requests, but {confirmed} were confirmed before: it is not the same source any more"
    )]
    Shrunk {
        /// The source's name.
        file: String,
        /// Requests found.
        found: u64,
        /// Requests confirmed earlier.
        confirmed: u64,
    },
}

/// A mistake in a feed's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// A stable short name of this kind of mistake, such as `unknown-column`.
    pub code: &'static str,
    /// What is wrong, with the values.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where, below the feed's table.
    pub(crate) path: Path,
    /// Whether it is the key that is wrong there, rather than its value.
    pub(crate) at_key: bool,
    /// Which bytes of the string there, if not all of it.
    pub(crate) part: Option<Range<usize>>,
    /// Another place that has to do with it, and what it is.
    pub(crate) related: Option<(Path, &'static str)>,
    /// Where else a value would have made it right: if one is written there but cannot be read, there may be no mistake.
    pub(crate) unless: Vec<Path>,
}

impl ConfigProblem {
    pub(crate) fn new(code: &'static str, path: Path, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, help: None, path, at_key: false, part: None, related: None, unless: Vec::new() }
    }

    /// Where, as a path below the feed's table: `emit[0].to[1]`.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) const fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    pub(crate) fn part(mut self, part: Option<Range<usize>>) -> Self {
        self.part = part;
        self
    }

    pub(crate) fn related(mut self, path: Path, label: &'static str) -> Self {
        self.related = Some((path, label));
        self
    }

    pub(crate) fn unless(mut self, paths: impl IntoIterator<Item = Path>) -> Self {
        self.unless.extend(paths);
        self
    }
}

/// Why a record is malformed. A record is used as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

fn join(problems: &[ConfigProblem]) -> String {
    let line = |problem: &ConfigProblem| {
        let help = problem.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        format!("{}: {}{help}", problem.path, problem.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("; ")
}
