//! Restart policies that contradict each other. The rules on significant children are those of OTP's `supervisor`.

use humantime_serde::re::humantime::format_duration;
use nexus_actors::agent::NamePattern;

use super::{Context, Finding, Findings, Path, walk};
use crate::topology::{AutoShutdown, BackoffConfig, Restart, SupervisorConfig};

/// Levels of supervisors under the root agent supervisor.
const DEPTH_MAX: usize = 16;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    for found in walk::supervisors(context.topology) {
        let config = found.config;
        significance(config.significant, config.restart, found.parent, &found.path, findings);
        if let Some(backoff) = &config.backoff {
            check_backoff(backoff, config, &found.path, findings);
        }
        if found.depth == DEPTH_MAX + 1 {
            let message = format!("`{}` is {} levels deep; allowed are {DEPTH_MAX}", found.path, found.depth);
            let help = "move it up the tree, or put a level's children together under one supervisor";
            findings.push(Finding::new("too-deep", found.path, message).help(help));
        }
    }
    for found in walk::agents(context.topology) {
        let config = found.config;
        significance(config.significant, config.restart, found.parent, &found.path, findings);
        if config.significant && !matches!(config.name, NamePattern::Exact(_)) {
            let message = format!("`{}` declares many agents, none of which can be significant", config.name);
            let help = "only a single agent can be significant; remove the key";
            findings
                .push(Finding::new("significant-child", found.path.key("significant"), message).help(help));
        }
    }
}

/// Source: OTP `supervisor`, child specification, "significant".
fn significance(
    significant: bool,
    restart: Restart,
    parent: Option<&SupervisorConfig>,
    path: &Path,
    findings: &mut Findings<'_>,
) {
    if !significant {
        return;
    }
    let path = path.key("significant");
    if restart == Restart::Permanent {
        let message =
            format!("`{path}` is true, but the child is `permanent`: it is always restarted and never ends");
        let help = "set `restart` to \"transient\" or \"temporary\", or remove `significant`";
        findings.push(Finding::new("significant-child", path.clone(), message).help(help));
    }
    if parent.is_none_or(|parent| parent.auto_shutdown == AutoShutdown::Never) {
        let above = parent.map_or_else(
            || "the root agent supervisor never shuts down by itself".to_owned(),
            |parent| {
                format!("`auto_shutdown` of its supervisor `{}` is \"never\"", parent.name.escape_debug())
            },
        );
        let message = format!("`{path}` is true, but {above}");
        let help = "set the supervisor's `auto_shutdown` to \"any_significant\" or \"all_significant\", \
                    or remove `significant`";
        findings.push(Finding::new("significant-child", path, message).help(help));
    }
}

fn check_backoff(
    backoff: &BackoffConfig,
    supervisor: &SupervisorConfig,
    path: &Path,
    findings: &mut Findings<'_>,
) {
    let path = path.key("backoff");
    let (initial, max) = (format_duration(backoff.initial), format_duration(backoff.max));
    if backoff.initial > backoff.max {
        let message = format!("`{path}.initial` ({initial}) is longer than `max` ({max})");
        let help = format!("raise `max` to {initial} or more, or lower `initial`");
        let place = path.key("initial");
        findings.push(
            Finding::new("impossible-backoff", place, message).related(path.key("max"), "max").help(help),
        );
    }
    if supervisor.intensity == 0 {
        let message = format!("`{path}` has no effect: an intensity of 0 allows no restart");
        let help = "raise `intensity`, or remove `backoff`";
        findings.push(Finding::new("impossible-backoff", path, message).help(help));
    } else if backoff.initial >= supervisor.period {
        let period = format_duration(supervisor.period);
        let message = format!(
            "`{path}.initial` ({initial}) is not shorter than `period` ({period}): restarts never come quickly enough \
             to reach the intensity, so the supervisor never gives up"
        );
        let help = "raise `period` to several times `initial`, or lower `initial`";
        findings.push(Finding::new("impossible-backoff", path.key("initial"), message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports};

    fn with(supervisor: &str, agent: &str) -> String {
        format!(
            "[[supervisor]]\nname = \"s\"\n{supervisor}\n[[supervisor.agent]]\nname = \"t\"\nbehavior = \"kv\"\n{agent}"
        )
    }

    /// Goal: OTP's forbidden combinations are found, its allowed ones are not.
    #[test]
    fn significant_children_follow_otp() {
        let any = "auto_shutdown = \"any_significant\"";
        accepts(&with(any, "significant = true\nrestart = \"transient\""));
        accepts(&with(any, ""));
        reports(&with(any, "significant = true"), &[("significant-child", 7)]);
        reports(&with("", "significant = true\nrestart = \"temporary\""), &[("significant-child", 7)]);
        let family = with(any, "significant = true\nrestart = \"transient\"").replace("\"t\"", "\"t/*\"");
        reports(&family, &[("significant-child", 7)]);
        reports(
            "[[supervisor]]\nname = \"s\"\nrestart = \"transient\"\nsignificant = true",
            &[("significant-child", 4)],
        );
    }

    #[test]
    fn backoff_must_be_possible() {
        accepts(&with("intensity = 5\nbackoff = { initial = \"100ms\", max = \"10s\" }", ""));
        reports(&with("backoff = { initial = \"2s\", max = \"1s\" }", ""), &[("impossible-backoff", 3)]);
        reports(&with("backoff = { initial = \"10s\" }", ""), &[("impossible-backoff", 3)]);
        reports(&with("intensity = 0\nbackoff = {}", ""), &[("impossible-backoff", 4)]);
        reports(&with("backoff = { factor = 0 }", ""), &[("out-of-range", 3)]);
        reports(&with("intensity = 3\nperiod = \"0s\"", ""), &[("out-of-range", 4)]);
    }

    /// Goal: sixteen levels are fine, the seventeenth is reported once however much is under it.
    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| -> String {
            let level = |n: usize| format!("[[{}supervisor]]\nname = \"s{n}\"\n", "supervisor.".repeat(n));
            (0..depth).map(level).collect()
        };
        accepts(&nested(16));
        reports(&nested(18), &[("too-deep", 33)]);
    }
}
