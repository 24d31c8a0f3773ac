//! What a topology must mean, beyond its shape: one file for each group of checks.
//!
//! A check looks at the decoded topology and reports what it finds at paths; it neither stops at its first finding nor
//! relies on another check. To add one, write its file and add its line to [`all`].

mod behaviors;
mod clients;
mod cluster;
mod debug;
mod duplicates;
mod feeds;
mod files;
mod groups;
mod hibernation;
mod index;
mod limits;
mod names;
mod performance;
mod reports;
mod schedulers;
mod store;
mod supervision;
mod targets;
mod telemetry;
mod walk;

use super::Topology;
use super::load::BehaviorNames;
use super::read::{Finding, Findings};
use crate::path::Path;

/// What checks look at.
pub(super) struct Context<'a> {
    pub(super) topology: &'a Topology,
    pub(super) behaviors: &'a BehaviorNames,
}

/// A check with its name.
struct Check {
    /// Unique; names the check in this list's test.
    #[cfg_attr(not(test), expect(dead_code, reason = "names are for people and for the test of the list"))]
    name: &'static str,
    run: fn(&Context<'_>, &mut Findings<'_>),
}

/// Every check, in the order they run.
const fn all() -> &'static [Check] {
    &[
        Check { name: "names", run: names::check },
        Check { name: "duplicates", run: duplicates::check },
        Check { name: "behaviors", run: behaviors::check },
        Check { name: "supervision", run: supervision::check },
        Check { name: "hibernation", run: hibernation::check },
        Check { name: "store", run: store::check },
        Check { name: "limits", run: limits::check },
        Check { name: "schedulers", run: schedulers::check },
        Check { name: "performance", run: performance::check },
        Check { name: "groups", run: groups::check },
        Check { name: "debug", run: debug::check },
        Check { name: "clients", run: clients::check },
        Check { name: "cluster", run: cluster::check },
        Check { name: "telemetry", run: telemetry::check },
        Check { name: "feeds", run: feeds::check },
        Check { name: "targets", run: targets::check },
        Check { name: "files", run: files::check },
        Check { name: "reports", run: reports::check },
    ]
}

/// Runs all checks.
pub(super) fn run(context: &Context<'_>, findings: &mut Findings<'_>) {
    for check in all() {
        (check.run)(context, findings);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Goal: the list names each check once, and none of them finds anything in the default topology.
    #[test]
    fn checks_are_listed_once() {
        let names: BTreeSet<_> = all().iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all().len());
        crate::topology::test::accepts("");
    }
}
