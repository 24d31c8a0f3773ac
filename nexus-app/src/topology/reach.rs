//! Which of the declared agents a feed may reach.

use nexus_actors::agent::{GROUP_PREFIX, NamePattern};

use super::{AgentConfig, Topology};
use crate::feed::{FeedConfig, TemplatePart, template_parts};

impl Topology {
    /// The declared agents that requests of `feed` may reach, by themselves or as members of a group, in start order.
    #[must_use]
    pub fn reached_by(&self, feed: &FeedConfig) -> Vec<&AgentConfig> {
        let targets: Vec<Vec<TemplatePart<'_>>> = feed
            .emit
            .iter()
            .flat_map(|emit| &emit.to)
            // What is no template is an error found earlier.
            .filter_map(|target| template_parts(target).ok())
            .collect();
        let members: Vec<NamePattern> =
            targets.iter().filter_map(|parts| self.group_members(group_of(parts)?)).flatten().collect();
        let is_reached = |agent: &AgentConfig| {
            targets.iter().any(|parts| may_give(parts, &agent.name))
                || members.iter().any(|member| member.overlaps(&agent.name))
        };
        self.agents().into_iter().map(|(_, agent)| agent).filter(|agent| is_reached(agent)).collect()
    }

    /// Why the place of `feed` is not kept, as far as the topology decides it; `None` if it is kept.
    #[must_use]
    pub fn not_kept(&self, feed: &FeedConfig) -> Option<&'static str> {
        if self.store.is_none() {
            Some("the node has no store")
        } else if feed.source == "-" {
            Some("standard input cannot be read again")
        } else if self.reached_by(feed).iter().all(|agent| agent.persist.is_none()) {
            Some("it reaches no agent with a `persist`")
        } else {
            None
        }
    }
}

/// The group that the template names.
fn group_of<'a>(parts: &'a [TemplatePart<'_>]) -> Option<&'a str> {
    match parts {
        [TemplatePart::Literal(name)] => name.strip_prefix(GROUP_PREFIX),
        _ => None,
    }
}

/// Whether the template could give a name that the pattern matches, whatever the columns hold.
pub(super) fn may_give(parts: &[TemplatePart<'_>], pattern: &NamePattern) -> bool {
    let shape: Vec<Option<&str>> = parts
        .iter()
        .map(|part| match part {
            TemplatePart::Literal(text) => Some(text.as_str()),
            TemplatePart::Column(..) => None,
        })
        .collect();
    match pattern {
        NamePattern::Exact(name) => glob(&shape, name),
        _ => match shape.as_slice() {
            [] => false,
            [Some(name)] => pattern.matches(name),
            [None, ..] => true,
            [Some(head), rest @ ..] => {
                let prefix = pattern.prefix();
                match head.strip_prefix(prefix) {
                    // What follows the prefix is one segment.
                    Some(key) => {
                        !key.contains('/') && !rest.iter().flatten().any(|literal| literal.contains('/'))
                    }
                    None => prefix.starts_with(head),
                }
            }
        },
    }
}

/// Whether literals in this order, with anything in place of `None`, can make up `name`.
fn glob(shape: &[Option<&str>], name: &str) -> bool {
    match shape {
        [] => name.is_empty(),
        [Some(literal), rest @ ..] => name.strip_prefix(literal).is_some_and(|name| glob(rest, name)),
        [None, rest @ ..] => {
            name.char_indices().map(|(at, c)| at + c.len_utf8()).any(|end| glob(rest, &name[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::test::accepts;

    #[test]
    fn templates_are_compared_with_patterns() {
        for (template, pattern, expected) in [
            ("aircraft/{t}", "aircraft/*", true),
            ("aircrft/{t}", "aircraft/*", false),
            ("air{t}", "aircraft/*", true),
            ("{kind}/{t}", "aircraft/*", true),
            ("aircraft/{t}/x", "aircraft/*", false),
            ("aircraft/{t}-{u}", "aircraft/*", true),
            ("aircraft/N1", "aircraft/*", true),
            ("aircraft", "aircraft/*", false),
            ("sensor/{n}", "sensor/{0..9}", true),
            ("sensor/12", "sensor/{0..9}", false),
            ("tower", "tower", true),
            ("tow{x}", "tower", true),
            ("t{x}r{y}", "tower", false),
            ("t{x}r", "tower", true),
            ("", "tower", false),
        ] {
            let parts = template_parts(template).unwrap();
            assert_eq!(may_give(&parts, &pattern.parse().unwrap()), expected, "{template} {pattern}");
        }
    }

    /// Goal: a feed's agents are found by name, by template and through groups; its place is kept if one of them is.
    #[test]
    fn a_feed_reaches_its_agents() {
        let topology = accepts(
            r#"
            store = { path = "s" }
            agent = [
                { name = "a/*", behavior = "kv" },
                { name = "b/{0..9}", behavior = "kv", persist = "each-update" },
                { name = "c", behavior = "kv" },
            ]
            group = [{ name = "g", members = ["b/3"], balance = "round_robin" }]
            feed = [
                { name = "1", source = "/dev/null", format = "jsonl", emit = [{ to = ["a/{k}", "c"], update = "k" }] },
                { name = "2", source = "/dev/null", format = "jsonl", emit = [{ to = ["group:g"], update = "k" }] },
                { name = "3", source = "-", format = "jsonl", emit = [{ to = ["b/{k}", "c"], update = "k" }] },
            ]
            "#,
        );
        let reached = |at: usize| -> Vec<String> {
            topology.reached_by(&topology.feed[at]).iter().map(|agent| agent.name.to_string()).collect()
        };
        assert_eq!(
            (reached(0), reached(1), reached(2)),
            (
                vec!["a/*".to_owned(), "c".to_owned()],
                vec!["b/{0..9}".to_owned()],
                vec!["b/{0..9}".to_owned(), "c".to_owned()],
            )
        );
        let not_kept = |at: usize| topology.not_kept(&topology.feed[at]);
        assert!(not_kept(0).is_some_and(|why| why.contains("persist")));
        assert_eq!(not_kept(1), None);
        assert!(not_kept(2).is_some_and(|why| why.contains("standard input")));
    }
}
