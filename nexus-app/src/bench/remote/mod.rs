//! What rows between two processes measure: contestants of the same load, each with a far side in another process of this binary.
//!
//! They use nothing else of this crate, so that a benchmark below it (`nexus-cluster/benches/remote.rs`) measures the same ones.

pub(crate) mod far;
pub(crate) mod load;
pub(crate) mod nexus;
pub(crate) mod ractor;
pub(crate) mod tcp;

use nexus_intel::cluster;
use nexus_intel::cluster::actors;

use super::{BenchError, Measures, Plan};

/// A port of loopback that nobody listens at.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How much of it.
pub(crate) fn load(plan: &Plan) -> load::Load {
    load::Load { tells: plan.of(2_000_000), asks: plan.of(20_000) }
}

/// What a near side comes to, on a runtime of its own.
pub(crate) fn near(
    work: impl Future<Output = load::Measured<load::Measures>>,
) -> Result<Measures, BenchError> {
    super::site::runtime()?.block_on(work).map_err(BenchError::Contestant)
}

/// What a far side comes to: it has nothing to say but to its near side.
pub(crate) fn far(done: load::Measured<()>) -> Result<Measures, BenchError> {
    done.map(|()| Measures::new()).map_err(BenchError::Contestant)
}
