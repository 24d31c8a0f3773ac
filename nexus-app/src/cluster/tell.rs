//! What happens between nodes, as events of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_actors::Node;
use nexus_actors::clock::Millis;
use nexus_actors::telemetry::{ClusterEvent, Event};
use nexus_cluster::membership::{Member, MembershipEvent, PartitionState};
use nexus_cluster::system::Cluster;
use nexus_cluster::transport::cluster::{ClusterCarrier, HandshakeError, Refusal};
use parking_lot::Mutex;

/// Between two events of one reason.
const APART_MS: u64 = 1000;

/// Tells of members from now on.
pub(super) fn membership(cluster: &Cluster) {
    let events = cluster.node().events().clone();
    cluster.membership().subscribe(move |event| events.emit(Event::Cluster(of(event))));
}

fn of(event: &MembershipEvent) -> ClusterEvent {
    let name = |member: &Member| Arc::from(member.name().as_str());
    match event {
        MembershipEvent::MemberUp(member) => ClusterEvent::MemberUp {
            node: name(member),
            incarnation: member.id().incarnation,
            address: member.metadata().address.as_str().into(),
            zone: member.metadata().zone.as_str().into(),
        },
        MembershipEvent::MetadataChanged(member) => ClusterEvent::MemberChanged {
            node: name(member),
            address: member.metadata().address.as_str().into(),
            zone: member.metadata().zone.as_str().into(),
        },
        MembershipEvent::MemberSuspect(member) => ClusterEvent::MemberSuspect { node: name(member) },
        MembershipEvent::MemberDown(member) => {
            ClusterEvent::MemberDown { node: name(member), incarnation: member.id().incarnation }
        }
        MembershipEvent::MemberLeft(member) => ClusterEvent::MemberLeft { node: name(member) },
        MembershipEvent::Rejoined(me) => ClusterEvent::Rejoined { renewal: me.renewal() },
        MembershipEvent::Partition(PartitionState::Whole) => {
            ClusterEvent::PartitionChanged { minority: false, reachable: 0, agreed: 0 }
        }
        MembershipEvent::Partition(PartitionState::Minority { reachable, agreed }) => {
            ClusterEvent::PartitionChanged {
                minority: true,
                reachable: *reachable as u64,
                agreed: *agreed as u64,
            }
        }
    }
}

/// Tells of refused connections from now on, and keeps the last failure in `trouble`.
pub(super) fn refusals(
    node: &Node,
    carrier: &ClusterCarrier,
    cookie_env: &str,
    trouble: Arc<Mutex<Option<String>>>,
) {
    let (events, clock, cookie_env) = (node.events().clone(), *node.clock(), cookie_env.to_owned());
    let told: Mutex<BTreeMap<(bool, &'static str), Millis>> = Mutex::default();
    let observer = move |peer: &str, error: &HandshakeError| {
        let (by_us, refusal, detail) = match error {
            HandshakeError::Unreachable(why) => {
                *trouble.lock() = Some(format!("{peer} is unreachable: {why}"));
                return;
            }
            HandshakeError::Refused { refusal, detail } => (true, *refusal, detail.as_str()),
            HandshakeError::ByPeer(refusal) => (false, *refusal, ""),
        };
        if is_usual(refusal) {
            return;
        }
        let detail = advised(by_us, refusal, detail, &cookie_env);
        let by = if by_us { "refused" } else { "was refused by" };
        *trouble.lock() = Some(format!("{by} {peer} ({refusal}): {detail}"));
        let now = clock.now();
        let mut told = told.lock();
        let last = told.get(&(by_us, refusal.as_str()));
        if last.is_some_and(|last| now.get() < last.get() + APART_MS) {
            return;
        }
        told.insert((by_us, refusal.as_str()), now);
        drop(told);
        events.emit(Event::Cluster(ClusterEvent::HandshakeRefused {
            peer: peer.into(),
            by_us,
            reason: refusal.as_str().into(),
            detail: detail.into(),
        }));
    };
    carrier.observe(Box::new(observer));
}

/// What nodes that are well do to each other: both dial, one meets itself, one is started anew.
const fn is_usual(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Duplicate | Refusal::OwnName | Refusal::Outdated | Refusal::Closed)
}

/// The values, and what to do where that is known.
fn advised(by_us: bool, refusal: Refusal, detail: &str, cookie_env: &str) -> String {
    let remedy = match refusal {
        Refusal::WrongCookie => format!("all nodes of a cluster need the same secret in {cookie_env}"),
        Refusal::WrongCluster => "all its nodes have the same `cluster.name`".to_owned(),
        Refusal::Version => "the releases of both nodes are too far apart".to_owned(),
        Refusal::Plaintext | Refusal::Tls => "either all nodes have `cluster.tls` or none".to_owned(),
        Refusal::UntrustedCertificate => {
            "all certificates must come from an authority in `cluster.tls.ca`".to_owned()
        }
        Refusal::ExpiredCertificate => "issue a new certificate; it is read without a restart".to_owned(),
        Refusal::BadCertificate => "a certificate must name its node and the host it is dialed at".to_owned(),
        _ if by_us => String::new(),
        _ => "its own log says more".to_owned(),
    };
    match (detail.is_empty(), remedy.is_empty()) {
        (false, false) => format!("{detail}; {remedy}"),
        (true, _) => remedy,
        (_, true) => detail.to_owned(),
    }
}
