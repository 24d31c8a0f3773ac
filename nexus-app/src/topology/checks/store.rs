//! Agents that are to be kept and cannot, and a store that nobody uses.

use super::{Context, Finding, Findings, Path, walk};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let store = Path::root().key("store");
    let mut is_used = false;
    for found in walk::agents(context.topology) {
        let config = found.config;
        let path = found.path.key("persist");
        if config.persist.is_none() {
            is_used |= findings.is_tainted(&path);
            continue;
        }
        is_used = true;
        if context.topology.store.is_none() && !findings.is_tainted(&store) {
            let message = format!("`{}` is to be kept, but the node has no store", config.name);
            let help = "add `[store]` with a `path`, or remove `persist`";
            findings.push(Finding::new("no-store", path.clone(), message).help(help));
        }
        if context.behaviors.contains(&config.behavior) && !context.behaviors.is_durable(&config.behavior) {
            let behavior = config.behavior.escape_debug();
            let message = format!("agents of behavior `{behavior}` cannot be kept: it is not durable");
            let help =
                "implement `Durable` for it and register it with `Nexus::durable`, or remove `persist`";
            let place = found.path.key("behavior");
            findings
                .push(Finding::new("cannot-persist", path, message).related(place, "behavior").help(help));
        }
    }
    let Some(config) = &context.topology.store else { return };
    if !is_used && !findings.agents_unknown() {
        let message = "the store would stay empty: no agent has a `persist`";
        let help = "give the agents to be kept a `persist`, or remove `[store]`";
        findings.push(Finding::new("useless-store", store.clone(), message).at_key().help(help));
    }
    check_path(context, &config.path, store.key("path"), findings);
}

fn check_path(context: &Context<'_>, path: &std::path::Path, place: Path, findings: &mut Findings<'_>) {
    let folder = context.topology.base_dir.join(path);
    let problem = if path.as_os_str().is_empty() {
        "names no folder"
    } else if folder.exists() && !folder.is_dir() {
        "is a file, not a folder"
    } else {
        return;
    };
    let message = format!("`{place}` is {:?}, which {problem}", folder.display().to_string());
    findings
        .push(Finding::new("bad-store-path", place, message).help("name a folder; it is made if missing"));
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::Path;
    use std::time::Duration;

    use nexus_actors::agent::Behaviors;

    use crate::topology::test::{accepts, reports, reports_at};
    use crate::topology::{BehaviorNames, Every, Persist, Topology};

    const STORE: &str = "[store]\npath = \"state\"\n";

    fn agent(persist: &str) -> String {
        format!("[[agent]]\nname = \"f/*\"\nbehavior = \"kv\"\npersist = {persist}\n")
    }

    fn help(report: &crate::topology::Report) -> &str {
        report.diagnostics()[0].help.as_deref().unwrap_or_default()
    }

    /// Goal: every policy is understood, and the store has its defaults.
    #[test]
    fn policies_and_defaults() {
        for (text, expected) in [
            ("\"on-hibernate\"", Persist::OnHibernate),
            ("\"each-update\"", Persist::EachUpdate),
            ("{ every = 100 }", Persist::Every(Every::Messages(NonZeroU32::new(100).unwrap()))),
            ("{ every = \"5s\" }", Persist::Every(Every::Span(Duration::from_secs(5)))),
        ] {
            let topology = accepts(&(agent(text) + STORE));
            assert_eq!(topology.agent[0].persist, expected, "{text}");
            let store = topology.store.unwrap();
            assert_eq!((store.max_bytes, store.checkpoint), (16 << 30, Duration::from_secs(1)));
        }
        assert_eq!(accepts(&agent("\"none\"")).agent[0].persist, Persist::None);
    }

    /// Goal: what is misspelt gets its nearest spelling, what is out of range its range, at their places.
    #[test]
    fn mistakes_have_places_and_remedies() {
        let wrong = |persist: &str, code, column| reports_at(&(agent(persist) + STORE), &[(code, 4, column)]);
        let misspelt = wrong("\"each_update\"", "unknown-value", 11);
        assert!(help(&misspelt).starts_with("did you mean `each-update`?"), "{misspelt}");
        let misspelt = wrong("{ evry = 5 }", "unknown-key", 13);
        assert!(help(&misspelt).starts_with("did you mean `every`?"), "{misspelt}");
        wrong("{ every = 0 }", "out-of-range", 21);
        wrong("{ every = \"1ms\" }", "out-of-range", 11);
        wrong("{ every = \"5\" }", "malformed-duration", 21);
        wrong("{ every = true }", "wrong-type", 21);
        wrong("7", "wrong-type", 11);
        let store = |keys: &str| agent("\"each-update\"") + "[store]\n" + keys;
        reports(&store(""), &[("missing-key", 5)]);
        reports(
            &store("path = \"s\"\nmax_bytes = 5\ncheckpoint = \"1ms\""),
            &[("out-of-range", 7), ("out-of-range", 8)],
        );
        reports(&store("path = \"\""), &[("bad-store-path", 6)]);
        reports(&store("path = \"Cargo.toml\""), &[("bad-store-path", 6)]);
    }

    /// Goal: agents are kept only with a store and a durable behavior, and a store is there for somebody.
    #[test]
    fn who_can_be_kept() {
        reports(&agent("\"each-update\""), &[("no-store", 4)]);
        reports_at(
            &("[[agent]]\nname = \"a\"\nbehavior = \"kv\"\n".to_owned() + STORE),
            &[("useless-store", 4, 2)],
        );
        // A misspelt policy is one mistake, not two.
        reports(&(agent("\"nome\"") + STORE), &[("unknown-value", 4)]);
        let mut behaviors = Behaviors::new();
        behaviors.register::<crate::behaviors::Echo>("kv");
        let (text, behaviors) = (agent("{ every = 9 }") + STORE, BehaviorNames::of(&behaviors));
        let refused = Topology::parse(&text, "nexus.toml", Path::new(""), &behaviors, &|_| None).unwrap_err();
        let refused = refused.render(false);
        assert!(refused.contains("cannot-persist") && refused.contains("`Nexus::durable`"), "{refused}");
    }
}
