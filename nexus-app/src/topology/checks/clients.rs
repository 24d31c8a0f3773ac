//! The endpoint for agents' clients: who can reach it, with what, and what they reach through it.

use nexus_actors::agent::NamePattern;

use super::debug::check_strength;
use super::index::PatternIndex;
use super::{Context, Finding, Findings, Path, walk};
use crate::suggest::{did_you_mean, nearest};
use crate::topology::{Auth, ClientsConfig};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let Some(config) = &context.topology.clients else { return };
    let path = Path::root().key("clients");
    check_access(config, &path, findings);
    check_allow(context, config, &path.key("allow"), findings);
    let debug = &context.topology.debug;
    if debug.enabled
        && config.listen.port() != 0
        && config.listen.port() == debug.listen.port()
        && (config.listen.ip() == debug.listen.ip()
            || config.listen.ip().is_unspecified()
            || debug.listen.ip().is_unspecified())
        && !findings.is_tainted(&path.key("listen"))
    {
        let message = format!("`clients.listen` and `debug.listen` are both {}", config.listen);
        let help = "give one of them another port";
        findings.push(Finding::new("duplicate-address", path.key("listen"), message).help(help));
    }
}

fn check_access(config: &ClientsConfig, path: &Path, findings: &mut Findings<'_>) {
    let token_path = path.key("token");
    match (config.auth, &config.token) {
        (Auth::Token, Some(token)) => check_strength("clients.token", &token_path, token, findings),
        (Auth::Token, None)
            if !findings.is_tainted(&token_path) && !findings.is_tainted(&path.key("auth")) =>
        {
            let message = "`clients` has no `token`, which its clients would need";
            let help = "set `token = \"${CLIENTS_TOKEN}\"`, or `auth = \"off\"` on a loopback address";
            findings.push(Finding::new("missing-token", path.clone(), message).help(help));
        }
        (Auth::Token, None) => {}
        (Auth::Off, token) => {
            if token.is_some() {
                let message =
                    "`clients.token` is given while `clients.auth` is \"off\", so that it protects nothing";
                let help = "remove one of the two";
                findings.push(Finding::new("useless-token", token_path, message).at_key().help(help));
            }
            if !config.listen.ip().is_loopback() && !findings.is_tainted(&path.key("listen")) {
                let message = format!(
                    "`clients.auth` is \"off\" while `clients.listen` is {}: everybody on the network could reach these agents",
                    config.listen
                );
                let help = "set a `token`, or listen on a loopback address such as 127.0.0.1:7071";
                let finding = Finding::new("open-endpoint", path.key("auth"), message);
                findings.push(finding.related(path.key("listen"), "reachable from elsewhere").help(help));
            }
        }
    }
}

fn check_allow(context: &Context<'_>, config: &ClientsConfig, path: &Path, findings: &mut Findings<'_>) {
    if config.allow.is_empty() && !findings.is_tainted(path) {
        let message = "`clients` allows nothing: its clients could reach no agent";
        let help = "list what they may reach: `allow = [\"carrier/*\", \"group:fleet\"]`";
        findings.push(Finding::new("nothing-allowed", path.clone(), message).help(help));
    }
    let agents = walk::agents(context.topology);
    let mut index = PatternIndex::default();
    for (id, agent) in agents.iter().enumerate() {
        index.insert(&agent.config.name, id);
    }
    let names: Vec<String> = agents.iter().map(|agent| agent.config.name.to_string()).collect();
    let groups = || context.topology.group.iter().map(|group| group.name.as_str());
    for (position, allowed) in config.allow.iter().enumerate() {
        let path = path.index(position);
        if let Some(group) = allowed.strip_prefix("group:") {
            if !groups().any(|name| name == group) {
                let message = format!("there is no group `{}`", group.escape_debug());
                let help = did_you_mean(group, "groups", groups());
                findings.push(Finding::new("unknown-group", path, message).help(help));
            }
            continue;
        }
        match allowed.parse::<NamePattern>() {
            Err(problem) => {
                let message = format!("`{path}` is {allowed:?}, which {problem}");
                let help = "write a name (`tower`), a family (`carrier/*`), a range (`sensor/{0..99}`) or `group:fleet`";
                findings.push(Finding::new("malformed-name", path, message).help(help));
            }
            Ok(pattern) if index.overlap(&pattern).is_none() && !findings.agents_unknown() => {
                let message = format!("`{allowed}` is none of the declared agents");
                let help = nearest(allowed, names.iter().map(String::as_str)).map_or_else(
                    || "declare the agent, or remove it".to_owned(),
                    |name| format!("did you mean `{name}`?"),
                );
                findings.push(Finding::new("unknown-agent", path, message).help(help));
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports};

    const AGENT: &str =
        "[[agent]]\nname = \"s/*\"\nbehavior = \"kv\"\n[[group]]\nname = \"all\"\nmembers = [\"s/*\"]\n";

    fn clients(keys: &str) -> String {
        format!("{AGENT}[clients]\n{keys}")
    }

    #[test]
    fn clients_need_a_token_or_the_loopback() {
        let allow = "allow = [\"s/*\"]\n";
        accepts(&clients(&format!("{allow}token = \"0123456789abcdef\"")));
        accepts(&clients(&format!("{allow}auth = \"off\"")));
        reports(&clients(allow), &[("missing-token", 7)]);
        reports(&clients(&format!("{allow}token = \"hunter2\"")), &[("weak-token", 9)]);
        reports(&clients(&format!("{allow}auth = \"off\"\nlisten = \"0.0.0.0:1\"")), &[("open-endpoint", 9)]);
        reports(
            &clients(&format!("{allow}auth = \"off\"\ntoken = \"0123456789abcdef\"")),
            &[("useless-token", 10)],
        );
        reports(
            &clients(&format!("{allow}auth = \"off\"\nlisten = \"127.0.0.1:7070\"")),
            &[("duplicate-address", 10)],
        );
    }

    #[test]
    fn what_is_allowed_exists() {
        let with = |allow: &str| clients(&format!("auth = \"off\"\nallow = {allow}"));
        accepts(&with("[\"s/1\", \"group:all\"]"));
        reports(&clients("auth = \"off\""), &[("nothing-allowed", 7)]);
        reports(&with("[\"t/*\"]"), &[("unknown-agent", 9)]);
        reports(&with("[\"s**\"]"), &[("malformed-name", 9)]);
        reports(&with("[\"group:al\"]"), &[("unknown-group", 9)]);
    }

    #[test]
    fn limits_have_ranges() {
        let with = |keys: &str| clients(&format!("auth = \"off\"\nallow = [\"s/*\"]\n{keys}"));
        reports(
            &with("connections = 0\nqueue_bytes = 1\nidle_timeout = \"1ms\""),
            &[("out-of-range", 10), ("out-of-range", 11), ("out-of-range", 12)],
        );
    }
}
