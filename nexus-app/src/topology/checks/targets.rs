//! Feed targets that no declared agent answers to, and groups that nobody serves.

use nexus_actors::agent::{GROUP_PREFIX, NamePattern, check_name};
use nexus_actors::route::balance;

use super::{Context, Finding, Findings, Path, walk};
use crate::feed::{TemplatePart as Part, template_parts};
use crate::suggest::{did_you_mean, nearest};
use crate::topology::reach::may_give;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    if findings.agents_unknown() {
        return;
    }
    let agents = walk::agents(context.topology);
    for (feed, path) in walk::feeds(context.topology) {
        for (at, emit) in feed.emit.iter().enumerate() {
            let path = path.key("emit").index(at).key("to");
            for (at, target) in emit.to.iter().enumerate() {
                // What is no template or can be no name is reported with the feed.
                let Ok(parts) = template_parts(target) else { continue };
                if let [Part::Literal(name)] = parts.as_slice()
                    && let Some(group) = name.strip_prefix(GROUP_PREFIX)
                {
                    check_group(context, group, path.index(at), findings);
                    continue;
                }
                let is_no_name = match parts.as_slice() {
                    [] => true,
                    [Part::Literal(name)] => check_name(name).is_err(),
                    _ => false,
                };
                if is_no_name || agents.iter().any(|agent| may_give(&parts, &agent.config.name)) {
                    continue;
                }
                let message = format!("target {target:?} can match no declared agent");
                let help = suggestion(&parts, target, agents.iter().map(|agent| &agent.config.name));
                findings.push(Finding::new("unknown-target", path.index(at), message).help(help));
            }
        }
    }
}

/// A group that is sent to must be there, and have a strategy.
fn check_group(context: &Context<'_>, name: &str, path: Path, findings: &mut Findings<'_>) {
    let groups = &context.topology.group;
    let found = groups.iter().position(|group| group.name == name);
    let balance_at = |index| Path::root().key("group").index(index).key("balance");
    let finding = match found {
        Some(index) if groups[index].balance.is_some() || findings.is_tainted(&balance_at(index)) => return,
        Some(_) => {
            let message = format!("group `{}` has no strategy to send by", name.escape_debug());
            let names: Vec<_> = balance::all().into_iter().map(|strategy| strategy.name()).collect();
            let help = format!("give the group a `balance`: {}", names.join(", "));
            Finding::new("not-balanced", path, message).help(help)
        }
        // A name that no group can have is reported with the feed.
        None if check_name(name).is_err() => return,
        None => {
            let message = format!("there is no group `{}`", name.escape_debug());
            let help = did_you_mean(name, "groups", groups.iter().map(|group| group.name.as_str()));
            Finding::new("unknown-group", path, message).help(help)
        }
    };
    findings.push(finding);
}

fn suggestion<'a>(
    parts: &[Part<'_>],
    target: &str,
    patterns: impl Iterator<Item = &'a NamePattern>,
) -> String {
    let patterns: Vec<&NamePattern> = patterns.collect();
    let head = match parts.first() {
        Some(Part::Literal(head)) => head.as_str(),
        _ => target,
    };
    let near = nearest(head, patterns.iter().map(|pattern| pattern.prefix()));
    match near.and_then(|near| patterns.iter().find(|pattern| pattern.prefix() == near)) {
        Some(pattern) => format!("did you mean `{pattern}`?"),
        None => "declare the agent or family that it is for".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, feed, reports_at};

    #[test]
    fn an_unknown_target_gets_the_nearest_family() {
        accepts(&feed("{ to = [\"family/{k}\"], update = \"k\" }"));
        let report =
            reports_at(&feed("{ to = [\"famly/{k}\"], update = \"k\" }"), &[("unknown-target", 8, 17)]);
        assert_eq!(report.diagnostics()[0].help.as_deref(), Some("did you mean `family/*`?"));
    }

    /// Goal: a feed may send to a group that has a strategy, and to no other.
    #[test]
    fn groups_that_are_sent_to_have_a_strategy() {
        let topology = |balance: &str, target: &str| {
            let emit = format!("{{ to = [\"{target}\"], update = \"k\" }}");
            format!("{}\n[[group]]\nname = \"desks\"\nmembers = [\"family/*\"]\n{balance}", feed(&emit))
        };
        accepts(&topology("balance = \"least_loaded\"", "group:desks"));
        let report = reports_at(&topology("", "group:desks"), &[("not-balanced", 8, 17)]);
        assert!(report.diagnostics()[0].help.as_deref().is_some_and(|help| help.contains("power_of_two")));
        // A misspelt strategy is one mistake, not two.
        reports_at(&topology("balance = \"weigted\"", "group:desks"), &[("unknown-value", 16, 11)]);
        let report =
            reports_at(&topology("balance = \"weighted\"", "group:desk"), &[("unknown-group", 8, 17)]);
        assert!(
            report.diagnostics()[0]
                .help
                .as_deref()
                .is_some_and(|help| help.contains("did you mean `desks`?"))
        );
    }
}
