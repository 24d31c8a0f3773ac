//! Membership and gossip of many nodes in one queue of events: no threads, no clock, no sockets. One seed, one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::clock::Millis;
use nexus_actors::rng::{Rng, Seed};
use nexus_cluster::gossip::{self, Change, Gossip, GossipConfig, Urgency};
use nexus_cluster::membership::{self, Member, Membership, MembershipConfig, MembershipEvent, Metadata};
use nexus_cluster::{NodeId, NodeName, actors as nexus_actors};
use rand::Rng as _;

/// How often lost connections are dialed again.
const REDIAL: u64 = 500;

/// What the network does to messages.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// Milliseconds that a message takes, at least and at most: what differs is reordered.
    pub(crate) delay: (u64, u64),
    /// Of a thousand messages so many are lost.
    pub(crate) loss: u32,
    /// Of a thousand messages so many come twice.
    pub(crate) twice: u32,
}

impl Faults {
    /// A good network.
    pub(crate) const NONE: Self = Self { delay: (1, 5), loss: 0, twice: 0 };
}

/// What runs on each node.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) membership: Option<MembershipConfig>,
    pub(crate) gossip: Option<GossipConfig>,
    /// Whether there are connections, without which nothing is sent; else everyone reaches everyone.
    pub(crate) connections: bool,
    pub(crate) zones: usize,
}

pub(crate) struct Host {
    pub(crate) up: bool,
    /// Which side of a partition it is on.
    side: u8,
    pub(crate) life: u64,
    pub(crate) membership: Option<Membership>,
    pub(crate) gossip: Option<Gossip>,
    /// Bytes of gossip since its last round.
    spent: usize,
}

/// Something for a host, in one of its lives.
#[derive(Clone, Debug)]
enum Event {
    Membership(membership::Input),
    Gossip(gossip::Input),
}

/// Where and when it comes; the number keeps the order of what comes at once.
type Slot = (u64, u64, usize, u64);

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) names: Vec<NodeName>,
    pub(crate) faults: Faults,
    pub(crate) rng: Rng,
    parts: Parts,
    seed: Seed,
    index: BTreeMap<NodeName, usize>,
    queue: BinaryHeap<Reverse<Slot>>,
    events: BTreeMap<u64, Event>,
    number: u64,
    wanted: BTreeSet<(usize, usize)>,
    links: BTreeSet<(usize, usize)>,
    redial_at: u64,
    /// What hosts were told of membership, and when.
    pub(crate) told: Vec<(u64, usize, MembershipEvent)>,
    /// The newest that each life of a host was shown of each key.
    shown: BTreeMap<(usize, u64, NodeName, String), (u64, u64)>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// A hash over all that was sent: equal for equal runs.
    pub(crate) trace: u64,
}

impl World {
    pub(crate) fn new(seed: u64, hosts: usize, parts: Parts) -> Self {
        let seed = Seed::new(seed);
        let names: Vec<NodeName> = (0..hosts).map(|at| format!("n{at:04}").parse().unwrap()).collect();
        let index = names.iter().cloned().zip(0..).collect();
        let host = |_| Host { up: false, side: 0, life: 0, membership: None, gossip: None, spent: 0 };
        Self {
            now: 0,
            hosts: (0..hosts).map(host).collect(),
            names,
            faults: Faults::NONE,
            rng: seed.stream("world"),
            parts,
            seed,
            index,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            number: 0,
            wanted: BTreeSet::new(),
            links: BTreeSet::new(),
            redial_at: 0,
            told: Vec::new(),
            shown: BTreeMap::new(),
            messages: 0,
            bytes: 0,
            trace: 0,
        }
    }

    pub(crate) fn id(&self, at: usize) -> NodeId {
        NodeId { name: self.names[at].clone(), incarnation: self.hosts[at].life }
    }

    pub(crate) fn member(&self, at: usize) -> Member {
        // Addresses are for connections only.
        let address = if self.parts.connections { self.names[at].to_string() } else { String::new() };
        let metadata = Metadata { address, zone: self.zone(at), ..Metadata::default() };
        Member::new(self.id(at), metadata)
    }

    fn zone(&self, at: usize) -> String {
        format!("z{}", at % self.parts.zones)
    }

