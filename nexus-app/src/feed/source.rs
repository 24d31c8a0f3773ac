//! Opening a source: a file or standard input, plain, gzip or zip. Blocking; it runs on the feed's own thread.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};
use zip::{CompressionMethod, ZipArchive};

use super::config::{Compression, FeedConfig, Format};
use super::error::{ConfigProblem, FeedError};
use crate::path::Path as Place;

/// Entries named in the message about an archive with several.
const ENTRIES_LISTED_MAX: usize = 10;
const FORMAT_HELP: &str = "give `format`: \"csv\" or \"jsonl\"";

/// Where the bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stdin,
    File(PathBuf),
}

/// An open source.
pub(crate) struct Source {
    /// Unpacked bytes.
    pub(crate) reader: Box<dyn Read + Send>,
    /// Packed bytes read so far.
    pub(crate) bytes_read: Arc<AtomicU64>,
    /// Packed bytes in all, where that is known.
    pub(crate) bytes_total: Option<u64>,
    /// For a plain file its size when it was opened: at its end it must be the same.
    pub(crate) bytes_expected: Option<u64>,
    /// How it is written.
    pub(crate) format: Format,
    /// Whether opening it again gives the same bytes.
    pub(crate) is_reopenable: bool,
}

impl Origin {
    /// The source of `config`; relative paths start from `base_dir`.
    pub(crate) fn of(config: &FeedConfig, base_dir: &Path) -> Self {
        if config.source == "-" { Self::Stdin } else { Self::File(base_dir.join(&config.source)) }
    }

    /// What messages call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What is wrong with a source as it is configured.
pub(crate) fn check_source(config: &FeedConfig) -> Vec<ConfigProblem> {
    let at = |key: &str| Place::root().key(key);
    let is_zip = compression(config) == Compression::Zip;
    let mut problems = Vec::new();
    if is_zip && config.source == "-" {
        let message = "a zip archive cannot be read from standard input";
        let help = "unpack it before, or name the file as the `source`";
        problems.push(ConfigProblem::new("useless-compression", at("compression"), message).help(help));
    }
    if !is_zip && config.entry.is_some() {
        let message = "`entry` names a file in a zip archive, which the source is not";
        let problem = ConfigProblem::new("useless-entry", at("entry"), message)
            .help("remove `entry`, or set `compression` to \"zip\"");
        problems.push(problem.unless(["source", "compression"].map(at)));
    }
    // An archive's entry has a name of its own, known only when the archive is opened.
    if !is_zip && named_format(config).is_none() {
        let message = match config.source.as_str() {
            "-" => "standard input does not tell its format".to_owned(),
            name => format!("the format of {name:?} cannot be told from its name"),
        };
        let problem = ConfigProblem::new("unknown-format", at("source"), message).help(FORMAT_HELP);
        problems.push(problem.unless(["format", "compression"].map(at)));
    }
    problems
}

/// Opens the source of `config` at `origin`.
pub(crate) fn open(config: &FeedConfig, origin: &Origin) -> Result<Source, FeedError> {
    match origin {
        Origin::Stdin => {
            let format = told_format(config)?;
            let bytes_read = Arc::new(AtomicU64::new(0));
            let stdin = Counted { inner: io::stdin(), bytes: bytes_read.clone() };
            Ok(Source {
                reader: unpacked(compression(config), stdin),
                bytes_read,
                bytes_total: None,
                bytes_expected: None,
                format,
                is_reopenable: false,
            })
        }
        Origin::File(path) => open_file(config, path, &origin.label()),
    }
}

fn open_file(config: &FeedConfig, path: &Path, label: &str) -> Result<Source, FeedError> {
    let failed = |source| FeedError::Open { file: label.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(FeedError::Directory { file: label.to_owned() });
    }
    if compression(config) == Compression::Zip {
        return open_zip(config, file, label);
    }
    let format = told_format(config)?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let bytes_total = metadata.is_file().then_some(metadata.len());
    let is_plain = compression(config) == Compression::None;
    Ok(Source {
        reader: unpacked(compression(config), Counted { inner: file, bytes: bytes_read.clone() }),
        bytes_read,
        bytes_total,
        bytes_expected: bytes_total.filter(|_| is_plain),
        format,
        is_reopenable: metadata.is_file(),
    })
}

/// The format of a source whose configuration tells it: of all but archives.
fn told_format(config: &FeedConfig) -> Result<Format, FeedError> {
    let problems = check_source(config);
    match named_format(config) {
        Some(format) if problems.is_empty() => Ok(format),
        _ => Err(FeedError::Config { feed: config.name.clone(), problems }),
    }
}

fn unpacked(compression: Compression, reader: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(reader))),
        Compression::None | Compression::Zip => Box::new(reader),
    }
}

