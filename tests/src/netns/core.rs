//! What becomes of a packet: decided here, without a device and without a clock.
//!
//! Each ordered pair of namespaces is a *way* with properties of its own, and a generator of its own: whether its n-th packet is lost
//! depends on the seed and n, not on what happens elsewhere. Packets of one way keep their order, as on a wire: one that would arrive
//! before its predecessor arrives right after it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use nexus_actors::rng::{Rng, Seed};
use rand::Rng as _;

use super::place;

/// Bytes on one way; what comes on top is dropped, as at the end of a router's queue.
const WAY_BYTES_MAX: usize = 8 << 20;

/// Properties of the way from one namespace to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Way {
    /// How long a packet takes at least.
    pub delay: Duration,
    /// How much longer at most; evenly distributed.
    pub jitter: Duration,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Whether nothing arrives, not even what is under way.
    pub cut: bool,
}

/// What became of the packets of a way. `taken` is the sum of the others and of those under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that left the sender.
    pub taken: u64,
    /// Those that were handed to the receiver's device.
    pub delivered: u64,
    /// Those that were lost by chance.
    pub lost: u64,
    /// Those that were lost because the way was cut.
    pub cut: u64,
    /// Those for which the way had no room.
    pub overflowed: u64,
}

/// A packet that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) to: usize,
    pub(super) packet: Vec<u8>,
}

struct Lane {
    way: Way,
    rng: Rng,
    counts: Counts,
    packets: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
}

/// The switch's mind. All times are since the same moment.
pub(super) struct Core {
    size: usize,
    lanes: Vec<Lane>,
    strays: u64,
}

impl Core {
    pub(super) fn new(size: usize, seed: Seed) -> Self {
        let lane = |at: usize| Lane {
            way: Way::default(),
            rng: seed.stream(&format!("way {} to {}", at / size, at % size)),
            counts: Counts::default(),
            packets: VecDeque::new(),
            bytes: 0,
        };
        Self { size, lanes: (0..size * size).map(lane).collect(), strays: 0 }
    }

    fn lane(&mut self, from: usize, to: usize) -> &mut Lane {
        assert!(from < self.size && to < self.size, "{from} to {to}: there are {}", self.size);
        &mut self.lanes[from * self.size + to]
    }

    pub(super) fn set(&mut self, from: usize, to: usize, way: Way) {
        self.lane(from, to).way = way;
    }

    pub(super) fn counts(&self, from: usize, to: usize) -> Counts {
        self.lanes[from * self.size + to].counts
    }

    /// Packets for nobody here: of IPv6, or for other addresses.
    pub(super) fn strays(&self) -> u64 {
        self.strays
    }

    /// A packet has left `from`.
    pub(super) fn take(&mut self, now: Duration, from: usize, packet: &[u8]) {
        match target(packet).filter(|&to| to < self.size) {
            None => self.strays += 1,
            Some(to) => self.lane(from, to).take(now, packet),
        }
    }

