//! Names given twice, patterns that claim the same agents, and names that are the same in the tree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nexus_actors::agent::NamePattern;

use super::index::PatternIndex;
use super::{Context, Finding, Findings, Path, walk};
use crate::boot::PROGRESS;
use crate::topology::{AgentConfig, SupervisorConfig};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let topology = context.topology;
    let supervisors = walk::supervisors(topology);
    let named = supervisors.iter().map(|found| (found.path.key("name"), found.config.name.as_str()));
    unique("supervisor", named, findings);
    let groups = topology.group.iter().enumerate();
    let group_at = |at| Path::root().key("group").index(at).key("name");
    unique("group", groups.map(|(at, group)| (group_at(at), group.name.as_str())), findings);
    let feeds = topology.feed.iter().enumerate();
    let feed_at = |at| Path::root().key("feed").index(at).key("name");
    unique("feed", feeds.map(|(at, feed)| (feed_at(at), feed.name.as_str())), findings);
    agents(context, findings);
    siblings(&topology.agent, &topology.supervisor, &Path::root(), findings);
    reserved(context, findings);
}

fn unique<'a>(what: &str, names: impl Iterator<Item = (Path, &'a str)>, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<&str, Path> = BTreeMap::new();
    for (path, name) in names {
        if findings.is_tainted(&path) {
            continue;
        }
        match first.get(name) {
            None => {
                first.insert(name, path);
            }
            Some(earlier) => {
                let message = format!("two {what}s are named `{}`", name.escape_debug());
                let finding = Finding::new("duplicate-name", path, message)
                    .label("here again")
                    .related(earlier.clone(), "first here")
                    .help(format!("give one of them another name; each {what} has its own"));
                findings.push(finding);
            }
        }
    }
}

fn agents(context: &Context<'_>, findings: &mut Findings<'_>) {
    let mut agents = walk::agents(context.topology);
    agents.sort_by_key(|agent| findings.start_of(&agent.path));
    let mut index = PatternIndex::default();
    for (id, agent) in agents.iter().enumerate() {
        let path = agent.path.key("name");
        if findings.is_tainted(&path) {
            continue;
        }
        let pattern = &agent.config.name;
        if let Some(earlier) = index.overlap(pattern).map(|id| &agents[id]) {
            let (code, message) = if earlier.config.name == *pattern {
                ("duplicate-name", format!("agent `{pattern}` is declared twice"))
            } else {
                let other = &earlier.config.name;
                ("overlapping-pattern", format!("`{pattern}` and `{other}` declare the same agents"))
            };
            let finding = Finding::new(code, path, message)
                .label("here again")
                .related(earlier.path.key("name"), "first here")
                .help("each agent has one declaration; rename one or narrow its pattern");
            findings.push(finding);
        }
        index.insert(pattern, id);
    }
}

/// A child as its supervisor knows it.
struct Child<'a> {
    path: Path,
    id: Cow<'a, str>,
    /// `None` for a declared supervisor.
    pattern: Option<&'a NamePattern>,
}

impl Child<'_> {
    /// What the tree makes of it, for people.
    fn what(&self) -> String {
        match self.pattern {
            None => "a supervisor".to_owned(),
            Some(NamePattern::Exact(name)) if *name == *self.id => "an agent".to_owned(),
            Some(pattern) => format!("the supervisor of `{pattern}`"),
        }
    }

    /// Whether both are of one kind and are reported for what they declare: that comes before how the tree names them.
    fn is_duplicate_of(&self, other: &Self) -> bool {
        match (self.pattern, other.pattern) {
            (None, None) => true,
            (Some(one), Some(two)) => one.overlaps(two),
            _ => false,
        }
    }
}

/// A supervisor finds its children by their ids, so each of them needs its own.
fn siblings(
    agents: &[AgentConfig],
    supervisors: &[SupervisorConfig],
    path: &Path,
    findings: &mut Findings<'_>,
) {
    let agents = agents.iter().enumerate().map(|(at, agent)| {
        let path = path.key("agent").index(at).key("name");
        Child { path, id: agent.child_id(), pattern: Some(&agent.name) }
    });
    let named = supervisors.iter().enumerate().map(|(at, supervisor)| {
        let path = path.key("supervisor").index(at).key("name");
        Child { path, id: supervisor.name.as_str().into(), pattern: None }
    });
    let sound = |child: &Child<'_>| !findings.is_tainted(&child.path);
    let mut children: Vec<Child<'_>> = agents.chain(named).filter(sound).collect();
    children.sort_by_key(|child| findings.start_of(&child.path));
    let mut first: BTreeMap<&str, &Child<'_>> = BTreeMap::new();
    for child in &children {
        let Some(earlier) = first.get(&*child.id) else {
            first.insert(&child.id, child);
            continue;
        };
        if child.is_duplicate_of(earlier) {
            continue;
        }
        let (one, two) = (earlier.what(), child.what());
        let id = child.id.escape_debug();
        let message = format!("{one} and {two} under the same supervisor are both named `{id}` in the tree");
        let finding = Finding::new("duplicate-name", child.path.clone(), message)
            .label(two)
            .related(earlier.path.clone(), one)
            .help("give one of them another name, or declare it under another supervisor");
        findings.push(finding);
    }
    for (at, supervisor) in supervisors.iter().enumerate() {
        let path = path.key("supervisor").index(at);
        siblings(&supervisor.agent, &supervisor.supervisor, &path, findings);
    }
}

