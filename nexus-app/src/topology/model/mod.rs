//! What a topology file says, as plain data.

mod args;
mod clients;
mod cluster;
mod cluster_tuning;
pub(crate) mod format;
mod node;
mod performance;
mod policy;
mod schedulers;
mod secret;
mod store;
mod tree;

use std::path::PathBuf;

use garde::Validate;
use nexus_actors::agent::NamePattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use args::Args;
pub use clients::ClientsConfig;
pub use cluster::{ClusterConfig, LabelConfig, Partition, Place, Preset, Seed, TlsConfig};
pub use cluster_tuning::{ConnectionConfig, DirectoryConfig, GossipConfig, LinkConfig, MembershipConfig};
pub use node::{DebugConfig, LimitsConfig, NodeConfig, OtlpConfig, TelemetryConfig};
pub use performance::{CpuPressureConfig, ImbalanceConfig, MemoryPressureConfig, PerformanceConfig};
pub use policy::{Auth, AutoShutdown, Balance, Level, Restart, Shutdown, Start, Strategy};
pub use schedulers::{SchedulerPolicy, SchedulersConfig};
pub use secret::Secret;
pub use store::{Every, Persist, StoreConfig};
pub use tree::{AgentConfig, BackoffConfig, GroupConfig, SupervisorConfig};

use crate::feed::FeedConfig;
use crate::report::ReportConfig;

/// A node's topology: what runs on it, under which supervisors, fed by what.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Topology {
    /// The node itself.
    #[garde(dive)]
    pub node: NodeConfig,
    /// Upper bounds.
    #[garde(dive)]
    pub limits: LimitsConfig,
    /// The runtimes that agents live on.
    #[garde(dive)]
    pub schedulers: SchedulersConfig,
    /// When the node relieves itself of pressure, and how far it may go.
    #[garde(dive)]
    pub performance: PerformanceConfig,
    /// Logs and export.
    #[garde(dive)]
    pub telemetry: TelemetryConfig,
    /// The debug endpoint.
    #[garde(dive)]
    pub debug: DebugConfig,
    /// The endpoint for agents' clients. Default: none.
    #[garde(dive)]
    pub clients: Option<ClientsConfig>,
    /// The durable store. Default: none; agents live in memory only.
    #[garde(dive)]
    pub store: Option<StoreConfig>,
    /// The cluster this node is one of. Default: none; it is alone.
    #[garde(dive)]
    pub cluster: Option<ClusterConfig>,
    /// Supervisors under the node's root agent supervisor.
    #[garde(dive)]
    pub supervisor: Vec<SupervisorConfig>,
    /// Agents directly under the node's root agent supervisor.
    #[garde(dive)]
    pub agent: Vec<AgentConfig>,
    /// Groups of agents.
    #[garde(dive)]
    pub group: Vec<GroupConfig>,
    /// Feeds.
    #[garde(dive)]
    pub feed: Vec<FeedConfig>,
    /// Tables over many agents, printed when all feeds have ended.
    #[garde(dive)]
    pub report: Vec<ReportConfig>,
    /// The folder that relative paths in the file start from: the file's own.
    #[serde(skip)]
    #[garde(skip)]
    pub base_dir: PathBuf,
}

impl Topology {
    /// The node's name; `nexus` if neither the file nor its name gives one.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.node.name.as_deref().unwrap_or("nexus")
    }

    /// Every declared agent with the name of the supervisor it is under (`None`: the root agent supervisor), in start order.
    #[must_use]
    pub fn agents(&self) -> Vec<(Option<&str>, &AgentConfig)> {
        fn collect<'a>(
            supervisors: &'a [SupervisorConfig],
            found: &mut Vec<(Option<&'a str>, &'a AgentConfig)>,
        ) {
            for supervisor in supervisors {
                found.extend(supervisor.agent.iter().map(|agent| (Some(supervisor.name.as_str()), agent)));
                collect(&supervisor.supervisor, found);
            }
        }
        let mut found = self.agent.iter().map(|agent| (None, agent)).collect();
        collect(&self.supervisor, &mut found);
        found
    }

    /// The declaration that `name` falls under, if any. No two do: overlaps are errors.
    #[must_use]
    pub fn agent_for(&self, name: &str) -> Option<&AgentConfig> {
        self.agents().into_iter().map(|(_, agent)| agent).find(|agent| agent.name.matches(name))
    }

    /// The members of a group, those of groups in it included, without repetition, in order of pattern. `None` if there is no
    /// such group.
    #[must_use]
    pub fn group_members(&self, name: &str) -> Option<Vec<NamePattern>> {
        let mut members = std::collections::BTreeSet::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            // A cycle is an error found earlier; here it only must not hang.
            if !seen.insert(name) {
                continue;
            }
            let group = self.group.iter().find(|group| group.name == name)?;
            for member in &group.members {
                match member.strip_prefix("group:") {
                    Some(other) => open.push(other),
                    None => members.extend(member.parse::<NamePattern>()),
                }
            }
            let joined =
                self.agents().into_iter().filter(|(_, agent)| agent.groups.iter().any(|g| g == name));
            members.extend(joined.map(|(_, agent)| agent.name.clone()));
        }
        Some(members.into_iter().collect())
    }
}
