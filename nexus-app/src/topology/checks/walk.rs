//! Every supervisor and agent of a topology with its path, in the order of the tree, and every feed.

use super::Path;
use crate::feed::FeedConfig;
use crate::topology::{AgentConfig, SupervisorConfig, Topology};

/// A declared supervisor.
pub(super) struct SupervisorAt<'a> {
    pub(super) path: Path,
    pub(super) config: &'a SupervisorConfig,
    /// The supervisor above it; `None` for the root agent supervisor.
    pub(super) parent: Option<&'a SupervisorConfig>,
    /// 1 for those right under the root agent supervisor.
    pub(super) depth: usize,
}

/// A declared agent or family.
pub(super) struct AgentAt<'a> {
    pub(super) path: Path,
    pub(super) config: &'a AgentConfig,
    /// The supervisor above it; `None` for the root agent supervisor.
    pub(super) parent: Option<&'a SupervisorConfig>,
}

pub(super) fn supervisors(topology: &Topology) -> Vec<SupervisorAt<'_>> {
    let mut found = Vec::new();
    collect(&topology.supervisor, &Path::root(), None, 1, &mut found);
    found
}

pub(super) fn agents(topology: &Topology) -> Vec<AgentAt<'_>> {
    fn under<'a>(
        list: &'a [AgentConfig],
        path: &Path,
        parent: Option<&'a SupervisorConfig>,
    ) -> impl Iterator<Item = AgentAt<'a>> {
        let path = path.key("agent");
        list.iter().enumerate().map(move |(index, config)| AgentAt {
            path: path.index(index),
            config,
            parent,
        })
    }
    let mut found: Vec<_> = under(&topology.agent, &Path::root(), None).collect();
    for supervisor in supervisors(topology) {
        found.extend(under(&supervisor.config.agent, &supervisor.path, Some(supervisor.config)));
    }
    found
}

/// The feeds with their paths.
pub(super) fn feeds(topology: &Topology) -> impl Iterator<Item = (&FeedConfig, Path)> {
    let path = Path::root().key("feed");
    topology.feed.iter().enumerate().map(move |(at, feed)| (feed, path.index(at)))
}

fn collect<'a>(
    list: &'a [SupervisorConfig],
    path: &Path,
    parent: Option<&'a SupervisorConfig>,
    depth: usize,
    found: &mut Vec<SupervisorAt<'a>>,
) {
    let path = path.key("supervisor");
    for (index, config) in list.iter().enumerate() {
        let path = path.index(index);
        found.push(SupervisorAt { path: path.clone(), config, parent, depth });
        collect(&config.supervisor, &path, Some(config), depth + 1, found);
    }
}
