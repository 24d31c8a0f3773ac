//! Files of feeds that stand in each other's way, and those that cannot be written.

use super::{Context, Finding, Findings, Path, walk};
use crate::feed::{FeedConfig, rejects_are_source};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let mut stdin: Option<Path> = None;
    for (feed, path) in walk::feeds(context.topology) {
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
            stdin.get_or_insert(source);
        }
        check_rejects(context, feed, &path, findings);
    }
}

fn check_rejects(context: &Context<'_>, feed: &FeedConfig, path: &Path, findings: &mut Findings<'_>) {
    let Some(rejects) = &feed.rejects else { return };
    let base_dir = &context.topology.base_dir;
    let file = base_dir.join(rejects);
    let place = path.key("rejects");
    let shown = file.display().to_string();
    if rejects_are_source(feed, base_dir) {
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
    use crate::topology::test::{feed, reports};

    #[test]
    fn files_are_told_apart() {
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        let source = |name: &str| feed(emit).replace("/dev/null", name);
        reports(&feed(emit).replace("format", "rejects = \"/dev/null\"\nformat"), &[("bad-reject-file", 7)]);
        reports(&feed(emit).replace("format", "rejects = \"/no/such/x\"\nformat"), &[("bad-reject-file", 7)]);
        let agents_and_feed = source("-");
        let (_, feed) = agents_and_feed.split_once("[[feed]]").unwrap();
        let second = feed.split_once("[[agent]]").unwrap().0.replace("\"f\"", "\"g\"");
        let two = format!("{agents_and_feed}[[feed]]{second}");
        reports(&two, &[("duplicate-source", 14)]);
    }
}
