//! Errors as RFC 9457 problem details: what happened, with the values, and how to do better.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use nexus_actors::AgentError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The media type of every error.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    // Boxed: results carry it through every handler.
    details: Box<ProblemDetails>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Problem details (RFC 9457). Members beyond these depend on the type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemDetails {
    /// `urn:nexus:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// Stable, short name of the problem's type; what a program should look at.
    code: &'static str,
    /// The type in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// This occurrence, with its values.
    detail: String,
    /// What the client can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            details: Box::new(ProblemDetails {
                kind: format!("urn:nexus:problem:{}", code.replace('_', "-")),
                code,
                title: status.canonical_reason().unwrap_or("Error"),
                status: status.as_u16(),
                detail: detail.into(),
                remedy: None,
                more: Map::new(),
            }),
            headers: Vec::new(),
        }
    }

    /// A parameter of the query string that cannot be used.
    pub(crate) fn parameter(name: &str, value: Option<&str>, detail: String, remedy: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", detail)
            .remedy(remedy)
            .with("parameter", json!(name))
            .with("value", json!(value))
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.details.remedy = Some(remedy.into());
        self
    }

    #[must_use]
    pub(crate) fn with(mut self, member: &str, value: Value) -> Self {
        self.details.more.insert(member.to_owned(), value);
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    pub(crate) fn details(&self) -> &ProblemDetails {
        &self.details
    }
}

impl ProblemDetails {
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }
}

#[cfg(test)]
impl ProblemDetails {
    pub(crate) fn detail_len(&self) -> usize {
        self.detail.len()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.details.status).expect("it was made from a StatusCode");
        let body = serde_json::to_vec(&self.details).expect("text, numbers and JSON values serialize");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// How an agent's error reads over HTTP.
///
/// | error | status | because |
/// |---|---|---|
/// | `not_found` | 404 | the agent is there, the key is not |
/// | `unknown_agent`, `unknown_group` | 404 | nothing has this name |
/// | `malformed` | 400 | the payload did not decode |
/// | `invalid`, `unsupported` | 422 | understood, and refused by the behavior |
/// | `not_balanced` | 409 | the group is there and has no strategy |
/// | `stopped` | 409 | the agent is there and not running: a restart would change the answer |
/// | `overloaded` | 429 | the inbox is full: `Retry-After` |
/// | `failed` | 500 | the behavior tried and failed |
/// | `crashed`, `no_reply` | 502 | the agent behind this endpoint gave no valid answer |
/// | `too_many_agents` | 503 | the node's limit is reached |
/// | `no_member` | 503 | nobody in the group takes messages now |
/// | `node_lost` | 503 | the node that has the agent is not reached |
/// | `not_stored` | 503 | the agent answers only what it has stored, and its store does not write |
/// | `timed_out`, `deadline_exceeded` | 504 | no answer in time |
impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let (status, code, remedy) = classify(&error);
        let mut problem = Self::new(status, code, error.to_string());
        if let Some(remedy) = remedy {
            problem = problem.remedy(remedy);
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            problem = problem.header(header::RETRY_AFTER, "1");
        }
        // The error's own fields, so that a program need not read them out of a sentence.
        if let Ok(Value::Object(mut fields)) = serde_json::to_value(&error) {
            fields.shift_remove("error");
            if !fields.is_empty() {
                problem = problem.with("error", Value::Object(fields));
            }
        }
        problem
    }
}

/// The code of an agent's error, for programs.
pub(crate) fn code(error: &AgentError) -> &'static str {
    classify(error).1
}

