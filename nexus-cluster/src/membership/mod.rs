//! Who is in the cluster: SWIM with suspicion, as [foca](https://docs.rs/foca) implements it.
//!
//! Each member probes another every period, all of them in a random order that is shuffled anew after each pass. A member that does
//! not answer in time is probed by a few others on the prober's behalf, which tells a dead member from a bad path between two. If
//! nobody gets an answer the member is *suspected*; it has a while, growing with the logarithm of the cluster's size, to hear of this
//! and to refute it with a higher incarnation number. If it does not it is *declared down*, which holds for this identity for ever.
//! News travel on the probes and their answers, each piece a number of times that grows with the same logarithm, and beside them as
//! long as there are any. So the load of a member does not grow with the cluster, and neither does the time until a death is noticed
//! by someone; the time until all know grows with the logarithm.
//!
//! On top of it, here: a node's identity is its name, the life it is in (the incarnation of [`NodeId`](crate::NodeId)) and how often
//! it has renewed itself in that life. A node that finds itself declared down renews itself and is back at once; one that restarts
//! comes back with a higher incarnation; one whose metadata changes renews itself too, which others see as a change of metadata and
//! not as a death. Who leaves says so with its last identity, so that it is neither missed nor dialed. Members that are down are
//! dialed and spoken to until they are forgotten: that is how a partition heals. Which side of it goes on says [`Quorum`].
//!
//! Datagrams come over authenticated connections, from members that are trusted to run this code: what a datagram can do is bounded
//! (its size, its texts, the number of members), who sent it is checked, and what is malformed is dropped whole and counted. That a
//! member tells lies about another is not guarded against.
//!
//! ```text
//!   datagrams, timers, connections      ┌────────────┐   datagrams, timers,
//!  ───────────────────────────────────► │ Membership │ ─────────────────────► shell
//!        join, leave, metadata          │   (foca)   │   connect, events
//!                                       └────────────┘
//! ```
//!
//! Sources: Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol" (2002),
//! §4 for suspicion and round-robin probes; memberlist for the extensions and their numbers.

mod actor;
#[cfg(test)]
mod actor_test;
mod config;
mod core;
#[cfg(test)]
mod core_test;
mod datagram;
mod handle;
mod member;
mod message;
mod outbox;
mod overview;
mod quorum;

pub use actor::{MembershipMsg, MembershipSetup};
pub use config::{
    DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, MEMBERS_MAX, MembershipConfig, MembershipConfigError,
};
pub use core::{Membership, MembershipCounts, MembershipError};
pub use datagram::Refusal;
pub use handle::{MembershipHandle, Subscriber};
pub use member::{ADDRESS_BYTES_MAX, Member, Metadata, MetadataError, ZONE_BYTES_MAX};
pub use message::{Effect, Input, MembershipEvent, Timer};
pub use overview::{MemberOverview, MemberState, MembershipOverview};
pub use quorum::{PartitionPolicy, PartitionState, Quorum};
