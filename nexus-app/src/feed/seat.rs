//! A feed's way to the other nodes of its cluster: who runs it, and how far its agents have come.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::agent::AgentId;
use nexus_cluster::NodeName;
use nexus_cluster::gossip::Urgency;
use nexus_cluster::system::Cluster;
use xxhash_rust::xxh3::Xxh3;

use super::status::FeedStatus;

/// Malformed records that other nodes are told of.
const MALFORMED_TOLD: usize = 1;

/// Who runs a feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// This node does, from now on.
    Here,
    /// Another node does, and says this of it.
    Elsewhere(Arc<str>, Option<Box<FeedStatus>>),
    /// That cannot be known now: it is as it was.
    Unclear,
}

/// The agents' places in a feed, none for one that is on no node, and the messages under way.
pub type Marks = (Vec<(AgentId, Option<u64>)>, u64);

/// What a feed needs of its cluster.
pub trait Seat: fmt::Debug + Send + Sync + 'static {
    /// Takes the feed for this node, unless another one has it.
    fn claim(&self, feed: &Arc<str>) -> BoxFuture<'static, Claim>;

    /// Leaves it to others.
    fn release(&self, feed: &str);

    /// How far each of `agents` has come in the feed with this number, then what is under way. `None` if a member did not answer.
    fn marks(&self, feed: u16, agents: Vec<AgentId>) -> BoxFuture<'static, Option<Marks>>;

    /// Tells the others how the feed stands.
    fn show(&self, status: FeedStatus) -> BoxFuture<'static, ()>;
}

/// The real one: claims are the directory's, and how a feed stands is gossip.
#[derive(Clone, Debug)]
pub struct ClusterSeat(pub Cluster);

/// No agent can have this name.
fn claimed_name(feed: &str) -> AgentId {
    AgentId::of(&format!("#feed/{feed}"))
}

fn gossip_key(feed: &str) -> String {
    format!("feed/{feed}")
}

/// The number of a feed in its cluster, the same on all nodes: from its name and the digest of its sequence, so that agents that have
/// handled a feed with another source or mapping do not take this one for it. `is_taken` says which are another feed's. Never one of
/// those that a store gives.
pub(crate) fn number(feed: &str, digest: u64, is_taken: impl Fn(u16) -> bool) -> u16 {
    let mut hash = Xxh3::new();
    hash.update(feed.as_bytes());
    hash.update(&digest.to_le_bytes());
    let [low, high, ..] = hash.digest().to_le_bytes();
    let mut number = u16::from_le_bytes([low, high | 0x80]);
    while is_taken(number) {
        number = number.wrapping_add(1) | 0x8000;
    }
    number
}

impl Seat for ClusterSeat {
    fn claim(&self, feed: &Arc<str>) -> BoxFuture<'static, Claim> {
        let (cluster, feed) = (self.0.clone(), feed.clone());
        async move {
            if !cluster.standing().has_joined() {
                return Claim::Unclear;
            }
            let me = cluster.membership().me().name().clone();
            match cluster.directory().register(claimed_name(&feed), None).await {
                Ok(None) => Claim::Here,
                // A former life of this node, which will be found out.
                Ok(Some(node)) if node.name == me => Claim::Unclear,
                Ok(Some(node)) => {
                    let status = status_of(&cluster, &node.name, &feed).await;
                    Claim::Elsewhere(node.name.as_str().into(), status)
                }
                Err(_) => Claim::Unclear,
            }
        }
        .boxed()
    }

    fn release(&self, feed: &str) {
        self.0.directory().unregister(claimed_name(feed));
    }

    fn marks(&self, feed: u16, agents: Vec<AgentId>) -> BoxFuture<'static, Option<Marks>> {
        let census = self.0.census().clone();
        async move {
            let marks = census.marks(feed, &agents).await.ok()?;
            // After the marks: what was under way while they were taken is counted, or has moved a mark of the next look.
            let queued = census.queued().await.ok()?;
            Some((agents.into_iter().zip(marks).collect(), queued))
        }
        .boxed()
    }

    fn show(&self, mut status: FeedStatus) -> BoxFuture<'static, ()> {
        let cluster = self.0.clone();
        status.first_malformed.truncate(MALFORMED_TOLD);
        async move {
            let Ok(value) = serde_json::to_vec(&status) else { return };
            let urgency = if status.state.is_over() { Urgency::Urgent } else { Urgency::Routine };
            // Who cannot be told now is told with the next one.
            let _ = cluster.gossip().write(&gossip_key(&status.name), Some(value.into()), urgency).await;
        }
        .boxed()
    }
}

async fn status_of(cluster: &Cluster, node: &NodeName, feed: &str) -> Option<Box<FeedStatus>> {
    let value = cluster.gossip().get(node, &gossip_key(feed)).await.ok()??;
    serde_json::from_slice(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: numbers tell feeds apart by name and sequence, lie above those of a store, and give way.
    #[test]
    fn numbers_are_the_same_everywhere() {
        let free = |_| false;
        let flights = number("flights", 7, free);
        assert!(flights >= 0x8000);
        assert_eq!(number("flights", 7, free), flights);
        assert!(number("flights", 8, free) != flights && number("weather", 7, free) != flights);
        let next = number("flights", 7, |taken| taken == flights);
        assert_eq!(next, flights.wrapping_add(1) | 0x8000);
    }
}
