//! Names of the node, supervisors, groups and feeds: one segment of what agents' names are made of.

use nexus_actors::agent::check_name;

use super::{Context, Finding, Findings, Path, walk};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let topology = context.topology;
    let mut names: Vec<(Path, &str)> = Vec::new();
    names.extend(topology.node.name.iter().map(|name| (Path::root().key("node").key("name"), name.as_str())));
    let supervisors = walk::supervisors(topology);
    names.extend(supervisors.iter().map(|found| (found.path.key("name"), found.config.name.as_str())));
    let groups = topology.group.iter().enumerate();
    names.extend(
        groups.map(|(at, group)| (Path::root().key("group").index(at).key("name"), group.name.as_str())),
    );
    let feeds = topology.feed.iter().enumerate();
    names
        .extend(feeds.map(|(at, feed)| (Path::root().key("feed").index(at).key("name"), feed.name.as_str())));
    for (path, name) in names {
        let problem = match check_name(name) {
            Ok(()) if name.contains('/') => "contains `/`, which only agents' names may".to_owned(),
            Ok(()) => continue,
            Err(problem) => problem.to_string(),
        };
        let message = format!("`{path}` is {name:?}, which {problem}");
        let help = "use letters, digits and `_ - . : @ + ~ =`";
        findings.push(Finding::new("malformed-name", path, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::reports;

    #[test]
    fn malformed_names_are_found() {
        reports("[node]\nname = \"a/b\"", &[("malformed-name", 2)]);
        reports("[[supervisor]]\nname = \"a b\"", &[("malformed-name", 2)]);
        reports(
            "[[agent]]\nname = \"t\"\nbehavior = \"kv\"\n[[group]]\nname = \"g*\"\nmembers = [\"t\"]",
            &[("malformed-name", 5)],
        );
        reports("[[agent]]\nname = \"t{0..}\"\nbehavior = \"kv\"", &[("malformed-name", 2)]);
        reports("[[agent]]\nname = \"t/{0..200000000}\"\nbehavior = \"kv\"", &[("malformed-name", 2)]);
    }
}
