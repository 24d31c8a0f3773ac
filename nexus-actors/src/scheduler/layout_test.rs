//! Layouts as a table.

use super::*;

fn machine(nodes: &[&str], quota_millis: Option<u64>) -> CpuTopology {
    let node = |(id, cpus): (u32, &&str)| NumaNode { id, cpus: cpus.parse().unwrap() };
    CpuTopology {
        nodes: (0..).zip(nodes).map(node).collect(),
        isolated: CpuList::default(),
        forbidden: CpuList::default(),
        offline: CpuList::default(),
        quota_millis,
        notes: Vec::new(),
    }
}

/// Goal: every turn that a layout can take. Method: policy, nodes, quota, reserve, and the line for the log.
#[test]
fn layouts() {
    use Policy::{Core, None as Nothing, Numa};
    let table = [
        (
            Numa,
            &["0-1"][..],
            None,
            None,
            "numa0: 2 workers on 0-1; one NUMA node: one runtime for all agents",
        ),
        (Numa, &["0"], None, None, "numa0: 1 worker on 0; one CPU for agents: one runtime"),
        (Core, &["0-1"], None, None, "core0: 1 worker on 0; core1: 1 worker on 1"),
        (Nothing, &["0-1"], None, Some(1), ""),
        // The reserve is the lowest CPUs, and no node's last one while another has two.
        (Numa, &["0-1", "2-3"], None, None, "numa0: 1 worker on 1; numa1: 2 workers on 2-3; reserved: 0"),
        (Numa, &["0-1", "2-3"], None, Some(2), "numa0: 1 worker on 1; numa1: 1 worker on 3; reserved: 0,2"),
        (
            Numa,
            &["0-1", "2-3"],
            None,
            Some(9),
            "numa1: 1 worker on 3; reserved: 0-2; a reserve of 9 would leave agents none of 4 CPUs: 3 reserved; \
             one CPU for agents: one runtime",
        ),
        (Core, &["0-3"], None, Some(2), "core2: 1 worker on 2; core3: 1 worker on 3; reserved: 0-1"),
        (Numa, &["0-3"], None, Some(0), "numa0: 4 workers on 0-3; one NUMA node: one runtime for all agents"),
        // Under a quota no thread has a CPU of its own, and a reserve is one of workers.
        (
            Core,
            &["0-7"],
            Some(3500),
            None,
            "numa0: 3 workers on 0-7; a quota of 4 of 8 CPUs: 3 workers, on no CPU of their own; \
             one NUMA node: one runtime for all agents",
        ),
        (
            Numa,
            &["0-5", "6-7"],
            Some(5000),
            Some(0),
            "numa0: 3 workers on 0-5; numa1: 2 workers on 6-7; a quota of 5 of 8 CPUs: 5 workers, on no CPU of their own",
        ),
        (
            Numa,
            &["0-1", "2-3", "4-5"],
            Some(2000),
            None,
            "numa: 2 workers on 0-5; a quota of 2 of 6 CPUs: 2 workers, on no CPU of their own; \
             fewer workers than NUMA nodes (3): one runtime over all of them",
        ),
        (
            Numa,
            &["0-1"],
            Some(64_000),
            None,
            "numa0: 2 workers on 0-1; one NUMA node: one runtime for all agents",
        ),
    ];
    for (policy, nodes, quota, reserve, expected) in table {
        let layout = Layout::new(&machine(nodes, quota), &SchedulersConfig { policy, reserve, pin: true });
        assert_eq!(layout.summary(), expected, "{policy:?} {nodes:?} {quota:?} {reserve:?}");
    }
}
