//! Helpers for the checks' tests, and tests of the whole way from text to report.

use std::path::Path;

use nexus_actors::agent::Behaviors;

use super::{BehaviorNames, Report, Topology};

fn behaviors() -> BehaviorNames {
    let mut behaviors = Behaviors::new();
    for built_in in crate::behaviors::all().iter().filter(|built_in| built_in.name != "echo") {
        built_in.register(&mut behaviors);
    }
    BehaviorNames::of(&behaviors)
}

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2".to_owned()),
        "TOKEN" => Some("hunter2hunter2hunter2".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Topology, Report> {
    Topology::parse(text, "nexus.toml", Path::new(""), &behaviors(), &env)
}

/// The topology of a text without mistakes.
#[track_caller]
pub(super) fn accepts(text: &str) -> Topology {
    parse(text).unwrap_or_else(|report| panic!("{report}\nin\n{text}"))
}

/// Expects exactly these codes on these lines.
#[track_caller]
pub(super) fn reports(text: &str, expected: &[(&str, usize)]) -> Report {
    let Err(report) = parse(text) else { panic!("nothing was reported in\n{text}") };
    let found: Vec<_> = report.diagnostics().iter().map(|one| (one.code, one.line.unwrap_or(0))).collect();
    assert_eq!(found, expected, "{report}\nin\n{text}");
    report
}

/// Expects exactly these codes at these lines and columns.
#[track_caller]
pub(super) fn reports_at(text: &str, expected: &[(&str, usize, usize)]) -> Report {
    let Err(report) = parse(text) else { panic!("nothing was reported in\n{text}") };
    let place = |one: &super::Diagnostic| (one.code, one.line.unwrap_or(0), one.column.unwrap_or(0));
    let found: Vec<_> = report.diagnostics().iter().map(place).collect();
    assert_eq!(found, expected, "{report}\nin\n{text}");
    report
}

/// A topology with the agents `tower` and `family/*` and a feed of JSON lines with these emits, which stand on line 8.
pub(super) fn feed(emits: &str) -> String {
    format!(
        "[[agent]]\nname = \"tower\"\nbehavior = \"kv\"\n[[feed]]\nname = \"f\"\nsource = \"/dev/null\"\n\
         format = \"jsonl\"\nemit = [{emits}]\n[[agent]]\nname = \"family/*\"\nbehavior = \"kv\"\n"
    )
}

fn folder(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load_config(name: &str, env: &super::Env<'_>) -> Result<Topology, Report> {
    Topology::load(&folder("../config").join(name), &behaviors(), env)
}

/// Goal: one run finds every mistake of a file and points at each. Method: the acceptance file, its report as people and as
/// programs see it.
#[test]
fn ten_mistakes_are_reported_together() {
    let text = include_str!("testdata/ten_mistakes.toml");
    let folder = folder("src/topology/testdata");
    let report = Topology::parse(text, "ten_mistakes.toml", &folder, &behaviors(), &env).unwrap_err();
    assert_eq!(report.count(), 10);
    insta::assert_snapshot!("ten_mistakes", report.render(false));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["diagnostics"].as_array().map(Vec::len), Some(10));
    insta::assert_snapshot!(
        "ten_mistakes_json",
        serde_json::to_string_pretty(&json["diagnostics"][0]).unwrap()
    );
    assert!(report.render(true).contains("\u{1b}["));
    assert!(!report.render(false).contains('\u{1b}'));
}

/// Goal: broken syntax hides neither other broken syntax nor other mistakes.
#[test]
fn syntax_errors_do_not_hide_the_rest() {
    let text = "[limits]\ninbox = \nbatch = 0\n[node\nseed = 1\n[debug]\nlisten = \"x\"\n";
    let report = parse(text).unwrap_err();
    let found: Vec<_> = report.diagnostics().iter().map(|one| (one.code, one.line.unwrap())).collect();
    for expected in [("syntax", 2), ("out-of-range", 3), ("syntax", 4), ("malformed-address", 7)] {
        assert!(found.contains(&expected), "{expected:?} not in {found:?}");
    }
}

/// Goal: each departure from the shape gets its own code and a remedy.
#[test]
fn shape_is_checked_everywhere() {
    reports("[[agent]]\nname = \"t\"", &[("missing-key", 1)]);
    reports("[[agent]]\nname = \"t\"\nbehaviour = \"kv\"", &[("unknown-key", 3)]);
    reports("[agent]\nname = \"t\"\nbehavior = \"kv\"", &[("wrong-type", 1)]);
    reports("[[limits]]\ninbox = 1", &[("wrong-type", 1)]);
    reports("[[supervisor]]\nname = \"s\"\nstrategy = \"one_for_al\"", &[("unknown-value", 3)]);
    reports("[node]\nseed = -1\nshutdown = 30", &[("out-of-range", 2), ("wrong-type", 3)]);
    reports("[node]\nshutdown = \"1000h\"", &[("out-of-range", 2)]);
    reports("[node]\nseed = 99999999999999999999999", &[("out-of-range", 2)]);
    reports(
        "[[agent]]\nname = \"t\"\nbehavior = \"kv\"\nargs = { a = [nan], b = 1 }",
        &[("out-of-range", 4)],
    );
    reports("[[agent]]\nname = \"t\"\nbehavior = \"kv\"\nshutdown = \"never\"", &[("malformed-shutdown", 4)]);
    reports("[[agent]]\nname = \"t\"\nbehavior = \"kv\"\nshutdown = \"25h\"", &[("out-of-range", 4)]);
    reports("nodes = 1", &[("unknown-key", 1)]);
    reports("\u{feff}[limits]\r\ninbox = 0\r\n", &[("out-of-range", 2)]);
    reports("[[feed]]\nname = \"f\"\nsource = \"-\"\nformat = \"csv\"\nemit = []", &[("out-of-range", 5)]);
    reports("[[feed]]\nsource = \"-\"\nformat = \"csv\"", &[("missing-key", 1), ("missing-key", 1)]);
}

/// Goal: a value that is wrong is not the cause of further reports.
#[test]
fn follow_up_mistakes_are_left_out() {
    let feed = "[[feed]]\nname = \"f\"\nsource = \"-\"\nformat = \"csv\"\nemit = [{ to = [\"t\"], query = \"x\" }]\n";
    reports(&format!("{feed}[[agent]]\nname = \"t \"\nbehavior = \"kv\""), &[("malformed-name", 7)]);
    reports(&format!("{feed}[[agnt]]\nname = \"t\"\nbehavior = \"kv\""), &[("unknown-key", 6)]);
    reports("[debug]\nauth = \"off\"\nlisten = \"${UNSET}\"", &[("environment", 3)]);
    reports(
        "[[supervisor]]\nname = \"s\"\nbackoff = { initial = \"x\" }\nperiod = \"1ms\"",
        &[("malformed-duration", 3)],
    );
}

/// Goal: references to the environment are replaced, and nothing shows what a secret one stands for.
#[test]
fn secrets_come_from_the_environment_and_stay_secret() {
    let text = "[debug]\ntoken = \"${TOKEN}\"\n[[agent]]\nname = \"t\"\nbehavior = \"kv\"\n\
                args = { key = \"${TOKEN}\", n = 1, day = 2013-01-01 }\n\
                [telemetry.otlp]\nendpoint = \"${URL:-http://c:4318}\"\nheaders = { authorization = \"Bearer ${TOKEN}\" }";
    let topology = accepts(text);
    assert_eq!(topology.debug.token.as_ref().map(super::Secret::expose), Some("hunter2hunter2hunter2"));
    let args = &topology.agent[0].args;
    assert_eq!(args.values()["key"], "hunter2hunter2hunter2");
    let decoded: serde_json::Value = rmp_serde::from_slice(&args.to_msgpack()).unwrap();
    assert_eq!(decoded, serde_json::json!({ "key": "hunter2hunter2hunter2", "n": 1, "day": "2013-01-01" }));
    let otlp = topology.telemetry.otlp.as_ref().unwrap();
    assert_eq!(otlp.endpoint, "http://c:4318");
    let shown = format!("{topology:?} {}", serde_json::to_string(&topology).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("${TOKEN}"), "{shown}");
}

/// Goal: the file as a whole can be at fault, too.
#[test]
fn unreadable_files_are_reported() {
    for (path, expected) in [("no/such.toml", "cannot open"), ("/dev", "cannot read")] {
        let report = Topology::load(Path::new(path), &behaviors(), &env).unwrap_err();
        assert_eq!(report.diagnostics()[0].code, "unreadable-file");
        assert!(report.to_string().contains(expected), "{report}");
    }
}

/// Goal: what the product ships is right, and the two forms of the demonstration differ in name and source alone.
#[test]
fn shipped_topologies_are_right() {
    let week = load_config("airspace.toml", &env).unwrap();
    let csv = folder("../config/data/flights-2013-01-week1.csv").display().to_string();
    let with_source = |name: &str| (name == "NEXUS_FLIGHTS").then(|| csv.clone());
    let mut year = load_config("airspace-year.toml", &with_source).unwrap();
    let unset = load_config("airspace-year.toml", &env).unwrap_err();
    assert_eq!(unset.diagnostics().iter().map(|one| one.code).collect::<Vec<_>>(), ["environment"]);
    assert_eq!(year.node_name(), "airspace-year");
    year.node.name = week.node.name.clone();
    year.feed[0].source = week.feed[0].source.clone();
    year.feed[0].reorder = week.feed[0].reorder;
    year.feed[0].max_reorder_bytes = week.feed[0].max_reorder_bytes;
    assert_eq!(serde_json::to_value(&year).unwrap(), serde_json::to_value(&week).unwrap());
    assert_eq!(week.agent_for("aircraft/N14228").map(|agent| agent.behavior.as_str()), Some("aircraft"));
    let members: Vec<_> = week.group_members("everybody").unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(members, ["aircraft/*", "airport/*", "carrier/*"]);
    assert_eq!(week.group_members("nobody"), None);
}

mod never_panics {
    use proptest::prelude::*;

    use super::*;

    /// Parses and shows; the report must be free of the secrets in the environment.
    fn survives(text: &str) {
        match parse(text) {
            Ok(topology) => assert!(!format!("{topology:?}").contains("hunter2")),
            Err(report) => {
                let shown = report.render(true) + &serde_json::to_string(&report).unwrap();
                assert!(!shown.contains("hunter2"), "{shown}");
                assert!(report.count() > 0);
            }
        }
    }

    /// A topology with everything in it, as a start for mutations.
    fn full() -> String {
        let week =
            include_str!("../../../config/airspace.toml").replace("source = \"data/", "source = \"${NO}");
        format!(
            "{week}\n[debug]\ntoken = \"${{SECRET}}\"\n[[supervisor]]\nname = \"ü\"\nbackoff = {{ max = \"1s\" }}\n"
        )
    }

    proptest! {
        #[test]
        fn on_any_text(text in any::<String>()) {
            survives(&text);
        }

        /// Text made of what TOML and topologies are made of.
        #[test]
        fn on_any_pieces(pieces in prop::collection::vec(prop::sample::select(vec![
            "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", " ", "\"", "'", "\"\"\"", "#", "1", "-", "nan", "inf",
            "2013-01-01", "true", "node", "limits", "supervisor", "agent", "group", "feed", "emit", "name", "inbox",
            "\"x/*\"", "\"${SECRET}\"", "\"{a}\"", "members", "\"group:x\"", "x", "debug", "token", "listen", "fields",
            "[[feed]]\n", "[[agent]]\n", "[[supervisor]]\n", "name = \"x\"\n", "args = {", "replay", "speed", "\u{1f600}",
        ]), 0..40)) {
            survives(&pieces.concat());
        }

        /// A good file, damaged in a few places.
        #[test]
        fn on_damaged_files(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[\\[\\]{}=\"'a\n0ü]{0,3}"), 1..4)
        ) {
            let mut chars: Vec<char> = full().chars().collect();
            for (place, deleted, inserted) in edits {
                let at = place.index(chars.len());
                let end = (at + deleted).min(chars.len());
                chars.splice(at..end, inserted.chars());
            }
            survives(&chars.into_iter().collect::<String>());
        }
    }
}
