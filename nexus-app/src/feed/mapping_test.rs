//! Tests of the mapping: records in, requests out, through a producer over a small file.

use super::*;
use crate::feed::test_support::{FLIGHTS, Folder, PLAIN, Run, config, flights, week};

const HEADER: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
                      tailnum,origin,dest,air_time,distance,hour,minute,time_hour";

fn run(keys: &str, table: &str, name: &str, content: &str) -> Run {
    let folder = Folder::new();
    folder.write(name, content);
    Run::of(&config(&format!("source = {name:?}\nmax_malformed = 1.0\n{keys}"), table), folder.path())
}

/// Goal: a departure before midnight that arrives after it, one that is delayed past midnight, a reading of 2400, a
/// cancelled flight without tail number: each request has its time, its agents and its payload.
#[test]
fn flights_around_midnight() {
    let lines = [
        "2013,1,31,2250,2250,0,140,150,-10,UA,7,N1,EWR,SFO,340,2565,22,50,x",
        "2013,1,31,15,2359,16,455,440,15,B6,727,N2,JFK,BQN,195,1576,23,59,x",
        "2013,1,31,2400,2359,1,445,440,5,B6,739,N3,JFK,PSE,195,1617,23,59,x",
        "2013,1,31,NA,1630,NA,NA,1815,NA,EV,4308,NA,EWR,RDU,NA,416,16,30,x",
    ];
    let run = run("", FLIGHTS, "f.csv", &format!("{HEADER}\n{}\n", lines.join("\n")));
    run.ending.as_ref().unwrap();
    let expected = [
        "2013-01-31T16:30:00Z carrier/EV+airport/EWR action cancellation {}",
        "2013-01-31T22:50:00Z aircraft/N1+carrier/UA+airport/EWR action departure \
         {\"delay\":0.0,\"dest\":\"SFO\",\"distance\":2565,\"flight\":\"UA7\",\"scheduled\":1370}",
        "2013-02-01T00:00:00Z aircraft/N3+carrier/B6+airport/JFK action departure \
         {\"delay\":1.0,\"dest\":\"PSE\",\"distance\":1617,\"flight\":\"B6739\",\"scheduled\":1439}",
        "2013-02-01T00:15:00Z aircraft/N2+carrier/B6+airport/JFK action departure \
         {\"delay\":16.0,\"dest\":\"BQN\",\"distance\":1576,\"flight\":\"B6727\",\"scheduled\":1439}",
        "2013-02-01T01:40:00Z aircraft/N1+carrier/UA+airport/SFO action arrival {\"air_time\":340,\"delay\":-10.0}",
        "2013-02-01T04:45:00Z aircraft/N3+carrier/B6+airport/PSE action arrival {\"air_time\":195,\"delay\":5.0}",
        "2013-02-01T04:55:00Z aircraft/N2+carrier/B6+airport/BQN action arrival {\"air_time\":195,\"delay\":15.0}",
    ];
    assert_eq!(run.lines(), expected);
}

