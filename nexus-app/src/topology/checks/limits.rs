//! Limits that the declared agents cannot keep.

use super::{Context, Finding, Findings, Path, walk};
use crate::topology::Start;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let limit = u64::from(context.topology.limits.agents);
    let limit_path = Path::root().key("limits").key("agents");
    let (mut total, mut reported) = (0_u64, false);
    for found in walk::agents(context.topology) {
        let name = &found.config.name;
        if name.is_family() && found.config.start == Some(Start::Eager) {
            let message =
                format!("`{name}` cannot be started eagerly: its members are known only by their messages");
            let help = "remove `start`, or declare the agents by name or by range";
            findings.push(Finding::new("impossible-start", found.path.key("start"), message).help(help));
        }
        let count = name.len().unwrap_or(0);
        total = total.saturating_add(count);
        if count > limit && !findings.is_tainted(&limit_path) {
            reported = true;
            let message =
                format!("`{name}` declares {count} agents, more than `limits.agents` allows ({limit})");
            let help = format!("raise `limits.agents` to {count} or more, or shorten the range");
            let path = found.path.key("name");
            findings.push(
                Finding::new("impossible-limit", path, message)
                    .related(limit_path.clone(), "the limit")
                    .help(help),
            );
        }
    }
    if total > limit && !reported {
        let message = format!("the file declares {total} agents; `limits.agents` allows {limit}");
        let help = format!("raise it to {total} or more");
        findings.push(Finding::new("impossible-limit", limit_path, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports, reports_at};

    #[test]
    fn declared_agents_fit_the_limit() {
        let range = "[[agent]]\nname = \"s/{0..99}\"\nbehavior = \"kv\"\n";
        accepts(&format!("[limits]\nagents = 100\n{range}"));
        reports_at(&format!("[limits]\nagents = 99\n{range}"), &[("impossible-limit", 4, 8)]);
        let two = format!("{range}[[agent]]\nname = \"t\"\nbehavior = \"kv\"\n");
        reports(&format!("[limits]\nagents = 100\n{two}"), &[("impossible-limit", 2)]);
    }

    #[test]
    fn a_family_is_not_started_eagerly() {
        let agent = "[[agent]]\nname = \"s/*\"\nbehavior = \"kv\"\nstart = ";
        accepts(&format!("{agent}\"on_demand\""));
        reports(&format!("{agent}\"eager\""), &[("impossible-start", 4)]);
    }

    #[test]
    fn limits_have_ranges() {
        reports(
            "[limits]\ninbox = 0\nbatch = 70000\nevents = 0",
            &[("out-of-range", 2), ("out-of-range", 3), ("out-of-range", 4)],
        );
    }
}
