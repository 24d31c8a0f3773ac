//! Query parameters, read strictly: an unknown name or a value out of range is an error that says what would be right.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde_json::json;

use super::problem::Problem;

/// A request's query parameters. Handlers take what they know; [`Params::finish`] refuses the rest.
#[derive(Debug, Default)]
pub(crate) struct Params {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Any text reads as pairs of text: bad escapes stay as they are. A name given twice has its last value.
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let given = pairs.map(|Query(pairs)| pairs.into_iter().collect()).unwrap_or_default();
        Ok(Self { given, known: Vec::new() })
    }
}

impl Params {
    /// The text of `name`, if it is given.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.given.remove(name)
    }

    /// A whole number within `range`.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (low, high) = range.into_inner();
                let asked = format!("give a whole number from {low} to {high}");
                let detail = format!("`{name}` is `{}`", shortened(&text));
                Err(Problem::parameter(name, Some(&shortened(&text)), detail, asked)
                    .with("range", json!([low, high])))
            }
        }
    }

    /// A value `T` is read from; `expected` describes the right ones.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => {
                let text = shortened(&text);
                let detail = format!("`{name}` is `{text}`");
                Err(Problem::parameter(name, Some(&text), detail, format!("give {expected}")))
            }
        }
    }

    /// One of a few words; the first is the default.
    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<T, Problem> {
        let list = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let chosen = self.parsed(name, &format!("one of {list}"), |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })?;
        Ok(chosen.unwrap_or(words[0].1))
    }

    /// `offset` and `limit`; `limit` is at most `max`, and `default` unless it is given.
    pub(crate) fn page(&mut self, default: usize, max: usize) -> Result<Page, Problem> {
        let offset = self.number("offset", 0..=u64::from(u32::MAX))?.unwrap_or(0);
        let limit = self.number("limit", 1..=max as u64)?;
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Page { offset: size(offset), limit: limit.map_or(default.min(max), size) })
    }

    /// Refuses what nobody has taken.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some((name, value)) = self.given.first_key_value() else { return Ok(()) };
        let nearest = self
            .known
            .iter()
            .map(|known| (strsim::osa_distance(known, name), known))
            .filter(|(distance, _)| *distance <= 2)
            .min();
        let remedy = match (nearest, self.known.is_empty()) {
            (Some((_, nearest)), _) => format!("did you mean `{nearest}`?"),
            (None, true) => "leave it out: this route takes none".to_owned(),
            (None, false) => format!("this route takes {}", self.known.join(", ")),
        };
        let name = shortened(name);
        Err(Problem::parameter(&name, Some(&shortened(value)), format!("no parameter `{name}` here"), remedy))
    }
}

/// A part of a longer list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Entries skipped.
    pub(crate) offset: usize,
    /// The most entries shown, at least 1.
    pub(crate) limit: usize,
}

/// A client's text, short enough to be sent back to it.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Params { given, known: Vec::new() }
    }

    fn explained(problem: Problem) -> (String, String) {
        let value = serde_json::to_value(problem.details()).unwrap();
        let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
        (text("detail"), text("remedy"))
    }

    /// Goal: good values are read, and defaults apply.
    #[test]
    fn reads_what_is_right() {
        let mut given = params(&[("limit", "5"), ("format", "text")]);
        assert_eq!(given.page(100, 50).unwrap(), Page { offset: 0, limit: 5 });
        assert!(given.word("format", &[("json", false), ("text", true)]).unwrap());
        assert!(given.finish().is_ok());
        assert_eq!(params(&[]).page(100, 50).unwrap(), Page { offset: 0, limit: 50 });
    }

    /// Goal: each error names the parameter, its value, the range and the nearest right spelling.
    #[test]
    fn explains_what_is_wrong() {
        for bad in ["0", "51", "-1", "five", "", "1e2", "99999999999999999999"] {
            let problem = params(&[("limit", bad)]).page(10, 50).unwrap_err();
            assert_eq!(
                explained(problem),
                (format!("`limit` is `{bad}`"), "give a whole number from 1 to 50".into())
            );
        }
        let mut given = params(&[("limt", "5")]);
        given.page(10, 50).unwrap();
        assert_eq!(
            explained(given.finish().unwrap_err()),
            ("no parameter `limt` here".into(), "did you mean `limit`?".into())
        );
        let problem = params(&[("format", "xml")]).word("format", &[("json", 0), ("text", 1)]).unwrap_err();
        assert_eq!(explained(problem).1, "give one of `json`, `text`");
        let long = "x".repeat(100_000);
        assert!(params(&[(&long, &long)]).finish().unwrap_err().details().detail_len() < 500);
    }
}
