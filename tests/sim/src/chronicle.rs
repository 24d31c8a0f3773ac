//! What is known of a simulation by those who do not take part: who lived when, what was sent, what agents did with it.
//!
//! Invariants are judged by it. There is one per thread, because behaviors, disks and networks have nobody who could hand it to them;
//! a simulation has its thread, and its process, to itself. What a node does between its crash and the moment its actors have ended is
//! nothing that anybody could see, and is not written down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::Tally;
use nexus_cluster::gossip::Change;
use nexus_cluster::{NodeId, NodeName};
use tokio::time::Instant;

use crate::plan::Place;
use crate::trace::Trace;

/// A life of a node, in the order in which they began.
pub type LifeId = usize;
/// A message, in the order in which they were sent.
pub type MessageId = u64;
/// One start of an agent's actor, in order.
pub type ActivationId = usize;

/// A node from its start to its crash.
#[derive(Clone, Debug)]
pub struct Life {
    /// Which node.
    pub place: Place,
    /// Who it is in the cluster.
    pub id: NodeId,
    /// `n1.2`: the second life of the node `n1`.
    pub name: Arc<str>,
    /// When it began.
    pub from: Duration,
    /// When it crashed.
    pub until: Option<Duration>,
    /// What was seen of it last: at its crash, or at the end.
    pub books: Books,
    /// Which other nodes it has given up as lost, or was given up by, and when: what was on its way between the two is lost then, or late.
    pub losses: Vec<(NodeId, Duration)>,
}

/// What a node knows of messages.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Its counters.
    pub tally: Tally,
    /// Messages that wait in its links, or are not acknowledged: their fate is not known to it.
    pub in_links: u64,
    /// Of its dead letters, how many were given up as lost on their way: the other node may have handled them.
    pub given_up: u64,
    /// The messages among its dead letters.
    pub dead: Vec<MessageId>,
}

/// How a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without an answer.
    Tell,
    /// With one.
    Ask,
}

/// What the sender heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet. Of a tell: it is on its way.
    Nothing,
    /// It was handled. Only of asks.
    Done,
    /// The agent, or the way to it, had no room.
    Overloaded,
    /// Something else went wrong.
    Failed(String),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub sender: LifeId,
    /// To which agent.
    pub agent: Arc<str>,
    /// How.
    pub kind: Kind,
    /// When.
    pub at: Duration,
    /// What the sender heard.
    pub heard: Heard,
    /// When the sender heard it.
    pub heard_at: Option<Duration>,
    /// Who handled it, and when.
    pub handled: Vec<(ActivationId, Duration)>,
    /// Between which lives it has gone, each once.
    pub hops: Vec<(LifeId, LifeId)>,
}

/// One start of an agent's actor.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Which agent.
    pub agent: Arc<str>,
    /// Where.
    pub life: LifeId,
    /// When it started.
    pub from: Duration,
    /// When it ended.
    pub until: Option<Duration>,
    /// What it started with.
    pub began_with: Vec<MessageId>,
    /// What it had last.
    pub has: Vec<MessageId>,
    /// Whether its behavior failed.
    pub crashed: bool,
    /// Whether its state has gone to another node.
    pub moved: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Chronicle {
    began: Instant,
    /// All that happened, as text.
    pub trace: Trace,
    /// By [`LifeId`].
    pub lives: Vec<Life>,
    /// By [`MessageId`].
    pub messages: Vec<Message>,
    /// By [`ActivationId`].
    pub activations: Vec<Activation>,
    /// What nodes have heard of others' keys last, and when a key came that was older than that.
    heard: BTreeMap<(LifeId, NodeName, String), (u64, u64)>,
    /// See above.
    pub stale: Vec<String>,
    /// Those that go on.
    running: BTreeMap<Arc<str>, Vec<ActivationId>>,
}

thread_local! {
    static CHRONICLE: RefCell<Option<Chronicle>> = const { RefCell::new(None) };
}

