//! Requests that a feed could not make: their kind, their time, their conditions.

use super::templates::{emits, feeds};
use super::{Context, Finding, Findings, Path};
use crate::feed::{EmitConfig, FeedConfig, Replay};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for (feed, path) in feeds(context) {
        for (at, (emit, path)) in emits(feed, &path).enumerate() {
            check_kind(emit, &path, findings);
            check_conditions(emit, &path, findings);
            check_after(feed, at, emit, &path, findings);
        }
        check_times(feed, &path, findings);
    }
}

fn check_kind(emit: &EmitConfig, path: &Path, findings: &mut Findings<'_>) {
    let given: Vec<&str> = [("query", &emit.query), ("update", &emit.update), ("action", &emit.action)]
        .into_iter()
        .filter_map(|(key, text)| text.as_ref().map(|_| key))
        .collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            if ["query", "update", "action"].iter().any(|key| findings.is_tainted(&path.key(key))) {
                return;
            }
            let message = format!("`{path}` says no kind of request");
            let help = "give one of `query`, `update` and `action`";
            findings.push(Finding::new("one-of", path.clone(), message).help(help));
        }
        [first, second, ..] => {
            let message = format!("`{path}` has both `{first}` and `{second}`; a request has one kind");
            let help = "keep one, and write another `[[feed.emit]]` for the other";
            let finding = Finding::new("one-of", path.key(second), message).at_key();
            findings.push(finding.related(path.key(first), "also given").help(help));
        }
    }
}

fn check_conditions(emit: &EmitConfig, path: &Path, findings: &mut Findings<'_>) {
    for (at, column) in emit.absent.iter().enumerate() {
        if let Some(required) = emit.require.iter().position(|required| required == column) {
            let place = path.key("absent").index(at);
            let message = format!(
                "`{}` must be both present and absent, so nothing is ever sent",
                column.escape_debug()
            );
            let finding = Finding::new("impossible-condition", place, message);
            findings.push(finding.related(path.key("require").index(required), "required here"));
        }
    }
}

fn check_after(feed: &FeedConfig, at: usize, emit: &EmitConfig, path: &Path, findings: &mut Findings<'_>) {
    let Some(time) = &emit.at else { return };
    let Some(after) = time.after_emit else { return };
    let place = path.key("at").key("after_emit");
    let problem = if after == at {
        Some("is this emit itself".to_owned())
    } else if after >= feed.emit.len() {
        Some(format!("does not exist; the feed has {} emits, counted from 0", feed.emit.len()))
    } else if after > at {
        Some(format!("comes after this one, which is {at}"))
    } else if feed.emit[after].at.is_none() {
        Some("has no time (`at`)".to_owned())
    } else {
        None
    };
    if let Some(problem) = problem {
        let message = format!("`{place}` is {after}: that emit {problem}");
        let help = "give the position, from 0, of an earlier emit with `at`";
        findings.push(Finding::new("bad-reference", place, message).help(help));
    } else if time.clock.is_none() {
        let message =
            format!("`{place}` needs a `clock`: the time is its first reading after the other emit's");
        let help = "name the column with the wall clock reading: `clock = \"…\"`";
        findings.push(Finding::new("bad-reference", place, message).help(help));
    }
}

/// Replay at the records' own time, and reordering, need a time.
fn check_times(feed: &FeedConfig, path: &Path, findings: &mut Findings<'_>) {
    let untimed = |path: &Path| findings.is_tainted(path);
    let hidden = (0..feed.emit.len()).any(|at| untimed(&path.key("emit").index(at).key("at")));
    if feed.emit.is_empty() || hidden || feed.emit.iter().any(|emit| emit.at.is_some()) {
        return;
    }
    let help = "give the emits their time, such as `at = { date = \"{date}\" }`";
    if matches!(feed.replay, Replay::Speed(_)) {
        let message = format!("`{path}.replay` follows the records' time, but no emit has one (`at`)");
        findings.push(Finding::new("no-time", path.key("replay"), message).help(help));
    }
    if feed.reorder.is_some() {
        let message = format!("`{path}.reorder` puts requests in order of time, but no emit has one (`at`)");
        findings.push(Finding::new("no-time", path.key("reorder"), message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, feed, reports};

    #[test]
    fn a_request_has_one_kind() {
        accepts(&feed("{ to = [\"tower\"], update = \"k\" }"));
        reports(&feed("{ to = [\"tower\"] }"), &[("one-of", 8)]);
        reports(&feed("{ to = [\"tower\"], update = \"k\", query = \"k\" }"), &[("one-of", 8)]);
        reports(&feed("{ to = [\"tower\"], actoin = \"k\" }"), &[("unknown-key", 8)]);
    }

    #[test]
    fn conditions_must_be_possible() {
        let text = feed("{ to = [\"tower\"], update = \"k\", require = [\"a\"], absent = [\"b\", \"a\"] }");
        reports(&text, &[("impossible-condition", 8)]);
    }

    #[test]
    fn after_emit_points_back_to_a_time() {
        let emit = |at: &str| format!("{{ to = [\"tower\"], update = \"k\"{at} }}");
        let timed = emit(", at = { date = \"{d}\" }");
        let after = |n: i32| emit(&format!(", at = {{ date = \"{{d}}\", clock = \"c\", after_emit = {n} }}"));
        accepts(&feed(&format!("{timed}, {}", after(0))));
        for wrong in [
            format!("{timed}, {}", after(1)),
            format!("{}, {timed}", after(1)),
            format!("{timed}, {}", after(7)),
            format!("{}, {}", emit(""), after(0)),
            format!("{timed}, {}", emit(", at = { date = \"{d}\", after_emit = 0 }")),
        ] {
            reports(&feed(&wrong), &[("bad-reference", 8)]);
        }
        reports(&feed(&format!("{timed}, {}", after(-1))), &[("out-of-range", 8)]);
    }

    #[test]
    fn time_is_needed_where_it_is_used() {
        let emit = "{ to = [\"tower\"], update = \"k\" }";
        let with = |key: &str, emit: &str| feed(emit).replace("format", &format!("{key}\nformat"));
        reports(&with("replay = { speed = 60.0 }", emit), &[("no-time", 7)]);
        reports(&with("reorder = \"1h\"", emit), &[("no-time", 7)]);
        accepts(&with("replay = { rate = 60 }", emit));
        accepts(&with("reorder = \"1h\"", "{ to = [\"tower\"], update = \"k\", at = { date = \"{d}\" } }"));
        reports(&with("reorder = \"soon\"", emit), &[("malformed-duration", 7)]);
        reports(&with("replay = { speed = 1.0, rate = 2.0 }", emit), &[("one-of", 7)]);
        reports(&with("replay = { sped = 1.0 }", emit), &[("unknown-key", 7)]);
        reports(&with("replay = \"slow\"", emit), &[("unknown-value", 7)]);
        reports(&with("replay = { rate = 0 }", emit), &[("out-of-range", 7)]);
    }
}
