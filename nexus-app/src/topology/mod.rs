//! The topology: what a TOML file says a node runs.

mod model;

pub use model::{
    AgentConfig, Args, Auth, AutoShutdown, BackoffConfig, DebugConfig, GroupConfig, Level, LimitsConfig,
    NodeConfig, OtlpConfig, Restart, Secret, Shutdown, Start, Strategy, SupervisorConfig, TelemetryConfig,
    Topology,
};
