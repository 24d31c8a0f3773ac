//! The debug endpoint: an HTTP server that shows the node and, where the topology allows it, steers it.
//!
//! One file per route in `route/`, all of them listed in `route::all` and described in `/openapi.json`. Everything but
//! `/livez`, `/readyz`, `/healthz` and the page needs the bearer token; what changes anything needs `allow_control` too.
//! Errors are problem details (RFC 9457).
//!
//! | file | holds |
//! |---|---|
//! | `actor.rs` | [`DebugActor`], the supervised actor that owns the listener |
//! | `server.rs`, `stall.rs` | connections and their limits |
//! | `guard.rs`, `auth.rs` | what holds for every request |
//! | `query.rs`, `body.rs`, `target.rs` | strict reading of what clients send |
//! | `problem.rs` | errors |
//! | `view.rs` | how agents and exits are shown |

mod actor;
mod auth;
mod body;
mod control;
mod guard;
mod openapi;
mod problem;
mod query;
mod readiness;
mod route;
mod server;
mod stall;
mod state;
mod target;
#[cfg(test)]
mod test;
mod view;

pub use actor::{BoundAddress, DebugActor, DebugArgs, DebugMessage};
pub(crate) use auth::{generate_token, is_loopback_name};
pub use openapi::openapi;
pub use problem::ProblemDetails;
pub(crate) use problem::code as error_code;
pub use readiness::{Condition, Readiness};
pub(crate) use route::store::text as store_text;
pub(crate) use route::tree::text as tree_text;
pub use server::serve;
pub use state::{DebugSources, DebugState, RootSlot};
pub use view::{AgentView, ExitView};
