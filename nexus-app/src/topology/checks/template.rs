//! Templates over columns, with positions: `aircraft/{tailnum}`. `{{` and `}}` stand for the braces themselves.

use std::ops::Range;

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text as it is.
    Literal(String),
    /// A column, and where it stands in the template, braces included.
    Column(&'a str, Range<usize>),
}

/// Reads a template.
///
/// # Errors
///
/// What is wrong with the braces, and where.
pub(super) fn parse(text: &str) -> Result<Vec<Part<'_>>, (Range<usize>, &'static str)> {
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
            return Err((brace..brace + 1, "has a `}` without a `{`"));
        }
        let Some(length) = rest.find('}') else {
            return Err((brace..text.len(), "has a `{` that is not closed"));
        };
        let span = brace..brace + length + 1;
        let column = &text[brace + 1..span.end - 1];
        if column.is_empty() || column.contains('{') {
            return Err((span, "has braces without a column in them"));
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        at = span.end;
        parts.push(Part::Column(column, span));
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_mistakes_have_places() {
        assert_eq!(
            parse("a/{b}-{{{c}}}").unwrap(),
            [
                Part::Literal("a/".to_owned()),
                Part::Column("b", 2..5),
                Part::Literal("-{".to_owned()),
                Part::Column("c", 8..11),
                Part::Literal("}".to_owned()),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
        for (text, place) in [("a{b", 1..3), ("a}b", 1..2), ("{}", 0..2), ("ü{", 2..3), ("{a{b}", 0..5)] {
            assert_eq!(parse(text).unwrap_err().0, place, "{text}");
        }
    }
}