    /// Starts a host, for the first time or in a new life.
    pub(crate) fn start(&mut self, at: usize) {
        let life = self.hosts[at].life + 1;
        self.hosts[at] = Host { up: true, life, spent: 0, membership: None, gossip: None, ..self.hosts[at] };
        let stream = |what: &str| self.seed.stream(&format!("{what} {at} {life}"));
        let member = self.member(at);
        let membership =
            self.parts.membership.clone().map(|config| Membership::new(member, config, stream("m")).unwrap());
        let gossip = self
            .parts
            .gossip
            .clone()
            .map(|config| Gossip::new(self.id(at), self.zone(at), config, stream("g")).unwrap());
        let first_round = gossip.is_some().then(|| self.rng.random_range(0..1000));
        (self.hosts[at].membership, self.hosts[at].gossip) = (membership, gossip);
        if self.hosts[at].membership.is_some() {
            let seeds = if self.parts.connections {
                vec![self.names[0].to_string(), self.names[1].to_string()]
            } else {
                vec![]
            };
            self.at(0, at, Event::Membership(membership::Input::Join { seeds }));
        }
        if let Some(after) = first_round {
            self.at(after, at, Event::Gossip(gossip::Input::Start));
        }
    }

    pub(crate) fn crash(&mut self, at: usize) {
        self.hosts[at].up = false;
        self.wanted.retain(|(from, _)| *from != at);
        self.unlink(|a, b| a == at || b == at);
    }

    /// Hosts reach those of their own side only.
    pub(crate) fn partition(&mut self, side: impl Fn(usize) -> u8) {
        for at in 0..self.hosts.len() {
            self.hosts[at].side = side(at);
        }
        let sides: Vec<_> = self.hosts.iter().map(|host| host.side).collect();
        self.unlink(|a, b| sides[a] != sides[b]);
    }

    pub(crate) fn heal(&mut self) {
        self.partition(|_| 0);
        self.faults = Faults::NONE;
    }

