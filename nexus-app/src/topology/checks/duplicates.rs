//! Names given twice, and patterns that claim the same agents.

use std::collections::BTreeMap;

use nexus_actors::agent::NamePattern;

use super::index::PatternIndex;
use super::{Context, Finding, Findings, Path, walk};
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

/// The tree names children by their names, so an agent and a supervisor under one supervisor need different ones.
fn siblings(
    agents: &[AgentConfig],
    supervisors: &[SupervisorConfig],
    path: &Path,
    findings: &mut Findings<'_>,
) {
    let mut index = PatternIndex::default();
    for (id, agent) in agents.iter().enumerate() {
        index.insert(&agent.name, id);
    }
    for (at, supervisor) in supervisors.iter().enumerate() {
        let child = path.key("supervisor").index(at);
        let name = &supervisor.name;
        if let Some(id) = index.overlap(&NamePattern::Exact(name.clone())) {
            let message =
                format!("a supervisor and an agent beside it are both named `{}`", name.escape_debug());
            let finding = Finding::new("duplicate-name", child.key("name"), message)
                .label("the supervisor")
                .related(path.key("agent").index(id).key("name"), "the agent")
                .help("give one of them another name");
            findings.push(finding);
        }
        siblings(&supervisor.agent, &supervisor.supervisor, &child, findings);
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
        reports(&(under("t") + &agent("s")), &[("duplicate-name", 2)]);
        reports(&(under("x/1") + &agent("x/*")), &[("overlapping-pattern", 7)]);
        accepts(&(agent("x/*") + &under("y/1")));
        accepts(&under("s"));
    }

    #[test]
    fn groups_and_feeds_are_unique() {
        let group = "[[group]]\nname = \"g\"\nmembers = [\"t\"]\n";
        let agent = "[[agent]]\nname = \"t\"\nbehavior = \"kv\"\n";
        reports(&format!("{group}{group}{agent}"), &[("duplicate-name", 5)]);
        let feed = "[[feed]]\nname = \"f\"\nsource = \"-\"\nformat = \"jsonl\"\nemit = [{ to = [\"t\"], query = \"x\" }]\n";
        let other = feed.replace("\"-\"", "\"/dev/null\"");
        reports(&format!("{feed}{other}{agent}"), &[("duplicate-name", 7)]);
    }
}