    /// The next packet that has arrived by `now`, in the order of arrival.
    pub(super) fn arrived(&mut self, now: Duration) -> Option<Arrived> {
        while let Some((due, at)) = self.first().filter(|(due, _)| *due <= now) {
            let lane = &mut self.lanes[at];
            let (_, packet) = lane.packets.pop_front().unwrap_or((due, Vec::new()));
            lane.bytes -= packet.len();
            if lane.way.cut {
                lane.counts.cut += 1;
                continue;
            }
            lane.counts.delivered += 1;
            return Some(Arrived { to: at % self.size, packet });
        }
        None
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Duration> {
        self.first().map(|(due, _)| due)
    }

    fn first(&self) -> Option<(Duration, usize)> {
        let heads = self.lanes.iter().enumerate();
        heads.filter_map(|(at, lane)| lane.packets.front().map(|(due, _)| (*due, at))).min()
    }
}

impl Lane {
    fn take(&mut self, now: Duration, packet: &[u8]) {
        self.counts.taken += 1;
        // Drawn for each packet, whatever the way is like: a change of it changes nothing else.
        let (lost, jitter) = (self.rng.random::<f64>(), self.rng.random::<f64>());
        if self.way.cut {
            self.counts.cut += 1;
        } else if lost < self.way.loss {
            self.counts.lost += 1;
        } else if self.bytes + packet.len() > WAY_BYTES_MAX {
            self.counts.overflowed += 1;
        } else {
            let due = now + self.way.delay + self.way.jitter.mul_f64(jitter);
            let due = self.packets.back().map_or(due, |(before, _)| due.max(*before));
            self.bytes += packet.len();
            self.packets.push_back((due, packet.to_vec()));
        }
    }
}

/// Whom an IPv4 packet is for.
fn target(packet: &[u8]) -> Option<usize> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    place(Ipv4Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A packet for `to` with a number in it.
    fn packet(to: usize, number: u16) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&address(to).octets());
        packet[20..22].copy_from_slice(&number.to_be_bytes());
        packet
    }

    fn number(arrived: &Arrived) -> u16 {
        u16::from_be_bytes([arrived.packet[20], arrived.packet[21]])
    }

    fn sum(counts: Counts) -> u64 {
        counts.delivered + counts.lost + counts.cut + counts.overflowed
    }

    /// Packets 0 to 999 from 0 to 1, one a millisecond, under `way`: which arrive, and when.
    fn run(seed: u64, way: Way) -> (Vec<(Duration, u16)>, Counts) {
        let mut core = Core::new(2, Seed::new(seed));
        core.set(0, 1, way);
        let mut seen = Vec::new();
        for at in 0..2000 {
            let now = MS * at;
            if let Some(number) = u16::try_from(at).ok().filter(|number| *number < 1000) {
                core.take(now, 0, &packet(1, number));
            }
            while let Some(arrived) = core.arrived(now) {
                assert_eq!(arrived.to, 1);
                seen.push((now, number(&arrived)));
            }
        }
        assert_eq!(core.next(), None);
        (seen, core.counts(0, 1))
    }

    /// Goal: the same seed loses the same packets, another one others; loss is near its share; all are accounted for.
    #[test]
    fn loss_is_repeatable_and_counted() {
        let way = Way { loss: 0.3, ..Way::default() };
        let (seen, counts) = run(7, way);
        assert_eq!(seen, run(7, way).0);
        assert_ne!(seen, run(8, way).0);
        assert_eq!((counts.taken, sum(counts), counts.delivered), (1000, 1000, seen.len() as u64));
        assert!((250..350).contains(&counts.lost), "{counts:?}");
    }

    /// Goal: delay and jitter keep within their bounds and the order.
    #[test]
    fn delay_keeps_order() {
        let (seen, counts) = run(7, Way { delay: 200 * MS, jitter: 50 * MS, ..Way::default() });
        assert_eq!(counts.delivered, 1000);
        for (at, (when, number)) in seen.iter().enumerate() {
            assert_eq!(usize::from(*number), at);
            let took = *when - MS * u32::from(*number);
            assert!((200 * MS..=251 * MS).contains(&took), "{number} took {took:?}");
        }
        assert!(seen.windows(2).any(|two| two[0].0 == two[1].0), "some caught up with others");
    }

    /// Goal: a cut loses what comes and what is under way, in one direction only, until it heals.
    #[test]
    fn cuts_have_directions() {
        let mut core = Core::new(2, Seed::new(1));
        let way = Way { delay: 10 * MS, ..Way::default() };
        core.set(0, 1, way);
        core.take(Duration::ZERO, 0, &packet(1, 1));
        core.set(0, 1, Way { cut: true, ..way });
        core.take(MS, 0, &packet(1, 2));
        core.take(MS, 1, &packet(0, 3));
        assert_eq!(core.arrived(20 * MS).map(|arrived| number(&arrived)), Some(3));
        assert_eq!(core.arrived(20 * MS), None);
        core.set(0, 1, way);
        core.take(20 * MS, 0, &packet(1, 4));
        assert_eq!(core.next(), Some(30 * MS));
        assert_eq!(core.arrived(30 * MS).map(|arrived| number(&arrived)), Some(4));
        assert_eq!(core.counts(0, 1), Counts { taken: 3, delivered: 1, cut: 2, ..Counts::default() });
    }

    /// Goal: a way has no more than its room, and strangers' packets are counted.
    #[test]
    fn room_is_bounded_and_strays_are_counted() {
        let mut core = Core::new(2, Seed::new(1));
        core.set(0, 1, Way { delay: MS, ..Way::default() });
        let large = [packet(1, 0), vec![0; 1 << 20]].concat();
        for _ in 0..10 {
            core.take(Duration::ZERO, 0, &large);
        }
        assert_eq!(core.counts(0, 1).overflowed, 3);
        core.take(Duration::ZERO, 0, &packet(2, 0));
        core.take(Duration::ZERO, 0, &[0x60; 40]);
        core.take(Duration::ZERO, 0, &[0x45]);
        core.take(Duration::ZERO, 0, &[]);
        assert_eq!(core.strays(), 4);
    }
}
