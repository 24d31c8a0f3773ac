//! The debug endpoint: who can reach it, and with what.

use super::{Context, Finding, Findings, Path};
use crate::topology::{Auth, Secret};

/// As long as the random tokens that are generated have entropy for, with room.
const TOKEN_CHARS_MIN: usize = 16;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let config = &context.topology.debug;
    let path = Path::root().key("debug");
    if config.auth == Auth::Off
        && !config.listen.ip().is_loopback()
        && !findings.is_tainted(&path.key("listen"))
    {
        let message = format!(
            "`debug.auth` is \"off\" while `debug.listen` is {}: everybody on the network could read this node",
            config.listen
        );
        let help = "set `auth` to \"token\", or listen on a loopback address such as 127.0.0.1:7070";
        let finding = Finding::new("open-endpoint", path.key("auth"), message);
        findings.push(finding.related(path.key("listen"), "reachable from elsewhere").help(help));
    }
    let Some(token) = &config.token else { return };
    let token_path = path.key("token");
    if config.auth == Auth::Off {
        let message = "`debug.token` is given while `debug.auth` is \"off\", so that it protects nothing";
        let help = "remove one of the two";
        findings.push(Finding::new("useless-token", token_path.clone(), message).at_key().help(help));
    }
    check_strength("debug.token", &token_path, token, findings);
}

/// Whether a token is long enough and can be sent.
pub(super) fn check_strength(name: &str, path: &Path, token: &Secret, findings: &mut Findings<'_>) {
    let length = token.expose().chars().count();
    if length < TOKEN_CHARS_MIN {
        let message = format!("`{name}` has {length} characters; at least {TOKEN_CHARS_MIN} are needed");
        let help = match name {
            "debug.token" => "use a long random text, or remove the key: a token is then generated at start",
            _ => "use a long random text",
        };
        findings.push(Finding::new("weak-token", path.clone(), message).at_key().help(help));
    }
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{name}` has characters that an HTTP header cannot carry");
        let help = "use ASCII letters, digits and punctuation, without spaces";
        findings.push(Finding::new("weak-token", path.clone(), message).at_key().help(help));
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports, reports_at};

    #[test]
    fn an_open_endpoint_must_be_local() {
        accepts("[debug]\nauth = \"off\"\nlisten = \"127.0.0.1:0\"");
        accepts("[debug]\nauth = \"off\"\nlisten = \"[::1]:7070\"");
        accepts("[debug]\nlisten = \"0.0.0.0:7070\"");
        reports_at("[debug]\nauth = \"off\"\nlisten = \"0.0.0.0:7070\"", &[("open-endpoint", 2, 8)]);
        reports("[debug]\nlisten = \"localhost:7070\"", &[("malformed-address", 2)]);
        reports("[debug]\nauth = \"of\"", &[("unknown-value", 2)]);
    }

    /// Goal: a bad token is reported without being shown, whether it is in the file or in the environment.
    #[test]
    fn tokens_are_strong_and_never_shown() {
        accepts("[debug]\ntoken = \"0123456789abcdef\"");
        for (text, findings) in [
            ("[debug]\ntoken = \"hunter2\"", [("weak-token", 2)]),
            ("[debug]\ntoken = \"${SECRET}\"", [("weak-token", 2)]),
            ("[debug]\ntoken = \"hunter2hunter2 hunter2\"", [("weak-token", 2)]),
            ("[debug]\nauth = \"off\"\ntoken = \"hunter2hunter2hunter2\"", [("useless-token", 3)]),
            ("[debug]\ntokn = \"hunter2\"", [("unknown-key", 2)]),
            ("debgu = { token = \"hunter2\" }", [("unknown-key", 1)]),
            ("[debug]\ntoken = [\"hunter2\"]", [("wrong-type", 2)]),
            ("[debug]\ntoken = \"hunter2", [("syntax", 2)]),
            ("debug.token = 'hunter2", [("syntax", 1)]),
            (
                "[telemetry.otlp]\nendpoint = \"http://c\"\nheaders = { a = \"hunter2\" b = \"x\" }",
                [("syntax", 3)],
            ),
        ] {
            let report = reports(text, &findings);
            let shown = format!("{report} {report:?} {}", serde_json::to_string(&report).unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
