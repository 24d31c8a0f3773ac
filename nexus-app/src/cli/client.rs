//! The HTTP client of the debug endpoint: blocking, plain HTTP, errors as [`CliError`].

use std::io::{self, Read as _};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use super::connection::Endpoint;
use super::error::CliError;
use super::output::duration;

/// To reach the node at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer, unless the command has a time limit of its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer in bytes: a page of 10,000 agents has about 4 MB.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A client of one node.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    timeout: Duration,
}

impl Client {
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, CliError> {
        let config = Agent::config_builder()
            // Problems carry their explanation in the body.
            .http_status_as_error(false)
            // A redirect or a proxy of the environment would carry the token elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), endpoint, timeout: ANSWER_TIMEOUT })
    }

    /// The same client, waiting for answers at most this long.
    pub(crate) const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The base address.
    pub(crate) fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// `GET path?query`; parameters without a value are left out.
    pub(crate) fn get(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Value, CliError> {
        let request = self.agent.get(self.address(path, query));
        let request = request.config().timeout_global(Some(self.timeout)).build();
        let response = self.authorize(request).header("accept", JSON).call();
        self.json(path, self.checked(response)?)
    }

    /// `GET path?query` of what is text for people.
    pub(crate) fn text(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<String, CliError> {
        let request = self.agent.get(self.address(path, query));
        let request = request.config().timeout_global(Some(self.timeout)).build();
        let response = self.authorize(request).header("accept", "text/plain").call();
        let text = self.checked(response)?.body_mut().read_to_string();
        text.map_err(|error| self.nonsense(path, error.to_string()))
    }

    /// `POST path` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self.agent.post(self.address(path, &[]));
        let request = request.config().timeout_global(Some(self.timeout)).build();
        let request = self.authorize(request).header("accept", JSON).header("content-type", JSON);
        self.json(path, self.checked(request.send(body.to_string()))?)
    }

    /// A stream of server-sent events, without a time limit once it has begun.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<impl io::Read + 'static, CliError> {
        let request = self.agent.get(self.address(path, query));
        let request = request.config().timeout_recv_response(Some(self.timeout)).build();
        let response = self.authorize(request).header("accept", "text/event-stream").call();
        let response = self.checked(response)?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            return Err(
                self.nonsense(path, format!("no event stream but {}", content_type.unwrap_or("nothing")))
            );
        }
        Ok(response.into_body().into_reader())
    }

    fn address(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        let mut address = format!("{}{path}", self.endpoint.url);
        let given = query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (index, (name, value)) in given.enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            address.push_str(&format!("{name}={}", encode(value)));
        }
        address
    }

    fn authorize<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.endpoint.token {
            Some(token) => request.header("authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    /// The response, if its status is a success.
    fn checked(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, CliError> {
        let mut response = response.map_err(|error| self.transport(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut text = String::new();
        // What cannot be read leaves the status, which says enough.
        let _ = response.body_mut().as_reader().take(64 * 1024).read_to_string(&mut text);
        let problem: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let words = ["detail", "title"].iter().find_map(|field| problem[field].as_str());
        let detail = words.map_or_else(|| format!("status {status}"), super::output::clean);
        Err(match status.as_u16() {
            status @ (401 | 403) => CliError::Denied {
                url: self.endpoint.url.clone(),
                detail,
                status,
                token_sent: self.endpoint.token.is_some(),
            },
            status => CliError::Problem { status, detail, problem, remedy: None },
        })
    }

    fn json(&self, path: &str, mut response: Response<Body>) -> Result<Value, CliError> {
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(limit) => {
                self.nonsense(path, format!("it is longer than {limit} bytes"))
            }
            error => self.transport(error),
        })?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| self.nonsense(path, error.to_string()))
    }

    fn transport(&self, error: ureq::Error) -> CliError {
        let url = self.endpoint.url.clone();
        match error {
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                CliError::Unreachable { url, reason: "connection timed out".to_owned() }
            }
            ureq::Error::Timeout(_) => CliError::TimedOut { url, limit: duration(self.timeout) },
            ureq::Error::Io(error) => CliError::Unreachable { url, reason: plain(&error) },
            ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..) => {
                CliError::Protocol { url, reason: error.to_string() }
            }
            error => CliError::Unreachable { url, reason: error.to_string() },
        }
    }

    fn nonsense(&self, path: &str, reason: String) -> CliError {
        CliError::Protocol { url: format!("{}{path}", self.endpoint.url), reason }
    }
}

const JSON: &str = "application/json";

/// The system's words without its error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Percent-encodes all but RFC 3986's unreserved characters, so that a name with slashes is one path segment.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names become one path segment, and parameters cannot break out of their place.
    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encode("aircraft/N1 ü&?"), "aircraft%2FN1%20%C3%BC%26%3F");
        let client = Client::new(Endpoint { url: "http://h:1".to_owned(), token: None }).unwrap();
        let query = [("name", Some("a&b=*".to_owned())), ("sort", None), ("limit", Some("5".to_owned()))];
        assert_eq!(
            client.address("/debug/agents", &query),
            "http://h:1/debug/agents?name=a%26b%3D%2A&limit=5"
        );
    }
}