    pub(crate) fn up(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|at| self.hosts[*at].up).collect()
    }

    pub(crate) fn membership(&mut self, at: usize, input: membership::Input) {
        if !self.hosts[at].up {
            return;
        }
        let now = Millis::new(self.now);
        let Some(core) = self.hosts[at].membership.as_mut() else { return };
        for effect in core.step(now, input) {
            match effect {
                membership::Effect::Send { to, bytes } => {
                    let input = membership::Input::Datagram { from: self.id(at), bytes: bytes.clone() };
                    self.send(at, &to, &bytes, Event::Membership(input));
                }
                membership::Effect::Arm { timer, after } => {
                    self.at(millis(after), at, Event::Membership(membership::Input::Timer(timer)));
                }
                membership::Effect::Connect { address } => {
                    self.wanted.insert((at, self.index[&address.parse().unwrap()]));
                }
                membership::Effect::Disconnect { address } => {
                    self.wanted.remove(&(at, self.index[&address.parse().unwrap()]));
                }
                membership::Effect::Event(event) => self.tell(at, event),
            }
        }
    }

    fn tell(&mut self, at: usize, event: MembershipEvent) {
        match &event {
            MembershipEvent::MemberUp(member) | MembershipEvent::MetadataChanged(member) => {
                let (node, zone) = (member.id().clone(), member.metadata().zone.clone());
                self.gossip(at, gossip::Input::MemberUp { node, zone });
            }
            MembershipEvent::MemberDown(member) | MembershipEvent::MemberLeft(member) => {
                self.gossip(at, gossip::Input::MemberDown(member.name().clone()));
            }
            _ => {}
        }
        self.told.push((self.now, at, event));
    }

    pub(crate) fn gossip(&mut self, at: usize, input: gossip::Input) {
        if !self.hosts[at].up {
            return;
        }
        if matches!(input, gossip::Input::Round) {
            self.hosts[at].spent = 0;
        }
        let now = Millis::new(self.now);
        let Some(core) = self.hosts[at].gossip.as_mut() else { return };
        let effects = core.step(now, input);
        self.run(at, effects);
    }

    pub(crate) fn write(&mut self, at: usize, key: &str, value: Option<Bytes>, urgency: Urgency) {
        let now = Millis::new(self.now);
        let core = self.hosts[at].gossip.as_mut().expect("a node with gossip");
        let effects = core.write(now, key, value, urgency).unwrap();
        self.run(at, effects);
    }

    fn run(&mut self, at: usize, effects: Vec<gossip::Effect>) {
        for effect in effects {
            match effect {
                gossip::Effect::Send { to, bytes } => {
                    self.hosts[at].spent += bytes.len();
                    let budget = self.parts.gossip.as_ref().map_or(0, |config| config.budget_bytes);
                    assert!(
                        self.hosts[at].spent <= budget,
                        "n{at} spent {} of {budget} bytes",
                        self.hosts[at].spent
                    );
                    let input = gossip::Input::Message { from: self.id(at), bytes: bytes.clone() };
                    self.send(at, &to, &bytes, Event::Gossip(input));
                }
                gossip::Effect::Arm(after) => self.at(millis(after), at, Event::Gossip(gossip::Input::Round)),
                gossip::Effect::Changed(change) => self.show(at, change),
            }
        }
    }

    /// Nobody is ever shown an older version after a newer one.
    fn show(&mut self, at: usize, change: Change) {
        let Change { owner, incarnation, version, key, .. } = change;
        let shown = self.shown.entry((at, self.hosts[at].life, owner, key)).or_default();
        assert!((incarnation, version) > *shown, "n{at} is shown {incarnation}.{version} after {shown:?}");
        *shown = (incarnation, version);
    }

    fn send(&mut self, from: usize, to: &NodeName, bytes: &Bytes, event: Event) {
        let to = self.index[to];
        self.messages += 1;
        self.bytes += bytes.len() as u64;
        let words = (self.now << 20) ^ ((from as u64) << 40) ^ ((to as u64) << 52) ^ bytes.len() as u64;
        self.trace = (self.trace ^ words).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        let connected = !self.parts.connections || self.links.contains(&(from.min(to), from.max(to)));
        if !connected || self.rng.random_range(0..1000) < self.faults.loss {
            return;
        }
        let (low, high) = self.faults.delay;
        if self.faults.twice > 0 && self.rng.random_range(0..1000) < self.faults.twice {
            let delay = self.rng.random_range(low..=high);
            self.at(delay, to, event.clone());
        }
        let delay = self.rng.random_range(low..=high);
        self.at(delay, to, event);
    }

    fn at(&mut self, after: u64, host: usize, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((self.now + after, self.number, host, self.hosts[host].life)));
        self.events.insert(self.number, event);
    }

    fn unlink(&mut self, cut: impl Fn(usize, usize) -> bool) {
        let lost: Vec<_> = self.links.iter().copied().filter(|(a, b)| cut(*a, *b)).collect();
        for (a, b) in lost {
            self.links.remove(&(a, b));
            for (at, other) in [(a, b), (b, a)] {
                let gone = membership::Input::Disconnected(self.id(other));
                self.at(0, at, Event::Membership(gone));
            }
        }
    }

    fn redial(&mut self) {
        let wanted: Vec<_> = self.wanted.iter().copied().collect();
        for (a, b) in wanted {
            let reach = self.hosts[a].up && self.hosts[b].up && self.hosts[a].side == self.hosts[b].side;
            if a != b && reach && self.links.insert((a.min(b), a.max(b))) {
                for (at, other) in [(a, b), (b, a)] {
                    let there = membership::Input::Connected(self.id(other));
                    self.at(1, at, Event::Membership(there));
                }
            }
        }
    }

    /// Lets `millis` pass; `true` as soon as `done` says so, which is asked every `step` milliseconds.
    pub(crate) fn run_until(&mut self, millis: u64, step: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + millis;
        while self.now < end {
            self.pass(step.min(end - self.now));
            if done(self) {
                return true;
            }
        }
        false
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            let next = self.queue.peek().map_or(u64::MAX, |Reverse(slot)| slot.0);
            if self.parts.connections && self.redial_at <= end.min(next) {
                self.now = self.redial_at;
                self.redial_at += REDIAL;
                self.redial();
                continue;
            }
            if next > end {
                break;
            }
            let Some(Reverse((at, number, host, life))) = self.queue.pop() else { break };
            self.now = at;
            let event = self.events.remove(&number).expect("each slot has its event");
            // What was for an earlier life is lost with it, but for messages, which come late.
            match event {
                Event::Membership(input @ membership::Input::Timer(_)) if life == self.hosts[host].life => {
                    self.membership(host, input);
                }
                Event::Gossip(gossip::Input::Round) if life != self.hosts[host].life => {}
                Event::Membership(membership::Input::Timer(_)) => {}
                Event::Membership(input) => self.membership(host, input),
                Event::Gossip(input) => self.gossip(host, input),
            }
        }
        self.now = end;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
