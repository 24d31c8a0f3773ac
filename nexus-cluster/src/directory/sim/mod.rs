//! Many cores in one event queue, driven by one seed: messages are delayed, lost, doubled and reordered, nodes are cut off, crash and
//! start again, and each learns of that at another time.

mod invariants;
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;
use nexus_actors::rng::{Rng, Seed};
use rand::Rng as _;

use super::*;
use crate::ring::{Member, Ring};
use crate::{NodeId, NodeName};

/// How often each core is told that time has passed.
const TICK: u64 = 50;
/// Within this time a node's membership has noticed a change.
const DETECTED: u64 = 500;
/// When the nodes were first started, in milliseconds since 1970.
const DAWN: u64 = 1_700_000_000_000;
/// Names that agents have.
const NAMES: usize = 24;

/// What the network does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) duplicates: f64,
    pub(super) delay_ms_max: u64,
}

impl Faults {
    pub(super) const NONE: Self = Self { loss: 0.0, duplicates: 0.0, delay_ms_max: 30 };
}

/// A running node and what its shell would know.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) core: Core,
    /// The agents that live here.
    pub(super) agents: BTreeSet<AgentId>,
    /// What readers see.
    pub(super) view: BTreeMap<AgentId, Whereabouts>,
    /// Requests without an answer yet: which agent, and until when there must be one.
    pub(super) asked: BTreeMap<RequestId, (AgentId, u64)>,
    /// The last answer about each agent.
    pub(super) answers: BTreeMap<AgentId, Answer>,
    /// Of the last view of the cluster.
    view_number: u64,
    next_request: RequestId,
}

enum Event {
    Tick(NodeId),
    Deliver { from: NodeId, to: NodeId, bytes: Bytes },
    View { to: NodeId, number: u64, ring: Arc<Ring> },
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(super) config: DirectoryConfig,
    pub(super) faults: Faults,
    pub(super) nodes: BTreeMap<NodeName, Node>,
    /// In which part of a divided network each name is.
    side: BTreeMap<NodeName, u8>,
    views: u64,
    trace: Vec<String>,
    /// What may never happen and did.
    pub(super) wrong: Vec<String>,
    /// Duplicates that were decided.
    pub(super) duplicates: usize,
}

pub(super) fn name_of(n: usize) -> NodeName {
    format!("n{n}").parse().unwrap()
}

