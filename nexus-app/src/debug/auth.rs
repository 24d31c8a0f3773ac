//! Who may ask what: the bearer token, the `Host` check of loopback endpoints, the origin check of changing requests, and the
//! switch for control.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rand::TryRngCore;
use rand::rngs::OsRng;
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::state::DebugState;
use crate::topology::Secret;

/// Random bytes of a generated token; written as twice as many hexadecimal digits.
const TOKEN_BYTES: usize = 16;

/// A fresh token of 32 hexadecimal digits from the operating system's randomness.
///
/// # Errors
/// If the operating system has none to give: then no endpoint should run.
pub(crate) fn generate_token() -> Result<Secret, String> {
    let mut bytes = [0; TOKEN_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| format!("the operating system gave no randomness for the debug token: {error}"))?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Lets a request pass that presents the token, in constant time.
pub(crate) async fn require_token(State(state): State<DebugState>, request: Request, next: Next) -> Response {
    match check_token(state.token(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_token(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else { return Ok(()) };
    let unauthorized = |detail: &str, challenge: &'static str| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .remedy("send `Authorization: Bearer TOKEN` with the token shown when the node started")
            .header(header::WWW_AUTHENTICATE, challenge)
    };
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("this needs the debug endpoint's token", "Bearer realm=\"nexus\""));
    };
    let given = given.as_bytes();
    let (scheme, given) = given.split_at_checked(7).unwrap_or((given, b""));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(unauthorized("the `Authorization` is no `Bearer` one", "Bearer realm=\"nexus\""));
    }
    if bool::from(given.trim_ascii().ct_eq(token.expose().as_bytes())) {
        Ok(())
    } else {
        Err(unauthorized("the token is not the right one", "Bearer realm=\"nexus\", error=\"invalid_token\""))
    }
}

/// Lets a changing request pass if the topology allows control.
pub(crate) async fn require_control(
    State(state): State<DebugState>,
    request: Request,
    next: Next,
) -> Response {
    match check_control(&state) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Whether the topology allows control.
pub(crate) fn check_control(state: &DebugState) -> Result<(), Problem> {
    if state.config().allow_control {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "control_disabled", "this endpoint only shows")
        .remedy("set `debug.allow_control = true` in the topology and start the node again"))
}

/// Refuses what another web site makes a browser send: a foreign `Host` at a loopback address (DNS rebinding) and changing
/// requests of foreign origin.
pub(crate) async fn refuse_foreign(
    State(state): State<DebugState>,
    request: Request,
    next: Next,
) -> Response {
    let checked = check_host(&state, &request).and_then(|()| check_origin(&request));
    match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_host(state: &DebugState, request: &Request) -> Result<(), Problem> {
    if !state.listens_on_loopback() {
        return Ok(());
    }
    let authority = request_authority(request).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_host", "there is no valid `Host` header")
    })?;
    let host = authority.host();
    if is_loopback_name(host) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign_host",
        format!("this endpoint listens on a loopback address and does not answer as `{host}`"),
    )
    .remedy("use `localhost` or `127.0.0.1`; a proxy must set the `Host` header"))
}

/// Whether `host` can only mean this machine.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_origin(request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let foreign = |what: String| {
        Problem::new(StatusCode::FORBIDDEN, "cross_origin", what)
            .remedy("send it from the node's own page, or from a program that is no browser")
    };
    let text = |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return Err(foreign(format!("the request comes from another site (`Sec-Fetch-Site: {site}`)")));
    }
    if let Some(origin) = text(header::ORIGIN) {
        let own = request_authority(request);
        let from = origin.split_once("://").and_then(|(_, authority)| authority.parse::<Authority>().ok());
        if own.is_none() || own != from {
            return Err(foreign(format!("the request comes from the origin `{origin}`")));
        }
    }
    Ok(())
}

/// Whom the client believes to talk to.
fn request_authority(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, more) = (hosts.next()?, hosts.next());
    if more.is_some() { None } else { host.to_str().ok()?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_authorization(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    /// Goal: only the exact token passes; the scheme's case does not matter (RFC 9110, §11.1).
    #[test]
    fn only_the_token_passes() {
        let token = Secret::new("0123456789abcdef".into());
        let passes = |value: &str| check_token(Some(&token), &with_authorization(value)).is_ok();
        assert!(passes("Bearer 0123456789abcdef") && passes("bearer  0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0", "Bearer 0123456789abcdefg", "Basic 0123456789abcdef"]
        {
            assert!(!passes(wrong), "{wrong:?}");
        }
        assert!(check_token(Some(&token), &HeaderMap::new()).is_err());
        assert!(check_token(None, &HeaderMap::new()).is_ok(), "auth is off");
    }

    /// Goal: generated tokens are long and differ.
    #[test]
    fn tokens_are_random() {
        let (one, two) = (generate_token().unwrap(), generate_token().unwrap());
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose() != two.expose());
    }

    /// Goal: the names a rebinding attack would use are told from the machine's own.
    #[test]
    fn loopback_names() {
        for own in ["localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback_name(own), "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback_name(foreign), "{foreign}");
        }
    }
}
