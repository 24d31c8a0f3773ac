//! CSV: the header bound to the mapping's columns, and records taken apart.
//!
//! Records come from the splitter, one at a time. One without quotes is cut at its commas; one with quotes goes through
//! `csv-core`, the parser of the `csv` crate.

use csv_core::{ReadRecordResult, Reader};
use memchr::memchr_iter;

use super::error::Malformed;
use super::record::{Cell, Record, Span, excerpt};
use crate::suggest::did_you_mean;

/// Takes records apart for one header and one set of columns.
pub(crate) struct CsvRows {
    fields: usize,
    /// For each field of a line, the slot its content goes to.
    slots: Vec<Option<usize>>,
    na: Vec<Box<str>>,
    parts: Parts,
    cells: Vec<Cell>,
}

impl CsvRows {
    /// Binds the mapping's `columns` to `header`.
    ///
    /// # Errors
    /// Names of columns that the header does not have, with the nearest ones that it has.
    pub(crate) fn bind(header: &[String], columns: &[Box<str>], na: &[String]) -> Result<Self, String> {
        let mut slots = vec![None; header.len()];
        let mut missing = Vec::new();
        for (slot, column) in columns.iter().enumerate() {
            match header.iter().position(|name| **name == **column) {
                Some(field) => slots[field] = Some(slot),
                None => {
                    let help = did_you_mean(column, "columns", header.iter().map(String::as_str));
                    missing.push(format!("there is no column {}; {help}", excerpt(column)));
                }
            }
        }
        if !missing.is_empty() {
            return Err(missing.join("; "));
        }
        Ok(Self {
            fields: header.len(),
            slots,
            na: na.iter().map(|text| text.as_str().into()).collect(),
            parts: Parts::new(),
            cells: vec![Cell::Na; columns.len()],
        })
    }

    /// The cells of the record `bytes`; `quoted` says whether a field opens with a quote.
    pub(crate) fn parse<'a>(&'a mut self, bytes: &'a [u8], quoted: bool) -> Result<Record<'a>, Malformed> {
        let line = utf8(bytes)?;
        let Parts { unquoted, ends, .. } = self.parts.take_apart(line, quoted)?;
        let text = if quoted { unquoted.as_str() } else { line };
        if ends.len() != self.fields {
            return Err(Malformed(format!("has {} fields, the header has {}", ends.len(), self.fields)));
        }
        let mut start = 0;
        for (end, slot) in ends.iter().zip(&self.slots) {
            if let Some(slot) = *slot {
                let content = &text[start..*end];
                let is_na = self.na.iter().any(|na| **na == *content);
                self.cells[slot] = if is_na { Cell::Na } else { Cell::Text(Span::new(start, *end)) };
            }
            // Without quotes a comma stands between two fields; `csv-core` leaves it out.
            start = *end + usize::from(!quoted);
        }
        Ok(Record::new(text, &self.cells))
    }
}

/// The names in a header line.
///
/// # Errors
/// The reason why it is no header: not UTF-8, or a name twice.
pub(crate) fn parse_header(bytes: &[u8], quoted: bool) -> Result<Vec<String>, String> {
    let read = || {
        let line = utf8(bytes)?;
        let mut parts = Parts::new();
        let Parts { unquoted, ends, .. } = parts.take_apart(line, quoted)?;
        let text = if quoted { unquoted.as_str() } else { line };
        let mut start = 0;
        let mut names = Vec::with_capacity(ends.len());
        for end in ends.iter() {
            names.push(text[start..*end].to_owned());
            start = *end + usize::from(!quoted);
        }
        Ok(names)
    };
    let names: Vec<String> = read().map_err(|Malformed(reason)| format!("the header {reason}"))?;
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("the header names column {} twice", excerpt(twice[0])));
    }
    Ok(names)
}

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(bytes)
        .map_err(|error| Malformed(format!("is not UTF-8 at byte {}", error.valid_up_to() + 1)))
}

