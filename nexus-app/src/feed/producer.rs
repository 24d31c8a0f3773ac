//! The producing side of a feed: source → records → requests → order → batches. Blocking; it runs on the feed's own thread.
//!
//! What comes out depends on the source and the configuration alone, never on how reads were cut or how fast anyone was: so a
//! feed that starts again finds its place by counting.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::{FeedConfig, Format};
use super::csv::{CsvRows, parse_header};
use super::error::{FeedError, Malformed};
use super::jsonl::JsonRows;
use super::mapping::{Emission, Mapping};
use super::order::Order;
use super::reject::Rejects;
use super::source::{self, Origin, Source};
use super::split::{Fault, Piece, Splitter, Style};
use super::status::{Counters, MalformedRecord};

/// A batch is handed on when it has so many requests or bytes, and before every read, so that nothing waits for a slow
/// source.
const BATCH_REQUESTS_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// From this record on the share of malformed ones is looked at: before, one mistake would be a large share.
const SHARE_RECORDS_MIN: u64 = 100;

/// Reads one source to its end.
pub(crate) struct Producer {
    config: Arc<FeedConfig>,
    label: String,
    source: Source,
    splitter: Splitter,
    rows: Rows,
    mapping: Mapping,
    order: Order,
    rejects: Option<Rejects>,
    counters: Arc<Counters>,
    records: u64,
    malformed: u64,
    /// Requests handed on, and how many of them an earlier run has confirmed: malformed records met on the way there have
    /// been logged already.
    requests: u64,
    confirmed: u64,
    emissions: Vec<Emission>,
    /// Whether records were taken since the last batch.
    moved: bool,
    stage: Stage,
}

enum Rows {
    /// The header has not been read yet.
    Header,
    Csv(Box<CsvRows>),
    Json(Box<JsonRows>),
}

enum Stage {
    Reading,
    /// Everything that is held goes out, then the feed ends like this.
    Draining(Result<(), FeedError>),
    Ended,
}

enum Step {
    Taken,
    NeedsRead,
    SourceEnded,
}

impl Producer {
    /// Opens the source. `confirmed` requests have been delivered by an earlier run; they come again, for the caller to skip.
    pub(crate) fn open(
        config: Arc<FeedConfig>,
        base_dir: &Path,
        confirmed: u64,
        counters: Arc<Counters>,
    ) -> Result<Self, FeedError> {
        let mapping = Mapping::compile(&config)
            .map_err(|problems| FeedError::Config { feed: config.name.clone(), problems })?;
        let origin = Origin::of(&config, base_dir);
        let label = origin.label();
        if confirmed > 0 && origin == Origin::Stdin {
            return Err(FeedError::NotReopenable { file: label, confirmed });
        }
        let source = source::open(&config, &origin)?;
        if confirmed > 0 && !source.is_reopenable {
            return Err(FeedError::NotReopenable { file: label, confirmed });
        }
        counters.open(source.bytes_read.clone(), source.bytes_total);
        let rejects = match &config.rejects {
            Some(path) => Some(Rejects::create(&base_dir.join(path), &origin)?),
            None => None,
        };
        let (style, rows) = match source.format {
            Format::Csv => (Style::Csv, Rows::Header),
            Format::Jsonl => {
                (Style::Lines, Rows::Json(Box::new(JsonRows::new(mapping.columns(), &config.na))))
            }
        };
        Ok(Self {
            splitter: Splitter::new(style, config.max_record_bytes),
            order: Order::new(config.reorder, config.max_reorder_bytes),
            config,
            label,
            source,
            rows,
            mapping,
            rejects,
            counters,
            records: 0,
            malformed: 0,
            requests: 0,
            confirmed,
            emissions: Vec::new(),
            moved: false,
            stage: Stage::Reading,
        })
    }

