//! What the feeds find wrong with their own tables, and with the headers of their sources.

use super::{Context, Finding, Findings, Path, walk};
use crate::feed::{ConfigProblem, FeedConfig, FeedError, check_feed, read_header};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for (feed, path) in walk::feeds(context.topology) {
        let header = header(context, feed, &path, findings);
        for problem in check_feed(feed, header.as_deref()) {
            report(problem, &path, findings);
        }
    }
}

/// The header of the feed's source, if it has one that can be read now.
fn header(
    context: &Context<'_>,
    feed: &FeedConfig,
    path: &Path,
    findings: &mut Findings<'_>,
) -> Option<Vec<String>> {
    if ["source", "format", "compression", "entry"].iter().any(|key| findings.is_tainted(&path.key(key))) {
        return None;
    }
    let error = match read_header(feed, &context.topology.base_dir) {
        Ok(header) => return header,
        // One of the feed's own problems.
        Err(FeedError::Config { .. }) => return None,
        Err(error) => error,
    };
    let finding = match error {
        FeedError::Open { .. } | FeedError::Directory { .. } => {
            Finding::new("missing-file", path.key("source"), error.to_string())
                .help("paths are relative to the topology file; \"-\" is standard input")
        }
        error => Finding::new("unreadable-source", path.key("source"), error.to_string()),
    };
    findings.push(finding);
    None
}

/// Takes a problem of the feed at `feed`.
fn report(problem: ConfigProblem, feed: &Path, findings: &mut Findings<'_>) {
    if problem.unless.iter().any(|path| findings.is_tainted(&feed.join(path))) {
        return;
    }
    let mut finding =
        Finding::new(problem.code, feed.join(&problem.path), problem.message).help_if(problem.help);
    if problem.at_key {
        finding = finding.at_key();
    }
    if let Some(part) = problem.part {
        finding = finding.part(part);
    }
    if let Some((path, label)) = problem.related {
        finding = finding.related(feed.join(&path), label);
    }
    findings.push(finding);
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

    #[test]
    fn sources_must_be_there() {
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        let source = |name: &str| feed(emit).replace("/dev/null", name);
        let report = reports_at(&source("no/such.csv"), &[("missing-file", 6, 10)]);
        assert!(report.diagnostics()[0].message.contains("no/such.csv"));
        reports(&source("/dev"), &[("missing-file", 6)]);
        let without_format = |text: &str| text.replace("format = \"jsonl\"", "");
        reports(&without_format(&source("/no/such")), &[("missing-file", 6), ("unknown-format", 6)]);
        reports(&without_format(&feed(emit)), &[("unknown-format", 6)]);
        reports(&feed(emit).replace("\"jsonl\"", "1"), &[("wrong-type", 7)]);
        reports(&feed(emit).replace("format", "entry = \"x\"\nformat"), &[("useless-entry", 7)]);
        // Nothing is read of a device: what it gives is the feed's.
        accepts(&feed(emit).replace("jsonl", "csv"));
        let zip = source("-").replace("format", "compression = \"zip\"\nformat");
        reports(&zip, &[("useless-compression", 7)]);
    }

    #[test]
    fn stray_braces_are_marked() {
        let text = feed("{ to = [\"tower\"], action = \"a{unclosed\" }");
        reports_at(&text, &[("malformed-template", 8, 38)]);
        let text = feed("{ to = [\"tower\", \"x/}\"], action = \"a\", fields = { f = \"{}\" } }");
        reports_at(&text, &[("malformed-template", 8, 29), ("malformed-template", 8, 64)]);
    }

    /// Goal: names without columns are checked before the first record, and only as names.
    #[test]
    fn names_are_checked() {
        let text = feed("{ to = [\"tower\", \"a b\", \"\"], action = \"\" }");
        let expected = [("malformed-name", 8, 26), ("malformed-name", 8, 33), ("malformed-key", 8, 47)];
        reports_at(&text, &expected);
    }

    /// Goal: a key with dots and brackets is a place like any other.
    #[test]
    fn fields_may_have_any_name() {
        let text = feed("{ to = [\"tower\"], update = \"k\", fields = { \"a.b[0]\" = \"x{\" } }");
        reports_at(&text, &[("malformed-template", 8, 65)]);
    }

    #[test]
    fn a_request_has_one_kind() {
        accepts(&feed("{ to = [\"tower\"], update = \"k\" }"));
        reports(&feed("{ to = [\"tower\"] }"), &[("one-of", 8)]);
        let report =
            reports_at(&feed("{ to = [\"tower\"], update = \"k\", query = \"k\" }"), &[("one-of", 8, 27)]);
        assert_eq!(report.diagnostics()[0].related[0].column, 49);
        reports(&feed("{ to = [\"tower\"], actoin = \"k\" }"), &[("unknown-key", 8)]);
    }

    #[test]
    fn conditions_must_be_possible() {
        let text = feed("{ to = [\"tower\"], update = \"k\", require = [\"a\"], absent = [\"b\", \"a\"] }");
        reports(&text, &[("impossible-condition", 8)]);
    }

    #[test]
    fn after_emit_points_back_to_a_time() {
        let emit = |at: &str| format!("{{ to = [\"tower\"], update = \"k\"{at} }}");
        let timed = emit(", at = { date = \"{d}\" }");
        let after = |n: i32| emit(&format!(", at = {{ date = \"{{d}}\", clock = \"c\", after_emit = {n} }}"));
        accepts(&feed(&format!("{timed}, {}", after(0))));
        for wrong in [
            format!("{timed}, {}", after(1)),
            format!("{}, {timed}", after(1)),
            format!("{timed}, {}", after(7)),
            format!("{}, {}", emit(""), after(0)),
            format!("{timed}, {}", emit(", at = { date = \"{d}\", after_emit = 0 }")),
        ] {
            reports(&feed(&wrong), &[("bad-reference", 8)]);
        }
        let unreadable = emit(", at = { date = 1 }");
        reports(&feed(&format!("{unreadable}, {}", after(0))), &[("wrong-type", 8)]);
        reports(&feed(&emit(", at = { clock = \"c\" }")), &[("missing-key", 8)]);
        reports(&feed(&format!("{timed}, {}", after(-1))), &[("out-of-range", 8)]);
    }

    #[test]
    fn time_is_needed_where_it_is_used() {
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        let with = |key: &str, emit: &str| feed(emit).replace("format", &format!("{key}\nformat"));
        reports(&with("replay = { speed = 60.0 }", emit), &[("no-time", 7)]);
        reports(&with("reorder = \"1h\"", emit), &[("no-time", 7)]);
        accepts(&with("replay = { rate = 60 }", emit));
        accepts(&with("reorder = \"1h\"", "{ to = [\"tower\"], update = \"k\", at = { date = \"{d}\" } }"));
        reports(&with("reorder = \"soon\"", emit), &[("malformed-duration", 7)]);
        reports(&with("replay = { speed = 1.0, rate = 2.0 }", emit), &[("one-of", 7)]);
        reports(&with("replay = { sped = 1.0 }", emit), &[("unknown-key", 7)]);
        reports(&with("replay = \"slow\"", emit), &[("unknown-value", 7)]);
        reports(&with("replay = { rate = 0 }", emit), &[("out-of-range", 7)]);
    }
}
