//! From a TCP stream to a WebSocket: the request's head, who may come, and the answer.
//!
//! By hand up to tungstenite's own check and key, so that every refusal is an HTTP answer that says why, and so that nothing of
//! an HTTP server stays behind a connection.

use nexus_client::protocol::{PATH, TOKEN_PROTOCOL};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::http::uri::Authority;
use tokio_tungstenite::tungstenite::http::{Request, StatusCode, Version};

use super::state::{Clients, RefusalReason};
use crate::debug::is_loopback_name;

/// The most bytes of a request's line and headers.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// The sub-protocol that is chosen where a client offers it, as browsers that bring a token must.
const PROTOCOL: &str = "nexus.v1";

/// A request that is refused.
struct Refused {
    reason: RefusalReason,
    status: StatusCode,
    code: &'static str,
    detail: String,
    remedy: &'static str,
}

/// Makes a WebSocket of `stream`, or refuses it with an answer. Gives the bytes that came after the request.
///
/// # Errors
/// Why not; the stream can only be closed then.
pub(super) async fn open(
    stream: &mut TcpStream,
    clients: &Clients,
    full: bool,
) -> Result<Vec<u8>, RefusalReason> {
    let (head, request) = read_head(stream).await?;
    let answer = match request {
        Ok(_) if full => Err(Refused {
            reason: RefusalReason::Full,
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "too_many_connections",
            detail: format!("all {} connections are in use", clients.totals().connections_max),
            remedy: "try again later, or raise `clients.connections`",
        }),
        Ok(request) => check(&request, clients).and_then(|()| accept(&request)),
        Err(refused) => Err(refused),
    };
    match answer {
        Ok(answer) => {
            stream.write_all(answer.as_bytes()).await.map_err(|_| RefusalReason::Handshake)?;
            Ok(head)
        }
        Err(refused) => {
            tell(stream, &refused).await;
            Err(refused.reason)
        }
    }
}

type Parsed = Result<Request<()>, Refused>;

/// Reads up to the empty line. What came after it is given back with the request.
async fn read_head(stream: &mut TcpStream) -> Result<(Vec<u8>, Parsed), RefusalReason> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut bytes).await.map_err(|_| RefusalReason::Handshake)?;
        if read == 0 {
            return Err(RefusalReason::Handshake);
        }
        match parse(&bytes) {
            Ok(Some((length, request))) => {
                bytes.drain(..length);
                bytes.shrink_to_fit();
                return Ok((bytes, Ok(request)));
            }
            Ok(None) if bytes.len() < HEAD_BYTES_MAX => bytes.reserve(1024),
            Ok(None) => {
                let detail = format!("the request's head is longer than {HEAD_BYTES_MAX} bytes");
                return Ok((Vec::new(), Err(bad_request(detail))));
            }
            Err(refused) => return Ok((Vec::new(), Err(refused))),
        }
    }
}

fn bad_request(detail: String) -> Refused {
    Refused {
        reason: RefusalReason::Request,
        status: StatusCode::BAD_REQUEST,
        code: "bad_request",
        detail,
        remedy: "open a WebSocket (RFC 6455) at `/v1`",
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(usize, Request<()>)>, Refused> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut room);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(bad_request(format!("this is no HTTP request: {error}"))),
    };
    let mut request = Request::new(());
    *request.version_mut() = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let bad = |what: &str| bad_request(format!("the request's {what} is malformed"));
    *request.method_mut() = head.method.unwrap_or_default().parse().map_err(|_| bad("method"))?;
    *request.uri_mut() = head.path.unwrap_or_default().parse().map_err(|_| bad("path"))?;
    for one in head.headers.iter() {
        let name = HeaderName::from_bytes(one.name.as_bytes()).map_err(|_| bad("header"))?;
        let value = HeaderValue::from_bytes(one.value).map_err(|_| bad("header"))?;
        request.headers_mut().append(name, value);
    }
    Ok(Some((length, request)))
}