    /// The next requests in order, perhaps none yet; `None` at the end. An error is the end too, and comes only after every
    /// request made before it.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Vec<Emission>>, FeedError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        loop {
            while let Some(emission) = self.order.pop() {
                bytes += emission.weight_bytes();
                self.requests += emission.targets.len() as u64;
                batch.push(emission);
                if batch.len() >= BATCH_REQUESTS_MAX || bytes >= BATCH_BYTES_MAX {
                    return Ok(Some(self.hand_on(batch)));
                }
            }
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Reading => {
                    self.stage = Stage::Reading;
                    match self.step() {
                        Ok(Step::Taken) => {}
                        Ok(Step::NeedsRead) if self.moved => return Ok(Some(self.hand_on(batch))),
                        Ok(Step::NeedsRead) => {
                            if let Err(error) = self.read() {
                                self.drain(Err(error));
                            }
                        }
                        Ok(Step::SourceEnded) => {
                            let ending = self.check_end();
                            self.drain(ending);
                        }
                        Err(error) => self.drain(Err(error)),
                    }
                }
                Stage::Draining(ending) => {
                    self.stage = Stage::Draining(ending);
                    if self.moved || !batch.is_empty() {
                        return Ok(Some(self.hand_on(batch)));
                    }
                    if let Stage::Draining(Err(error)) = std::mem::replace(&mut self.stage, Stage::Ended) {
                        return Err(error);
                    }
                }
                Stage::Ended => return Ok(None),
            }
        }
    }

    fn drain(&mut self, ending: Result<(), FeedError>) {
        self.order.finish();
        self.stage = Stage::Draining(ending);
    }

    /// Settles what belongs to the records behind `batch`.
    fn hand_on(&mut self, batch: Vec<Emission>) -> Vec<Emission> {
        self.moved = false;
        if let Some(Err(error)) = self.rejects.as_mut().map(Rejects::flush)
            && !matches!(self.stage, Stage::Draining(Err(_)))
        {
            self.drain(Err(error));
        }
        self.counters.records.store(self.records, Ordering::Relaxed);
        self.counters.malformed.store(self.malformed, Ordering::Relaxed);
        self.counters.late.store(self.order.late(), Ordering::Relaxed);
        self.counters.hurried.store(self.order.hurried(), Ordering::Relaxed);
        batch
    }

    fn read(&mut self) -> Result<(), FeedError> {
        loop {
            match self.source.reader.read(self.splitter.space()) {
                Ok(0) => break,
                Ok(bytes) => {
                    self.splitter.filled(bytes);
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(FeedError::Read {
                        file: self.label.clone(),
                        line: self.splitter.line(),
                        bytes: self.source.bytes_read.load(Ordering::Relaxed),
                        source,
                    });
                }
            }
        }
        let found = self.source.bytes_read.load(Ordering::Relaxed);
        match self.source.bytes_expected {
            // The last record may be half written or half gone, so it is not read.
            Some(expected) if expected != found => Err(FeedError::Changed {
                file: self.label.clone(),
                line: self.splitter.line(),
                expected,
                found,
            }),
            _ => {
                self.splitter.filled(0);
                Ok(())
            }
        }
    }

    /// Takes one piece of the input.
    fn step(&mut self) -> Result<Step, FeedError> {
        match self.splitter.next() {
            Piece::More => return Ok(Step::NeedsRead),
            Piece::End => return Ok(Step::SourceEnded),
            Piece::Record { span, line, quoted } => {
                let bytes = self.splitter.bytes(span.clone());
                let parsed = match &mut self.rows {
                    Rows::Header => {
                        let rows = bind_header(bytes, quoted, &self.mapping, &self.config.na)
                            .map_err(|reason| FeedError::Header { file: self.label.clone(), line, reason })?;
                        self.rows = Rows::Csv(Box::new(rows));
                        return Ok(Step::Taken);
                    }
                    Rows::Csv(rows) => rows.parse(bytes, quoted),
                    Rows::Json(rows) => rows.parse(bytes),
                };
                self.records += 1;
                self.moved = true;
                let mapped =
                    parsed.and_then(|record| self.mapping.map(record, self.records, &mut self.emissions));
                match mapped {
                    Ok(()) => self.emissions.drain(..).for_each(|emission| self.order.push(emission)),
                    Err(Malformed(reason)) => self.reject(line, span, reason)?,
                }
            }
            Piece::Malformed { head, line, fault } => {
                let limit = self.config.max_record_bytes;
                let reason = match fault {
                    Fault::TooLong => format!("is longer than {limit} bytes (max_record_bytes)"),
                    Fault::Unclosed => "has a quote that is not closed".to_owned(),
                };
                if let Rows::Header = self.rows {
                    let reason = format!("the header {reason}");
                    return Err(FeedError::Header { file: self.label.clone(), line, reason });
                }
                self.records += 1;
                self.moved = true;
                self.reject(line, head, reason)?;
            }
        }
        Ok(Step::Taken)
    }

    fn reject(&mut self, line: u64, text: std::ops::Range<usize>, reason: String) -> Result<(), FeedError> {
        self.malformed += 1;
        if let Some(rejects) = &mut self.rejects {
            rejects.write(line, &reason, self.splitter.bytes(text))?;
        }
        if self.counters.keep_malformed(line, &reason) && self.requests >= self.confirmed {
            tracing::warn!(feed = %self.config.name, "{}:{line}: malformed record: {reason}", self.label);
        }
        if self.records >= SHARE_RECORDS_MIN { self.check_share(line) } else { Ok(()) }
    }

    fn check_share(&self, line: u64) -> Result<(), FeedError> {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let (malformed, records) = (self.malformed as f64, self.records as f64);
        if malformed <= self.config.max_malformed * records {
            return Ok(());
        }
        let first = self.counters.first_malformed.lock().first().map(MalformedRecord::to_string);
        Err(FeedError::TooManyMalformed {
            file: self.label.clone(),
            line,
            malformed: self.malformed,
            records: self.records,
            share: self.config.max_malformed,
            first: first.unwrap_or_default(),
        })
    }

    fn check_end(&self) -> Result<(), FeedError> {
        if let Rows::Header = self.rows {
            let reason = "the source is empty: there is no header line".to_owned();
            return Err(FeedError::Header { file: self.label.clone(), line: 1, reason });
        }
        self.check_share(self.splitter.line().saturating_sub(1))
    }
}

