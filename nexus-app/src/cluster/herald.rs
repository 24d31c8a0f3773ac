//! Herald: tells the other nodes about this one, and measures the ways to them.
//!
//! Supervised by `ops.sup` as `permanent`. Owns nothing that a restart loses.

use std::time::Duration;

use bytes::Bytes;
use nexus_actors::supervision::ChildSpec;
use nexus_actors::telemetry::{ClusterEvent, Event};
use nexus_cluster::NodeName;
use nexus_cluster::gossip::Urgency;
use nexus_cluster::system::Standing;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use super::Clustered;
use crate::debug::BoundAddress;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Looks between two measurements.
const LOOKS_PER_MEASURE: u64 = 2;
/// Looks between two news: what changes all the time is told so often at most.
const LOOKS_PER_NEWS: u64 = 4;
/// The key under which gossip has a node's news.
const KEY: &str = "overview";

/// Links that a node tells of at most, the busiest first: with the rest they would crowd out other news.
const LINKS_MAX: usize = 16;

/// What a node tells the others of itself for people to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNews {
    /// Agents that live on it, those that sleep included.
    pub agents: u64,
    /// The base address of its debug endpoint, if it has one.
    pub debug: Option<String>,
    /// The release of what runs on it, as its topology says; empty if it does not.
    pub version: String,
    /// The release of Nexus.
    pub nexus: String,
    /// Its connections, at most 16, the busiest first.
    pub links: Vec<LinkNews>,
}

/// One of a node's connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNews {
    /// The node at its other end.
    pub peer: String,
    /// How long the way there and back takes, in microseconds; `None` while that is not known.
    pub delay_us: Option<u64>,
    /// Bytes a second to it.
    pub sent: u64,
    /// Bytes a second from it.
    pub received: u64,
}

impl Clustered {
    /// This node's connections now, the busiest first.
    pub(crate) fn link_news(&self) -> Vec<LinkNews> {
        let mut links: Vec<_> =
            self.carrier().overview().connections.iter().map(|one| self.link(&one.peer.name)).collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.sent + link.received));
        links.truncate(LINKS_MAX);
        links
    }

    fn link(&self, peer: &NodeName) -> LinkNews {
        let rates = self.rates(peer).unwrap_or_default();
        let delay = self.delay(peer).map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
        LinkNews {
            peer: peer.to_string(),
            delay_us: delay,
            sent: whole(rates.sent),
            received: whole(rates.received),
        }
    }

    /// What `node` has told of itself, as far as that is known here.
    pub async fn news(&self, node: &NodeName) -> Option<NodeNews> {
        // A gossip that is being started anew knows soon; so does one of a newer release that tells more.
        let bytes = self.cluster().gossip().get(node, KEY).await.ok()??;
        rmp_serde::from_slice(&bytes).ok()
    }
}

/// See the module.
pub(crate) struct Herald;

pub(crate) struct State {
    clustered: Clustered,
    debug: BoundAddress,
    looks: u64,
    told: Option<NodeNews>,
    standing: Option<Standing>,
}

impl Herald {
    pub(super) fn child(clustered: Clustered, debug: BoundAddress) -> ChildSpec {
        ChildSpec::actor("cluster", || Self, (clustered, debug))
    }
}

/// Time to look; the actor sends it to itself.
#[derive(Debug)]
pub(crate) struct Look;

impl ractor::Message for Look {}

impl Actor for Herald {
    type Msg = Look;
    type State = State;
    type Arguments = (Clustered, BoundAddress);

    async fn pre_start(
        &self,
        myself: ActorRef<Look>,
        (clustered, debug): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        myself.send_after(Duration::ZERO, || Look);
        Ok(State { clustered, debug, looks: 0, told: None, standing: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Look>,
        Look: Look,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.stand();
        state.advertise();
        if state.looks.is_multiple_of(LOOKS_PER_MEASURE) {
            state.measure();
        }
        if state.looks.is_multiple_of(LOOKS_PER_NEWS) {
            state.tell().await;
        }
        state.looks += 1;
        myself.send_after(LOOK, || Look);
        Ok(())
    }
}

impl State {
    /// Tells operators whether the node is ready.
    fn stand(&mut self) {
        let standing = self.clustered.cluster().standing();
        let last = self.standing.replace(standing);
        // How far it has come is for those who look; that it is ready, or why not, is news.
        if last.is_some_and(|last| std::mem::discriminant(&last) == std::mem::discriminant(&standing)) {
            return;
        }
        let (ready, detail) = (standing.is_ready(), standing.to_string().into());
        let event = ClusterEvent::StandingChanged { ready, detail };
        self.clustered.cluster().node().events().emit(Event::Cluster(event));
    }

    /// Tells the address once, if it was not known before the carrier listened.
    fn advertise(&self) {
        let membership = self.clustered.cluster().membership();
        let mut metadata = membership.me().metadata().clone();
        if let (true, Some(address)) = (metadata.address.is_empty(), self.clustered.listening()) {
            metadata.address = address.to_string();
            membership.set_metadata(metadata);
        }
    }

    fn measure(&self) {
        let inner = &self.clustered.inner;
        inner.delays.measure(inner.cluster.gateway());
        let now = Duration::from_millis(inner.cluster.node().clock().now().get());
        inner.meter.lock().read(now, &inner.carrier.overview().connections);
    }

    async fn tell(&mut self) {
        let node = self.clustered.cluster().node();
        let news = NodeNews {
            agents: node.agent_count() as u64,
            debug: self.debug.get().map(|address| format!("http://{address}")),
            version: self.clustered.config().version.clone(),
            nexus: env!("CARGO_PKG_VERSION").to_owned(),
            links: self.clustered.link_news(),
        };
        if self.told.as_ref() == Some(&news) {
            return;
        }
        let bytes = rmp_serde::to_vec_named(&news).expect("plain data has a form in MessagePack");
        let written =
            self.clustered.cluster().gossip().write(KEY, Some(Bytes::from(bytes)), Urgency::Routine).await;
        match written {
            Ok(Ok(())) => self.told = Some(news),
            Ok(Err(error)) => tracing::warn!(%error, "the other nodes are not told about this one"),
            // It is being started anew, and told at the next look.
            Err(_) => {}
        }
    }
}

/// Without what is behind the point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative and far below 2^64"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}