fn open_zip(config: &FeedConfig, file: File, label: &str) -> Result<Source, FeedError> {
    let failed = |reason: String| FeedError::Archive { file: label.to_owned(), reason };
    let mut archive = ZipArchive::new(file).map_err(|error| failed(format!("not a zip archive: {error}")))?;
    let index = entry_index(config, &archive).map_err(failed)?;
    let entry = archive.by_index_raw(index).map_err(|error| failed(error.to_string()))?;
    let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
    if entry.encrypted() {
        return Err(failed(format!("entry `{name}` is encrypted")));
    }
    let method = entry.compression();
    if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(failed(format!(
            "entry `{name}` is packed with {method}; only deflate and stored are read"
        )));
    }
    let format = named_format(config)
        .or_else(|| format_of(&name))
        .ok_or_else(|| failed(format!("entry `{name}` does not tell its format; {FORMAT_HELP}")))?;
    let start = entry.data_start().ok_or_else(|| failed(format!("entry `{name}` has no data")))?;
    let packed = entry.compressed_size();
    let (crc, size) = (entry.crc32(), entry.size());
    drop(entry);

    let mut file = archive.into_inner();
    let failed = |source| FeedError::Open { file: label.to_owned(), source };
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let data = Counted { inner: file.take(packed), bytes: bytes_read.clone() };
    let inner: Box<dyn Read + Send> = match method {
        CompressionMethod::Deflated => Box::new(DeflateDecoder::new(BufReader::new(data))),
        _ => Box::new(data),
    };
    Ok(Source {
        reader: Box::new(Verified { inner, crc: Crc::new(), expected: (crc, size), bytes: 0 }),
        bytes_read,
        bytes_total: Some(packed),
        bytes_expected: None,
        format,
        is_reopenable: true,
    })
}

/// The entry to read: the configured one, or the only file.
fn entry_index(config: &FeedConfig, archive: &ZipArchive<File>) -> Result<usize, String> {
    let names: Vec<String> =
        archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let files: Vec<(usize, &String)> =
        names.iter().enumerate().filter(|(_, name)| !name.ends_with('/')).collect();
    let listed = || {
        let mut listed: Vec<String> =
            files.iter().take(ENTRIES_LISTED_MAX).map(|(_, name)| format!("`{name}`")).collect();
        if files.len() > ENTRIES_LISTED_MAX {
            listed.push(format!("and {} more", files.len() - ENTRIES_LISTED_MAX));
        }
        listed.join(", ")
    };
    match (&config.entry, files.as_slice()) {
        (_, []) => Err("the archive has no file in it".into()),
        (Some(entry), _) => match files.iter().find(|(_, name)| *name == entry) {
            Some((index, _)) => Ok(*index),
            None => Err(format!("the archive has no entry `{entry}`; it has {}", listed())),
        },
        (None, [(index, _)]) => Ok(*index),
        (None, _) => Err(format!("the archive has several files, choose one with `entry`: {}", listed())),
    }
}

/// How the source is packed, by configuration or by its name.
fn compression(config: &FeedConfig) -> Compression {
    let name = config.source.to_ascii_lowercase();
    config.compression.unwrap_or(match name.rsplit('.').next() {
        Some("gz") => Compression::Gzip,
        Some("zip") => Compression::Zip,
        _ => Compression::None,
    })
}

fn named_format(config: &FeedConfig) -> Option<Format> {
    config.format.or_else(|| format_of(&config.source))
}

/// The format by a file name's ending.
fn format_of(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zip")).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    }
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(room)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Compares size and checksum at the end with what the archive says.
struct Verified {
    inner: Box<dyn Read + Send>,
    crc: Crc,
    expected: (u32, u64),
    bytes: u64,
}

impl Read for Verified {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(room)?;
        self.crc.update(&room[..read]);
        self.bytes += read as u64;
        let (crc, size) = self.expected;
        if read > 0 || room.is_empty() {
            return Ok(read);
        }
        if self.bytes < size {
            let what = format!("the entry ends after {} of {size} bytes", self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        if self.bytes > size || self.crc.sum() != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the entry's checksum does not match"));
        }
        Ok(0)
    }
}