/// Where the fields of one record end.
struct Parts {
    parser: Reader,
    /// The fields without quotes and commas, one after the other; only for records with quotes.
    unquoted: String,
    ends: Vec<usize>,
}

impl Parts {
    fn new() -> Self {
        Self { parser: Reader::new(), unquoted: String::new(), ends: Vec::new() }
    }

    fn take_apart(&mut self, line: &str, quoted: bool) -> Result<&Self, Malformed> {
        if quoted {
            self.unquote(line)?;
        } else {
            self.ends.clear();
            self.ends.extend(memchr_iter(b',', line.as_bytes()));
            self.ends.push(line.len());
        }
        Ok(self)
    }

    /// Fields by the rules of quoting.
    fn unquote(&mut self, line: &str) -> Result<(), Malformed> {
        self.parser.reset();
        let mut output = std::mem::take(&mut self.unquoted).into_bytes();
        output.resize(line.len() + 1, 0);
        self.ends.resize(memchr_iter(b',', line.as_bytes()).count() + 2, 0);
        let (mut read, mut written, mut fields) = (0, 0, 0);
        loop {
            let (result, bytes_in, bytes_out, ends) = self.parser.read_record(
                &line.as_bytes()[read..],
                &mut output[written..],
                &mut self.ends[fields..],
            );
            read += bytes_in;
            written += bytes_out;
            fields += ends;
            match result {
                // The next call has an empty input, which tells the parser that the record has ended.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record | ReadRecordResult::End => break,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(Malformed("cannot be taken apart into fields".into()));
                }
            }
        }
        self.ends.truncate(fields);
        output.truncate(written);
        // Taking quotes out of UTF-8 leaves UTF-8.
        self.unquoted = String::from_utf8(output).map_err(|_| Malformed("is not UTF-8".into()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn header(line: &str) -> Vec<String> {
        parse_header(line.as_bytes(), line.contains('"')).unwrap()
    }

    /// Goal: chosen columns land in their slots, NA is told from text, quoting is undone. Method: a table of lines.
    #[test]
    fn cells_by_slot() {
        let na = ["NA".to_owned(), String::new()];
        let mut rows = CsvRows::bind(&header("a,\"b,x\",c"), &columns(&["c", "b,x"]), &na).unwrap();
        for (line, expected) in [
            ("1,2,3", "3|2"),
            ("1,NA,", "-|-"),
            ("1,NAN,3 ", "3 |NAN"),
            ("1,\"x,\"\"y\"\"\nz\",3", "3|x,\"y\"\nz"),
            ("\"1\",\"\",\"NA\"", "-|-"),
            ("é,\"é\",ü", "ü|é"),
        ] {
            let record = rows.parse(line.as_bytes(), line.contains('"')).unwrap();
            let shown: Vec<String> = (0..2)
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
        let mut rows = CsvRows::bind(&header("a,b"), &columns(&["a"]), &[]).unwrap();
        for (line, reason) in [
            (&b"1"[..], "has 1 fields, the header has 2"),
            (b"1,2,", "has 3 fields, the header has 2"),
            (b"\"1,2\"", "has 1 fields, the header has 2"),
            (b"1,\xff2", "is not UTF-8 at byte 3"),
        ] {
            let error = rows.parse(line, line.contains(&b'"')).unwrap_err();
            assert_eq!(error.0, reason);
        }
    }

    #[test]
    fn headers_are_checked() {
        assert_eq!(parse_header(b"a,b,a", false).unwrap_err(), "the header names column `a` twice");
        assert_eq!(parse_header(b"a,\xff", false).unwrap_err(), "the header is not UTF-8 at byte 3");
        let names = header("tailnum,origin,dest");
        let error = CsvRows::bind(&names, &columns(&["tailnumm", "zzz", "dest"]), &[]).err().unwrap();
        assert_eq!(
            error,
            "there is no column `tailnumm`; did you mean `tailnum`? columns: `tailnum`, `origin`, `dest`; \
             there is no column `zzz`; columns: `tailnum`, `origin`, `dest`"
        );
    }
}
