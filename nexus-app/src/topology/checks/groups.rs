//! Groups that have nobody in them, run in circles or name what is not there.

use std::collections::{BTreeMap, BTreeSet};

use nexus_actors::agent::NamePattern;

use super::index::PatternIndex;
use super::{Context, Finding, Findings, Path, walk};
use crate::suggest::{did_you_mean, nearest};

/// A reference from one group to another: the index of the other, and where it is written.
struct Edge {
    to: usize,
    path: Path,
}

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let groups = &context.topology.group;
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        by_name.entry(&group.name).or_insert(index);
    }
    let joined = check_joins(context, &by_name, findings);
    let agents = walk::agents(context.topology);
    let mut index = PatternIndex::default();
    for (id, agent) in agents.iter().enumerate() {
        index.insert(&agent.config.name, id);
    }
    let names: Vec<String> = agents.iter().map(|agent| agent.config.name.to_string()).collect();
    let mut edges: Vec<Vec<Edge>> = Vec::with_capacity(groups.len());
    for (at, group) in groups.iter().enumerate() {
        let path = Path::root().key("group").index(at);
        if group.members.is_empty() && !joined.contains(group.name.as_str()) {
            let message = format!("group `{}` has no members", group.name.escape_debug());
            let help = "list its `members`, or name it in the `groups` of an agent";
            findings.push(Finding::new("empty-group", path.clone(), message).help(help));
        }
        let mut out = Vec::new();
        for (position, member) in group.members.iter().enumerate() {
            let path = path.key("members").index(position);
            match member.strip_prefix("group:") {
                Some(other) => match by_name.get(other) {
                    Some(to) => out.push(Edge { to: *to, path }),
                    None => unknown_group(other, path, &by_name, findings),
                },
                None => check_member(member, path, &index, &names, findings),
            }
        }
        edges.push(out);
    }
    for cycle in cycles(&edges) {
        let mut names: Vec<&str> = cycle.iter().map(|at| groups[*at].name.as_str()).collect();
        names.push(names[0]);
        let message = format!("groups contain each other: {}", names.join(" → "));
        let last = cycle[cycle.len() - 1];
        let Some(closing) = edges[last].iter().find(|edge| edge.to == cycle[0]) else { continue };
        let help = "remove one of these references";
        findings.push(Finding::new("cyclic-group", closing.path.clone(), message).help(help));
    }
}

/// Checks the groups that agents say they belong to; returns those that have somebody.
fn check_joins<'a>(
    context: &Context<'a>,
    by_name: &BTreeMap<&str, usize>,
    findings: &mut Findings<'_>,
) -> BTreeSet<&'a str> {
    let mut joined = BTreeSet::new();
    for agent in walk::agents(context.topology) {
        for (at, group) in agent.config.groups.iter().enumerate() {
            joined.insert(group.as_str());
            if !by_name.contains_key(group.as_str()) {
                unknown_group(group, agent.path.key("groups").index(at), by_name, findings);
            }
        }
    }
    joined
}

fn unknown_group(name: &str, path: Path, by_name: &BTreeMap<&str, usize>, findings: &mut Findings<'_>) {
    let message = format!("there is no group `{}`", name.escape_debug());
    let help = did_you_mean(name, "groups", by_name.keys().copied());
    findings.push(Finding::new("unknown-group", path, message).help(help));
}

fn check_member(
    member: &str,
    path: Path,
    index: &PatternIndex<'_>,
    names: &[String],
    findings: &mut Findings<'_>,
) {
    match member.parse::<NamePattern>() {
        Err(problem) => {
            let message = format!("`{path}` is {member:?}, which {problem}");
            let help = "write a name (`tower`), a family (`aircraft/*`), a range (`sensor/{0..99}`) or `group:other`";
            findings.push(Finding::new("malformed-name", path, message).help(help));
        }
        Ok(pattern) if index.overlap(&pattern).is_none() && !findings.agents_unknown() => {
            let message = format!("`{member}` is none of the declared agents");
            let help = nearest(member, names.iter().map(String::as_str)).map_or_else(
                || "declare the agent, or remove it from the group".to_owned(),
                |name| format!("did you mean `{name}`?"),
            );
            findings.push(Finding::new("unknown-agent", path, message).help(help));
        }
        Ok(_) => {}
    }
}

