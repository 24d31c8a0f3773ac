//! Reports about nobody, or sorted by a column they do not have.

use std::collections::BTreeMap;

use super::{Context, Finding, Findings, Path, walk};
use crate::suggest::did_you_mean;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let agents = walk::agents(context.topology);
    let mut titles: BTreeMap<&str, Path> = BTreeMap::new();
    for (at, report) in context.topology.report.iter().enumerate() {
        let path = Path::root().key("report").index(at);
        if let Some(earlier) = titles.get(report.title.as_str()) {
            let message = format!("two reports are titled `{}`", report.title.escape_debug());
            let finding = Finding::new("duplicate-name", path.key("title"), message).label("here again");
            findings
                .push(finding.related(earlier.clone(), "first here").help("give one of them another title"));
        } else {
            titles.insert(&report.title, path.key("title"));
        }
        if let Some(sort) = report.sort.as_ref().filter(|sort| !report.columns.contains_key(*sort)) {
            let message = format!("the report has no column `{}` to sort by", sort.escape_debug());
            let help = did_you_mean(sort, "columns", report.columns.keys().map(String::as_str));
            findings.push(Finding::new("unknown-column", path.key("sort"), message).help(help));
        }
        let known = agents.iter().any(|agent| agent.config.name.overlaps(&report.agents));
        if !known && !findings.agents_unknown() {
            let message = format!("no declared agent matches `{}`", report.agents);
            let help = "name an agent, or a family as it is declared";
            findings.push(Finding::new("unknown-agent", path.key("agents"), message).help(help));
        }
    }
}
