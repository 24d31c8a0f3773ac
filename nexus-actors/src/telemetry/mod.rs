//! What the node tells about itself: typed events.

mod event;

pub use event::{Event, EventRecord, Events};