/// The tree has a child of its own beside the feeds.
fn reserved(context: &Context<'_>, findings: &mut Findings<'_>) {
    for (at, feed) in context.topology.feed.iter().enumerate() {
        if feed.name == PROGRESS {
            let message = format!(
                "a feed cannot be named `{PROGRESS}`: the tree has an actor of this name beside the feeds"
            );
            let path = Path::root().key("feed").index(at).key("name");
            findings.push(Finding::new("reserved-name", path, message).help("give the feed another name"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports, reports_at};

    #[test]
    fn duplicates_point_at_both_places() {
        let text = "[[supervisor]]\nname = \"a\"\n[[supervisor.supervisor]]\nname = \"a\"";
        let report = reports_at(text, &[("duplicate-name", 4, 8)]);
        assert_eq!(report.diagnostics()[0].related[0].line, 2);
    }

    #[test]
    fn overlaps_are_found_across_supervisors() {
        let agent = |name: &str| format!("[[agent]]\nname = \"{name}\"\nbehavior = \"kv\"\n");
        let under = |name: &str| {
            format!(
                "[[supervisor]]\nname = \"s\"\n[[supervisor.agent]]\nname = \"{name}\"\nbehavior = \"kv\"\n"
            )
        };
        reports(&(agent("x/*") + &under("x/1")), &[("overlapping-pattern", 7)]);
        reports(&(agent("x/{0..9}") + &under("x/{5..12}")), &[("overlapping-pattern", 7)]);
        reports(&(agent("x/5") + &under("x/{5..12}")), &[("overlapping-pattern", 7)]);
        reports(&(agent("tower") + &under("tower")), &[("duplicate-name", 7)]);
        reports(&(under("x/1") + &agent("x/*")), &[("overlapping-pattern", 7)]);
        accepts(&(agent("x/*") + &under("y/1")));
        accepts(&under("s"));
    }

    /// Goal: what would give one supervisor two children of one id is reported before the tree refuses it, at the later of
    /// the two, once. Method: pairs of children under the root and under a supervisor.
    #[test]
    fn siblings_have_ids_of_their_own() {
        let agent = |name: &str| ("agent", format!("name = \"{name}\"\nbehavior = \"kv\"\n"));
        let late = |name: &str| ("agent", agent(name).1 + "start = \"on_demand\"\n");
        let supervisor = |name: &str| ("supervisor", format!("name = \"{name}\"\n"));
        for (one, two, kinds) in [
            (
                agent("a/b/*"),
                agent("a.b/*"),
                Some(("the supervisor of `a/b/*`", "the supervisor of `a.b/*`")),
            ),
            (agent("room/*"), supervisor("room"), Some(("the supervisor of `room/*`", "a supervisor"))),
            (agent("room/*"), agent("room"), Some(("the supervisor of `room/*`", "an agent"))),
            (supervisor("s"), agent("s"), Some(("a supervisor", "an agent"))),
            (
                agent("s/{0..9}"),
                agent("s/{20..29}"),
                Some(("the supervisor of `s/{0..9}`", "the supervisor of `s/{20..29}`")),
            ),
            (agent("{0..9}"), agent("family"), Some(("the supervisor of `{0..9}`", "an agent"))),
            (agent("a.b"), late("a/b"), Some(("an agent", "the supervisor of `a/b`"))),
            (agent("a.b"), agent("a/b"), None),
            (agent("s{0..9}"), supervisor("s5"), None),
            (agent("a/*"), agent("b/*"), None),
        ] {
            for parent in ["", "supervisor."] {
                let head = if parent.is_empty() { "" } else { "[[supervisor]]\nname = \"up\"\n" };
                let text = format!("{head}[[{parent}{}]]\n{}[[{parent}{}]]\n{}", one.0, one.1, two.0, two.1);
                let Some((first, second)) = kinds else {
                    accepts(&text);
                    continue;
                };
                let line = text.lines().count() - two.1.lines().count() + 1;
                let report = reports_at(&text, &[("duplicate-name", line, 8)]);
                let found = &report.diagnostics()[0];
                assert_eq!(found.label.as_deref(), Some(second));
                assert_eq!((found.related[0].label.as_str(), found.related[0].column), (first, 8));
            }
        }
    }

    #[test]
    fn groups_and_feeds_are_unique() {
        let group = "[[group]]\nname = \"g\"\nmembers = [\"t\"]\n";
        let agent = "[[agent]]\nname = \"t\"\nbehavior = \"kv\"\n";
        reports(&format!("{group}{group}{agent}"), &[("duplicate-name", 5)]);
        let feed = "[[feed]]\nname = \"f\"\nsource = \"-\"\nformat = \"jsonl\"\nemit = [{ to = [\"t\"], query = \"x\" }]\n";
        let other = feed.replace("\"-\"", "\"/dev/null\"");
        reports(&format!("{feed}{other}{agent}"), &[("duplicate-name", 7)]);
        reports(&format!("{}{agent}", feed.replace("\"f\"", "\"progress\"")), &[("reserved-name", 2)]);
    }
}
