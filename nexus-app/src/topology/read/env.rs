//! `${VARIABLE}` and `${VARIABLE:-default}` in strings.

use std::ops::Range;

use super::findings::{Finding, Findings};
use super::node::{Node, NodeValue};
use crate::path::Path;

/// A reference that could not be replaced: where in the string, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    at: Range<usize>,
    problem: Problem,
}

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Unset(String),
    BadName(String),
    Unclosed,
}

/// Replaces the references in `text` by what `lookup` gives. `$${` stands for a plain `${`. What a variable holds is not looked
/// at again. All failures are returned, at least one if any.
pub(crate) fn expand_text(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Vec<Failure>> {
    let mut out = String::new();
    let mut failures = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[..start].ends_with('$') && start > at {
            out.push_str(&text[at..start - 1]);
            out.push_str("${");
            at = start + 2;
            continue;
        }
        out.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}') else {
            failures.push(Failure { at: start..text.len(), problem: Problem::Unclosed });
            at = text.len();
            break;
        };
        let end = start + length + 1;
        let body = &text[start + 2..end - 1];
        let (name, default) = match body.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (body, None),
        };
        match (is_name(name), lookup(name).or_else(|| default.map(str::to_owned))) {
            (true, Some(value)) => out.push_str(&value),
            (true, None) => {
                failures.push(Failure { at: start..end, problem: Problem::Unset(name.to_owned()) })
            }
            (false, _) => {
                failures.push(Failure { at: start..end, problem: Problem::BadName(name.to_owned()) })
            }
        }
        at = end;
    }
    out.push_str(&text[at..]);
    if failures.is_empty() { Ok(out) } else { Err(failures) }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Replaces the references in all strings under `node`; returns what failed with its place.
pub(crate) fn expand(node: &mut Node, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<(Path, Failure)> {
    let mut failures = Vec::new();
    expand_under(node, &Path::root(), lookup, &mut failures);
    failures
}

fn expand_under(
    node: &mut Node,
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    failures: &mut Vec<(Path, Failure)>,
) {
    match &mut node.value {
        NodeValue::String { written, expanded } if written.contains("${") => {
            match expand_text(written, lookup) {
                Ok(text) => *expanded = text,
                Err(found) => failures.extend(found.into_iter().map(|failure| (path.clone(), failure))),
            }
        }
        NodeValue::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_under(item, &path.index(index), lookup, failures);
            }
        }
        NodeValue::Table(entries) => {
            for entry in entries {
                expand_under(&mut entry.node, &path.key(&entry.key), lookup, failures);
            }
        }
        _ => {}
    }
}

/// Reports the failures of [`expand`].
pub(crate) fn report(failures: Vec<(Path, Failure)>, findings: &mut Findings<'_>) {
    for (path, failure) in &failures {
        let (message, help) = match &failure.problem {
            Problem::Unset(name) => (
                format!("`{path}` refers to the environment variable `{name}`, which is not set"),
                format!("set {name}, or give a default: ${{{name}:-default}}"),
            ),
            Problem::BadName(name) => (
                format!(
                    "`{path}` refers to `{}`, which is no name of an environment variable",
                    name.escape_debug()
                ),
                "names have letters, digits and `_`; write `$${` for a plain `${`".to_owned(),
            ),
            Problem::Unclosed => (
                format!("`{path}` has a `${{` that is not closed"),
                "write `${VARIABLE}`, or `$${` for a plain `${`".to_owned(),
            ),
        };
        findings.push(Finding::new("environment", path.clone(), message).part(failure.at.clone()).help(help));
    }
    for (path, _) in failures {
        findings.taint(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/ada".to_owned()),
            "TRICKY" => Some("${HOME}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    /// Goal: references, defaults and the escape are replaced as documented; values are not expanded again.
    #[test]
    fn references_are_replaced() {
        for (text, expanded) in [
            ("${HOME}/x", "/home/ada/x"),
            ("a${HOME}b${EMPTY}c", "a/home/adabc"),
            ("${NONE:-x y}", "x y"),
            ("${NONE:-}", ""),
            ("${HOME:-x}", "/home/ada"),
            ("${TRICKY}", "${HOME}"),
            ("$${HOME} $ {x} $", "${HOME} $ {x} $"),
            ("{tailnum}", "{tailnum}"),
            ("ü${HOME}ü", "ü/home/adaü"),
        ] {
            assert_eq!(expand_text(text, &lookup).as_deref(), Ok(expanded), "{text}");
        }
    }

    /// Goal: every failure of a string is found, with its place.
    #[test]
    fn failures_have_places() {
        let failures = expand_text("a${NO}b${1x}c${HOME", &lookup).unwrap_err();
        let places: Vec<_> = failures.iter().map(|failure| failure.at.clone()).collect();
        assert_eq!(places, [1..6, 7..12, 13..19]);
        assert_eq!(failures[0].problem, Problem::Unset("NO".to_owned()));
        assert_eq!(failures[1].problem, Problem::BadName("1x".to_owned()));
        assert_eq!(failures[2].problem, Problem::Unclosed);
    }
}
