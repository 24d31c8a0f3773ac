//! `POST /api/agents/{id}/ask`: a request and its answer.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use nexus_actors::agent::{GROUP_PREFIX, Hints, Operation, Payload, Request};
use nexus_actors::telemetry::{TraceContext, in_root_span};
use nexus_actors::{AgentError, Node};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::cluster::elsewhere;
use crate::debug::auth::check_control;
use crate::debug::guard::Deadline;
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::state::DebugState;

/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// How long the answer may take unless the client says otherwise.
const TIMEOUT_MS: u64 = 5000;

/// A request to an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestBody {
    /// `query`, `update` or `action`.
    #[schema(value_type = String, example = "query")]
    operation: Operation,
    /// The key to read or set, or the action's name; at most 1,024 bytes.
    key: String,
    /// New value, arguments, or a query's default: any JSON. Default: none.
    #[serde(default)]
    #[schema(value_type = Object)]
    payload: Option<Value>,
    /// What a query answers where there is no value; the same as its payload. Default: an error then.
    #[serde(default)]
    #[schema(value_type = Object)]
    default: Option<Value>,
    /// How long the answer may take, 1 ms to `debug.request_timeout`. Default 5000. Only for `ask`.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// The request is not handled if its turn comes later than this from now. Default: no limit.
    #[serde(default)]
    deadline_ms: Option<u64>,
    /// 0 (whenever) to 1 (first). Default 0.5. A node that is short of CPU refuses the lowest first (`[performance.cpu]`).
    #[serde(default)]
    priority: Option<f32>,
    /// The request may be handled more than once without harm: when the way to the agent's node is lost it is tried again until the answer
    /// may take no longer. Default false. Only for `ask`.
    #[serde(default)]
    at_least_once: bool,
}

impl RequestBody {
    /// The request it stands for.
    pub(crate) fn request(&self, node: &Node, payload_bytes_max: usize) -> Result<Request, Problem> {
        if self.key.len() > KEY_BYTES_MAX {
            let detail = format!("the key has {} bytes; at most {KEY_BYTES_MAX} are allowed", self.key.len());
            return Err(bad_field("key", &detail, "send what is long as the payload"));
        }
        let value = match (self.operation, &self.payload, &self.default) {
            (Operation::Query, Some(_), Some(_)) => {
                let detail = "a query's payload is its default, and there is another `default`";
                return Err(bad_field("default", detail, "give one of the two"));
            }
            (Operation::Update | Operation::Action, _, Some(_)) => {
                return Err(bad_field("default", "only a query has a default", "leave `default` out"));
            }
            (_, payload, default) => payload.as_ref().or(default.as_ref()),
        };
        let payload = match value {
            Some(value) => Payload::encode(value)?,
            None => Payload::EMPTY,
        };
        let length = payload.bytes().len();
        if length > payload_bytes_max {
            let detail = format!("the payload has {length} bytes; a message may have {payload_bytes_max}");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
                .remedy("send less, or raise `limits.payload_bytes`")
                .with("limit", json!(payload_bytes_max)));
        }
        let mut request = Request::new(self.operation, self.key.as_str(), payload);
        if let Some(priority) = self.priority {
            if !(0.0..=1.0).contains(&priority) {
                let detail = format!("`priority` is {priority}");
                return Err(bad_field("priority", &detail, "give a number from 0 to 1"));
            }
            request = request.with_hints(Hints { priority, ..Hints::default() });
        }
        if self.at_least_once {
            request = request.at_least_once();
        }
        Ok(match self.deadline_ms {
            Some(ms) => request.with_deadline(node.clock().now() + Duration::from_millis(ms)),
            None => request,
        })
    }

    /// How long its answer may take.
    fn timeout(&self, longest: Duration, left: Duration) -> Result<Duration, Problem> {
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let asked = self.timeout_ms.unwrap_or(TIMEOUT_MS.min(longest_ms));
        if !(1..=longest_ms).contains(&asked) {
            return Err(bad_field(
                "timeout_ms",
                &format!("`timeout_ms` is {asked}"),
                &format!("give 1 to {longest_ms}, or raise `debug.request_timeout`"),
            ));
        }
        Ok(Duration::from_millis(asked).min(left))
    }

    /// What only those who wait for an answer may say.
    pub(crate) fn check_unasked(&self) -> Result<(), Problem> {
        if self.timeout_ms.is_some() {
            let remedy = "leave `timeout_ms` out, or use ask";
            return Err(bad_field("timeout_ms", "nobody waits for an answer", remedy));
        }
        if self.at_least_once {
            let remedy = "leave `at_least_once` out, or use ask";
            return Err(bad_field("at_least_once", "only an ask is tried again", remedy));
        }
        Ok(())
    }
}

pub(crate) fn bad_field(field: &str, detail: &str, remedy: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail)
        .remedy(remedy)
        .with("path", json!(field))
}

/// A query only looks: it brings no member of a family to life, and leaves no dead letter.
async fn check_known(state: &DebugState, name: &str) -> Result<(), Problem> {
    let node = state.node();
    match name.strip_prefix(GROUP_PREFIX) {
        Some(group) if node.group_overview(group).is_none() => {
            Err(AgentError::UnknownGroup { name: group.to_owned() }.into())
        }
        None if node.agent(name).is_none() && elsewhere(state, name).await?.is_none() => {
            Err(AgentError::UnknownAgent { name: name.to_owned() }.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// The caller's trace context, if it has one.
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::from_traceparent(headers.get("traceparent")?.to_str().ok()?)
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer {
    /// The value: any JSON.
    #[schema(value_type = Object)]
    value: Value,
}

/// Sends a request to an agent and waits for the answer. A query only looks; updates and actions need `allow_control`. Begins a trace, or continues the caller's (`traceparent`).
#[utoipa::path(post, path = "/api/agents/{id}/ask", tag = "messages", request_body = RequestBody, params(
    ("id" = String, Path, description = "The agent's name, its slashes as they are or as `%2F`; or `group:` and a group's name: the group's strategy chooses the agent"),
    ("traceparent" = Option<String>, Header, description = "W3C trace context"),
), responses(
    (status = 200, description = "The answer", body = Answer),
    (status = 400, description = "Malformed JSON, name or payload", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 403, description = "An update or action while control is not allowed, or the request comes from another site", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "`unknown_agent`, `unknown_group`; `not_found`: no value", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 408, description = "The body came too slowly", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "`stopped`; `not_balanced`: the group has no strategy", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 413, description = "Body or payload too large", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`, `unsupported`; `bad_body`: the JSON is not the right one", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 429, description = "`overloaded`: the inbox is full, or the priority too low", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 500, description = "`failed`: the behavior tried and failed", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 502, description = "`crashed`, `no_reply`", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "`too_many_agents`; `no_member`: nobody in the group takes messages", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "`timed_out`, `deadline_exceeded`", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn ask(
    state: &DebugState,
    name: &str,
    headers: &HeaderMap,
    deadline: Deadline,
    body: RequestBody,
) -> Result<Json<Answer>, Problem> {
    if body.operation != Operation::Query {
        check_control(state)?;
    } else {
        check_known(state, name).await?;
    }
    let request = body.request(state.node(), state.sources().payload_bytes_max)?;
    let timeout = body.timeout(state.config().request_timeout, deadline.left())?;
    // Within the span, so that the request carries its context.
    let asking = async { state.node().ask(name, request, timeout).await };
    let payload = in_root_span("POST /api/agents/{id}/ask", trace(headers), asking).await?;
    Ok(Json(Answer { value: payload.to_json()? }))
}
