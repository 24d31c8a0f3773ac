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
//! In a cluster one node runs a feed, and another takes over when that is lost. Requests say what they [follow](nexus_actors::store::Follows),
//! agents skip what they have, and what is lost is given again: `redelivery.rs` decides, `chain.rs` knows what follows what, and `seat.rs` is
//! the way to the other nodes.
//!
//! Everything in between is bounded: a record by `max_record_bytes`, what is held for reordering by `max_reorder_bytes`, the
//! batches on their way by their number and size.

mod actor;
mod chain;
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
mod redelivery;
mod reject;
#[cfg(test)]
mod relayed_test;
mod seat;
mod slot;
mod source;
mod split;
mod status;
mod template;
#[cfg(test)]
mod test_support;
mod time;

pub use actor::{ClusterMsg, FeedActor, FeedArgs, FeedMsg, FeedPumpState};
pub use chain::Audit;
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
pub use redelivery::Input as RedeliveryInput;
pub(crate) use reject::rejects_are_source;

pub(crate) use seat::number;
pub use seat::{Claim, ClusterSeat, Marks, Seat};
pub use slot::{FeedSlot, KeptPlace, Place};
pub use status::{CheckpointStatus, FeedState, FeedStatus, MalformedRecord, ReplayStatus};
pub(crate) use template::{TemplatePart, template_parts};
pub use time::EventTime;
