//! How long the way to a peer and back takes, on the control lane: what membership and the directory meet.
//!
//! Every so often each connected peer is sent a number, which it sends back at once; the time that takes is smoothed as TCP smooths its
//! round trips. Of one peer only the last number counts, so nothing grows, and a number that comes twice or too late is nothing.
//!
//! Source: RFC 6298, section 2, with its gain of 1/8.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::exchange::Gateway;
use super::{ControlEvent, ControlLane as _, Service};
use crate::NodeName;

const PING: u8 = 0;
const PONG: u8 = 1;
/// A sample counts for one in so many.
const SMOOTHING: u32 = 8;

/// The delays of a node's peers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    peers: Arc<Mutex<BTreeMap<NodeName, Peer>>>,
}

#[derive(Debug, Default)]
struct Peer {
    /// What was sent last, and when; `None` once it has come back.
    sent: Option<(u64, Instant)>,
    number: u64,
    delay: Option<Duration>,
}

impl Peer {
    fn ping(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.sent = Some((self.number, now));
        self.number
    }

    fn pong(&mut self, number: u64, now: Instant) {
        let Some((_, at)) = self.sent.take_if(|(sent, _)| *sent == number) else { return };
        let sample = now.saturating_duration_since(at);
        self.delay = Some(match self.delay {
            None => sample,
            Some(delay) => delay - delay / SMOOTHING + sample / SMOOTHING,
        });
    }
}

impl Delays {
    /// The delays of the peers of `gateway`. From now on it answers theirs; its own are measured by [`Delays::measure`].
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        let delays = Self::default();
        let (peers, lane) = (delays.peers.clone(), Arc::downgrade(gateway));
        gateway.register(Service::Echo, Arc::new(move |event| hear(&peers, &lane, event)));
        delays
    }

    /// Asks each connected peer once.
    pub fn measure(&self, gateway: &Gateway) {
        for peer in gateway.peers() {
            let number = self.peers.lock().entry(peer.name.clone()).or_default().ping(Instant::now());
            // One that is not connected any more, or hears nothing, has no delay to measure.
            let _ = gateway.send(&peer.name, Service::Echo, message(PING, number));
        }
    }

    /// How long the way to the connected peer and back takes; `None` if that is not known.
    #[must_use]
    pub fn get(&self, peer: &NodeName) -> Option<Duration> {
        self.peers.lock().get(peer)?.delay
    }
}

fn hear(peers: &Mutex<BTreeMap<NodeName, Peer>>, lane: &Weak<Gateway>, event: ControlEvent) {
    match event {
        ControlEvent::Connected(_) => {}
        // Another connection has another way.
        ControlEvent::Disconnected(peer, _) => drop(peers.lock().remove(&peer.name)),
        ControlEvent::Message { from, bytes } => {
            // What is malformed is dropped, as anything may be on this lane.
            let Some((kind, number)) = parsed(&bytes) else { return };
            match kind {
                PING => {
                    if let Some(lane) = lane.upgrade() {
                        let _ = lane.send(&from.name, Service::Echo, message(PONG, number));
                    }
                }
                PONG => {
                    if let Some(peer) = peers.lock().get_mut(&from.name) {
                        peer.pong(number, Instant::now());
                    }
                }
                _ => {}
            }
        }
    }
}

fn message(kind: u8, number: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u8(kind);
    bytes.put_u64(number);
    bytes.freeze()
}

fn parsed(bytes: &[u8]) -> Option<(u8, u64)> {
    let (kind, number) = bytes.split_first()?;
    Some((*kind, u64::from_be_bytes(number.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: samples are smoothed, and what was not asked for, comes twice or too late does nothing.
    #[tokio::test]
    async fn only_the_last_number_counts() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut peer = Peer::default();
        let first = peer.ping(start);
        peer.pong(first + 1, start + ms(1));
        assert_eq!(peer.delay, None);
        let second = peer.ping(start + ms(10));
        peer.pong(first, start + ms(11));
        assert_eq!(peer.delay, None);
        peer.pong(second, start + ms(18));
        peer.pong(second, start + ms(99));
        assert_eq!(peer.delay, Some(ms(8)));
        let third = peer.ping(start + ms(100));
        peer.pong(third, start + ms(116));
        assert_eq!(peer.delay, Some(ms(9)));
    }

    /// Goal: bytes of a peer are a message or nothing.
    #[test]
    fn messages_read_back() {
        assert_eq!(parsed(&message(PONG, u64::MAX)), Some((PONG, u64::MAX)));
        for bad in [&[][..], &[0], &[0; 8], &[0; 10]] {
            assert_eq!(parsed(bad), None);
        }
    }
}