pub(super) fn agent(n: usize) -> AgentId {
    AgentId::of(&format!("agent/{n}"))
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let config =
            DirectoryConfig { cache_ttl: std::time::Duration::from_secs(4), ..DirectoryConfig::default() };
        config.validate().unwrap();
        let mut world = Self {
            rng: Seed::new(seed).stream("directory"),
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            config,
            faults: Faults::NONE,
            nodes: BTreeMap::new(),
            side: BTreeMap::new(),
            views: 0,
            trace: Vec::new(),
            wrong: Vec::new(),
            duplicates: 0,
        };
        for n in 0..nodes {
            world.start(name_of(n));
        }
        world
    }

    /// Starts a node, anew if it has run before.
    pub(super) fn start(&mut self, name: NodeName) {
        // A restart within a millisecond is still another life.
        let id = NodeId { name: name.clone(), incarnation: DAWN + self.now + self.views };
        self.note(format!("start {id}"));
        let node = Node {
            id: id.clone(),
            core: Core::new(id.clone(), self.config.clone()),
            agents: BTreeSet::new(),
            view: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            view_number: 0,
            next_request: 0,
        };
        self.nodes.insert(name, node);
        let at = self.rng.random_range(0..TICK);
        self.schedule(at, Event::Tick(id));
        self.changed();
    }

    /// Ends a node and all its agents.
    pub(super) fn crash(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.remove(name) {
            self.note(format!("crash {} with {} agents", node.id, node.agents.len()));
            self.changed();
        }
    }

    /// Divides the network: each node is on the side that `side` says.
    pub(super) fn divide(&mut self, side: impl Fn(&NodeName) -> u8) {
        self.side = self.nodes.keys().map(|name| (name.clone(), side(name))).collect();
        self.note(format!(
            "sides {:?}",
            self.side.iter().map(|(name, side)| format!("{name}:{side}")).collect::<Vec<_>>()
        ));
        self.changed();
    }

    fn side_of(&self, name: &NodeName) -> u8 {
        self.side.get(name).copied().unwrap_or(0)
    }

    /// Each node's membership will notice who is there.
    fn changed(&mut self) {
        self.views += 1;
        for node in self.nodes.values().map(|node| node.id.clone()).collect::<Vec<_>>() {
            let side = self.side_of(&node.name);
            let there = self.nodes.values().filter(|other| self.side_of(&other.id.name) == side);
            let ring = Arc::new(Ring::new(there.map(|other| Member::new(other.id.clone()))));
            let after = self.rng.random_range(1..=DETECTED);
            self.schedule(after, Event::View { to: node, number: self.views, ring });
        }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), event);
    }

    pub(super) fn note(&mut self, what: String) {
        self.trace.push(format!("{:>6} {what}", self.now));
    }

    /// Runs until `at`.
    pub(super) fn run_until(&mut self, at: u64) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= at) {
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.take(event);
        }
        self.now = at;
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        self.run_until(self.now + ms);
    }

    fn alive(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|node| node.id == *id)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick(id) if self.alive(&id) => {
                self.input(&id.name, Input::Tick);
                self.schedule(TICK, Event::Tick(id));
            }
            Event::View { to, number, ring } if self.alive(&to) => {
                let node = self.nodes.get_mut(&to.name).unwrap();
                if number > node.view_number {
                    node.view_number = number;
                    self.note(format!(
                        "{to} sees {:?}",
                        ring.members().iter().map(|m| m.node.to_string()).collect::<Vec<_>>()
                    ));
                    self.input(&to.name, Input::RingChanged(ring));
                }
            }
            Event::Deliver { from, to, bytes }
                if self.alive(&to) && self.side_of(&from.name) == self.side_of(&to.name) =>
            {
                let message = Message::decode(&bytes).unwrap();
                self.trace_message("->", &from, &to, &message);
                self.input(&to.name, Input::Message { from, message });
            }
            Event::Tick(_) | Event::View { .. } | Event::Deliver { .. } => {}
        }
    }

    fn trace_message(&mut self, arrow: &str, from: &NodeId, to: &NodeId, message: &Message) {
        let text = match message {
            Message::Entries { buckets, records, then, as_of, .. } => {
                let records: Vec<_> = records
                    .iter()
                    .map(|(id, stamp)| format!("{id}@{}/{}", stamp.place(), stamp.epoch()))
                    .collect();
                format!("Entries of {} buckets, as of {as_of}, {then:?}: {records:?}", buckets.len())
            }
            Message::Put { records, .. } => {
                let records: Vec<_> = records
                    .iter()
                    .map(|(id, stamp)| format!("{id}@{}/{}", stamp.place(), stamp.epoch()))
                    .collect();
                format!("Put {records:?}")
            }
            Message::Differs { digests, .. } => format!("Differs {}", digests.len()),
            other => format!("{other:?}"),
        };
        self.note(format!("{} {arrow} {}: {text}", from.name, to.name));
    }

    /// Hands an input to a node and does what it says.
    pub(super) fn input(&mut self, name: &NodeName, input: Input) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let from = node.id.clone();
        for effect in node.core.step(Millis::new(self.now - (from.incarnation - DAWN).min(self.now)), input) {
            self.effect(&from, effect);
        }
    }

    fn effect(&mut self, from: &NodeId, effect: Effect) {
        let name = &from.name;
        if !matches!(effect, Effect::Send { .. }) {
            self.note(format!("{name}: {effect:?}"));
        }
        match effect {
            Effect::Send { to, message } => self.send(from, &to, &message.encode()),
            Effect::Answer { request, answer } => self.answered(name, request, answer),
            Effect::Publish { id, at } => {
                self.node(name).view.insert(id, at);
            }
            Effect::Retract { id } => {
                self.node(name).view.remove(&id);
            }
            Effect::Tell(news) => self.told(name, news),
        }
    }

    fn told(&mut self, name: &NodeName, news: News) {
        match news {
            News::Merge { id, higher, lower } => {
                // Some behaviors prefer the lower, some do not care, some never answer.
                let winner = match id.get() % 4 {
                    0 => Some(lower.node.name),
                    1 => Some(higher.node.name),
                    2 => None,
                    _ => return,
                };
                self.input(name, Input::Judged { id, winner });
            }
            News::Duplicate { .. } => self.duplicates += 1,
            News::Yield { id, .. } => {
                if !self.node(name).agents.remove(&id) {
                    self.wrong.push(format!("{name} was told to stop {id}, which does not live there"));
                }
            }
            News::Prevailed { .. } | News::Orphaned { .. } => {}
        }
    }

    fn node(&mut self, name: &NodeName) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    fn answered(&mut self, name: &NodeName, request: RequestId, answer: Answer) {
        let now = self.now;
        let node = self.node(name);
        let Some((id, until)) = node.asked.remove(&request) else {
            return self.wrong.push(format!("{name} answered {request} twice"));
        };
        if answer == Answer::Registered {
            node.agents.insert(id);
        }
        node.answers.insert(id, answer);
        if now > until {
            self.wrong.push(format!("{name} answered {request} {} ms late", now - until));
        }
    }

    fn send(&mut self, from: &NodeId, to: &NodeName, bytes: &Bytes) {
        let Some(to) = self.nodes.get(to).map(|node| node.id.clone()) else { return };
        if self.side_of(&from.name) != self.side_of(&to.name) {
            return;
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.faults.duplicates));
        for _ in 0..copies {
            if self.rng.random_bool(self.faults.loss) {
                let message = Message::decode(bytes).unwrap();
                self.trace_message("-x", from, &to, &message);
                continue;
            }
            let after = self.rng.random_range(1..=self.faults.delay_ms_max);
            self.schedule(after, Event::Deliver { from: from.clone(), to: to.clone(), bytes: bytes.clone() });
        }
    }

    fn ask(&mut self, name: &NodeName, id: AgentId, input: impl FnOnce(RequestId) -> Input) {
        let until = self.now + self.config.timeout.as_millis() as u64 + TICK;
        let node = self.node(name);
        node.next_request += 1;
        let request = node.next_request;
        node.asked.insert(request, (id, until));
        self.input(name, input(request));
    }

    pub(super) fn register(&mut self, name: &NodeName, id: AgentId, over: Option<NodeId>) {
        self.note(format!("{name}: register {id} over {over:?}"));
        self.ask(name, id, |request| Input::Register { request, id, over });
    }

    pub(super) fn lookup(&mut self, name: &NodeName, id: AgentId) {
        self.ask(name, id, |request| Input::Lookup { request, id });
    }

    pub(super) fn unregister(&mut self, name: &NodeName, id: AgentId) {
        self.note(format!("{name}: unregister {id}"));
        self.node(name).agents.remove(&id);
        self.input(name, Input::Unregister { id });
    }

    /// One random thing that agents do.
    fn act(&mut self) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.rng.random_range(0..names.len())].clone();
        let id = agent(self.rng.random_range(0..NAMES));
        match self.rng.random_range(0..100) {
            0..45 => self.register(&name, id, None),
            45..50 => {
                // A migration: the agent's place is taken over.
                let host =
                    self.nodes.values().find(|node| node.agents.contains(&id)).map(|node| node.id.clone());
                if let Some(host) = host.filter(|host| host.name != name) {
                    self.register(&name, id, Some(host));
                }
            }
            50..65 => self.unregister(&name, id),
            _ => self.lookup(&name, id),
        }
    }

    /// One random thing that happens to the cluster.
    fn disturb(&mut self, nodes_max: usize) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        let any = |rng: &mut Rng| names[rng.random_range(0..names.len())].clone();
        match self.rng.random_range(0..6) {
            0 | 1 => {
                let cut: u64 = self.rng.random();
                self.divide(|name| {
                    (cut >> (nexus_actors::agent::AgentId::of(name.as_str()).get() % 64) & 1) as u8
                });
            }
            2 => self.divide(|_| 0),
            3 if names.len() > 1 => {
                let name = any(&mut self.rng);
                self.crash(&name);
            }
            4 => {
                // Joins, or starts anew before anybody noticed.
                let name = name_of(self.rng.random_range(0..nodes_max));
                self.crash(&name);
                self.start(name);
            }
            _ => {
                self.faults = Faults {
                    loss: self.rng.random_range(0.0..0.2),
                    duplicates: self.rng.random_range(0.0..0.1),
                    delay_ms_max: self.rng.random_range(5..200),
                };
                self.note(format!("{:?}", self.faults));
            }
        }
    }

    /// Agents come and go while the cluster is disturbed, for `ms`.
    pub(super) fn chaos(&mut self, ms: u64, nodes_max: usize) {
        let end = self.now + ms;
        let mut next_fault = self.now + 1000;
        while self.now < end {
            let step = self.rng.random_range(5..80);
            self.run_for(step);
            self.act();
            if self.now >= next_fault {
                self.disturb(nodes_max);
                next_fault = self.now + self.rng.random_range(200..3000);
            }
        }
    }

    /// Everybody sees everybody again, and nothing is lost any more.
    pub(super) fn heal(&mut self) {
        self.faults = Faults::NONE;
        self.divide(|_| 0);
    }

    /// The lines of the trace that matter for `about`, and the last of all.
    pub(super) fn story(&self, about: &str) -> String {
        let mut words = about.split(|c: char| !c.is_ascii_alphanumeric());
        let key = words.find(|word| word.len() == 32).unwrap_or(about);
        let mut text = String::new();
        let cluster = [" sees ", " start ", " crash ", " sides "];
        let of_it = self
            .trace
            .iter()
            .filter(|line| line.contains(key) || cluster.iter().any(|what| line.contains(what)));
        let lines: Vec<_> = of_it.collect();
        for line in &lines[lines.len().saturating_sub(120)..] {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    pub(super) fn trace(&self) -> &[String] {
        &self.trace
    }
}