fn bind_header(bytes: &[u8], quoted: bool, mapping: &Mapping, na: &[String]) -> Result<CsvRows, String> {
    let header = parse_header(bytes, quoted)?;
    CsvRows::bind(&header, mapping.columns(), na)
}

/// The header of the source of `config`: its columns' names. `None` if it has none to read: JSON lines, or standard input,
/// a pipe or a device, which can be read only once. Relative paths start from `base_dir`. Blocking.
///
/// # Errors
/// The source cannot be opened or read, or its header is not usable; with the file and the line.
pub fn read_header(config: &FeedConfig, base_dir: &Path) -> Result<Option<Vec<String>>, FeedError> {
    let origin = Origin::of(config, base_dir);
    let is_stream = match &origin {
        Origin::Stdin => true,
        Origin::File(path) => path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()),
    };
    if is_stream {
        return Ok(None);
    }
    let mut source = source::open(config, &origin)?;
    if source.format == Format::Jsonl {
        return Ok(None);
    }
    let file = origin.label();
    let mut splitter = Splitter::new(Style::Csv, config.max_record_bytes);
    loop {
        let (line, reason) = match splitter.next() {
            Piece::Record { span, line, quoted } => match parse_header(splitter.bytes(span), quoted) {
                Ok(header) => return Ok(Some(header)),
                Err(reason) => (line, reason),
            },
            Piece::Malformed { line, .. } => (line, "the header line is not a record".to_owned()),
            Piece::End => (1, "the source is empty: there is no header line".to_owned()),
            Piece::More => {
                match source.reader.read(splitter.space()) {
                    Ok(bytes) => splitter.filled(bytes),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source_error) => {
                        let bytes = source.bytes_read.load(Ordering::Relaxed);
                        let line = splitter.line();
                        return Err(FeedError::Read { file, line, bytes, source: source_error });
                    }
                }
                continue;
            }
        };
        return Err(FeedError::Header { file, line, reason });
    }
}
