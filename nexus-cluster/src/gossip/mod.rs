//! What nodes tell each other: keys with values, owned by one node each, the same everywhere soon.
//!
//! A node writes only its own keys, and numbers its writes. What another knows of it is therefore one pair, the *incarnation* of the
//! life that wrote and the *version* up to which everything is known, and what it lacks is every key whose last write has a higher
//! number. Pairs are compared and never go back, so nobody sees an older value after a newer one.
//!
//! Each second a node has a *round*: it picks ⌈log₂ N⌉ members at random, most of its own zone and some of others, and *pushes* what
//! is new to it, the oldest news first. Who learns something pushes it too, for ⌈log₂ N⌉ rounds and one more, or until it has heard it
//! back twice (rumor mongering with counter and feedback). This reaches nearly everyone in a few rounds. Important news make their
//! rounds at once, and so does whoever hears them.
//!
//! With each push goes a sum (an exclusive or of hashes) over where the sender stands with every member. Whoever has another one and
//! is not in the midst of news begins *anti-entropy*: it answers with the sums of 64 buckets of nodes, gets a *digest* (the pairs of
//! the nodes in buckets that differ), sends a *delta* of what the other lacks and names what it lacks itself, and gets the second
//! delta. So both know the union (push-pull), whatever was lost before, and when all is equal a round costs a few bytes.
//!
//! ```text
//!   A                                   B
//!   │ Push(sum, news) ────────────────► │  takes the news; if its sum differs:
//!   │ ◄──────────────────── Sums(64)    │
//!   │ Digest(buckets that differ) ────► │
//!   │ ◄────────────── Delta(news, wants)│
//!   │ Delta(news) ────────────────────► │
//! ```
//!
//! What a node sends between two rounds, answers included, fits a *budget*; what does not goes later, deltas for those most behind
//! first. A deleted key leaves a *tombstone* until all members have acknowledged it, or for a time; then its owner collects it and
//! says up to which version it has. Who knows less than that gets the node's whole state, which replaces what it had, so what was
//! deleted does not come back. A node's whole state always fits one message. State is taken of members only, and kept for a while
//! when they go, so that a partition that heals does not show anything old.
//!
//! Sources: Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987): rumor mongering, §1.4; anti-entropy with
//! checksums, §1.3; death certificates, §2. Van Renesse, Dumitriu, Gough and Thomas, "Efficient Reconciliation and Flow Control for
//! Anti-Entropy Protocols" (2008): one version per owner, deltas in its order, most behind first. Ours are the sums of buckets (there
//! a digest always names all) and that a state is never sent in parts from its beginning.

mod actor;
mod config;
mod core;
#[cfg(test)]
mod core_test;
mod exchange;
mod message;
mod overview;
mod peers;
mod state;

pub use actor::{GossipHandle, GossipMsg, GossipSetup};
pub use config::{BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, GossipConfig, rounds};
pub use core::Gossip;
pub use message::{Change, Effect, Input, Urgency, WriteError};
pub use overview::{Convergence, GossipCounts, GossipOverview, OwnerOverview};
pub use state::KEY_BYTES_MAX;
