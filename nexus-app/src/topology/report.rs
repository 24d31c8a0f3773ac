//! The report: all mistakes of a topology, for people and for programs.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use super::read::Source;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable short name of this kind of mistake, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, with the values.
    pub message: String,
    /// The file, as it was named.
    pub file: String,
    /// Where in the file, in bytes. `None` if the mistake is about the file as a whole, as if it cannot be read.
    pub span: Option<Range<usize>>,
    /// The line of the span's start, from 1.
    pub line: Option<usize>,
    /// The column of the span's start in characters, from 1.
    pub column: Option<usize>,
    /// A few words for the marked place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

/// Another place that has to do with a mistake: the first of two declarations, for instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// The line of its start, from 1.
    pub line: usize,
    /// The column of its start in characters, from 1.
    pub column: usize,
    /// What it is.
    pub label: String,
}

/// All mistakes found in one topology, in the order of the file. There is at least one.
///
/// `Display` and [`Report::render`] show each with its excerpt; serialization gives the diagnostics. Secrets are masked in both.
#[derive(Clone, Serialize, thiserror::Error)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    /// How many more there were than a report lists.
    dropped: usize,
    /// The text with secrets masked.
    #[serde(skip)]
    excerpt: String,
}

impl Report {
    pub(super) fn new(
        diagnostics: Vec<Diagnostic>,
        dropped: usize,
        source: &Source,
        secrets: &[Range<usize>],
    ) -> Self {
        Self { diagnostics, dropped, excerpt: mask(&source.text, secrets) }
    }

    /// A mistake about the file as a whole.
    pub(super) fn of_file(file: String, code: &'static str, message: String, help: Option<String>) -> Self {
        let diagnostic = Diagnostic {
            code,
            message,
            file,
            span: None,
            line: None,
            column: None,
            label: None,
            help,
            related: Vec::new(),
        };
        Self { diagnostics: vec![diagnostic], dropped: 0, excerpt: String::new() }
    }

    /// The mistakes, in the order of the file.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many mistakes there are, those past the longest list included.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.diagnostics.len() + self.dropped
    }

    /// The report for people: each mistake with file, line, column, excerpt and remedy, and a last line with the count. `color`
    /// is for terminals.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&self.render_one(&renderer, diagnostic));
            text.push_str("\n\n");
        }
        if self.dropped > 0 {
            text.push_str(&format!("{} more are not shown\n", self.dropped));
        }
        let count = self.count();
        text.push_str(&format!("{count} error{}\n", if count == 1 { "" } else { "s" }));
        text
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let title = Level::ERROR.primary_title(&diagnostic.message).id(diagnostic.code);
        let mut group = match &diagnostic.span {
            None => title.element(annotate_snippets::Origin::path(&diagnostic.file)),
            Some(span) => {
                let primary = AnnotationKind::Primary.span(span.clone()).label(diagnostic.label.as_deref());
                let related = diagnostic.related.iter().map(|related| {
                    AnnotationKind::Context.span(related.span.clone()).label(related.label.as_str())
                });
                let snippet = Snippet::source(&self.excerpt).path(&diagnostic.file);
                title.element(snippet.annotation(primary).annotations(related))
            }
        };
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// `text` with the bytes of `secrets` replaced, one for one so that positions stay, except quotes and line ends.
fn mask(text: &str, secrets: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in secrets {
        for byte in bytes.get_mut(span.clone()).unwrap_or_default() {
            if !matches!(byte, b'\n' | b'\r' | b'"' | b'\'') {
                *byte = b'*';
            }
        }
    }
    // Spans cover whole characters; should one not, nothing is shown rather than a secret.
    String::from_utf8(bytes).unwrap_or_else(|_| text.replace(|c| c != '\n', "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: masking keeps every position, line ends included, and hides every byte of the secret.
    #[test]
    fn masking_keeps_positions() {
        let text = "token = \"hünter\n2\"\nx = 1";
        let masked = mask(text, std::slice::from_ref(&(8..text.find("\nx").unwrap())));
        assert_eq!(masked, "token = \"*******\n*\"\nx = 1");
        assert_eq!(masked.len(), text.len());
    }
}
