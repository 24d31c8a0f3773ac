//! Where agents are: a registry of names over all nodes, which is complete and single again soon after any partition (design decision
//! D12).
//!
//! **Who holds what.** A [`Claim`] says that an agent lives on a node. The node itself is the authority for its claims. A name's entry
//! is held by its owner on the ring and by the owner's R = 2 successors ([`crate::ring`], Dynamo's preference list). Every change of a
//! claim has a higher epoch, from a hybrid logical clock, and of two claims to a name the higher is kept, by (epoch, node): so all who
//! hold an entry come to the same in whatever order they hear of it.
//!
//! **Registering.** The node asks the name's owner, who admits it, or says where the agent lives already. The owner tells its
//! successors. Requests are repeated until they are answered or too late; repeating does no harm, since the claim is the same. What was
//! admitted too late is withdrawn. An owner that has not heard from all members since the ring changed does not say that a name is
//! unknown, and admits none that it does not know, until it has or the time for that ([`DirectoryConfig::settle`]) is over.
//!
//! **Looking up.** Agents of this node, entries held here, answers of others kept for a while, then the owner, then its successors.
//! Readers see the first and the third without asking the actor ([`Directory::lookup`]). A cached answer goes when the name has another
//! owner, its node is gone, the node says that it does not have the agent ([`Directory::stale`]), or it is old.
//!
//! **The ring changes.** Entries of nodes that are gone go, and their owners name them to be started anew ([`News::Orphaned`]). Then
//! everybody compares with everybody what both should know, and sends what differs (`repair.rs`). That is the only way in which entries
//! change hands, and it is also what repairs lost messages, for ever and in turn.
//!
//! **Duplicates.** After a partition two nodes may run one agent. Both claims reach the owner, who asks both nodes whether they are true
//! (an entry may be nothing but old), then the behavior who goes on ([`News::Merge`]); if it does not say, the higher claim wins. The
//! loser is told to stop and to hand over its state, the winner that it has won, operators who was which (`heal.rs`).
//!
//! **Bounds.** With all messages delivered within 30 ms and membership in agreement within 0.5 s, a registry is complete and single within
//! 5 s of a heal (`sim/`, in which this holds after any disturbance). It follows from a comparison each 0.2 s after a change, a second to
//! confirm and half a second to judge.
//!
//! | file | holds |
//! |---|---|
//! | `core.rs`, `client.rs`, `holder.rs`, `repair.rs`, `heal.rs` | the pure state machine |
//! | `table.rs`, `cache.rs` | its tables |
//! | `message.rs` | what directories say to each other |
//! | `actor.rs`, `view.rs` | the ractor shell around it, and what readers see |
//! | `sim/` | many cores in one queue: faults, invariants, stories |

mod actor;
mod cache;
mod client;
mod config;
mod core;
mod heal;
mod holder;
mod message;
mod repair;
mod table;
mod view;

pub use self::actor::{Directory, Listener};
pub use self::config::{DirectoryConfig, DirectoryConfigError};
pub use self::core::{
    Answer, Claim, Core, DirectoryOverview, Effect, Input, News, RequestId, Unavailable, Whereabouts,
};
pub use self::message::{MESSAGE_BYTES_MAX, Message, MessageError, Records, Then};

#[cfg(test)]
mod sim;
