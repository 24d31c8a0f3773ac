//! From a machine and a policy to runtimes. Pure.
//!
//! ```text
//! usable CPUs ─ reserve ─▶ CPUs for agents ─ by node or by CPU ─▶ runtimes: workers, and where their threads may run
//!      └── a quota below their number ─▶ fewer workers, on no CPU of their own
//! ```
//!
//! A quota says how much processor time there is, not where. A container that pinned its few threads to the first CPUs would
//! meet every other container there, so under a quota threads are kept to nodes at most and the reserve is one of workers.

use super::config::{Policy, SchedulersConfig};
use super::cpu_list::CpuList;
use super::topology::{CpuTopology, NumaNode};

/// With fewer CPUs than this none is reserved: the kernel wakes the system actors' threads in time without, and half of a small
/// machine is too much to leave idle.
const RESERVE_FROM: usize = 4;
/// One in so many CPUs is reserved.
const RESERVE_ONE_IN: usize = 16;

/// One runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeLayout {
    /// `numa0`, `core12`; unique, and part of its threads' names.
    pub name: String,
    /// The NUMA node it is on; `None` if it is on several.
    pub node: Option<u32>,
    /// Where its threads run.
    pub cpus: CpuList,
    /// How many workers it has, at least one.
    pub workers: usize,
}

/// The runtimes of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The policy asked for.
    pub policy: Policy,
    /// The agents' runtimes; none with [`Policy::None`].
    pub runtimes: Vec<RuntimeLayout>,
    /// CPUs that are kept free of agents.
    pub reserved: CpuList,
    /// Where this is less than the policy could be, and why.
    pub notes: Vec<String>,
}

impl Layout {
    /// The runtimes that `config` makes of `machine`.
    #[must_use]
    pub fn new(machine: &CpuTopology, config: &SchedulersConfig) -> Self {
        let mut layout =
            Self { policy: config.policy, runtimes: vec![], reserved: CpuList::default(), notes: vec![] };
        if config.policy == Policy::None {
            return layout;
        }
        let usable = machine.usable();
        let granted = granted(&usable, machine.quota_millis);
        let reserve = layout.reserve(granted, config.reserve);
        if granted < usable.len() {
            layout.notes.push(format!(
                "a quota of {granted} of {} CPUs: {} workers, on no CPU of their own",
                usable.len(),
                granted - reserve
            ));
            layout.runtimes = by_node(&machine.nodes, granted - reserve);
        } else {
            layout.reserved = reserved(&machine.nodes, reserve);
            let nodes = without(&machine.nodes, &layout.reserved);
            layout.runtimes = match config.policy {
                Policy::Core => by_cpu(&nodes),
                _ => by_node(&nodes, usable.len() - reserve),
            };
        }
        if let [only] = &*layout.runtimes {
            layout.notes.push(match (only.workers, machine.nodes.len()) {
                (1, _) => "one CPU for agents: one runtime".into(),
                (_, 1) => "one NUMA node: one runtime for all agents".into(),
                (_, nodes) => {
                    format!("fewer workers than NUMA nodes ({nodes}): one runtime over all of them")
                }
            });
        }
        layout
    }

    /// How many of `granted` CPUs are kept free of agents.
    fn reserve(&mut self, granted: usize, wanted: Option<u32>) -> usize {
        let Some(wanted) = wanted else {
            return if granted < RESERVE_FROM { 0 } else { (granted / RESERVE_ONE_IN).max(1) };
        };
        let reserve = (wanted as usize).min(granted - 1);
        if reserve < wanted as usize {
            self.notes.push(format!(
                "a reserve of {wanted} would leave agents none of {granted} CPUs: {reserve} reserved"
            ));
        }
        reserve
    }

    /// One line for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let runtime = |one: &RuntimeLayout| {
            let workers = if one.workers == 1 { "worker" } else { "workers" };
            format!("{}: {} {workers} on {}", one.name, one.workers, one.cpus)
        };
        let mut parts: Vec<String> = self.runtimes.iter().take(16).map(runtime).collect();
        if self.runtimes.len() > parts.len() {
            parts.push(format!("{} more", self.runtimes.len() - parts.len()));
        }
        if !self.reserved.is_empty() {
            parts.push(format!("reserved: {}", self.reserved));
        }
        parts.extend(self.notes.iter().cloned());
        parts.join("; ")
    }
}

/// CPUs' worth of time that there is: all of them, or what the quota leaves, rounded up. At least one.
fn granted(usable: &CpuList, quota_millis: Option<u64>) -> usize {
    let quota = quota_millis.map(|millis| usize::try_from(millis.div_ceil(1000)).unwrap_or(usize::MAX));
    quota.unwrap_or(usize::MAX).min(usable.len()).max(1)
}

/// The lowest CPUs, where the kernel's own work tends to be, but no node's last one while another has two.
fn reserved(nodes: &[NumaNode], count: usize) -> CpuList {
    let sparing = nodes.iter().flat_map(|node| node.cpus.iter().take(node.cpus.len() - 1));
    let last = nodes.iter().filter_map(|node| node.cpus.iter().next_back());
    sparing.chain(last).take(count).collect()
}

fn without(nodes: &[NumaNode], taken: &CpuList) -> Vec<NumaNode> {
    let left = nodes.iter().map(|node| NumaNode { id: node.id, cpus: node.cpus.without(taken) });
    left.filter(|node| !node.cpus.is_empty()).collect()
}

fn by_cpu(nodes: &[NumaNode]) -> Vec<RuntimeLayout> {
    let runtime = |node: u32, cpu: u32| RuntimeLayout {
        name: format!("core{cpu}"),
        node: Some(node),
        cpus: CpuList::from_iter([cpu]),
        workers: 1,
    };
    let mut runtimes: Vec<_> =
        nodes.iter().flat_map(|node| node.cpus.iter().map(|cpu| runtime(node.id, cpu))).collect();
    runtimes.sort_by_key(|runtime| runtime.cpus.iter().next());
    runtimes
}

/// One runtime for each node, with its share of `workers`; one over all nodes if there are too few for that.
fn by_node(nodes: &[NumaNode], workers: usize) -> Vec<RuntimeLayout> {
    let all: CpuList = nodes.iter().flat_map(|node| node.cpus.iter()).collect();
    if workers < nodes.len() {
        return vec![RuntimeLayout { name: "numa".into(), node: None, cpus: all, workers }];
    }
    // One for each node; of the rest, each node's share of what is left, so that the last one's comes out even.
    let (mut spare, mut cpus) = (workers - nodes.len(), all.len());
    let runtime = |node: &NumaNode| {
        let share = spare * node.cpus.len() / cpus;
        spare -= share;
        cpus -= node.cpus.len();
        let name = format!("numa{}", node.id);
        RuntimeLayout { name, node: Some(node.id), cpus: node.cpus.clone(), workers: 1 + share }
    };
    nodes.iter().map(runtime).collect()
}

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;
