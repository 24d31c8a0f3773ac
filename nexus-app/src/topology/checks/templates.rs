//! Templates with stray braces, and where templates and columns are written in a feed.

use std::ops::Range;

use super::template::{Part, parse};
use super::{Context, Finding, Findings, Path};
use crate::feed::{EmitConfig, FeedConfig, FieldConfig};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for (feed, path) in feeds(context) {
        for (path, text) in templates(feed, &path) {
            if let Err((place, problem)) = parse(text) {
                let message = format!("`{path}` is {text:?}, which {problem}");
                let help = "write a column as `{column}`, a brace itself as `{{` or `}}`";
                findings.push(Finding::new("malformed-template", path, message).part(place).help(help));
            }
        }
    }
}

/// The feeds with their paths.
pub(super) fn feeds<'a>(context: &Context<'a>) -> impl Iterator<Item = (&'a FeedConfig, Path)> {
    let path = Path::root().key("feed");
    context.topology.feed.iter().enumerate().map(move |(at, feed)| (feed, path.index(at)))
}

/// The emits of a feed with their paths.
pub(super) fn emits<'a>(feed: &'a FeedConfig, path: &Path) -> impl Iterator<Item = (&'a EmitConfig, Path)> {
    let path = path.key("emit");
    feed.emit.iter().enumerate().map(move |(at, emit)| (emit, path.index(at)))
}

/// Every template of a feed.
pub(super) fn templates<'a>(feed: &'a FeedConfig, path: &Path) -> Vec<(Path, &'a str)> {
    let mut found = Vec::new();
    for (emit, path) in emits(feed, path) {
        let to = path.key("to");
        found.extend(emit.to.iter().enumerate().map(|(at, target)| (to.index(at), target.as_str())));
        for (key, text) in [("query", &emit.query), ("update", &emit.update), ("action", &emit.action)] {
            found.extend(text.iter().map(|text| (path.key(key), text.as_str())));
        }
        found.extend(emit.at.iter().map(|time| (path.key("at").key("date"), time.date.as_str())));
        for (name, field) in &emit.fields {
            if let FieldConfig::Template(text) = field {
                found.push((path.key("fields").key(name), text));
            }
        }
    }
    found
}

/// Every column a feed names: where, which part of the string if not all of it, and the name.
pub(super) fn columns<'a>(feed: &'a FeedConfig, path: &Path) -> Vec<(Path, Option<Range<usize>>, &'a str)> {
    let mut found = Vec::new();
    for (path, text) in templates(feed, path) {
        for part in parse(text).unwrap_or_default() {
            if let Part::Column(column, place) = part {
                found.push((path.clone(), Some(place), column));
            }
        }
    }
    for (emit, path) in emits(feed, path) {
        for (key, list) in [("require", &emit.require), ("absent", &emit.absent)] {
            let path = path.key(key);
            found.extend(list.iter().enumerate().map(|(at, column)| (path.index(at), None, column.as_str())));
        }
        if let Some(time) = &emit.at {
            for (key, column) in [("clock", &time.clock), ("plus_minutes", &time.plus_minutes)] {
                found.extend(column.iter().map(|column| (path.key("at").key(key), None, column.as_str())));
            }
        }
        for (name, field) in &emit.fields {
            if let FieldConfig::Column(config) = field {
                found.push((path.key("fields").key(name).key("column"), None, config.column.as_str()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{feed, reports_at};

    #[test]
    fn stray_braces_are_marked() {
        let text = feed("{ to = [\"tower\"], action = \"a{unclosed\" }");
        reports_at(&text, &[("malformed-template", 8, 38)]);
        let text = feed("{ to = [\"tower\", \"x/}\"], action = \"a\", fields = { f = \"{}\" } }");
        reports_at(&text, &[("malformed-template", 8, 29), ("malformed-template", 8, 64)]);
    }
}
