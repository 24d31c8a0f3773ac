//! One Nexus node: supervision, agents and their host, local routes, telemetry, and the clock and randomness seams.

pub mod agent;
pub mod clock;
pub mod rng;
pub mod supervision;
pub mod telemetry;
