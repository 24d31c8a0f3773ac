//! `cargo bench -p nexus-cluster --bench ring`: the ring at several sizes: a look-up, a preference list, building, memory, how far the
//! busiest and the idlest member are from their fair share, and what moves when one joins, in relation to the fair share K/N.

use std::hint::black_box;
use std::time::Instant;

use nexus_cluster::actors::agent::AgentId;
use nexus_cluster::ring::{Member, Moved, Ring, moved};
use nexus_cluster::{NodeId, NodeName};

const KEYS: usize = 1 << 20;

fn member(n: usize) -> Member {
    let name: NodeName = format!("node-{n}").parse().expect("a name");
    Member::new(NodeId { name, incarnation: 1 })
}

fn nanos_per_key(keys: &[AgentId], mut each: impl FnMut(AgentId)) -> f64 {
    let started = Instant::now();
    keys.iter().for_each(|id| each(*id));
    started.elapsed().as_nanos() as f64 / keys.len() as f64
}

fn main() {
    let keys: Vec<AgentId> = (0..KEYS).map(|n| AgentId::of(&format!("aircraft/{n}"))).collect();
    println!("{KEYS} keys, 100 virtual nodes a member, weight 1; balance and movement are exact");
    println!(
        "members  lookup ns  list of 3 ns  build ms  memory KiB  least load  most load  joins: moved / (K/N)"
    );
    for n in [3, 10, 100, 1000] {
        let started = Instant::now();
        let ring = Ring::new((0..n).map(member));
        let build = started.elapsed();
        let lookup = nanos_per_key(&keys, |id| {
            black_box(ring.owner(id));
        });
        let list = nanos_per_key(&keys, |id| {
            black_box(ring.preference_places(id, 3));
        });
        let loads: Vec<f64> = ring.shares().iter().map(|share| share * n as f64).collect();
        let (least, most) =
            loads.iter().fold((f64::MAX, 0_f64), |(least, most), load| (least.min(*load), most.max(*load)));
        let share: f64 = moved(&ring, &Ring::new((0..=n).map(member))).iter().map(Moved::share).sum();
        println!(
            "{n:>7}  {lookup:>9.0}  {list:>12.0}  {:>8.1}  {:>10}  {least:>10.3}  {most:>9.3}  {:>20.3}",
            build.as_secs_f64() * 1e3,
            ring.bytes() / 1024,
            share * (n + 1) as f64,
        );
    }
}
