//! Bytes a second on each connection, from counters that are looked at now and then. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_cluster::NodeName;
use nexus_cluster::transport::cluster::ConnectionOverview;

/// A new reading counts as much as what was before: over some four readings a change is seen whole.
const GAIN: f64 = 0.5;

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) sent: f64,
    pub(crate) received: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    at: Duration,
    peers: BTreeMap<NodeName, Reading>,
}

#[derive(Debug)]
struct Reading {
    epoch: u64,
    sent: u64,
    received: u64,
    rates: Rates,
}

impl Meter {
    /// Takes the counters of all connections there are at `now`.
    pub(super) fn read(&mut self, now: Duration, connections: &[ConnectionOverview]) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        self.at = now;
        let mut before = std::mem::take(&mut self.peers);
        for connection in connections {
            let ConnectionOverview { peer, epoch, sent_bytes: sent, received_bytes: received, .. } =
                connection;
            // Another connection counts anew.
            let last = before.remove(&peer.name).filter(|last| last.epoch == *epoch);
            let rates = last.map_or_else(Rates::default, |last| {
                let rate = |before: u64, now: u64, rate: f64| {
                    rate + GAIN * (bytes(now.saturating_sub(before)) / seconds - rate)
                };
                Rates {
                    sent: rate(last.sent, *sent, last.rates.sent),
                    received: rate(last.received, *received, last.rates.received),
                }
            });
            let reading = Reading { epoch: *epoch, sent: *sent, received: *received, rates };
            self.peers.insert(peer.name.clone(), reading);
        }
    }

    /// Those of a connected peer.
    pub(super) fn rates(&self, peer: &NodeName) -> Option<Rates> {
        self.peers.get(peer).map(|reading| reading.rates)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people needs no more than 52 bits")]
fn bytes(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use nexus_cluster::NodeId;

    use super::*;

    fn connection(epoch: u64, sent: u64, received: u64) -> ConnectionOverview {
        let peer = NodeId { name: "b".parse().unwrap(), incarnation: 1 };
        ConnectionOverview {
            peer,
            epoch,
            version: 1,
            dialed: true,
            sent_bytes: sent,
            received_bytes: received,
        }
    }

    /// Goal: rates follow the counters, begin anew with each connection, and end with it.
    #[test]
    fn rates_follow_counters() {
        let name: NodeName = "b".parse().unwrap();
        let mut meter = Meter::default();
        let mut at = |seconds: u64, connections: &[ConnectionOverview]| {
            meter.read(Duration::from_secs(seconds), connections);
            meter.rates(&name)
        };
        assert_eq!(at(1, &[connection(1, 5000, 0)]), Some(Rates::default()));
        assert_eq!(at(2, &[connection(1, 6000, 200)]), Some(Rates { sent: 500.0, received: 100.0 }));
        assert_eq!(at(4, &[connection(1, 8000, 200)]), Some(Rates { sent: 750.0, received: 50.0 }));
        assert_eq!(at(4, &[connection(1, 9000, 200)]), Some(Rates { sent: 750.0, received: 50.0 }));
        assert_eq!(at(5, &[connection(2, 10, 10)]), Some(Rates::default()));
        assert_eq!(at(6, &[]), None);
    }
}