/// The cycles of a graph, one for each edge that closes one in a depth-first walk, from the node it closes at.
fn cycles(edges: &[Vec<Edge>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; edges.len()];
    let mut found = Vec::new();
    for start in 0..edges.len() {
        if states[start] != State::New {
            continue;
        }
        // An explicit stack: a chain of groups may be longer than the thread's stack is deep.
        let mut stack = vec![(start, 0)];
        states[start] = State::Open;
        while let Some((node, next)) = stack.last_mut() {
            let Some(edge) = edges[*node].get(*next) else {
                states[*node] = State::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            match states[edge.to] {
                State::New => {
                    states[edge.to] = State::Open;
                    stack.push((edge.to, 0));
                }
                State::Open => {
                    let from = stack.iter().position(|(node, _)| *node == edge.to).unwrap_or(0);
                    found.push(stack[from..].iter().map(|(node, _)| *node).collect());
                }
                State::Done => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports};

    const AGENTS: &str =
        "[[agent]]\nname = \"tower\"\nbehavior = \"kv\"\n[[agent]]\nname = \"x/*\"\nbehavior = \"kv\"\n";

    fn group(name: &str, members: &str) -> String {
        format!("[[group]]\nname = \"{name}\"\nmembers = [{members}]\n")
    }

    #[test]
    fn members_must_be_declared() {
        accepts(
            &(AGENTS.to_owned() + &group("g", "\"tower\", \"x/*\", \"x/1\"") + &group("h", "\"group:g\"")),
        );
        let report = reports(&(AGENTS.to_owned() + &group("g", "\"towr\"")), &[("unknown-agent", 9)]);
        assert_eq!(report.diagnostics()[0].help.as_deref(), Some("did you mean `tower`?"));
        reports(&(AGENTS.to_owned() + &group("g", "\"group:h\"")), &[("unknown-group", 9)]);
        reports(&(AGENTS.to_owned() + &group("g", "\"a b\"")), &[("malformed-name", 9)]);
    }

    #[test]
    fn empty_groups_are_found_unless_an_agent_joins() {
        reports(&(AGENTS.to_owned() + &group("g", "")), &[("empty-group", 7)]);
        accepts(&format!("{AGENTS}groups = [\"g\"]\n[[group]]\nname = \"g\""));
        reports(&format!("{AGENTS}groups = [\"g\"]"), &[("unknown-group", 7)]);
    }

    /// Goal: each cycle is shown as a chain, also one of a single group; a diamond is no cycle.
    #[test]
    fn cycles_are_shown() {
        let text = group("a", "\"group:b\"") + &group("b", "\"group:c\"") + &group("c", "\"group:a\"");
        let report = reports(&text, &[("cyclic-group", 9)]);
        assert_eq!(report.diagnostics()[0].message, "groups contain each other: a → b → c → a");
        reports(&group("a", "\"group:a\""), &[("cyclic-group", 3)]);
        let diamond =
            group("a", "\"group:b\", \"group:c\"") + &group("b", "\"group:d\"") + &group("c", "\"group:d\"");
        accepts(&(AGENTS.to_owned() + &diamond + &group("d", "\"tower\"")));
    }

    /// Goal: every strategy there is can be named, and a misspelt one gets the nearest.
    #[test]
    fn strategies_are_known_by_name() {
        let balanced = |name: &str| format!("{AGENTS}{}balance = \"{name}\"", group("g", "\"tower\""));
        for strategy in nexus_actors::route::balance::all() {
            accepts(&balanced(strategy.name()));
        }
        let report = reports(&balanced("round_robbin"), &[("unknown-value", 10)]);
        let help = report.diagnostics()[0].help.as_deref().unwrap_or_default();
        assert!(help.contains("round_robin"), "{help}");
    }
}
