//! Tests of reading a source to its end, whatever it is like, and of going on where an earlier run stopped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::feed::test_support::{FLIGHTS, Folder, PLAIN, Run, config, flights, week};
use crate::feed::{FeedConfig, read_header};

/// The next pairs as text, up to `limit`, confirmed one by one; and how the sequence ends.
fn pairs(pipeline: &mut Pipeline, limit: usize) -> (Vec<String>, Option<Result<(), String>>) {
    let mut found = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while found.len() < limit {
        match pipeline.poll_next(&mut context) {
            Poll::Pending => std::thread::yield_now(),
            Poll::Ready(Ok(next)) => {
                let payload = next.request.payload.to_json().unwrap();
                found.push(format!("{} {} {payload} {}", next.target, next.request.key, next.record));
                pipeline.confirm();
            }
            Poll::Ready(Err(Ending::Ended(Ok(())))) => return (found, Some(Ok(()))),
            Poll::Ready(Err(Ending::Ended(Err(error)))) => return (found, Some(Err(error.to_string()))),
            Poll::Ready(Err(Ending::Broken)) => return (found, Some(Err("broken".into()))),
        }
    }
    (found, None)
}

fn open(config: &FeedConfig, base: &Path, confirmed: u64, mode: ReadMode) -> Pipeline {
    Pipeline::resume(Arc::new(config.clone()), base, confirmed, mode, Arc::new(Counters::default()))
}

/// The first three days of the week: enough for many batches, small enough to read often.
fn small_week(folder: &Folder) -> FeedConfig {
    let text = std::fs::read_to_string(week()).unwrap();
    let lines: Vec<&str> = text.lines().take(900).collect();
    let path = folder.write("small.csv", lines.join("\n"));
    config(&format!("source = {path:?}"), FLIGHTS)
}

/// Goal: a thread and in-place reading give the same sequence.
#[test]
fn both_modes_give_the_same_sequence() {
    let (threaded, ending) = pairs(&mut open(&flights(), Path::new("."), 0, ReadMode::Thread), usize::MAX);
    assert_eq!(ending, Some(Ok(())));
    let (inline, _) = pairs(&mut open(&flights(), Path::new("."), 0, ReadMode::Inline), usize::MAX);
    assert!(threaded == inline);
    let expected: usize = Run::of(&flights(), Path::new(".")).emissions.iter().map(|e| e.targets.len()).sum();
    assert_eq!(threaded.len(), expected);
}

/// Goal: going on after any number of confirmed requests gives exactly the rest. Method: random stops, twice in a row.
#[test]
fn a_resumed_feed_gives_exactly_the_rest() {
    let folder = Folder::new();
    let feed = small_week(&folder);
    let (all, _) = pairs(&mut open(&feed, folder.path(), 0, ReadMode::Inline), usize::MAX);
    proptest!(ProptestConfig::with_cases(24), |(first in 0..=all.len(), second in 0..=all.len())| {
        let mut pipeline = open(&feed, folder.path(), 0, ReadMode::Inline);
        let (mut found, _) = pairs(&mut pipeline, first);
        let mut pipeline = open(&feed, folder.path(), pipeline.confirmed(), ReadMode::Inline);
        found.extend(pairs(&mut pipeline, second.saturating_sub(first)).0);
        prop_assert_eq!(pipeline.confirmed(), found.len() as u64);
        let mut pipeline = open(&feed, folder.path(), pipeline.confirmed(), ReadMode::Thread);
        let (rest, ending) = pairs(&mut pipeline, usize::MAX);
        found.extend(rest);
        prop_assert_eq!(ending, Some(Ok(())));
        prop_assert!(found == all, "stops at {} and {}", first, second);
    });
}

#[test]
fn a_source_that_shrank_is_not_the_same() {
    let folder = Folder::new();
    folder.write("f.csv", "a,b\n1,1\n");
    let feed = config("source = \"f.csv\"", PLAIN);
    let (found, ending) = pairs(&mut open(&feed, folder.path(), 2, ReadMode::Thread), usize::MAX);
    assert_eq!(found, [""; 0]);
    let error = ending.unwrap().unwrap_err();
    assert!(error.contains("has 1 requests, but 2 were confirmed before"), "{error}");
}