/// From now on this thread's simulation is written down.
pub fn open(trace: Trace) {
    let chronicle = Chronicle {
        began: Instant::now(),
        trace,
        lives: Vec::new(),
        messages: Vec::new(),
        activations: Vec::new(),
        heard: BTreeMap::new(),
        stale: Vec::new(),
        running: BTreeMap::new(),
    };
    CHRONICLE.with_borrow_mut(|slot| *slot = Some(chronicle));
}

/// The whole of it; nothing more is written down.
#[must_use]
pub fn close() -> Option<Chronicle> {
    CHRONICLE.take()
}

/// Looks into this thread's chronicle, or writes something down; `None` if there is none.
pub fn with<T>(look: impl FnOnce(&mut Chronicle) -> T) -> Option<T> {
    CHRONICLE.with_borrow_mut(|slot| slot.as_mut().map(look))
}

/// Adds a line to the trace.
pub fn note(what: fmt::Arguments<'_>) {
    with(|chronicle| chronicle.note(what));
}

impl Chronicle {
    /// Simulated time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.add(now.as_nanos(), what);
    }

    /// A node has been started.
    pub fn begins(&mut self, place: Place, id: NodeId) -> LifeId {
        let number = self.lives.iter().filter(|life| life.place == place).count() + 1;
        let name: Arc<str> = format!("{}.{number}", id.name).into();
        self.note(format_args!("{name} begins"));
        let from = self.now();
        self.lives.push(Life {
            place,
            id,
            name,
            from,
            until: None,
            books: Books::default(),
            losses: Vec::new(),
        });
        self.lives.len() - 1
    }

    /// A node has crashed: from now on nothing of it is seen.
    pub fn ends(&mut self, life: LifeId, books: Books) {
        let now = self.now();
        let name = self.lives[life].name.clone();
        self.note(format_args!("{name} crashes {:?}", books.tally));
        let ended = &mut self.lives[life];
        (ended.until, ended.books) = (Some(now), books);
        for running in self.running.values_mut() {
            running.retain(|activation| {
                let here = self.activations[*activation].life == life;
                if here {
                    self.activations[*activation].until = Some(now);
                }
                !here
            });
        }
    }

    /// A node has heard that another one's key has another value.
    pub fn learns(&mut self, life: LifeId, change: &Change) {
        let (key, now) = ((life, change.owner.clone(), change.key.clone()), self.now());
        let version = (change.incarnation, change.version);
        if let Some(before) = self.heard.get(&key).filter(|before| **before >= version) {
            let (name, Change { owner, key, .. }) = (&self.lives[life].name, change);
            let at = now.as_secs_f64();
            self.stale
                .push(format!("{name} heard {version:?} of {owner}'s {key} at {at:.3} s, after {before:?}"));
        }
        self.heard.insert(key, version);
    }

    /// A node has given up another one as lost.
    pub fn loses(&mut self, life: LifeId, lost: &NodeId) {
        let now = self.now();
        self.note(format_args!("{} loses {lost}", self.lives[life].name.clone()));
        let (by, named) = (self.lives[life].id.clone(), self.lives.iter().position(|life| life.id == *lost));
        self.lives[life].losses.push((lost.clone(), now));
        if let Some(named) = named {
            self.lives[named].losses.push((by, now));
        }
    }

    /// The life that goes by this name.
    #[must_use]
    pub fn life(&self, name: &str) -> Option<LifeId> {
        self.lives.iter().rposition(|life| *life.name == *name)
    }

    fn is_over(&self, life: LifeId) -> bool {
        self.lives[life].until.is_some()
    }

    /// A message is about to be sent.
    pub fn sends(&mut self, sender: LifeId, agent: &Arc<str>, kind: Kind) -> MessageId {
        let id = self.messages.len() as MessageId;
        self.note(format_args!("{} sends {id} to {agent} {kind:?}", self.lives[sender].name.clone()));
        self.messages.push(Message {
            sender,
            agent: agent.clone(),
            kind,
            at: self.now(),
            heard: Heard::Nothing,
            heard_at: None,
            handled: Vec::new(),
            hops: Vec::new(),
        });
        id
    }

    /// Messages have come from one node to another.
    pub fn crosses(&mut self, from: &NodeName, to: &NodeName, ids: impl IntoIterator<Item = MessageId>) {
        let running = |name: &NodeName| self.lives.iter().rposition(|life| life.id.name == *name);
        let (Some(from), Some(to)) = (running(from), running(to)) else { return };
        for id in ids {
            if let Some(message) = self.messages.get_mut(id as usize)
                && !message.hops.contains(&(from, to))
            {
                message.hops.push((from, to));
            }
        }
    }

    /// Its sender has heard what became of it.
    pub fn hears(&mut self, id: MessageId, heard: Heard) {
        self.note(format_args!("message {id} {heard:?}"));
        let now = self.now();
        let message = &mut self.messages[id as usize];
        (message.heard, message.heard_at) = (heard, Some(now));
    }

    /// An agent's actor has started, on the node that goes by `life`. `None` if that is over.
    pub fn starts(&mut self, agent: &Arc<str>, life: &str, with: &[MessageId]) -> Option<ActivationId> {
        let life = self.life(life).filter(|life| !self.is_over(*life))?;
        self.note(format_args!("{agent} starts on {} with {}", self.lives[life].name.clone(), with.len()));
        Some(self.run(Activation {
            agent: agent.clone(),
            life,
            from: self.now(),
            until: None,
            began_with: with.to_vec(),
            has: with.to_vec(),
            crashed: false,
            moved: false,
        }))
    }

    /// The activation goes on from now on.
    pub(crate) fn run(&mut self, activation: Activation) -> ActivationId {
        let id = self.activations.len();
        self.running.entry(activation.agent.clone()).or_default().push(id);
        self.activations.push(activation);
        id
    }

    /// An agent has handled a message.
    pub fn handles(&mut self, activation: ActivationId, id: MessageId) {
        let Activation { agent, life, .. } = self.activations[activation].clone_head();
        if self.is_over(life) {
            return;
        }
        self.note(format_args!("{agent} on {} handles {id}", self.lives[life].name.clone()));
        let now = self.now();
        self.activations[activation].has.push(id);
        if let Some(message) = self.messages.get_mut(id as usize) {
            message.handled.push((activation, now));
        }
    }

    /// An agent's state has gone from a life to another node.
    pub fn moves(&mut self, life: &str, agent: &str) {
        let Some(place) = self.life(life).map(|life| self.lives[life].place) else { return };
        let lives = &self.lives;
        // Of all lives: what this one had of earlier ones was stored, and has gone too.
        let here = |activation: &&mut Activation| {
            lives[activation.life].place == place && *activation.agent == *agent
        };
        self.activations
            .iter_mut()
            .filter(here)
            .for_each(|activation| activation.moved |= activation.until.is_some());
    }

    /// An agent's behavior is about to fail.
    pub fn fails(&mut self, activation: ActivationId) {
        self.activations[activation].crashed = true;
    }

    /// An agent's state was taken over from another one.
    pub fn merges(&mut self, activation: ActivationId, has: &[MessageId]) {
        let Activation { agent, life, .. } = self.activations[activation].clone_head();
        if self.is_over(life) {
            return;
        }
        self.note(format_args!("{agent} on {} merges to {}", self.lives[life].name.clone(), has.len()));
        self.activations[activation].has = has.to_vec();
    }

    /// An agent's actor has ended.
    pub fn stops(&mut self, activation: ActivationId) {
        let Activation { agent, life, .. } = self.activations[activation].clone_head();
        if self.is_over(life) {
            return;
        }
        self.note(format_args!("{agent} ends on {}", self.lives[life].name.clone()));
        self.activations[activation].until = Some(self.now());
        if let Some(running) = self.running.get_mut(&agent) {
            running.retain(|other| *other != activation);
        }
    }

    /// Where each agent's actors run now.
    pub fn running(&self) -> impl Iterator<Item = (&Arc<str>, &[ActivationId])> {
        self.running.iter().map(|(agent, activations)| (agent, &activations[..]))
    }
}

impl Activation {
    /// The same without what it has.
    fn clone_head(&self) -> Self {
        Self { agent: self.agent.clone(), began_with: Vec::new(), has: Vec::new(), ..*self }
    }
}