fn check(request: &Request<()>, clients: &Clients) -> Result<(), Refused> {
    let refused = |status, code, detail: String, remedy| Refused {
        reason: RefusalReason::Access,
        status,
        code,
        detail,
        remedy,
    };
    let headers = request.headers();
    let host = text(headers, header::HOST).and_then(|host| host.parse::<Authority>().ok());
    if clients.config().listen.ip().is_loopback()
        && !host.as_ref().is_some_and(|host| is_loopback_name(host.host()))
    {
        let detail = "this endpoint listens on a loopback address and answers to no other name".to_owned();
        let remedy = "use `localhost` or `127.0.0.1`; a proxy must set the `Host` header";
        return Err(refused(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail, remedy));
    }
    if let Some(origin) = text(headers, header::ORIGIN) {
        // Browsers let any site open a WebSocket to anywhere, and say who it is.
        let own = host.is_some_and(|host| {
            origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host.as_str()))
        });
        if !own {
            let detail = "the request comes from another web site".to_owned();
            let remedy =
                "open the WebSocket from a page of the same origin, or from a program that is no browser";
            return Err(refused(StatusCode::FORBIDDEN, "cross_origin", detail, remedy));
        }
    }
    if let Some(token) = clients.token()
        && !presented(headers).is_some_and(|given| given.as_bytes().ct_eq(token.expose().as_bytes()).into())
    {
        let detail = "there is no token, or not the right one".to_owned();
        let remedy = "send `Authorization: Bearer TOKEN` with `clients.token`";
        return Err(refused(StatusCode::UNAUTHORIZED, "unauthorized", detail, remedy));
    }
    Ok(())
}

/// The token, from the header or, since browsers cannot set it, from the offered sub-protocols.
fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(given) = text(headers, header::AUTHORIZATION) {
        let (scheme, token) = given.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    offered(headers).find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL))
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `key` is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(digit))
}

/// The answer that makes it a WebSocket.
fn accept(request: &Request<()>) -> Result<String, Refused> {
    if request.uri().path() != PATH {
        let detail =
            format!("there is nothing at `{}`", request.uri().path().chars().take(100).collect::<String>());
        return Err(Refused { status: StatusCode::NOT_FOUND, code: "unknown_route", ..bad_request(detail) });
    }
    if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|key| !is_key(key.as_bytes()))
    {
        let shown = String::from_utf8_lossy(key.as_bytes()).chars().take(100).collect::<String>();
        return Err(bad_request(format!(
            "sec-websocket-key is `{shown}`, and not 16 bytes in base64 (RFC 6455)"
        )));
    }
    let response = create_response(request).map_err(|error| Refused {
        status: StatusCode::UPGRADE_REQUIRED,
        code: "upgrade_required",
        ..bad_request(format!("this is no request for a WebSocket: {error}"))
    })?;
    let mut answer = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in response.headers() {
        // The key is made of base64 characters, the others are constants.
        answer.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    if offered(request.headers()).any(|protocol| protocol == PROTOCOL) {
        answer.push_str(&format!("sec-websocket-protocol: {PROTOCOL}\r\n"));
    }
    answer.push_str("\r\n");
    Ok(answer)
}

/// Answers with a problem (RFC 9457), as the debug endpoint does, and reads what the client still sends for a moment: closing
/// with unread bytes would take the answer back.
async fn tell(stream: &mut TcpStream, refused: &Refused) {
    let body = json!({
        "type": format!("urn:nexus:problem:{}", refused.code.replace('_', "-")),
        "title": refused.status.canonical_reason(),
        "status": refused.status.as_u16(),
        "code": refused.code,
        "detail": refused.detail,
        "remedy": refused.remedy,
    })
    .to_string();
    let more = match refused.status {
        StatusCode::UNAUTHORIZED => "www-authenticate: Bearer realm=\"nexus\"\r\n",
        StatusCode::UPGRADE_REQUIRED => "upgrade: websocket\r\nsec-websocket-version: 13\r\n",
        StatusCode::SERVICE_UNAVAILABLE => "retry-after: 1\r\n",
        _ => "",
    };
    let answer = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        refused.status,
        body.len()
    );
    // The caller's time limit holds for this too.
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut rest = Vec::with_capacity(1024);
        while let Ok(1..) = stream.read_buf(&mut rest).await {
            rest.clear();
        }
    }
}
