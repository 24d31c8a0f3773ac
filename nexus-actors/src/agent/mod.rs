//! Agents: what they are sent, the host that decorates their behavior, and the inbox that outlives them.
//!
//! ```text
//! send ─▶ AgentCell (route entry: inbox, counters) ─ Wake ─▶ Agent<A> (ractor actor) ─▶ A::handle
//! ```

mod batch;
mod behavior;
mod cell;
mod durable;
mod family;
mod hibernate;
mod host;
#[cfg(test)]
mod host_test;
mod id;
mod inbox;
mod keeper;
mod ledger;
mod level;
mod message;
mod name_pattern;
mod pace;
mod payload;
mod persist;
mod persisted;
mod reactive;
mod reply;
mod start;
#[cfg(test)]
mod start_test;
mod tally;
mod wait;

pub use behavior::{AgentSpec, Behaviors};
pub(crate) use cell::{AgentCell, Leaving, Sent};
pub use cell::{AgentExit, AgentOverview, AgentStatus};
pub use durable::Durable;
pub(crate) use durable::Snapshot;
pub use family::AgentTemplate;
pub(crate) use family::Family;
pub(crate) use hibernate::lifecycle::Phase;
pub(crate) use hibernate::{IdleWatch, Record, Watched};
pub use host::{Agent, AgentState};
pub use id::{AgentId, RequestId, Target};
pub(crate) use inbox::{Letter, Letters, Pushed};
pub use level::{Level, LevelGranted};
pub use message::{AgentMessage, Hints, HostMessage, Operation, Request, Routing};
pub use name_pattern::{
    GROUP_PREFIX, NAME_BYTES_MAX, NameError, NamePattern, RANGE_MEMBERS_MAX, check_name, check_target,
};
pub use payload::Payload;
pub use reactive::{Reactive, serve};
pub(crate) use reply::Answer;
pub use reply::{Reply, ReplyPort};
pub use start::FamilyRules;
pub use tally::Tally;
