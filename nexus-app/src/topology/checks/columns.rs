//! Columns that a CSV file does not have.

use super::templates::{columns, feeds};
use super::{Context, Finding, Findings, header};
use crate::feed::Format;
use crate::topology::suggest::did_you_mean;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for (feed, path) in feeds(context) {
        let source = path.key("source");
        let file = context.topology.base_dir.join(&feed.source);
        // What is no file has been reported, or is a stream whose header is only known once it is read.
        if findings.is_tainted(&source) || header::format(feed) != Some(Format::Csv) || !file.is_file() {
            continue;
        }
        let known = match header::columns(feed, &file) {
            Ok(known) => known,
            Err(problem) => {
                let message = format!("{:?} {problem}", file.display().to_string());
                findings.push(Finding::new("unreadable-source", source, message));
                continue;
            }
        };
        for (path, place, column) in columns(feed, &path) {
            if known.iter().any(|name| name == column) {
                continue;
            }
            let message = format!("{:?} has no column `{}`", feed.source, column.escape_debug());
            let help = did_you_mean(column, "columns", known.iter().map(String::as_str));
            let mut finding = Finding::new("unknown-column", path, message).help(help);
            if let Some(place) = place {
                finding = finding.part(place);
            }
            findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use crate::topology::test::{accepts, feed, reports, reports_at};

    const CSV: &[u8] = b"tail,\"dep time\",delay\nN1,517,2\n";

    /// A file in a folder of this process and test, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("nexus-columns-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(CSV).unwrap();
        encoder.finish().unwrap()
    }

    fn zip(names: &[&str]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(CSV).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn with(path: &Path, emit: &str) -> String {
        feed(emit).replace("/dev/null", &path.display().to_string()).replace("format = \"jsonl\"", "")
    }

    /// Goal: columns are compared with the header however the file is packed, wherever they are named.
    #[test]
    fn unknown_columns_are_found_in_each_packing() {
        let scratch = Scratch::new("packing");
        let files = [
            scratch.write("a.csv", CSV),
            scratch.write("a.csv.gz", &gzip()),
            scratch.write("a.csv.zip", &zip(&["b.csv"])),
        ];
        for file in &files {
            accepts(&with(file, "{ to = [\"family/{tail}\"], update = \"k\", require = [\"dep time\"] }"));
            let emit = "{ to = [\"family/{tial}\"], update = \"{x}\", require = [\"delya\"], \
                        fields = { a = { column = \"b\" }, c = \"{d}\" }, at = { date = \"{e}\", clock = \"f\" } }";
            let report = reports(&with(file, emit), &[("unknown-column", 8); 7]);
            let first = &report.diagnostics()[0];
            assert_eq!(first.column, Some(25));
            assert!(first.help.as_ref().unwrap().starts_with("did you mean `tail`?"));
        }
    }

    #[test]
    fn unreadable_archives_are_reported() {
        let scratch = Scratch::new("unreadable");
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        reports_at(&with(&scratch.write("a.csv.zip", CSV), emit), &[("unreadable-source", 6, 10)]);
        reports(&with(&scratch.write("a.csv.gz", CSV), emit), &[("unreadable-source", 6)]);
        let two = with(&scratch.write("b.csv.zip", &zip(&["x.csv", "y.csv"])), emit);
        reports(&two, &[("unreadable-source", 6)]);
        accepts(&two.replace("emit", "entry = \"y.csv\"\nemit"));
        reports(&two.replace("emit", "entry = \"z.csv\"\nemit"), &[("unreadable-source", 6)]);
    }
}
