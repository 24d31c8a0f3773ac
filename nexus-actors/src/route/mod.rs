//! Routes: from an agent's name to its inbox, here or by [`remote`] on another node; groups, and the dead letters.
//!
//! The send path never passes through a registry actor: look up, check the limit, enqueue. See [`Node::send`](crate::Node::send).

mod again;
#[cfg(test)]
mod again_test;
pub mod balance;
mod dead_letter;
mod feed_loss;
mod group;
mod halt;
mod live;
mod passage;
pub mod remote;
mod send;
mod send_group;
mod table;
pub mod travel;

pub use dead_letter::{DeadLetter, DeadLetterReason, DeadLetters};
pub use feed_loss::{FeedLoss, FeedLosses};
pub(crate) use group::{Group, Groups, Membership};
pub use group::{GroupOverview, GroupSpec};
pub use send::Published;
pub(crate) use table::RouteTable;
