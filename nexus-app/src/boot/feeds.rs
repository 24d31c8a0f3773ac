//! Feeds of a running node: their supervisor, what they hear of the cluster, and when they are over.

use std::sync::Arc;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::supervision::{ChildSpec, Restart, SupervisorSpec};
use nexus_cluster::census::News;
use nexus_cluster::membership::MembershipEvent;
use nexus_cluster::system::Cluster;
use tokio::sync::watch;

use super::{PROGRESS, RunningNode};
use crate::cluster::Clustered;
use crate::feed::{
    ClusterSeat, FeedActor, FeedArgs, FeedSlot, FeedState, ProgressActor, ProgressArgs, ProgressDisplay,
    RedeliveryInput, Seat,
};

/// How often the end of the feeds is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// How a node's feeds ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedsEnd {
    /// Feeds that failed, with the reason.
    pub failed: Vec<(Arc<str>, String)>,
    /// The node that has told what came of them, if this is not the one to tell.
    pub told_by: Option<Arc<str>>,
    /// For [`RunningNode::still_over`].
    disturbances: u64,
}

/// The feeds of a node.
#[derive(Clone, Debug)]
pub(super) struct Feeds {
    pub(super) slots: Vec<Arc<FeedSlot>>,
    seat: Option<Arc<dyn Seat>>,
    /// The node that says that all is done.
    finished: watch::Receiver<Option<Arc<str>>>,
}

impl Feeds {
    pub(super) fn new(slots: Vec<Arc<FeedSlot>>, cluster: Option<&Clustered>) -> Self {
        let (sender, finished) = watch::channel(None);
        if let Some(cluster) = cluster {
            watch_cluster(&slots, cluster.cluster(), sender);
        }
        let seat = cluster.map(|cluster| Arc::new(ClusterSeat(cluster.cluster().clone())) as Arc<dyn Seat>);
        Self { slots, seat, finished }
    }

    /// `feeds.sup`.
    pub(super) fn child(&self, mut spec: SupervisorSpec, node: &Node, display: ProgressDisplay) -> ChildSpec {
        for slot in &self.slots {
            let (events, seat) = (node.events().clone(), self.seat.clone());
            let args = FeedArgs { slot: slot.clone(), agents: node.clone(), events, seat };
            let feed = ChildSpec::actor(slot.name().clone(), FeedActor::default, args);
            spec = spec.child(feed.restart(Restart::Transient).label("feed"));
        }
        let progress = ProgressArgs { slots: self.slots.clone(), display };
        let progress = ChildSpec::actor(PROGRESS, || ProgressActor, progress).restart(Restart::Transient);
        ChildSpec::supervisor(spec.child(progress))
    }

    /// Whether this node tells what came of them: the one that runs the first of those that the cluster runs once.
    fn tells(&self) -> bool {
        self.slots.iter().find_map(|slot| slot.runs_here()).unwrap_or(true)
    }

    fn disturbances(&self) -> u64 {
        self.slots.iter().map(|slot| slot.disturbances()).sum()
    }

    /// What was lost or found no longer matters to the feeds: the node stops.
    pub(super) fn close(&self) {
        for slot in &self.slots {
            slot.close();
        }
    }
}

/// Tells the feeds of what may have taken something from their agents.
fn watch_cluster(slots: &[Arc<FeedSlot>], cluster: &Cluster, finished: watch::Sender<Option<Arc<str>>>) {
    let feeds = slots.to_vec();
    let me = cluster.membership().me().name().to_string();
    cluster.membership().subscribe(move |event| {
        let (input, is_loss) = match event {
            MembershipEvent::MemberDown(member) | MembershipEvent::MemberLeft(member) => {
                (RedeliveryInput::NodeLost(member.name().as_str().into()), true)
            }
            MembershipEvent::MemberUp(member) => {
                (RedeliveryInput::NodeJoined(member.name().as_str().into()), false)
            }
            // The others had given this node up, and begun its agents anew.
            MembershipEvent::Rejoined(_) => (RedeliveryInput::NodeJoined(me.as_str().into()), true),
            MembershipEvent::MemberSuspect(_)
            | MembershipEvent::MetadataChanged(_)
            | MembershipEvent::Partition(_) => return,
        };
        for feed in &feeds {
            feed.hear(input.clone(), is_loss);
        }
    });
    let feeds = slots.to_vec();
    cluster.census().subscribe(move |news| match news {
        News::Lost(loss) => {
            for feed in feeds.iter().filter(|feed| feed.number() == Some(loss.feed)) {
                // It takes nothing from an agent: what it lacks it lacked before.
                feed.hear(RedeliveryInput::Lost { pass: loss.pass, after: loss.after }, false);
            }
        }
        News::Finished(node) => drop(finished.send_replace(Some(node.name.as_str().into()))),
    });
}

impl RunningNode {
    /// Waits until every feed is over and everything they sent has been handled, on whatever node. Never returns without feeds. Where
    /// another node tells what came of them, it returns when that has told it.
    pub async fn feeds_over(&self) -> FeedsEnd {
        let feeds = &self.feeds;
        if feeds.slots.is_empty() {
            return std::future::pending().await;
        }
        let disturbances = loop {
            if let Some(node) = feeds.finished.borrow().clone() {
                return FeedsEnd { told_by: Some(node), ..FeedsEnd::default() };
            }
            let disturbances = feeds.disturbances();
            if feeds.tells() && feeds.slots.iter().all(|slot| slot.is_over()) {
                break disturbances;
            }
            tokio::time::sleep(LOOK).await;
        };
        self.at_rest().await;
        let mut end = FeedsEnd { disturbances, ..FeedsEnd::default() };
        for status in feeds.slots.iter().map(|slot| slot.status()) {
            if status.state == FeedState::Failed {
                let reason = status.error.as_deref().unwrap_or("no reason given").to_owned();
                self.readiness.set("feeds", false, format!("{}: {reason}", status.name));
                end.failed.push((status.name, reason));
            }
        }
        end
    }

    /// Whether what agents have answered since `end` is what came of the feeds: nothing was taken from any of them meanwhile. Else wait for
    /// [`RunningNode::feeds_over`] again, and ask again.
    #[must_use]
    pub fn still_over(&self, end: &FeedsEnd) -> bool {
        self.feeds.disturbances() == end.disturbances && self.feeds.slots.iter().all(|slot| slot.is_over())
    }

    /// Tells the other nodes of the cluster that the feeds are over and told of: whoever waits for that may end.
    pub async fn finish(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.cluster().census().finish().await;
        }
    }
}
