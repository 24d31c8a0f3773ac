//! Gossip converges: at the end every node knows the last value that every other wrote, and says that all know the same. On the way there nobody
//! hears of an older value after a newer one.

use super::{End, Invariant, named};
use crate::chronicle::Chronicle;
use nexus_cluster::gossip::Convergence;

/// See the module.
#[derive(Debug)]
pub(super) struct Gossip;

impl Invariant for Gossip {
    fn name(&self) -> &'static str {
        "gossip"
    }

    fn end(&mut self, end: &End, chronicle: &Chronicle) -> Result<(), String> {
        named(&chronicle.stale)?;
        for (place, last) in &end.nodes {
            for (owner, heard) in &last.heard {
                let written = end.nodes.get(owner).and_then(|node| node.heard.get(owner)).cloned().flatten();
                if written.is_none() || *heard != written {
                    return Err(format!("n{place} knows {heard:?} of n{owner}, which wrote {written:?}"));
                }
            }
        }
        let sums: Vec<_> = end.nodes.iter().map(|(place, last)| (place, &last.convergence)).collect();
        let converged =
            |convergence: &Option<Convergence>| matches!(convergence, Some(Convergence::Converged { .. }));
        let same = sums.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if !same || !sums.iter().all(|(_, convergence)| converged(convergence)) {
            return Err(format!("{sums:?}"));
        }
        Ok(())
    }
}
