//! What the node tells about itself: typed events, hot-path metrics, and spans around requests that cross agents.

mod cluster_event;
mod event;
mod metric;
mod span;

pub use cluster_event::ClusterEvent;
pub use event::{Event, EventRecord, Events};
pub use metric::Metrics;
pub(crate) use span::in_span;
pub use span::{TraceContext, in_root_span};
