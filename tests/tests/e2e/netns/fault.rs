//! What befalls the nodes.

use std::fmt;
use std::time::{Duration, Instant};

use nexus_actors::rng::Rng;
use nexus_tests::netns::{Network, Way};
use nexus_tests::process::Signal;
use rand::Rng as _;

use super::fleet::{Authority, Fleet, IDLE_MAX, SIZE, name};

/// One fault. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The node and the others do not reach each other.
    Partition(usize),
    /// What the node sends is lost; it hears the others.
    Mute(usize),
    /// What the first sends to the second is lost.
    OneWay(usize, usize),
    /// 30 % of all packets are lost.
    Loss,
    /// Each packet takes 200 ms, give or take.
    Delay,
    /// The process is stopped, and goes on.
    Pause(usize),
    /// All nodes get new certificates, one after the other.
    Certificates,
    /// The authority is replaced: both are trusted, then all get certificates of the new one, then the old one is dropped.
    Authority,
    /// The process is killed, and started again.
    Kill(usize),
}

/// How many kinds there are.
const KINDS: usize = 9;
const LOSS: f64 = 0.3;
const DELAY: Duration = Duration::from_millis(190);
const JITTER: Duration = Duration::from_millis(20);

impl Fault {
    /// Fault `round`: of each kind one in a row of random order, then again.
    pub(super) fn draw(round: u32, order: &mut Vec<usize>, rng: &mut Rng) -> Self {
        use rand::seq::SliceRandom as _;
        if (round as usize).is_multiple_of(KINDS) {
            *order = (0..KINDS).collect();
            order.shuffle(rng);
        }
        let node = rng.random_range(0..SIZE);
        let other = (node + rng.random_range(1..SIZE)) % SIZE;
        match order[round as usize % KINDS] {
            0 => Self::Partition(node),
            1 => Self::Mute(node),
            2 => Self::OneWay(node, other),
            3 => Self::Loss,
            4 => Self::Delay,
            5 => Self::Pause(node),
            6 => Self::Certificates,
            7 => Self::Authority,
            _ => Self::Kill(node),
        }
    }

    /// Lets it happen, for so long where it has a length, and makes it good.
    pub(super) fn befall(
        self,
        network: &Network,
        fleet: &mut Fleet<'_>,
        authority: &mut Authority,
        lasts: Duration,
    ) {
        let switch = network.switch();
        let cut = Way { cut: true, ..Way::default() };
        let others = |node: usize| (0..SIZE).filter(move |at| *at != node);
        match self {
            Self::Partition(node) => {
                others(node).for_each(|other| switch.set(node, other, cut));
                others(node).for_each(|other| switch.set(other, node, cut));
                pass(lasts);
            }
            Self::Mute(node) => {
                others(node).for_each(|other| switch.set(node, other, cut));
                pass(lasts);
            }
            Self::OneWay(from, to) => {
                switch.set(from, to, cut);
                pass(lasts);
            }
            Self::Loss => {
                switch.set_all(Way { loss: LOSS, ..Way::default() });
                pass(lasts);
            }
            Self::Delay => {
                switch.set_all(Way { delay: DELAY, jitter: JITTER, ..Way::default() });
                pass(lasts);
            }
            Self::Pause(node) => {
                fleet.process(node).signal(Signal::STOP);
                pass(lasts);
                fleet.process(node).signal(Signal::CONT);
            }
            Self::Certificates => {
                (0..SIZE).for_each(|at| fleet.certify(at, authority));
                reconnect(network, fleet);
            }
            Self::Authority => {
                let next = fleet.add_authority();
                (0..SIZE).for_each(|at| fleet.trust(at, &[authority.clone(), next.clone()]));
                reconnect(network, fleet);
                (0..SIZE).for_each(|at| fleet.certify(at, &next));
                reconnect(network, fleet);
                (0..SIZE).for_each(|at| fleet.trust(at, std::slice::from_ref(&next)));
                reconnect(network, fleet);
                *authority = next;
            }
            Self::Kill(node) => {
                fleet.kill(node);
                pass(lasts);
                fleet.launch(node);
            }
        }
        switch.set_all(Way::default());
    }
}

/// All connections are lost and made again, with the certificates of now.
fn reconnect(network: &Network, fleet: &Fleet<'_>) {
    network.switch().set_all(Way { cut: true, ..Way::default() });
    pass(IDLE_MAX + Duration::from_millis(500));
    network.switch().set_all(Way::default());
    fleet.connect();
}

/// Lets time pass: a fault lasts as long as it lasts.
pub(super) fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Partition(node) => write!(f, "{} is cut off", name(node)),
            Self::Mute(node) => write!(f, "nobody hears {}", name(node)),
            Self::OneWay(from, to) => write!(f, "{} does not hear {}", name(to), name(from)),
            Self::Loss => f.write_str("30 % of all packets are lost"),
            Self::Delay => f.write_str("packets take 190 to 210 ms"),
            Self::Pause(node) => write!(f, "{} is stopped, and goes on", name(node)),
            Self::Certificates => f.write_str("new certificates"),
            Self::Authority => f.write_str("a new authority"),
            Self::Kill(node) => write!(f, "{} is killed, and started again", name(node)),
        }
    }
}