fn classify(error: &AgentError) -> (StatusCode, &'static str, Option<&'static str>) {
    match error {
        AgentError::NotFound { .. } => {
            (StatusCode::NOT_FOUND, "not_found", Some("give a `default` to get it where there is no value"))
        }
        AgentError::UnknownAgent { .. } => {
            (StatusCode::NOT_FOUND, "unknown_agent", Some("GET /debug/agents lists the agents there are"))
        }
        AgentError::UnknownGroup { .. } => {
            (StatusCode::NOT_FOUND, "unknown_group", Some("GET /debug/groups lists the groups there are"))
        }
        AgentError::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed", None),
        AgentError::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", None),
        AgentError::Unsupported { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported", None),
        AgentError::Stopped { .. } => (
            StatusCode::CONFLICT,
            "stopped",
            Some(
                "POST /debug/agents/{id}/restart starts it again; one that is dormant is woken by a message",
            ),
        ),
        AgentError::Overloaded { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "overloaded", Some("slow down and try again"))
        }
        AgentError::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed", None),
        AgentError::Crashed { .. } => (
            StatusCode::BAD_GATEWAY,
            "crashed",
            Some("the request is in GET /debug/dead-letters; GET /debug/agents/{id} has the exits"),
        ),
        AgentError::NoReply => (StatusCode::BAD_GATEWAY, "no_reply", None),
        AgentError::TooManyAgents { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "too_many_agents", Some("raise `limits.agents`"))
        }
        AgentError::NodeLost { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "node_lost",
            Some("the request may have been handled; ask again only if that is harmless"),
        ),
        AgentError::NotStored { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "not_stored", Some("GET /readyz says what the store lacks"))
        }
        AgentError::NotBalanced { .. } => (
            StatusCode::CONFLICT,
            "not_balanced",
            Some(
                "give the `[[group]]` a `balance`, or POST /api/groups/{name}/publish to reach all its agents",
            ),
        ),
        AgentError::NoMember { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "no_member", Some("GET /debug/groups/{name} shows its agents"))
        }
        AgentError::TimedOut { .. } => (
            StatusCode::GATEWAY_TIMEOUT,
            "timed_out",
            Some("the request may still be handled; ask again only if that is harmless"),
        ),
        AgentError::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every agent error has its documented status and code, its fields and, where a client can wait, `Retry-After`.
    #[test]
    fn agent_errors_are_mapped() {
        let text = || "x".to_owned();
        let table = [
            (AgentError::NotFound { key: text() }, 404, "not_found"),
            (AgentError::UnknownAgent { name: text() }, 404, "unknown_agent"),
            (AgentError::UnknownGroup { name: text() }, 404, "unknown_group"),
            (AgentError::Malformed { reason: text() }, 400, "malformed"),
            (AgentError::Invalid { reason: text() }, 422, "invalid"),
            (AgentError::Unsupported { what: text() }, 422, "unsupported"),
            (AgentError::Stopped { name: text(), reason: text() }, 409, "stopped"),
            (AgentError::Overloaded { queued: 8, limit: 8, shed_below_percent: None }, 429, "overloaded"),
            (AgentError::Failed { reason: text() }, 500, "failed"),
            (AgentError::Crashed { reason: text() }, 502, "crashed"),
            (AgentError::NoReply, 502, "no_reply"),
            (AgentError::TooManyAgents { name: text(), limit: 1 }, 503, "too_many_agents"),
            (AgentError::NotStored { reason: text() }, 503, "not_stored"),
            (AgentError::NotBalanced { name: text() }, 409, "not_balanced"),
            (AgentError::NoMember { name: text(), agents: 0 }, 503, "no_member"),
            (AgentError::NodeLost { node: text(), reason: text() }, 503, "node_lost"),
            (AgentError::TimedOut { after_ms: 1 }, 504, "timed_out"),
            (AgentError::DeadlineExceeded, 504, "deadline_exceeded"),
        ];
        for (error, status, code) in table {
            let tagged = serde_json::to_value(&error).unwrap();
            let problem = Problem::from(error);
            assert_eq!((problem.details.status, problem.details.code), (status, code));
            assert_eq!(tagged["error"], code, "the code is the error's own tag");
            let response = problem.into_response();
            assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), matches!(status, 429 | 503));
        }
    }
}