/// Goal: the week's requests are those that a second, simple reading of the file gives: numbers of each kind, order of times.
#[test]
fn the_week_is_read_completely() {
    let run = Run::of(&flights(), std::path::Path::new("."));
    run.ending.as_ref().unwrap();
    let mut reader = csv::Reader::from_path(week()).unwrap();
    let column = |name: &str| HEADER.split(',').position(|known| known == name).unwrap();
    let (departure, arrival, tail) = (column("dep_time"), column("arr_time"), column("tailnum"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 6099);
    let count = |keep: &dyn Fn(&csv::StringRecord) -> bool| rows.iter().filter(|row| keep(row)).count();
    let found = |key: &str| run.emissions.iter().filter(|emission| &*emission.key == key).count();
    assert_eq!(found("departure"), count(&|row| &row[departure] != "NA"));
    assert_eq!(found("arrival"), count(&|row| &row[arrival] != "NA"));
    assert_eq!(found("cancellation"), count(&|row| &row[departure] == "NA"));
    assert_eq!((found("departure"), found("arrival"), found("cancellation")), (6064, 6061, 35));
    let to_aircraft = run.emissions.iter().filter(|e| e.targets[0].starts_with("aircraft/")).count();
    let tails = count(&|row| &row[tail] != "NA" && &row[departure] != "NA")
        + count(&|row| &row[tail] != "NA" && &row[arrival] != "NA");
    assert_eq!(to_aircraft, tails);
    assert!(run.emissions.windows(2).all(|pair| pair[0].at <= pair[1].at), "in the order of their times");
    assert_eq!(run.counters.records.load(std::sync::atomic::Ordering::Relaxed), 6099);
    assert_eq!(run.malformed(), [""; 0]);
}

/// Goal: types, NA, templates and operations, the same from CSV and from JSON lines. Method: a table of mappings.
#[test]
fn fields_and_operations() {
    let table = r#"
        name = "f"
        na = ["NA", ""]
        [[emit]]
        to = ["x/{t}", "y"]
        update = "state.{t}"
        fields.t = { column = "t" }
        fields.i = { column = "i", type = "int" }
        fields.f = { column = "f", type = "float" }
        fields.b = { column = "b", type = "bool" }
        fields.c = { column = "c", type = "clock" }
        fields.m = "{t}/{i}"
        [[emit]]
        to = ["z"]
        query = "q"
    "#;
    let csv = "t,i,f,b,c\nab,-5,2.5e3,true,2400\nx,9223372036854775807,7,0,5\nNA,,NA,,\ny,,,,\n";
    let json = [
        r#"{"t":"ab","i":-5,"f":2500.0,"b":true,"c":2400,"other":[1]}"#,
        r#"{"t":"x","i":9223372036854775807,"f":7,"b":0,"c":"5"}"#,
        r#"{"t":"NA","i":null,"f":null}"#,
        r#"{"t":"y"}"#,
    ]
    .join("\n");
    let expected = [
        "- x/ab+y update state.ab {\"b\":true,\"c\":1440,\"f\":2500.0,\"i\":-5,\"m\":\"ab/-5\",\"t\":\"ab\"}",
        "- z query q null",
        "- x/x+y update state.x {\"b\":false,\"c\":5,\"f\":7.0,\"i\":9223372036854775807,\"m\":\"x/9223372036854775807\",\"t\":\"x\"}",
        "- z query q null",
        "- z query q null",
        "- x/y+y update state.y {\"b\":null,\"c\":null,\"f\":null,\"i\":null,\"m\":null,\"t\":\"y\"}",
        "- z query q null",
    ];
    for (name, content) in [("f.csv", csv), ("f.jsonl", json.as_str())] {
        let run = run("", table, name, content);
        run.ending.as_ref().unwrap();
        assert_eq!(run.lines(), expected, "{name}");
    }
}

/// Goal: a record is used as a whole or not at all, and the reason names the column and the content.
#[test]
fn malformed_cells_have_a_reason() {
    let table = r#"
        name = "f"
        [[emit]]
        to = ["y"]
        action = "always"
        [[emit]]
        to = ["x/{a}"]
        action = "{a}"
        require = ["a"]
        at = { date = "2013-{m}-1", clock = "c", plus_minutes = "p" }
        fields = { i = { column = "i", type = "int" }, n = { column = "n", required = true } }
    "#;
    let long = "n".repeat(300);
    let lines = [
        ("k,1,0,0,1,n".to_owned(), None),
        (",13,x,x,x,n".to_owned(), Some("column `i`: `x` is not a whole number")),
        ("k,13,0,0,1,n".to_owned(), Some("`2013-13-1` is not a date")),
        ("k,1,2401,0,1,n".to_owned(), Some("column `c`: `2401` is not a clock reading")),
        ("k,1,0,inf,1,n".to_owned(), Some("column `p`: `inf` is not a finite number")),
        (
            "k,1,0,1e12,1,n".to_owned(),
            Some("column `p`: 1000000000000 minutes are more than a hundred years"),
        ),
        ("k,1,0,0,1.5,n".to_owned(), Some("column `i`: `1.5` is not a whole number")),
        ("k,1,0,0,1,".to_owned(), Some("column `n`: is NA, but required")),
        ("k k,1,0,0,1,n".to_owned(), Some("makes the name `x/k k`, which contains ' ' at byte 3")),
        (format!("{long},1,0,0,1,n"), Some("bytes long; at most")),
        ("k,,0,0,1,n".to_owned(), None),
        ("k,1,,0,1,n".to_owned(), None),
    ];
    // `require` spares the second record everything but the fields, which the first emit does not have.
    for (line, expected) in &lines {
        let run = run("", table, "f.csv", &format!("a,m,c,p,i,n\n{line}\n"));
        match (expected, run.malformed().as_slice()) {
            (Some(_), []) if line.starts_with(',') => assert_eq!(run.emissions.len(), 1),
            (None, []) => assert_eq!(run.emissions.len(), 2, "{line}"),
            (Some(part), [reason]) => {
                assert!(reason.contains(part), "{reason} should contain {part}");
                assert_eq!(run.emissions.len(), 0, "{line}: nothing of a malformed record is sent");
            }
            (expected, found) => panic!("{line}: {found:?} instead of {expected:?}"),
        }
    }
}

/// Goal: every mistake of a mapping is found in one go, each with its path.
#[test]
fn mistakes_in_the_configuration() {
    let table = r#"
        name = "f"
        [[emit]]
        to = ["x/{a", "a b", "", "ok/{}"]
        action = "a"
        update = "b"
        require = ["a"]
        absent = ["a"]
        [[emit]]
        to = ["x"]
        at = { clock = "c" }
        fields = { m = "}" , n = { column = "" } }
        [[emit]]
        to = ["x"]
        query = "q"
        at = { after_emit = 2 }
    "#;
    let config = config("source = \"-\"", table);
    let problems = crate::feed::check_feed(&config, None);
    let found: Vec<(&str, String)> = problems.iter().map(|problem| (problem.code, problem.path())).collect();
    let expected = [
        ("unknown-format", "source"),
        ("one-of", "emit[0].action"),
        ("malformed-template", "emit[0].to[0]"),
        ("malformed-name", "emit[0].to[1]"),
        ("malformed-name", "emit[0].to[2]"),
        ("malformed-template", "emit[0].to[3]"),
        ("impossible-condition", "emit[0].absent[0]"),
        ("one-of", "emit[1]"),
        ("missing-key", "emit[1].at"),
        ("malformed-template", "emit[1].fields.m"),
        ("unknown-column", "emit[1].fields.n.column"),
        ("bad-reference", "emit[2].at.after_emit"),
    ];
    assert_eq!(found, expected.map(|(code, path)| (code, path.to_owned())));
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
}

#[test]
fn columns_are_checked_against_a_header() {
    let config = config("source = \"f.csv\"", PLAIN);
    let header = ["a".to_owned(), "bb".to_owned()];
    let problems = crate::feed::check_feed(&config, Some(&header));
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((problem.code, problem.path()), ("unknown-column", "emit[0].fields.b.column".to_owned()));
    assert_eq!(problem.message, "\"f.csv\" has no column `b`");
    assert_eq!(problem.help.as_deref(), Some("did you mean `a`? columns: `a`, `bb`"));
    assert_eq!(crate::feed::check_feed(&config, Some(&["a".to_owned(), "b".to_owned()])), []);
}

/// Goal: the store of names stays bounded and names stay right, when there are more names than it keeps.
#[test]
fn names_are_bounded() {
    let rows: String = (0..NAMES_MAX + 10).map(|n| format!("{n},1\n")).collect();
    let run = run("", PLAIN, "f.csv", &format!("a,b\n{rows}"));
    run.ending.as_ref().unwrap();
    let names = run.emissions.iter().map(|emission| emission.targets[0].to_string());
    assert!(names.eq((0..NAMES_MAX + 10).map(|n| format!("x/{n}"))));
}
