//! What is on the other nodes: every member is asked over the control lane, page by page.
//!
//! *Which agents match a name* is asked for reports over all nodes. *How far have these agents come in a feed* and *how much is under way*
//! tell the node that runs a feed whether all of it was handled, and if not, from where on it is to be delivered again; whoever notices
//! that part of a feed is lost tells all. An answer is what a node has at that moment: whoever needs to know that all is at rest asks twice.
//!
//! | file | holds |
//! |---|---|
//! | `message.rs` | what is asked and answered |
//! | `actor.rs` | the ractor shell that answers, and the handle that asks |

mod actor;
mod message;

pub use self::actor::{Census, CensusSetup, News, Unheard};
pub use self::message::{Answer, Keys, MESSAGE_BYTES_MAX, Message, MessageError, Question};
