//! JSON lines: one object a line, of which only the mapping's columns are kept.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::csv::utf8;
use super::error::Malformed;
use super::record::{Cell, Record, Span};

/// Takes lines apart for one set of columns. A key that is absent or `null` is NA, like a string from the NA list.
pub(crate) struct JsonRows {
    /// Only looked up, never iterated.
    slots: HashMap<Box<str>, usize>,
    na: Vec<Box<str>>,
    /// The strings of the current record, one after the other, without their escapes.
    text: String,
    cells: Vec<Cell>,
    /// Which columns the current record has had, for keys that come twice.
    seen: Vec<bool>,
}

impl JsonRows {
    pub(crate) fn new(columns: &[Box<str>], na: &[String]) -> Self {
        Self {
            slots: columns.iter().enumerate().map(|(slot, column)| (column.clone(), slot)).collect(),
            na: na.iter().map(|text| text.as_str().into()).collect(),
            text: String::new(),
            cells: vec![Cell::Na; columns.len()],
            seen: vec![false; columns.len()],
        }
    }

    /// The cells of the object in `bytes`.
    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Result<Record<'_>, Malformed> {
        let line = utf8(bytes)?;
        self.text.clear();
        self.cells.fill(Cell::Na);
        self.seen.fill(false);
        let mut json = serde_json::Deserializer::from_str(line);
        json.deserialize_map(ObjectVisitor(self))
            .and_then(|()| json.end())
            .map_err(|error| Malformed(format!("is not usable JSON: {}", place_in_line(&error))))?;
        Ok(Record::new(&self.text, &self.cells))
    }
}

/// The error with its column only: the line is the source's, and it is reported beside. The error may quote a value of any
/// length.
fn place_in_line(error: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 200;
    let text = error.to_string().replace("line 1 column", "column");
    match text.char_indices().nth(CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

struct ObjectVisitor<'r>(&'r mut JsonRows);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let rows = self.0;
        while let Some(slot) = map.next_key_seed(KeySeed(&rows.slots))? {
            let Some(slot) = slot else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut rows.seen[slot], true) {
                return Err(M::Error::custom("a key that is used comes twice"));
            }
            rows.cells[slot] = map.next_value_seed(CellSeed { text: &mut rows.text, na: &rows.na })?;
        }
        Ok(())
    }
}

/// Finds a key's slot without keeping the key.
struct KeySeed<'r>(&'r HashMap<Box<str>, usize>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(key).copied())
    }
}

/// Reads one value into a cell.
struct CellSeed<'r> {
    text: &'r mut String,
    na: &'r [Box<str>],
}

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for CellSeed<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a truth value or null")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Na)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Cell, E> {
        let value =
            i64::try_from(value).map_err(|_| E::custom(format!("{value} does not fit 64 signed bits")))?;
        Ok(Cell::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        if self.na.iter().any(|na| **na == *value) {
            return Ok(Cell::Na);
        }
        let start = self.text.len();
        self.text.push_str(value);
        Ok(Cell::Text(Span::new(start, self.text.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> JsonRows {
        let columns = ["a", "b\"", "c"].map(Box::from);
        JsonRows::new(&columns, &["NA".to_owned()])
    }

    /// Goal: every kind of JSON value becomes its cell, unused keys may hold anything.
    #[test]
    fn cells_by_key() {
        let mut rows = rows();
        for (line, expected) in [
            (r#"{"a":"x","b\"":-3,"c":2.5}"#, "x|-3|2.5"),
            (r#"{"c":true,"z":{"a":[1,{"a":2}]},"a":"\u00e9\n"}"#, "é\n|-|true"),
            (r#" {"a":null,"b\"":"NA","c":""} "#, "-|-|"),
            ("{}", "-|-|-"),
        ] {
            let record = rows.parse(line.as_bytes()).unwrap();
            let shown: Vec<String> = (0..3)
                .map(|slot| {
                    let mut text = String::new();
                    if record.write_text(slot, &mut text) { text } else { "-".into() }
                })
                .collect();
            assert_eq!(shown.join("|"), expected, "{line}");
        }
    }

    #[test]
    fn malformed_lines_have_a_reason() {
        let mut rows = rows();
        for (line, part) in [
            (&b"{\"a\":1"[..], "EOF"),
            (b"{\"a\":1} x", "trailing characters"),
            (b"[1]", "expected a JSON object"),
            (b"7", "expected a JSON object"),
            (b"{\"a\":[1]}", "expected a string, a number, a truth value or null"),
            (b"{\"a\":{}}", "expected a string, a number, a truth value or null"),
            (b"{\"a\":1,\"a\":2}", "comes twice"),
            (b"{\"a\":18446744073709551615}", "does not fit"),
            (b"{\"a\":1e999}", "number out of range"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
        ] {
            let error = rows.parse(line).err().unwrap();
            assert!(error.0.contains(part), "{} should contain {part}", error.0);
        }
    }
}