#[test]
fn a_reader_that_panicked_is_seen() {
    let mut pipeline = open(&flights(), Path::new("."), 0, ReadMode::Inline);
    assert_eq!(pairs(&mut pipeline, 7).0.len(), 7);
    pipeline.break_reader();
    let (found, ending) = pairs(&mut pipeline, usize::MAX);
    assert!(found.len() < 5000, "what was on its way is still delivered, not more");
    assert_eq!(ending, Some(Err("broken".into())));
    assert!(pipeline.is_stuck());
    let stdin = config("source = \"-\"\nformat = \"csv\"", PLAIN);
    let (_, ending) = pairs(&mut open(&stdin, Path::new("."), 7, ReadMode::Thread), usize::MAX);
    let error = ending.unwrap().unwrap_err();
    assert_eq!(
        error,
        "standard input: the reader crashed after 7 confirmed requests, and this source cannot be read again"
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(files: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.add_directory("folder/", SimpleFileOptions::default()).unwrap();
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Goal: every packing gives the requests of the plain file.
#[test]
fn packed_sources_equal_the_plain_one() {
    let folder = Folder::new();
    let plain = std::fs::read(week()).unwrap();
    let expected = Run::of(&flights(), Path::new(".")).lines();
    // Two members, one after the other, as `cat a.gz b.gz` makes them.
    let members = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
    let notes: (&str, &[u8]) = ("notes.txt", b"not this one");
    let week: (&str, &[u8]) = ("folder/week.csv", &plain);
    for (name, content, keys) in [
        ("w.csv.gz", gzip(&plain), ""),
        ("members.csv.gz", members, ""),
        ("w.zip", zip_of(&[week], zip::CompressionMethod::Deflated), ""),
        ("stored.zip", zip_of(&[week], zip::CompressionMethod::Stored), ""),
        ("two.zip", zip_of(&[notes, week], zip::CompressionMethod::Deflated), "entry = \"folder/week.csv\""),
        ("odd", gzip(&plain), "compression = \"gzip\"\nformat = \"csv\""),
    ] {
        folder.write(name, content);
        let feed = config(&format!("source = {name:?}\n{keys}"), FLIGHTS);
        let run = Run::of(&feed, folder.path());
        run.ending.as_ref().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(run.lines() == expected, "{name}");
        let (read, total) = run.counters.bytes();
        assert_eq!(Some(read), total, "{name}: all bytes are accounted for");
        assert_eq!(read_header(&feed, folder.path()).unwrap().unwrap()[11], "tailnum", "{name}");
    }
}

/// Goal: a source that cannot be used says so, with its name and, where there is one, the line. Method: a table.
#[test]
fn unusable_sources() {
    let folder = Folder::new();
    let data = b"a,b\n1,1\n";
    let one: (&str, &[u8]) = ("one.csv", data);
    let two: (&str, &[u8]) = ("two.csv", data);
    let deflated = zip::CompressionMethod::Deflated;
    let whole = zip_of(&[one], deflated);
    for (name, content) in [
        ("empty.csv", &b""[..]),
        ("twice.csv", b"a,b,a\n"),
        ("lacks.csv", b"\n\na,c\n"),
        ("latin.csv", b"a,\xe9\n"),
        ("open.csv", b"a,\"b\n1,1\n"),
        ("no.csv.gz", b"a,b\n1,1\n2,2\n3,3\n"),
        ("no.zip", b"a,b\n1,1\n"),
        ("cut.zip", &whole[..whole.len() - 10]),
        ("two.zip", &zip_of(&[one, two], deflated)),
        ("none.zip", &zip_of(&[], deflated)),
        ("text.zip", &zip_of(&[("readme.txt", data)], deflated)),
        ("data.bin", b""),
    ] {
        folder.write(name, content);
    }
    let long = format!("a,{}\n", "b".repeat(300));
    folder.write("long.csv", long);
    std::fs::create_dir(folder.path().join("dir.csv")).unwrap();
    for (keys, part) in [
        ("source = \"missing.csv\"", "missing.csv: cannot open: No such file"),
        ("source = \"dir.csv\"", "dir.csv: is a directory, not a file"),
        ("source = \"empty.csv\"", "empty.csv:1: the source is empty: there is no header line"),
        ("source = \"twice.csv\"", "twice.csv:1: the header names column `a` twice"),
        ("source = \"lacks.csv\"", "lacks.csv:3: there is no column `b`"),
        ("source = \"latin.csv\"", "latin.csv:1: the header is not UTF-8 at byte 3"),
        ("source = \"open.csv\"", "open.csv:1: the header has a quote that is not closed"),
        ("source = \"long.csv\"\nmax_record_bytes = 256", "long.csv:1: the header is longer than 256 bytes"),
        ("source = \"no.csv.gz\"", "no.csv.gz:1: reading failed after 16 bytes: invalid gzip header"),
        ("source = \"no.zip\"", "no.zip: not a zip archive"),
        ("source = \"cut.zip\"", "cut.zip: not a zip archive"),
        ("source = \"two.zip\"", "several files, choose one with `entry`: `one.csv`, `two.csv`"),
        ("source = \"two.zip\"\nentry = \"x\"", "has no entry `x`; it has `one.csv`, `two.csv`"),
        ("source = \"none.zip\"", "none.zip: the archive has no file in it"),
        ("source = \"text.zip\"", "entry `readme.txt` does not tell its format"),
        (
            "source = \"data.bin\"",
            "source: the format of \"data.bin\" cannot be told from its name (give `format`",
        ),
        ("source = \"-\"", "source: standard input does not tell its format"),
        ("source = \"-\"\nformat = \"csv\"\ncompression = \"zip\"", "cannot be read from standard input"),
        ("source = \"lacks.csv\"\nentry = \"x\"", "entry: `entry` names a file in a zip archive"),
        ("source = \"/proc/self/mem\"\nformat = \"csv\"", "/proc/self/mem:1: reading failed after 0 bytes"),
    ] {
        let run = Run::of(&config(keys, PLAIN), folder.path());
        let error = run.error();
        assert!(error.contains(part), "{error}\nshould contain\n{part}");
        assert!(run.emissions.is_empty());
    }
}

/// Goal: what was read before the damage is delivered, and the error has the place.
#[test]
fn damaged_archives_keep_the_records_before() {
    let folder = Folder::new();
    // Numbers without a pattern, so that the cut is far from both ends.
    let rows: String = (0_u64..20_000).map(|n| format!("r{},1\n", n.wrapping_mul(n) ^ 0x5bd1)).collect();
    let plain = format!("a,b\n{rows}");
    let packed = gzip(plain.as_bytes());
    folder.write("cut.csv.gz", &packed[..packed.len() / 2]);
    let mut archive = zip_of(&[("f.csv", plain.as_bytes())], zip::CompressionMethod::Stored);
    let middle = archive.len() / 2;
    archive[middle] ^= 1;
    folder.write("flip.zip", archive);
    let run = Run::of(&config("source = \"cut.csv.gz\"", PLAIN), folder.path());
    let error = run.error();
    assert!(run.emissions.len() > 5000 && run.emissions.len() < 15_000, "{}", run.emissions.len());
    // The line that was cut follows the header and all whole records.
    assert!(error.contains(&format!("cut.csv.gz:{}: reading failed", run.emissions.len() + 2)), "{error}");
    let run = Run::of(&config("source = \"flip.zip\"\nmax_malformed = 1.0", PLAIN), folder.path());
    assert!(run.error().contains("checksum does not match"), "{}", run.error());
    assert!(run.emissions.len() >= 19_999);
}

/// Goal: a file that grows or shrinks while it is read is an error at its end; the whole records before are kept.
#[test]
fn a_file_that_changes_is_an_error() {
    let folder = Folder::new();
    let rows: String = (0..20_000).map(|n| format!("r{n},1\n")).collect();
    for grows in [true, false] {
        let path = folder.write("f.csv", format!("a,b\n{rows}"));
        let feed = Arc::new(config("source = \"f.csv\"", PLAIN));
        let mut producer = Producer::open(feed, folder.path(), 0, Arc::new(Counters::default())).unwrap();
        let mut requests = producer.next_batch().unwrap().unwrap().len();
        let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        if grows {
            (&file).write_all(b"r20000,1\nhalf a rec").unwrap();
        } else {
            file.set_len(150_000).unwrap();
        }
        let error = loop {
            match producer.next_batch() {
                Ok(Some(batch)) => requests += batch.len(),
                Ok(None) => panic!("an error is expected"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("the file changed while it was read"), "{error}");
        let whole = if grows { 20_001 } else { 150_000 - 4 };
        assert!(requests <= whole && requests > 10_000, "{requests}");
        assert!(!grows || requests == whole, "{requests}");
    }
}

const MIXED: &[u8] = b"a,b\nok,1\nok,x\n\xff,1\nok\nok,\"1\nok,2\n\nok,3\n";

/// Goal: malformed records are counted, remembered, and written with line and reason; the rest is delivered.
#[test]
fn malformed_records_go_to_the_reject_file() {
    let folder = Folder::new();
    let long = [MIXED, "x".repeat(2_000_000).as_bytes(), b",1\nlast,4"].concat();
    folder.write("f.csv", long);
    let keys = "source = \"f.csv\"\nmax_malformed = 1.0\nrejects = \"rejects.jsonl\"";
    let run = Run::of(&config(keys, PLAIN), folder.path());
    run.ending.as_ref().unwrap();
    let found: Vec<u64> = run.emissions.iter().map(|emission| emission.record).collect();
    assert_eq!(found, [1, 6, 7, 9]);
    assert_eq!(run.counters.malformed.load(Ordering::Relaxed), 5);
    let rejects = std::fs::read_to_string(folder.path().join("rejects.jsonl")).unwrap();
    let rejects: Vec<serde_json::Value> =
        rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<(u64, &str, &str)> = rejects
        .iter()
        .map(|reject| {
            assert!(reject["file"].as_str().unwrap().ends_with("f.csv"));
            let text = reject["text"].as_str().unwrap();
            (
                reject["line"].as_u64().unwrap(),
                reject["reason"].as_str().unwrap(),
                &text[..text.len().min(10)],
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (3, "column `b`: `x` is not a whole number", "ok,x"),
            (4, "is not UTF-8 at byte 1", "\u{fffd},1"),
            (5, "has 1 fields, the header has 2", "ok"),
            (6, "has a quote that is not closed", "ok,\"1"),
            (10, "is longer than 1048576 bytes (max_record_bytes)", "xxxxxxxxxx"),
        ]
    );
    assert_eq!(
        rejects[4]["text"].as_str().unwrap().len(),
        1024,
        "of a record that is too long, its beginning"
    );
    assert_eq!(run.malformed()[0], "line 3: column `b`: `x` is not a whole number");

    // A second run begins the file anew, so each record is in it once.
    Run::of(&config(keys, PLAIN), folder.path()).ending.unwrap();
    let again = std::fs::read_to_string(folder.path().join("rejects.jsonl")).unwrap();
    assert_eq!(again.lines().count(), 5);
}

/// Goal: only the first ten malformed records are remembered one by one; the counter has them all.
#[test]
fn the_first_malformed_records_are_remembered() {
    let folder = Folder::new();
    folder.write("f.jsonl", "{\"a\":\n".repeat(50));
    let run = Run::of(&config("source = \"f.jsonl\"\nmax_malformed = 1.0", PLAIN), folder.path());
    run.ending.as_ref().unwrap();
    assert_eq!(run.malformed().len(), 10);
    assert_eq!(run.counters.malformed.load(Ordering::Relaxed), 50);
}

/// Goal: a reject file that cannot be written stops the feed, whether at once or when the disk is full; what was read before
/// is delivered.
#[test]
fn rejects_that_cannot_be_written_stop_the_feed() {
    let folder = Folder::new();
    folder.write("f.csv", MIXED);
    for (rejects, part, requests) in [
        ("missing/rejects.jsonl", "cannot write: No such file", 0),
        ("f.csv", "is the feed's own source", 0),
        ("./../{}/f.csv", "is the feed's own source", 0),
    ] {
        let rejects = rejects.replace("{}", folder.path().file_name().unwrap().to_str().unwrap());
        let keys = format!("source = \"f.csv\"\nmax_malformed = 1.0\nrejects = {rejects:?}");
        let run = Run::of(&config(&keys, PLAIN), folder.path());
        assert!(run.error().contains(part), "{}", run.error());
        assert_eq!(run.emissions.len(), requests);
        assert_eq!(std::fs::read(folder.path().join("f.csv")).unwrap(), MIXED, "the source is untouched");
    }
    let full = Path::new("/dev/full");
    if full.exists() {
        let keys = "source = \"f.csv\"\nmax_malformed = 1.0\nrejects = \"/dev/full\"";
        let run = Run::of(&config(keys, PLAIN), folder.path());
        assert!(
            run.error().contains("reject file /dev/full: cannot write: No space left"),
            "{}",
            run.error()
        );
        assert_eq!(run.emissions.len(), 1, "what was read before it is delivered");
    }
}

/// Goal: the share of malformed records is looked at from the 100th record on, and at the end; records before are delivered.
#[test]
fn too_many_malformed_records_stop_the_feed() {
    let folder = Folder::new();
    let rows = |good: usize, bad: usize| "ok,1\n".repeat(good) + &"bad\n".repeat(bad);
    for (content, share, error, requests) in [
        (rows(1, 1), 0.01, Some("f.csv:3: 1 of 2 records are malformed"), 1),
        (rows(0, 99) + &rows(9901, 0), 0.01, None, 9901),
        (rows(50, 60), 0.4, Some("f.csv:101: 50 of 100 records are malformed"), 50),
        (rows(98, 3) + &rows(500, 0), 0.02, Some("f.csv:102: 3 of 101 records are malformed"), 98),
        (rows(0, 200), 1.0, None, 0),
        (rows(200, 0), 0.0, None, 200),
        (rows(100, 1), 0.0, Some("the first one: line 102: has 1 fields, the header has 2"), 100),
    ] {
        folder.write("f.csv", format!("a,b\n{content}"));
        let run =
            Run::of(&config(&format!("source = \"f.csv\"\nmax_malformed = {share:?}"), PLAIN), folder.path());
        match error {
            None => assert!(run.ending.is_ok(), "{}", run.error()),
            Some(part) => assert!(run.error().contains(part), "{}\nshould contain\n{part}", run.error()),
        }
        assert_eq!(run.emissions.len(), requests);
    }
}

/// Goal: nothing waits for a slow source. Method: a pipe that is kept open; what was written to it comes out.
#[test]
fn records_of_a_slow_source_come_at_once() {
    let folder = Folder::new();
    let path: PathBuf = folder.path().join("pipe.csv");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let mut pipeline = open(&config("source = \"pipe.csv\"", PLAIN), folder.path(), 0, ReadMode::Thread);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"a,b\none,1\ntwo,2\nhal").unwrap();
    assert_eq!(pairs(&mut pipeline, 2).0, ["x/one seen {\"b\":1} 1", "x/two seen {\"b\":2} 2"]);
    writer.write_all(b"f,3\n").unwrap();
    assert_eq!(pairs(&mut pipeline, 1).0, ["x/half seen {\"b\":3} 3"]);
    drop(writer);
    assert_eq!(pairs(&mut pipeline, 1), (vec![], Some(Ok(()))));
}
