//! Tests of the splitter: against the `csv` crate on well-formed input, and by a table on damage.

use proptest::prelude::*;

use super::*;

/// An input, and its pieces with their lines.
type Case = (Style, &'static str, &'static [(&'static str, u64)]);

/// The pieces of `input` when it arrives in reads of the sizes `reads`, over and over.
fn split(style: Style, max: usize, input: &[u8], reads: &[usize]) -> Vec<(String, u64)> {
    let mut splitter = Splitter::new(style, max);
    let mut sizes = reads.iter().cycle();
    let mut rest = input;
    let mut pieces = Vec::new();
    loop {
        match splitter.next() {
            Piece::More => {
                let room = splitter.space();
                let bytes = rest.len().min(room.len()).min(*sizes.next().unwrap());
                room[..bytes].copy_from_slice(&rest[..bytes]);
                splitter.filled(bytes);
                rest = &rest[bytes..];
            }
            Piece::End => return pieces,
            Piece::Record { span, line, .. } => {
                pieces.push((String::from_utf8_lossy(splitter.bytes(span)).into_owned(), line));
            }
            Piece::Malformed { head, line, fault } => {
                let head = String::from_utf8_lossy(splitter.bytes(head)).into_owned();
                pieces.push((format!("{fault:?}({head})"), line));
            }
        }
    }
}

/// Goal: line numbers, blank lines, marks, and damage come out as documented, however the input is cut.
#[test]
fn pieces_and_lines() {
    let long = "x".repeat(30);
    let cases: [Case; 16] = [
        (Style::Csv, "", &[]),
        (Style::Csv, "\n\r\n\r", &[]),
        (Style::Csv, "a,b\nc,d", &[("a,b", 1), ("c,d", 2)]),
        (Style::Csv, "a\r\nb\rc\n\nd\n", &[("a", 1), ("b", 2), ("c", 3), ("d", 5)]),
        (Style::Csv, "\u{feff}a\nb", &[("a", 1), ("b", 2)]),
        (Style::Csv, "\"x\ny\",1\nz", &[("\"x\ny\",1", 1), ("z", 3)]),
        (Style::Csv, "\"a\"\"\nb\"\nc", &[("\"a\"\"\nb\"", 1), ("c", 3)]),
        (Style::Csv, "5\" pipe,1\nb", &[("5\" pipe,1", 1), ("b", 2)]),
        (Style::Csv, "a\"\"", &[("a\"\"", 1)]),
        (Style::Csv, "\"a\"", &[("\"a\"", 1)]),
        (Style::Csv, "a\n\"b\nc\nd", &[("a", 1), ("Unclosed(\"b)", 2), ("c", 3), ("d", 4)]),
        (Style::Csv, "a\n\"b", &[("a", 1), ("Unclosed(\"b)", 2)]),
        (
            Style::Csv,
            "\"b\r\n0123456789\r\n0123456789\r\nlast\"",
            &[("Unclosed(\"b)", 1), ("0123456789", 2), ("0123456789", 3), ("last\"", 4)],
        ),
        (Style::Lines, "{\"a\"\r\n\n  \n\"\n", &[("{\"a\"", 1), ("\"", 4)]),
        (Style::Lines, "a\rb", &[("a\rb", 1)]),
        (Style::Lines, "\u{feff}", &[]),
    ];
    for (style, input, expected) in cases {
        for reads in [&[1][..], &[2], &[3, 1], &[1000]] {
            let found = split(style, 20, input.as_bytes(), reads);
            let found: Vec<(&str, u64)> = found.iter().map(|(text, line)| (text.as_str(), *line)).collect();
            assert_eq!(found, expected, "{input:?} in reads of {reads:?}");
        }
    }
    for style in [Style::Csv, Style::Lines] {
        let input = format!("a\n{long}\nb\n{}\n{}", &long[..20], &long[..21]);
        for reads in [&[1][..], &[7], &[1000]] {
            let found = split(style, 20, input.as_bytes(), reads);
            let lines: Vec<(bool, u64)> =
                found.iter().map(|(text, line)| (text.starts_with("TooLong"), *line)).collect();
            assert_eq!(lines, [(false, 1), (true, 2), (false, 3), (false, 4), (true, 5)], "{reads:?}");
        }
    }
}

/// Goal: a line of many megabytes is skipped while only the longest allowed record is held.
#[test]
fn an_endless_line_is_not_held() {
    let mut splitter = Splitter::new(Style::Csv, 1000);
    let mut malformed = 0;
    for _ in 0..200 {
        while splitter.next() != Piece::More {
            malformed += 1;
        }
        let room = splitter.space();
        room.fill(b'x');
        let bytes = room.len();
        splitter.filled(bytes);
        assert!(splitter.buffer.len() <= 4 * READ_BYTES, "{}", splitter.buffer.len());
    }
    assert_eq!(malformed, 1);
}

fn well_formed_csv() -> impl Strategy<Value = String> {
    let bare = "[a-z 0-9]{0,6}(\"[a-z]{1,2})?".prop_map(|text| text.trim_start_matches('"').to_owned());
    let quoted = "[a-z,\r\n\"]{0,8}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\"")));
    let field = prop_oneof![3 => bare, 1 => quoted];
    let record = prop::collection::vec(field, 1..5).prop_map(|fields| fields.join(","));
    let line_break = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")];
    let lines = prop::collection::vec((record, line_break), 0..12);
    (lines, any::<bool>()).prop_map(|(lines, cut)| {
        let text: String = lines.into_iter().flat_map(|(record, end)| [record, end.to_owned()]).collect();
        if cut { text.trim_end_matches(['\r', '\n']).to_owned() } else { text }
    })
}

proptest! {
    /// Goal: on well-formed input the records and their lines are those of the `csv` crate, for any sizes of reads.
    #[test]
    fn splits_like_the_csv_crate(text in well_formed_csv(), reads in prop::collection::vec(1_usize..9, 1..5)) {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let expected: Vec<Vec<String>> = reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect();
        let found: Vec<Vec<String>> = split(Style::Csv, 4096, text.as_bytes(), &reads)
            .iter()
            .map(|(record, line)| {
                let begins: String = text.split_inclusive('\n').skip(usize::try_from(*line).unwrap() - 1).collect();
                assert!(begins.starts_with(record.as_str()), "line {line} does not begin with {record:?}");
                let mut one = csv::ReaderBuilder::new().has_headers(false).from_reader(record.as_bytes());
                let fields = one.records().next().unwrap().unwrap();
                fields.iter().map(str::to_owned).collect()
            })
            .collect();
        prop_assert_eq!(found, expected);
    }

    /// Goal: where the input is cut into reads never shows, not even on damaged input. Method: random bytes of the few that
    /// matter, a small limit, two random cuts.
    #[test]
    fn reads_never_show(
        input in "[a\",\r\n]{0,60}",
        one in prop::collection::vec(1_usize..9, 1..5),
        other in prop::collection::vec(1_usize..40, 1..5),
    ) {
        for style in [Style::Csv, Style::Lines] {
            let first = split(style, 12, input.as_bytes(), &one);
            prop_assert_eq!(&first, &split(style, 12, input.as_bytes(), &other));
        }
    }
}
