//! What was found wrong so far.

use std::collections::BTreeSet;
use std::ops::Range;

use super::node::{Node, NodeValue};
use super::overrides::is_within;
use super::source::Source;
use crate::path::{Path, Step};
use crate::topology::report::{Diagnostic, Related, Report};

/// The most mistakes one report lists; a file with more has one cause, and the first ones show it.
const DIAGNOSTICS_MAX: usize = 500;

/// A mistake before its place in the text is looked up.
#[derive(Debug)]
pub(crate) struct Finding {
    code: &'static str,
    path: Path,
    at_key: bool,
    part: Option<Range<usize>>,
    message: String,
    label: Option<String>,
    help: Option<String>,
    related: Option<(Path, String)>,
}

impl Finding {
    /// A mistake in the value at `path`. The message carries the value, what is allowed and where it matters.
    pub(crate) fn new(code: &'static str, path: Path, message: impl Into<String>) -> Self {
        Self {
            code,
            path,
            at_key: false,
            part: None,
            message: message.into(),
            label: None,
            help: None,
            related: None,
        }
    }

    /// Points at the key instead of the value.
    pub(crate) const fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// Points at these bytes of the string as it is written, where the file has it without escapes.
    pub(crate) fn part(mut self, part: Range<usize>) -> Self {
        self.part = Some(part);
        self
    }

    /// A few words under the marked place.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// [`help`](Self::help), if there is any.
    pub(crate) fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Another place that has to do with it.
    pub(crate) fn related(mut self, path: Path, label: impl Into<String>) -> Self {
        self.related = Some((path, label.into()));
        self
    }
}

/// The mistakes of one file, and the places that are not to be trusted because of them.
pub(crate) struct Findings<'a> {
    source: &'a Source,
    root: &'a Node,
    tainted: BTreeSet<Path>,
    agents_unknown: bool,
    diagnostics: Vec<Diagnostic>,
    /// Where secrets stand in the text; excerpts mask them.
    secrets: Vec<Range<usize>>,
    dropped: usize,
    /// Values that are not the file's, with what says so.
    overridden: Vec<(Path, String)>,
}

impl<'a> Findings<'a> {
    pub(crate) const fn new(source: &'a Source, root: &'a Node) -> Self {
        Self {
            source,
            root,
            tainted: BTreeSet::new(),
            agents_unknown: false,
            diagnostics: Vec::new(),
            secrets: Vec::new(),
            dropped: 0,
            overridden: Vec::new(),
        }
    }

    /// Says of all findings at these values where they come from.
    pub(crate) fn set_overridden(&mut self, overridden: Vec<(Path, String)>) {
        self.overridden = overridden;
    }

    /// Takes a finding, unless its place is tainted: then it only follows from another one.
    pub(crate) fn push(&mut self, finding: Finding) {
        if self.is_tainted(&finding.path) {
            return;
        }
        let value_span = || match &finding.part {
            Some(part) => self.part_span(&finding.path, part),
            None => self.root.span_of(&finding.path),
        };
        let span = match self.root.key_span_of(&finding.path) {
            Some(key_span) if finding.at_key => key_span,
            _ => value_span(),
        };
        let related = finding.related.iter().map(|(path, label)| {
            let span = self.source.clamp(self.root.span_of(path));
            let (line, column) = self.source.position(span.start);
            Related { span, line, column, label: label.clone() }
        });
        let related = related.collect();
        // The last one counts, as its value does.
        let given = self.overridden.iter().rev().find(|(place, _)| is_within(&finding.path, place));
        let label = given.map(|(_, label)| label.clone()).or(finding.label);
        self.push_at(finding.code, span, finding.message, label, finding.help, related);
    }

    /// Takes a mistake found at a place in the text.
    pub(crate) fn push_at(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: String,
        label: Option<String>,
        help: Option<String>,
        related: Vec<Related>,
    ) {
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            self.dropped += 1;
            return;
        }
        let span = self.source.clamp(span);
        let (line, column) = self.source.position(span.start);
        self.diagnostics.push(Diagnostic {
            code,
            message,
            file: self.source.name.clone(),
            span: Some(span),
            line: Some(line),
            column: Some(column),
            label,
            help,
            related,
        });
    }

    /// Marks a place whose value is not what the author meant.
    pub(crate) fn taint(&mut self, path: Path) {
        self.tainted.insert(path);
    }

    /// Where the value at `path` begins in the text.
    pub(crate) fn start_of(&self, path: &Path) -> usize {
        self.root.span_of(path).start
    }

    /// Marks the values at a place where the text is broken.
    pub(crate) fn taint_touched(&mut self, span: &Range<usize>) {
        self.tainted.extend(self.root.touched_by(span));
    }

    /// Marks the list of agents as not the one the author meant.
    pub(crate) fn taint_agents(&mut self) {
        self.agents_unknown = true;
    }

    /// Whether the value at `path`, or one around it, is tainted.
    pub(crate) fn is_tainted(&self, path: &Path) -> bool {
        // Ancestors sort before their descendants but not next to them, so each is looked up.
        let mut next = Some(path.clone());
        while let Some(path) = next {
            if self.tainted.contains(&path) {
                return true;
            }
            next = path.parent();
        }
        false
    }

    /// Whether a mistake hides which agents there are, so that a name that matches none of them proves nothing.
    pub(crate) fn agents_unknown(&self) -> bool {
        let hides = |path: &Path| match path.steps() {
            [] => true,
            [.., Step::Key(last)] if last == "agent" || last == "supervisor" => true,
            [.., Step::Key(list), Step::Index(_)] => list == "agent" || list == "supervisor",
            [.., Step::Key(list), Step::Index(_), Step::Key(last)] => list == "agent" && last == "name",
            _ => false,
        };
        self.agents_unknown || self.tainted.iter().any(hides)
    }

    /// Marks a secret in the text, never to be shown.
    pub(crate) fn add_secret(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// Marks the value at `path` as a secret.
    pub(crate) fn add_secret_at(&mut self, path: &Path) {
        self.add_secret(self.root.span_of(path));
    }

    /// The report, in the order of the text. `None` if nothing was found.
    pub(crate) fn into_report(mut self) -> Option<Report> {
        if self.diagnostics.is_empty() {
            return None;
        }
        self.diagnostics.sort_by_key(|diagnostic| {
            (
                diagnostic.span.as_ref().map_or(0, |span| span.start),
                diagnostic.code,
                diagnostic.message.clone(),
            )
        });
        self.diagnostics.dedup();
        Some(Report::new(self.diagnostics, self.dropped, self.source, &self.secrets))
    }

    /// Where a part of a string stands; the whole string if it is not in the text letter by letter.
    fn part_span(&self, path: &Path, part: &Range<usize>) -> Range<usize> {
        let span = self.root.span_of(path);
        let literal = self.source.text.get(span.clone()).unwrap_or_default();
        let Some(NodeValue::String { written, .. }) = self.root.get(path).map(|node| &node.value) else {
            return span;
        };
        match literal.find(written.as_str()) {
            Some(offset) if part.end <= written.len() => {
                let start = span.start + offset;
                start + part.start..start + part.end
            }
            _ => span,
        }
    }
}
