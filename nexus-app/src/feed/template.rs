//! Templates over columns: `aircraft/{tailnum}`. `{{` and `}}` stand for the braces themselves.
//!
//! Pure.

use std::ops::Range;

use super::record::Record;

/// A part of a template as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplatePart<'a> {
    /// Text as it is, never empty; two of them never stand side by side.
    Literal(String),
    /// A column's name, and its place in the template in bytes, braces included.
    Column(&'a str, Range<usize>),
}

/// A text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// The bytes that are wrong.
    pub(crate) place: Range<usize>,
    /// What is wrong, said of the text: `has a …`.
    pub(crate) reason: &'static str,
}

/// Reads a template.
///
/// # Errors
/// What is wrong with the braces.
pub(crate) fn template_parts(text: &str) -> Result<Vec<TemplatePart<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '}']) {
        let brace = at + found;
        literal.push_str(&text[at..brace]);
        let rest = &text[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            literal.push_str(&rest[..1]);
            at = brace + 2;
            continue;
        }
        if rest.starts_with('}') {
            return Err(TemplateError { place: brace..brace + 1, reason: "has a `}` without a `{`" });
        }
        let Some(length) = rest.find('}') else {
            return Err(TemplateError { place: brace..text.len(), reason: "has a `{` that is not closed" });
        };
        let place = brace..brace + length + 1;
        let column = &text[brace + 1..place.end - 1];
        if column.is_empty() || column.contains('{') {
            return Err(TemplateError { place, reason: "has braces without a column in them" });
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
        }
        at = place.end;
        parts.push(TemplatePart::Column(column, place));
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(literal));
    }
    Ok(parts)
}

/// A text with columns in it, each known by its slot in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Column(usize),
}

/// How a template was filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rendered {
    /// Every column had a value.
    Whole,
    /// A column was NA, so there is no text.
    Na,
    /// The column in this slot is not NA but an empty text.
    Empty(usize),
}

impl Template {
    /// The template of the empty text.
    pub(crate) const EMPTY: Self = Self { parts: Vec::new() };

    /// Reads `text`; `slot` gives each column named in it, with its place in the text, its slot.
    ///
    /// # Errors
    /// What is wrong with the braces.
    pub(crate) fn parse(
        text: &str,
        mut slot: impl FnMut(&str, Range<usize>) -> usize,
    ) -> Result<Self, TemplateError> {
        let part = |part| match part {
            TemplatePart::Literal(text) => Part::Literal(text.into()),
            TemplatePart::Column(column, place) => Part::Column(slot(column, place)),
        };
        Ok(Self { parts: template_parts(text)?.into_iter().map(part).collect() })
    }

    /// The text if no column is in it.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes the text for `record` over `out`.
    pub(crate) fn render(&self, record: Record<'_>, out: &mut String) -> Rendered {
        out.clear();
        let mut empty = None;
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Column(slot) => {
                    let before = out.len();
                    if !record.write_text(*slot, out) {
                        return Rendered::Na;
                    }
                    if out.len() == before {
                        empty = Some(*slot);
                    }
                }
            }
        }
        empty.map_or(Rendered::Whole, Rendered::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::record::{Cell, Span};

    fn parse(text: &str) -> Result<(Template, Vec<String>), TemplateError> {
        let mut columns: Vec<String> = Vec::new();
        let template = Template::parse(text, |column, _| {
            columns.push(column.to_owned());
            columns.len() - 1
        })?;
        Ok((template, columns))
    }

    /// Goal: braces, columns and literals come out as written; NA and empty cells are told apart. Method: a table.
    #[test]
    fn renders_columns_between_literals() {
        let text = "N14228UA";
        let cells = [Cell::Text(Span::new(0, 6)), Cell::Int(-7), Cell::Float(2.5), Cell::Bool(true)];
        let record = Record::new(text, &cells);
        let mut out = String::from("left over");
        for (source, columns, expected) in [
            ("aircraft/{tail}", 1, "aircraft/N14228"),
            ("{a}{b}/{c}-{d}", 4, "N14228-7/2.5-true"),
            ("{{{a}}}", 1, "{N14228}"),
            ("plain", 0, "plain"),
            ("", 0, ""),
        ] {
            let (template, names) = parse(source).unwrap();
            assert_eq!(names.len(), columns, "{source}");
            assert_eq!(template.render(record, &mut out), Rendered::Whole, "{source}");
            assert_eq!(out, expected, "{source}");
            assert_eq!(template.literal().is_some(), columns == 0, "{source}");
        }
        let (template, _) = parse("x/{a}").unwrap();
        assert_eq!(template.render(Record::new("", &[Cell::Na]), &mut out), Rendered::Na);
        let empty = [Cell::Text(Span::new(0, 0))];
        assert_eq!(template.render(Record::new("", &empty), &mut out), Rendered::Empty(0));
    }

    #[test]
    fn parts_and_mistakes_have_places() {
        assert_eq!(
            template_parts("a/{b}-{{{c}}}").unwrap(),
            [
                TemplatePart::Literal("a/".to_owned()),
                TemplatePart::Column("b", 2..5),
                TemplatePart::Literal("-{".to_owned()),
                TemplatePart::Column("c", 8..11),
                TemplatePart::Literal("}".to_owned()),
            ]
        );
        assert_eq!(template_parts("").unwrap(), []);
        for (text, place) in [
            ("{", 0..1),
            ("a{b", 1..3),
            ("}", 0..1),
            ("a}b", 1..2),
            ("{}", 0..2),
            ("ü{", 2..3),
            ("{a{b}", 0..5),
            ("{a{b}}", 0..5),
            ("{{a}", 3..4),
        ] {
            assert_eq!(template_parts(text).unwrap_err().place, place, "{text}");
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
