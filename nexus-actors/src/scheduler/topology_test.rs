//! Machines, and what is made of them.

use proptest::prelude::*;

use super::super::fixture::Files;
use super::super::{Layout, Policy, SchedulersConfig};
use super::*;

/// A machine of `testdata/`, with the set that its process was given.
pub(crate) fn machine(text: &str) -> CpuTopology {
    let allowed = text.lines().find_map(|line| line.strip_prefix("# allowed: ")).unwrap();
    CpuTopology::read(Files::unpack(text).root(), Some(&allowed.parse().unwrap()))
}

fn shown(text: &str) -> String {
    let machine = machine(text);
    let mut lines = vec![text.lines().next().unwrap().trim_start_matches("# ").to_owned()];
    for node in &machine.nodes {
        lines.push(format!("node {}: {}", node.id, node.cpus));
    }
    for (name, cpus) in
        [("isolated", &machine.isolated), ("forbidden", &machine.forbidden), ("offline", &machine.offline)]
    {
        if !cpus.is_empty() {
            lines.push(format!("{name}: {cpus}"));
        }
    }
    lines.extend(machine.quota_millis.map(|quota| format!("quota: {quota} thousandths of a CPU")));
    lines.extend(machine.notes.iter().map(|note| format!("note: {note}")));
    for policy in [Policy::Numa, Policy::Core] {
        let layout = Layout::new(&machine, &SchedulersConfig { policy, ..SchedulersConfig::default() });
        lines.push(format!("{}: {}", policy.name(), layout.summary()));
    }
    lines.join("\n") + "\n"
}

/// Goal: what is read of each machine, and the runtimes that each policy makes of it. Method: one snapshot each.
#[test]
fn machines() {
    macro_rules! machine {
        ($($name:literal)*) => {
            $(insta::assert_snapshot!($name, shown(include_str!(concat!("testdata/", $name, ".txt"))));)*
        };
    }
    machine!("laptop" "two_sockets" "epyc_8_nodes" "container" "container_cpuset" "offline_cores" "isolated");
    machine!("one_cpu" "two_cpus" "malformed");
}

/// Goal: a process that was put on isolated CPUs alone uses them.
#[test]
fn isolated_cpus_on_request() {
    let text = include_str!("testdata/isolated.txt").replace("allowed: 0-11", "allowed: 2-3");
    assert_eq!(machine(&text).usable().to_string(), "2-3");
    let text = text.replace("allowed: 2-3", "allowed: 1-3");
    let machine = machine(&text);
    assert_eq!((machine.usable().to_string(), machine.isolated.to_string()), ("1".into(), "2-3".into()));
}

/// Goal: an empty root is a machine with what the process was given; not even that, with one CPU.
#[test]
fn nothing_known() {
    let nothing = Files::unpack("");
    let allowed = "4-5".parse().unwrap();
    let machine = CpuTopology::read(nothing.root(), Some(&allowed));
    assert_eq!((machine.usable().to_string(), machine.notes.len()), ("4-5".into(), 0));
    let machine = CpuTopology::read(Path::new("/nowhere/at/all"), None);
    assert_eq!((machine.usable().to_string(), machine.nodes.len()), ("0".into(), 1));
}

/// Goal: the machine this runs on is read without a note, and as the kernel has it.
#[cfg(target_os = "linux")]
#[test]
fn this_machine() {
    let allowed = super::super::allowed().unwrap();
    let machine = CpuTopology::read(Path::new("/"), Some(&allowed));
    assert_eq!(machine.usable().without(&allowed), CpuList::default());
    assert_eq!(machine.notes, Vec::<String>::new());
}

proptest! {
    /// Goal: whatever the files say, some CPUs are usable, each is on one node, and every layout has workers on them.
    #[test]
    fn any_files_make_a_machine(
        files in prop::collection::vec((0..8_usize, "[0-9,x\\-]{0,12}|max 1|[0-9]{0,4} [0-9]{0,4}"), 0..8),
        allowed in prop::option::of("[0-9](-[0-9])?"),
        reserve in prop::option::of(0..20_u32),
        core in any::<bool>(),
    ) {
        const PATHS: [&str; 8] = [
            "sys/devices/system/cpu/online", "sys/devices/system/cpu/possible", "sys/devices/system/cpu/isolated",
            "sys/devices/system/node/node0/cpulist", "sys/devices/system/node/node1/cpulist", "proc/self/cgroup",
            "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/cpuset.cpus.effective",
        ];
        let mut text = String::from("== proc/self/cgroup\n0::/\n");
        for (path, content) in files {
            text.push_str(&format!("== {}\n{content}\n", PATHS[path]));
        }
        let files = Files::unpack(&text);
        let allowed = allowed.and_then(|allowed| allowed.parse::<CpuList>().ok());
        let machine = CpuTopology::read(files.root(), allowed.as_ref());
        let on_nodes: usize = machine.nodes.iter().map(|node| node.cpus.len()).sum();
        prop_assert_eq!(machine.usable().len(), on_nodes);
        prop_assert!(on_nodes > 0 && machine.nodes.iter().all(|node| !node.cpus.is_empty()));
        let policy = if core { Policy::Core } else { Policy::Numa };
        let layout = Layout::new(&machine, &SchedulersConfig { policy, reserve, pin: true });
        prop_assert!(!layout.runtimes.is_empty());
        for runtime in &layout.runtimes {
            prop_assert!((1..=runtime.cpus.len()).contains(&runtime.workers), "{:?}", layout);
            prop_assert!(runtime.cpus.and(&layout.reserved).is_empty());
            prop_assert!(runtime.cpus.without(&machine.usable()).is_empty());
        }
    }
}
