//! Log directives and the address of the collector.

use tracing_subscriber::EnvFilter;

use super::{Context, Finding, Findings, Path};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    let config = &context.topology.telemetry;
    let path = Path::root().key("telemetry");
    if let Err(error) = EnvFilter::builder().parse(&config.log) {
        let message = format!("`telemetry.log` is {:?}, which is no log filter: {error}", config.log);
        let help = "write a level (\"info\") or directives (\"info,nexus_app::feed=debug\")";
        findings.push(Finding::new("malformed-filter", path.key("log"), message).help(help));
    }
    let Some(otlp) = &config.otlp else { return };
    let path = path.key("otlp");
    if otlp.endpoint.parse::<axum::http::Uri>().ok().is_none_or(|uri| {
        uri.host().is_none_or(str::is_empty) || !matches!(uri.scheme_str(), Some("http" | "https"))
    }) {
        let message = "`telemetry.otlp.endpoint` is no http or https address";
        let help = "write the collector's address, such as \"http://localhost:4318\"";
        findings.push(Finding::new("malformed-address", path.key("endpoint"), message).help(help));
    }
    for (name, value) in &otlp.headers {
        let path = path.key("headers").key(name);
        if axum::http::HeaderName::try_from(name.as_str()).is_err() {
            let message = format!("`{}` is no name of an HTTP header", name.escape_debug());
            findings.push(Finding::new("malformed-header", path, message).at_key());
        } else if axum::http::HeaderValue::try_from(value.expose()).is_err() {
            let message =
                format!("the value of the header `{name}` has characters that a header cannot carry");
            findings.push(Finding::new("malformed-header", path, message).at_key());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::test::{accepts, reports};

    #[test]
    fn telemetry_is_checked() {
        accepts(
            "[telemetry]\nlog = \"warn,nexus_app=debug\"\n[telemetry.otlp]\nendpoint = \"http://localhost:4318\"",
        );
        reports("[telemetry]\nlog = \"info,x=loud\"", &[("malformed-filter", 2)]);
        reports("[telemetry.otlp]\nendpoint = \"localhost\"", &[("malformed-address", 2)]);
        reports("[telemetry.otlp]\nendpoint = \"http://c\"\ninterval = \"1ms\"", &[("out-of-range", 3)]);
        reports(
            "[telemetry.otlp]\nendpoint = \"http://c\"\nheaders = { \"a b\" = \"x\", ok = \"a\\u0001\" }",
            &[("malformed-header", 3), ("malformed-header", 3)],
        );
    }
}
