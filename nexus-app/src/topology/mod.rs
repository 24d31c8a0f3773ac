//! The topology: what a TOML file says a node runs.
//!
//! [`Topology::load`] reads and checks a file and gives either plain data or a [`Report`] with every mistake in it;
//! [`schema`] is the same knowledge for editors.

mod checks;
mod load;
mod model;
mod reach;
mod read;
mod report;
mod schema;
#[cfg(test)]
mod test;

pub use load::{BehaviorNames, Env, process_env};
pub(crate) use model::format;
pub use model::{
    AgentConfig, Args, Auth, AutoShutdown, BackoffConfig, Balance, ClientsConfig, CpuPressureConfig,
    DebugConfig, Every, GroupConfig, ImbalanceConfig, Level, LimitsConfig, MemoryPressureConfig, NodeConfig,
    OtlpConfig, PerformanceConfig, Persist, Restart, SchedulerPolicy, SchedulersConfig, Secret, Shutdown,
    Start, StoreConfig, Strategy, SupervisorConfig, TelemetryConfig, Topology,
};
pub use report::{Diagnostic, Related, Report};
pub use schema::schema;
