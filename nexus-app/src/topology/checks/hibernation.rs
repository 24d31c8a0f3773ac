//! Agents that are to hibernate and cannot.

use super::{Context, Finding, Findings, walk};
use crate::topology::Start;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for found in walk::agents(context.topology) {
        let config = found.config;
        if config.hibernate_after.is_none() {
            continue;
        }
        let path = found.path.key("hibernate_after");
        if config.start() == Start::Eager {
            let message = format!("`{}` starts with the tree, so it does not hibernate", config.name);
            let help = "set `start` to \"on_demand\", or remove `hibernate_after`";
            findings.push(Finding::new("cannot-hibernate", path.clone(), message).help(help));
        }
        if context.behaviors.contains(&config.behavior) && !context.behaviors.is_durable(&config.behavior) {
            let behavior = config.behavior.escape_debug();
            let message = format!("agents of behavior `{behavior}` cannot hibernate: it is not durable");
            let help = "implement `Durable` for it and register it with `Nexus::durable`, or remove `hibernate_after`";
            let place = found.path.key("behavior");
            findings
                .push(Finding::new("cannot-hibernate", path, message).related(place, "behavior").help(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nexus_actors::agent::Behaviors;

    use crate::topology::test::{accepts, reports};
    use crate::topology::{BehaviorNames, Topology};

    fn agent(name: &str, behavior: &str, rest: &str) -> String {
        format!("[[agent]]\nname = \"{name}\"\nbehavior = \"{behavior}\"\nhibernate_after = \"1h\"\n{rest}")
    }

    /// Goal: families of durable behaviors may hibernate; what starts with the tree, or cannot write its state down, may not.
    #[test]
    fn who_may_hibernate() {
        accepts(&agent("f/*", "kv", ""));
        accepts(&agent("f/{0..9}", "kv", ""));
        accepts(&agent("f", "kv", "start = \"on_demand\""));
        reports(&agent("f", "kv", ""), &[("cannot-hibernate", 4)]);
        reports(&agent("f/{0..9}", "kv", "start = \"eager\""), &[("cannot-hibernate", 4)]);
        reports(&agent("f/*", "kv", "").replace("1h", "1ms"), &[("out-of-range", 4)]);
        let mut behaviors = Behaviors::new();
        behaviors.register::<crate::behaviors::Echo>("restless");
        let (text, behaviors) = (agent("f/*", "restless", ""), BehaviorNames::of(&behaviors));
        let refused = Topology::parse(&text, "nexus.toml", Path::new(""), &behaviors, &|_| None).unwrap_err();
        let refused = refused.render(false);
        assert!(refused.contains("cannot-hibernate") && refused.contains("`Nexus::durable`"), "{refused}");
    }
}
