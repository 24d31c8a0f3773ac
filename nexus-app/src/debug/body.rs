//! JSON bodies: bounded in size and time, with errors that say where.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::json;

use super::guard::Deadline;
use super::problem::Problem;
use super::state::DebugState;

/// A JSON body of type `T`.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<DebugState> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &DebugState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = media_type.is_some_and(|media_type| {
            let essence = media_type.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            let detail = match media_type {
                Some(other) => format!("the body's `Content-Type` is `{other}`"),
                None => "there is no `Content-Type`".to_owned(),
            };
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail)
                .remedy("send JSON with `Content-Type: application/json`"));
        }
        let deadline = parts.extensions.get::<Deadline>().copied();
        let bytes = read(body, state.config().max_body_bytes as usize, deadline).await?;
        parse(&bytes).map(Self)
    }
}

async fn read(body: Body, limit: usize, deadline: Option<Deadline>) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {limit} bytes"),
        )
        .remedy("send less, or raise `debug.max_body_bytes`")
        .with("limit", json!(limit))
    };
    // Known beforehand: nothing needs to be read.
    if axum::body::HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(too_large());
    }
    let collecting = Limited::new(body, limit).collect();
    let collected = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.0, collecting).await.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body did not arrive in time")
                .remedy("send it faster, or raise `debug.request_timeout`")
                .header(header::CONNECTION, "close")
        })?,
        None => collecting.await,
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "broken_body",
            format!("the body could not be read: {error}"),
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    let error = match parsed {
        Ok(value) => match reader.end() {
            Ok(()) => return Ok(value),
            Err(error) => return Err(explain(None, &error)),
        },
        Err(error) => error,
    };
    let path = error.path().to_string();
    Err(explain((path != ".").then_some(path), error.inner()))
}

fn explain(path: Option<String>, error: &serde_json::Error) -> Problem {
    let (status, code, remedy) = match error.classify() {
        Category::Data => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
            "GET /openapi.json describes the body this route takes",
        ),
        Category::Syntax | Category::Eof | Category::Io => {
            (StatusCode::BAD_REQUEST, "malformed_json", "send one JSON value in UTF-8")
        }
    };
    let mut problem = Problem::new(status, code, error.to_string())
        .remedy(remedy)
        .with("line", json!(error.line()))
        .with("column", json!(error.column()));
    if let Some(path) = path {
        problem = problem.with("path", json!(path));
    }
    problem
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "count")]
        _count: u8,
    }

    fn problem(body: &[u8]) -> Value {
        serde_json::to_value(parse::<Sample>(body).unwrap_err().details()).unwrap()
    }

    /// Goal: what is no JSON, what is not the right JSON, and what follows it, each with its place.
    #[test]
    fn errors_have_a_place() {
        let broken = problem(b"{\n  \"count\": }");
        assert_eq!(
            (&broken["status"], &broken["line"], &broken["column"]),
            (&json!(400), &json!(2), &json!(12))
        );
        let wrong = problem(b"{\"count\": 300}");
        assert_eq!((&wrong["status"], &wrong["path"]), (&json!(422), &json!("count")));
        assert_eq!(problem(b"{\"count\": 1} x")["code"], "malformed_json");
        assert_eq!(problem(b"")["code"], "malformed_json");
        assert_eq!(problem(&[0xff, 0xfe])["code"], "malformed_json");
        assert_eq!(problem("[".repeat(100_000).as_bytes())["status"], json!(422), "a list is no object");
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse::<Value>(deep.as_bytes()).is_err(), "depth is bounded, not the stack");
    }
}
