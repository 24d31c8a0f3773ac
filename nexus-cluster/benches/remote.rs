//! Messages between agents of two processes over loopback, beside bare ractor_cluster and a bare framed TCP connection: what
//! `nexus bench --remote` measures, with its contestants, for those who work on links and carriers and do not want to build all of Nexus.
//!
//! ```text
//! cargo bench -p nexus-cluster --bench remote [-- nexus nexus-tls ractor tcp control memory TELLS ASKS]
//! ```
#![allow(missing_docs, clippy::pedantic)]

#[path = "../../nexus-app/src/bench/remote"]
mod contestants {
    pub(crate) use nexus_cluster as cluster;
    pub(crate) use nexus_cluster::actors;

    pub(crate) mod far;
    pub(crate) mod load;
    pub(crate) mod nexus;
    pub(crate) mod ractor;
    pub(crate) mod tcp;
}

use contestants::{load, nexus, ractor, tcp};

// As the binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn far(part: &str) -> load::Measured<()> {
    match part {
        nexus::FAR => nexus::far(),
        ractor::FAR => ractor::far(),
        _ => tcp::far(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--part") {
        return far(&arguments[at + 1]).expect("the far side does what it is told");
    }
    let wanted = |name: &str| {
        let mut names = arguments.iter().filter(|argument| argument.parse::<usize>().is_err()).peekable();
        names.peek().is_none() || names.any(|wanted| wanted == name)
    };
    let numbers: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let load = load::Load { tells: number(0, 2_000_000), asks: number(1, 20_000) };
    // A runtime each, as in processes of their own.
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    for name in ["tcp", "ractor", "nexus", "nexus-tls", "control", "memory"] {
        if !wanted(name) {
            continue;
        }
        let measures = runtime().block_on(async {
            match name {
                "tcp" => tcp::near(load).await,
                "ractor" => ractor::near(load).await,
                "nexus" => nexus::near(load, false).await,
                "nexus-tls" => nexus::near(load, true).await,
                "control" => nexus::control(1_000).await,
                _ => nexus::memory().await,
            }
        });
        for (what, value) in measures.expect("it is measured") {
            println!("{name:<10} {what:<40} {value:>14.0}");
        }
    }
}
