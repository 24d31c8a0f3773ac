//! The reject file: malformed records as JSON lines. Blocking; it runs on the feed's own thread.
//!
//! The file is made anew whenever the source is opened, since reading then begins with the first record again: so it always
//! has each malformed record once. It is written out before requests made of later records are handed on.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::config::FeedConfig;
use super::error::FeedError;
use super::source::Origin;

/// An open reject file.
pub(crate) struct Rejects {
    file: BufWriter<File>,
    label: String,
    source: String,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    text: &'a str,
}

/// Whether the reject file of `config` is the source itself, which would be overwritten. Relative paths start from
/// `base_dir`. Blocking.
pub(crate) fn rejects_are_source(config: &FeedConfig, base_dir: &Path) -> bool {
    let origin = Origin::of(config, base_dir);
    config.rejects.as_ref().is_some_and(|rejects| is_source(&base_dir.join(rejects), &origin))
}

fn is_source(path: &Path, origin: &Origin) -> bool {
    let Origin::File(source) = origin else { return false };
    matches!((source.canonicalize(), path.canonicalize()), (Ok(source), Ok(path)) if source == path)
}

impl Rejects {
    /// Makes the file at `path`, for the feed that reads `origin`.
    pub(crate) fn create(path: &Path, origin: &Origin) -> Result<Self, FeedError> {
        let label = path.display().to_string();
        if is_source(path, origin) {
            return Err(FeedError::RejectsAreSource { file: label });
        }
        match File::create(path) {
            Ok(file) => Ok(Self { file: BufWriter::new(file), label, source: origin.label() }),
            Err(source) => Err(FeedError::Rejects { file: label, source }),
        }
    }

    /// Adds a record. Bytes that are not UTF-8 are replaced in its text.
    pub(crate) fn write(&mut self, line: u64, reason: &str, text: &[u8]) -> Result<(), FeedError> {
        let text = String::from_utf8_lossy(text);
        let entry = Line { file: &self.source, line, reason, text: &text };
        serde_json::to_writer(&mut self.file, &entry)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| self.failed(source))
    }

    /// Hands everything added to the system.
    pub(crate) fn flush(&mut self) -> Result<(), FeedError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> FeedError {
        FeedError::Rejects { file: self.label.clone(), source }
    }
}
