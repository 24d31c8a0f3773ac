//! How to connect.

use std::time::Duration;

use crate::protocol::Encoding;

/// Where a node is and how to speak to it.
#[derive(Clone)]
pub struct Options {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) encoding: Encoding,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) ping_interval: Duration,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// A node at `url`, such as `ws://127.0.0.1:7071/v1`. There is no TLS (`wss://`): a node has none.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            encoding: Encoding::MessagePack,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
        }
    }

    /// The token, `clients.token` of the node's topology. Default none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How messages are written. Default MessagePack: smaller, and it holds any value.
    #[must_use]
    pub const fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The pause before the first try to connect again, and the longest one; each is twice the one before, give or take jitter.
    /// Default 100 ms and 10 s.
    #[must_use]
    pub const fn retry(mut self, min: Duration, max: Duration) -> Self {
        self.retry_min = min;
        self.retry_max = max;
        self
    }

    /// How often the node is pinged; a connection on which nothing was heard for an interval after that is given up. At least
    /// 1 ms. Default 20 s.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval.max(Duration::from_millis(1));
        self
    }
}
