//! Templates over columns: `aircraft/{tailnum}`. `{{` and `}}` stand for the braces themselves.
//!
//! Pure.

use super::record::Record;

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
    /// Reads `text`; `slot` gives each column named in it its slot.
    ///
    /// # Errors
    /// What is wrong with the braces, for people.
    pub(crate) fn parse(text: &str, mut slot: impl FnMut(&str) -> usize) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = brace.strip_prefix('{') {
                let Some((column, after)) = after.split_once('}') else {
                    return Err(format!("`{text}`: a `{{` is not closed; write `{{{{` for the brace itself"));
                };
                if column.is_empty() || column.contains('{') {
                    return Err(format!("`{text}`: `{{{column}}}` is not a column"));
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Column(slot(column)));
                rest = after;
            } else {
                return Err(format!("`{text}`: a `}}` has no `{{`; write `}}}}` for the brace itself"));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self { parts })
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

    fn parse(text: &str) -> Result<(Template, Vec<String>), String> {
        let mut columns: Vec<String> = Vec::new();
        let template = Template::parse(text, |column| {
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
    fn refuses_stray_braces() {
        for source in ["{", "a{b", "}", "a}b", "{}", "{a{b}}", "{{a}"] {
            assert!(parse(source).is_err(), "{source}");
        }
    }
}
