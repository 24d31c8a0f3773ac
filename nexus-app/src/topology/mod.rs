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
    AgentConfig, Args, Auth, AutoShutdown, BackoffConfig, Balance, ClientsConfig, ClusterConfig,
    ConnectionConfig, CpuPressureConfig, DebugConfig, DirectoryConfig, Every, GossipConfig, GroupConfig,
    ImbalanceConfig, LabelConfig, Level, LimitsConfig, LinkConfig, MembershipConfig, MemoryPressureConfig,
    NodeConfig, OtlpConfig, Partition, PerformanceConfig, Persist, Place, Preset, Restart, SchedulerPolicy,
    SchedulersConfig, Secret, Seed, Shutdown, Start, StoreConfig, Strategy, SupervisorConfig,
    TelemetryConfig, TlsConfig, Topology,
};
pub use read::Override;
pub use report::{Diagnostic, Related, Report};
pub use schema::schema;
