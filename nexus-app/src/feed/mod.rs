//! Feeds: streams of records that become requests for agents.
//!
//! ```text
//! a thread of the feed's own                                        FeedSlot            FeedActor
//! source ─▶ split ─▶ csv, jsonl ─▶ mapping ─▶ order ─▶ batches ─▶ pipeline ─▶ pace ─▶ Node::deliver
//!                        └─ malformed ─▶ reject file                  ◀── confirm ──┘
//! ```
//!
//! The left side turns a source into one sequence of (request, agent) pairs that depends on the source and the configuration
//! alone. The right side delivers them in order, waits where an inbox is full, and confirms each. The number of confirmed
//! pairs is all a feed needs to go on after a crash: see [`FeedSlot`].
//!
//! Everything in between is bounded: a record by `max_record_bytes`, what is held for reordering by `max_reorder_bytes`, the
//! batches on their way by their number and size.

mod actor;
mod check;
mod checkpoint;
mod config;
mod csv;
mod deliver;
mod error;
mod identity;
mod jsonl;
#[cfg(test)]
mod kept_test;
mod mapping;
mod order;
mod pace;
mod pipeline;
mod producer;
mod progress;
mod record;
mod reject;
mod slot;
mod source;
mod split;
mod status;
mod template;
#[cfg(test)]
mod test_support;
mod time;

pub use actor::{FeedActor, FeedArgs, FeedMsg, FeedPumpState};
pub use check::check_feed;
pub use checkpoint::Checkpoint;
pub use config::{
    ColumnConfig, ColumnType, Compression, EmitConfig, FeedConfig, FieldConfig, Format, Replay, TimeConfig,
};
pub use deliver::Deliver;
pub use error::{ConfigProblem, FeedError};
pub(crate) use identity::digest;
pub use pipeline::ReadMode;
pub use producer::read_header;
pub use progress::{ProgressActor, ProgressArgs, ProgressDisplay, ProgressMsg, ProgressState};
pub(crate) use reject::rejects_are_source;
pub use slot::{FeedSlot, KeptPlace, Place};
pub use status::{CheckpointStatus, FeedState, FeedStatus, MalformedRecord};
pub(crate) use template::{TemplatePart, template_parts};
pub use time::EventTime;
