//! Files that feeds name: whether they are there, and in which format.

use super::templates::feeds;
use super::{Context, Finding, Findings, Path, header};
use crate::feed::{Compression, FeedConfig};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let mut stdin: Option<Path> = None;
    for (feed, path) in feeds(context) {
        let source = path.key("source");
        if findings.is_tainted(&source) {
            continue;
        }
        if feed.source == "-" {
            if let Some(first) = &stdin {
                let message = "two feeds read standard input, which only one can";
                let finding = Finding::new("duplicate-source", source.clone(), message);
                findings.push(finding.related(first.clone(), "first here"));
            }
            stdin.get_or_insert(source.clone());
        } else {
            check_source(context, feed, &source, findings);
        }
        if header::format(feed).is_none() && !findings.is_tainted(&path.key("format")) {
            let message = format!("the format of {:?} cannot be told from its name", feed.source);
            let help = "give `format`: \"csv\" or \"jsonl\"";
            findings.push(Finding::new("unknown-format", source, message).help(help));
        }
        if feed.entry.is_some() && header::compression(feed) != Compression::Zip {
            let message = format!("`{path}.entry` names a file in a zip archive, which the source is not");
            let help = "remove `entry`, or set `compression` to \"zip\"";
            findings.push(Finding::new("useless-entry", path.key("entry"), message).help(help));
        }
        check_rejects(context, feed, &path, findings);
    }
}

fn check_source(context: &Context<'_>, feed: &FeedConfig, source: &Path, findings: &mut Findings<'_>) {
    let file = context.topology.base_dir.join(&feed.source);
    let problem = match std::fs::metadata(&file) {
        Ok(metadata) if metadata.is_dir() => "is a folder".to_owned(),
        Ok(_) => return,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    let message = format!("`{source}` is {:?}, which {problem}", file.display().to_string());
    let help = "paths are relative to the topology file; \"-\" is standard input";
    findings.push(Finding::new("missing-file", source.clone(), message).help(help));
}

fn check_rejects(context: &Context<'_>, feed: &FeedConfig, path: &Path, findings: &mut Findings<'_>) {
    let Some(rejects) = &feed.rejects else { return };
    let base = &context.topology.base_dir;
    let file = base.join(rejects);
    let place = path.key("rejects");
    let shown = file.display().to_string();
    if file == base.join(&feed.source) {
        let message = format!("`{place}` is {shown:?}, the feed's own source, which would be overwritten");
        findings
            .push(Finding::new("bad-reject-file", place, message).related(path.key("source"), "the source"));
        return;
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) || file.is_dir() {
        let message = format!(
            "`{place}` is {shown:?}, which cannot be written: its folder does not exist or it is one"
        );
        findings.push(
            Finding::new("bad-reject-file", place, message).help("create the folder, or name another file"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{feed, reports, reports_at};

    #[test]
    fn files_must_be_there() {
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        let source = |name: &str| feed(emit).replace("/dev/null", name);
        reports_at(&source("no/such.csv"), &[("missing-file", 6, 10)]);
        reports(&source("/dev"), &[("missing-file", 6)]);
        let text = feed(emit).replace("format = \"jsonl\"", "");
        reports(&text, &[("unknown-format", 6)]);
        reports(&feed(emit).replace("format", "entry = \"x\"\nformat"), &[("useless-entry", 7)]);
        reports(&feed(emit).replace("format", "rejects = \"/dev/null\"\nformat"), &[("bad-reject-file", 7)]);
        reports(&feed(emit).replace("format", "rejects = \"/no/such/x\"\nformat"), &[("bad-reject-file", 7)]);
        let agents_and_feed = source("-");
        let (_, feed) = agents_and_feed.split_once("[[feed]]").unwrap();
        let second = feed.split_once("[[agent]]").unwrap().0.replace("\"f\"", "\"g\"");
        let two = format!("{agents_and_feed}[[feed]]{second}");
        reports(&two, &[("duplicate-source", 14)]);
    }
}
