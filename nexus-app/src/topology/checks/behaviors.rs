//! Behaviors that the binary does not know.

use super::{Context, Finding, Findings, walk};
use crate::suggest::did_you_mean;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for agent in walk::agents(context.topology) {
        let behavior = &agent.config.behavior;
        if context.behaviors.contains(behavior) {
            continue;
        }
        let path = agent.path.key("behavior");
        let message = format!("behavior `{}` is not known to this binary", behavior.escape_debug());
        let help = did_you_mean(behavior, "known behaviors", context.behaviors.iter());
        findings.push(Finding::new("unknown-behavior", path, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::reports_at;

    #[test]
    fn an_unknown_behavior_gets_the_nearest_spelling() {
        let text = "[[agent]]\nname = \"tower\"\nbehavior = \"aircrft\"";
        let report = reports_at(text, &[("unknown-behavior", 3, 12)]);
        let help = report.diagnostics()[0].help.as_deref().unwrap();
        assert!(
            help.starts_with("did you mean `aircraft`? known behaviors: `aircraft`, `airport`"),
            "{help}"
        );
    }
}
