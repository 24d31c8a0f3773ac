//! What the endpoint needs to know of a feed.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::feed::FeedSlot;

/// A feed as the endpoint and the metrics see it. Reading must not wait.
pub trait FeedView: fmt::Debug + Send + Sync + 'static {
    /// The feed's name.
    fn name(&self) -> Arc<str>;
    /// Its whole status for people.
    fn status(&self) -> Value;
    /// Its counters, by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

impl FeedView for FeedSlot {
    fn name(&self) -> Arc<str> {
        Self::name(self).clone()
    }

    fn status(&self) -> Value {
        serde_json::to_value(Self::status(self)).expect("a status is plain data")
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let status = Self::status(self);
        vec![
            ("records", status.records),
            ("requests", status.confirmed),
            ("dead_lettered", status.dead_lettered),
            ("malformed", status.malformed),
            ("late", status.late),
            ("resumes", status.resumes),
        ]
    }
}
