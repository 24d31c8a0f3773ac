//! The machine's CPUs as this process may use them: NUMA nodes, offline and isolated CPUs, the allowed set, control groups.
//!
//! Everything is read from files below a root that is given, so tests bring their own machines. Nothing here fails: what is
//! missing or malformed leaves a note, and the machine is taken for simpler than it may be. Source: the kernel's
//! `ABI/stable/sysfs-devices-node` and `admin-guide/cputopology.rst`.

use std::fmt::Display;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::str::FromStr;

use super::cgroup;
use super::cpu_list::CpuList;

/// The largest file that is read, in bytes; the kernel's are a page at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// NUMA nodes looked at; the kernel's own limit (`MAX_NUMNODES`).
const NODES_MAX: usize = 1024;
/// Notes kept.
const NOTES_MAX: usize = 16;

/// A NUMA node: CPUs that share memory near to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// The kernel's number for it.
    pub id: u32,
    /// Its CPUs that this process may use; at least one.
    pub cpus: CpuList,
}

/// The machine as this process may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTopology {
    /// Nodes with usable CPUs, by number; at least one.
    pub nodes: Vec<NumaNode>,
    /// CPUs that are there and left alone: isolated by the kernel's command line for somebody else.
    pub isolated: CpuList,
    /// CPUs that are there and that this process may not use.
    pub forbidden: CpuList,
    /// CPUs that could be there and are switched off.
    pub offline: CpuList,
    /// Thousandths of a CPU that the process's control group may use, if it is limited.
    pub quota_millis: Option<u64>,
    /// What could not be read or made no sense, and so was taken for absent.
    pub notes: Vec<String>,
}

impl CpuTopology {
    /// Reads the machine below `root`, `/` for the one we run on. `allowed` is the process's own set, as `sched_getaffinity`
    /// tells it; `None` where that is not known.
    #[must_use]
    pub fn read(root: &Path, allowed: Option<&CpuList>) -> Self {
        let mut notes = Notes::default();
        let cpu = |name: &str, notes: &mut Notes| {
            notes.parse::<CpuList>(root, format!("sys/devices/system/cpu/{name}"))
        };
        let possible = cpu("possible", &mut notes).unwrap_or_default();
        let isolated = cpu("isolated", &mut notes).unwrap_or_default();
        let online = cpu("online", &mut notes).filter(|cpus| !cpus.is_empty());
        let named = read_nodes(root, &mut notes);
        let grant = cgroup::read(root, &mut notes);

        let in_nodes = named.iter().fold(CpuList::default(), |all, node| all.or(&node.cpus));
        let online = online.unwrap_or_else(|| {
            // Without that file the machine is what else is known of it; at the very least, one CPU runs this.
            let known = [allowed, Some(&in_nodes)].into_iter().flatten().find(|cpus| !cpus.is_empty());
            known.cloned().unwrap_or_else(|| CpuList::from_iter([0]))
        });
        let mut usable = online.clone();
        for (granted, by) in [(allowed, "the process's affinity"), (grant.cpus.as_ref(), "its control group")]
        {
            let Some(granted) = granted else { continue };
            let left = usable.and(granted);
            if left.is_empty() {
                notes.add(format!("{by} allows {granted}, of which nothing is left in {usable}: ignored"));
            } else {
                usable = left;
            }
        }
        let forbidden = online.without(&usable);
        // Whoever was put on isolated CPUs alone is meant to use them.
        let shared = usable.without(&isolated);
        let usable = if shared.is_empty() { usable } else { shared };
        Self {
            nodes: assign(&usable, named, &mut notes),
            isolated: online.and(&isolated).without(&usable).without(&forbidden),
            forbidden,
            offline: possible.without(&online),
            quota_millis: grant.quota_millis,
            notes: notes.into_inner(),
        }
    }

    /// Every CPU that may be used.
    #[must_use]
    pub fn usable(&self) -> CpuList {
        self.nodes.iter().flat_map(|node| node.cpus.iter()).collect()
    }
}

/// The nodes as `/sys` has them, by number; none on a kernel without NUMA.
fn read_nodes(root: &Path, notes: &mut Notes) -> Vec<NumaNode> {
    let folder = "sys/devices/system/node";
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Vec::new() };
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("node")?.parse::<u32>().ok();
    let mut ids: Vec<u32> = entries.filter_map(Result::ok).filter_map(name).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(NODES_MAX);
    let read =
        |id: u32| Some(NumaNode { id, cpus: notes.parse(root, format!("{folder}/node{id}/cpulist"))? });
    ids.into_iter().filter_map(read).collect()
}

/// Gives every usable CPU to one node.
fn assign(usable: &CpuList, named: Vec<NumaNode>, notes: &mut Notes) -> Vec<NumaNode> {
    let mut left = usable.clone();
    let mut nodes = Vec::new();
    for NumaNode { id, cpus } in named {
        let cpus = left.and(&cpus);
        left = left.without(&cpus);
        if !cpus.is_empty() {
            nodes.push(NumaNode { id, cpus });
        }
    }
    match nodes.first_mut() {
        _ if left.is_empty() => {}
        None => nodes.push(NumaNode { id: 0, cpus: left }),
        Some(first) => {
            notes.add(format!("CPUs {left} are on no NUMA node: taken for node {}'s", first.id));
            first.cpus = first.cpus.or(&left);
        }
    }
    nodes
}

/// What could not be read, bounded.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    pub(crate) fn add(&mut self, note: String) {
        if self.0.len() < NOTES_MAX {
            self.0.push(note);
        }
    }

    /// A file's text. One that is not there is nothing to note: kernels differ.
    pub(crate) fn read(&mut self, root: &Path, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        let mut text = String::new();
        let file = fs::File::open(root.join(path));
        match file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => Some(text),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => {
                self.add(format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// A file's value.
    pub(crate) fn parse<T>(&mut self, root: &Path, path: impl AsRef<Path>) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let path = path.as_ref();
        match self.read(root, path)?.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(format!("{}: {error}", path.display()));
                None
            }
        }
    }

    pub(crate) fn into_inner(self) -> Vec<String> {
        self.0
    }
}

#[cfg(test)]
#[path = "topology_test.rs"]
mod tests;
