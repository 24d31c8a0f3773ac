//! The node's part in its cluster as metrics.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use nexus_cluster::membership::PartitionState;
use nexus_cluster::transport::LinkOverview;
use nexus_cluster::transport::cluster::{ConnectionOverview, Handshakes};

use crate::cluster::Clustered;

/// A gauge: name, description, how to read it.
type Gauge = (&'static str, &'static str, fn(&Clustered) -> u64);

const GAUGES: [Gauge; 7] = [
    ("nexus.cluster.members", "Members of the cluster that this node sees, itself included", |this| {
        this.cluster().membership().members().len() as u64 + 1
    }),
    ("nexus.cluster.ready", "1 while the node has joined and is synchronized", |this| {
        this.cluster().standing().is_ready().into()
    }),
    ("nexus.cluster.minority", "1 while the node is on the smaller side of a partition", |this| {
        matches!(this.cluster().membership().partition(), PartitionState::Minority { .. }).into()
    }),
    ("nexus.cluster.directory.local", "Agents that live on this node", |this| {
        this.cluster().directory().overview().local as u64
    }),
    ("nexus.cluster.directory.held", "Entries held for the cluster", |this| {
        this.cluster().directory().overview().held as u64
    }),
    ("nexus.cluster.directory.cached", "Answers of other nodes that are remembered", |this| {
        this.cluster().directory().overview().cached as u64
    }),
    ("nexus.cluster.directory.bytes", "Bytes of the directory's tables", |this| {
        this.cluster().directory().overview().bytes as u64
    }),
];

/// A gauge by peer: name, description, how to read it.
type ByLink = (&'static str, &'static str, fn(&LinkOverview) -> u64);

const BY_LINK: [ByLink; 5] = [
    ("nexus.cluster.link.queued", "Messages that wait to be sent to a node", |link| link.queued),
    ("nexus.cluster.link.unacknowledged", "Messages sent to a node that it has not acknowledged", |link| {
        link.unacknowledged
    }),
    ("nexus.cluster.link.asks", "Asks that wait for a node's answer", |link| link.pending_asks as u64),
    ("nexus.cluster.link.answers_kept", "Answers kept for asks that a node may try again", |link| {
        link.answers_kept as u64
    }),
    ("nexus.cluster.link.answer_bytes_kept", "And their bytes", |link| link.answer_bytes_kept),
];

/// A counter by peer: name, description, how to read it.
type ByConnection = (&'static str, &'static str, fn(&ConnectionOverview) -> u64);

const BY_CONNECTION: [ByConnection; 2] = [
    ("nexus.cluster.connection.sent", "Bytes sent to a node on the connection there is", |one| {
        one.sent_bytes
    }),
    ("nexus.cluster.connection.received", "Bytes from a node on the connection there is", |one| {
        one.received_bytes
    }),
];

/// A counter of handshakes: name, description, how to read it.
type OfHandshakes = (&'static str, &'static str, fn(&Handshakes) -> u64);

const OF_HANDSHAKES: [OfHandshakes; 3] = [
    ("nexus.cluster.handshakes.accepted", "Streams that others opened", |all| all.accepted),
    ("nexus.cluster.handshakes.connected", "Streams that became connections", |all| all.connected),
    ("nexus.cluster.handshakes.unreachable", "Dials that nobody answered", |all| all.unreachable),
];

/// Exports it from now on.
pub(super) fn observe(meter: &Meter, cluster: &Clustered) {
    for (name, description, read) in GAUGES {
        let this = cluster.clone();
        let gauge = meter.u64_observable_gauge(name).with_description(description);
        gauge.with_callback(move |observer| observer.observe(read(&this), &[])).build();
    }
    for (name, description, read) in BY_LINK {
        let this = cluster.clone();
        let gauge = meter.u64_observable_gauge(name).with_description(description);
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (peer, link) in this.cluster().gateway().links() {
                observer.observe(read(&link), &[KeyValue::new("peer", peer.to_string())]);
            }
        };
        gauge.with_callback(callback).build();
    }
    for (name, description, read) in BY_CONNECTION {
        let this = cluster.clone();
        let counter = meter.u64_observable_counter(name).with_description(description).with_unit("By");
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for connection in this.carrier().overview().connections {
                let peer = KeyValue::new("peer", connection.peer.name.to_string());
                observer.observe(read(&connection), &[peer]);
            }
        };
        counter.with_callback(callback).build();
    }
    for (name, description, read) in OF_HANDSHAKES {
        let this = cluster.clone();
        let counter = meter.u64_observable_counter(name).with_description(description);
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            observer.observe(read(&this.carrier().overview().handshakes), &[]);
        };
        counter.with_callback(callback).build();
    }
    refused(meter, cluster);
}

fn refused(meter: &Meter, cluster: &Clustered) {
    let this = cluster.clone();
    let counter = meter.u64_observable_counter("nexus.cluster.handshakes.refused").with_description(
        "Streams that did not become connections, by reason and by whom: `us` or the `peer`",
    );
    let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
        let all = this.carrier().overview().handshakes;
        for (by, counts) in [("us", all.refused), ("peer", all.refused_by_peer)] {
            for (reason, count) in counts {
                let labels = [KeyValue::new("reason", reason.as_str()), KeyValue::new("by", by)];
                observer.observe(count, &labels);
            }
        }
    };
    counter.with_callback(callback).build();
}
