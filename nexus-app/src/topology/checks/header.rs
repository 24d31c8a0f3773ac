//! The format of a feed's source, and the header of one that is a CSV file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::ReaderBuilder;
use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

use crate::feed::{Compression, FeedConfig, Format};

/// How the source is packed: as it says, or by its ending.
pub(super) fn compression(feed: &FeedConfig) -> Compression {
    let ending = feed.source.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    feed.compression.unwrap_or(match ending.as_str() {
        "gz" => Compression::Gzip,
        "zip" => Compression::Zip,
        _ => Compression::None,
    })
}

/// How the source is written: as it says, or by its ending. `None` if neither tells.
pub(super) fn format(feed: &FeedConfig) -> Option<Format> {
    let lower = feed.source.to_ascii_lowercase();
    let name = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zip")).unwrap_or(&lower);
    feed.format.or_else(|| match Path::new(name).extension()?.to_str()? {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    })
}

/// The column names of the CSV file at `path`. No more of it is read than one record may have.
///
/// # Errors
///
/// What keeps it from being read, for people.
pub(super) fn columns(feed: &FeedConfig, path: &Path) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let limit = feed.max_record_bytes as u64;
    match compression(feed) {
        Compression::None => header(file.take(limit)),
        Compression::Gzip => header(MultiGzDecoder::new(file).take(limit)),
        Compression::Zip => {
            let mut archive = ZipArchive::new(file).map_err(|error| format!("is no zip archive: {error}"))?;
            let entry = entry(&archive, feed)?;
            let file = archive.by_index(entry).map_err(|error| format!("cannot be unpacked: {error}"))?;
            header(file.take(limit))
        }
    }
}

fn entry<R: Read + io::Seek>(archive: &ZipArchive<R>, feed: &FeedConfig) -> Result<usize, String> {
    let names: Result<Vec<_>, _> = archive.file_names().collect();
    let names = names.map_err(|error| format!("is no readable zip archive: {error}"))?;
    let files: Vec<&str> = names.iter().map(AsRef::as_ref).filter(|name| !name.ends_with('/')).collect();
    let name = match (&feed.entry, files.as_slice()) {
        (Some(entry), _) => entry.as_str(),
        (None, [only]) => *only,
        (None, _) => return Err(format!("has {} files; name one with `entry`", files.len())),
    };
    archive.index_for_name(name).ok_or_else(|| format!("has no file {name:?}; it has {}", files.join(", ")))
}

fn header(reader: impl Read) -> Result<Vec<String>, String> {
    let mut reader = ReaderBuilder::new().has_headers(true).from_reader(reader);
    let header = reader.headers().map_err(|error| format!("has no readable header: {error}"))?;
    Ok(header.iter().map(str::to_owned).collect())
}
