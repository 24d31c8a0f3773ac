//! What the endpoint needs to know of a feed.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// A feed as the endpoint and the metrics see it. Reading must not wait.
pub trait FeedView: fmt::Debug + Send + Sync + 'static {
    /// The feed's name.
    fn name(&self) -> Arc<str>;
    /// Its whole status for people.
    fn status(&self) -> Value;
    /// Its counters, by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}
