//! One Nexus node: supervision, agents and their host, local routes, pinned schedulers, telemetry, and the clock and randomness seams.

pub mod agent;
pub mod clock;
mod error;
mod node;
pub mod prelude;
pub mod rng;
pub mod route;
pub mod scheduler;
pub mod store;
pub mod supervision;
pub mod telemetry;
mod text;

pub use error::AgentError;
pub use node::{DeclareError, Node, NodeConfig};
