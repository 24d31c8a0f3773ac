//! A carrier in memory: N ends in one process on one thread, on tokio's clock, deterministic from a seed.
//!
//! A connection is two reliable ordered streams per lane, as a real one is: what a fault can do to a stream is to delay it, to stall it
//! (a partition, in one direction or both) and to end it with all that is on its way. What was on its way is sent again by the links
//! over the next connection: that is where duplicates come from. Of what is sent on two lanes or two connections, either may come first.
//! Whoever [watches](Network::watch) hears of all that goes over it, in order.

mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::rng::{Rng, Seed};
use parking_lot::Mutex;
use rand::Rng as _;

use self::connection::Wire;
use super::{Carrier, CloseReason, Connection, Exchange, Lane};
use crate::{NodeId, NodeName};

/// What the network does to what is sent, at random. May be changed at any time.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The shortest time a frame or message takes.
    pub delay_min: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// How often a frame or message ends its connection instead: 0 never, 1 always.
    pub loss: f64,
    /// How long a stalled connection lives.
    pub idle_timeout: Duration,
    /// How long an end waits before it dials again, at most; half of it at least.
    pub redial: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(2),
            loss: 0.0,
            idle_timeout: Duration::from_secs(5),
            redial: Duration::from_millis(100),
        }
    }
}

/// What happens on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic<'a> {
    /// Two nodes are connected.
    Opened {
        /// Who dialed, and whom.
        ends: [&'a NodeName; 2],
        /// The connection's number.
        epoch: u64,
    },
    /// Their connection has ended.
    Closed {
        /// Who dialed, and whom.
        ends: [&'a NodeName; 2],
        /// The connection's number.
        epoch: u64,
        /// Why.
        reason: &'a CloseReason,
    },
    /// A message or a frame is about to be handed to its receiver.
    Arrives {
        /// Its sender.
        from: &'a NodeName,
        /// Its receiver.
        to: &'a NodeName,
        /// On which lane.
        lane: Lane,
        /// All of it.
        bytes: &'a [u8],
    },
}

/// Who hears of traffic. Must not call the network.
pub type Watcher = Arc<dyn Fn(Traffic<'_>) + Send + Sync>;

/// The simulated network. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    faults: Faults,
    /// Directions that have faults of their own.
    special: BTreeMap<(NodeName, NodeName), Faults>,
    watcher: Option<Watcher>,
    ends: BTreeMap<String, End>,
    /// Directions in which nothing gets through.
    blocked: BTreeSet<(NodeName, NodeName)>,
    /// One for a pair, by the lesser name first.
    wires: BTreeMap<(NodeName, NodeName), Arc<Wire>>,
    epoch: u64,
}

#[derive(Clone)]
struct End {
    id: NodeId,
    exchange: Arc<dyn Exchange>,
}

/// One end's view of a [`Network`].
pub struct SimCarrier {
    network: Network,
    id: NodeId,
    kept: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("epoch", &self.0.lock().epoch).finish_non_exhaustive()
    }
}

impl fmt::Debug for SimCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCarrier").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Network {
    /// A network without ends.
    #[must_use]
    pub fn new(seed: Seed, faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: seed.stream("sim-network"),
            faults,
            special: BTreeMap::new(),
            watcher: None,
            ends: BTreeMap::new(),
            blocked: BTreeSet::new(),
            wires: BTreeMap::new(),
            epoch: 0,
        })))
    }

    /// The node `id` listens at `address`, in the place of whoever did.
    pub fn join(&self, id: NodeId, address: &str, exchange: Arc<dyn Exchange>) -> Arc<SimCarrier> {
        self.0.lock().ends.insert(address.to_owned(), End { id: id.clone(), exchange });
        Arc::new(SimCarrier { network: self.clone(), id, kept: Arc::default() })
    }

    /// The node is no more, from one moment to the next: its connections end, for the others.
    pub fn crash(&self, name: &NodeName) {
        self.0.lock().ends.retain(|_, end| end.id.name != *name);
        for wire in self.wires_of(name) {
            wire.crash(name);
        }
    }

    /// Ends the connection of two nodes, with all that is on its way.
    pub fn cut(&self, a: &NodeName, b: &NodeName) {
        let wire = self.0.lock().wires.get(&pair(a, b)).cloned();
        if let Some(wire) = wire {
            wire.close(&CloseReason::Lost("it was cut".into()));
        }
    }

    /// From now on nothing gets from `from` to `to`; the other direction is another one's business.
    pub fn block(&self, from: &NodeName, to: &NodeName) {
        self.0.lock().blocked.insert((from.clone(), to.clone()));
    }

    /// Everything gets through again.
    pub fn heal(&self) {
        let wires: Vec<_> = {
            let mut state = self.0.lock();
            state.blocked.clear();
            state.wires.values().cloned().collect()
        };
        for wire in wires {
            wire.changed();
        }
    }

    /// What happens from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// What happens from now on to what `from` sends to `to`; `None`: the same as everywhere. Of these faults, delay and loss count.
    pub fn set_faults_between(&self, from: &NodeName, to: &NodeName, faults: Option<Faults>) {
        let (mut state, direction) = (self.0.lock(), (from.clone(), to.clone()));
        match faults {
            Some(faults) => state.special.insert(direction, faults),
            None => state.special.remove(&direction),
        };
    }

    /// `watcher` hears of all traffic from now on, in the place of whoever did.
    pub fn watch(&self, watcher: Watcher) {
        self.0.lock().watcher = Some(watcher);
    }

    fn tell(&self, traffic: Traffic<'_>) {
        let watcher = self.0.lock().watcher.clone();
        if let Some(watcher) = watcher {
            watcher(traffic);
        }
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.lock().epoch
    }

    fn is_blocked(&self, from: &NodeName, to: &NodeName) -> bool {
        self.0.lock().blocked.contains(&(from.clone(), to.clone()))
    }

    fn faults(&self) -> Faults {
        self.0.lock().faults
    }

    /// How long the next frame or message takes from one node to another; `None` if it ends its connection.
    fn fate(&self, from: &NodeName, to: &NodeName) -> Option<Duration> {
        let mut state = self.0.lock();
        // Most networks have none, and names are cloned for the look.
        let special = if state.special.is_empty() {
            None
        } else {
            state.special.get(&(from.clone(), to.clone())).copied()
        };
        let Faults { delay_min, delay_max, loss, .. } = special.unwrap_or(state.faults);
        if loss > 0.0 && state.rng.random_bool(loss) {
            return None;
        }
        Some(state.rng.random_range(delay_min..=delay_max))
    }

    fn wires_of(&self, name: &NodeName) -> Vec<Arc<Wire>> {
        let state = self.0.lock();
        state
            .wires
            .iter()
            .filter(|((a, b), _)| a == name || b == name)
            .map(|(_, wire)| wire.clone())
            .collect()
    }

    /// A wire has ended.
    fn remove(&self, a: &NodeName, b: &NodeName, epoch: u64) {
        let mut state = self.0.lock();
        if state.wires.get(&pair(a, b)).is_some_and(|wire| wire.epoch() == epoch) {
            state.wires.remove(&pair(a, b));
        }
    }

    /// Connects `from` with whoever listens at `address`, if nothing is in the way. `false` if `from` itself is no more.
    fn dial(&self, from: &NodeId, address: &str) -> bool {
        let (near, far, epoch) = {
            let mut state = self.0.lock();
            let Some(near) = state.ends.values().find(|end| end.id == *from).cloned() else { return false };
            let Some(far) = state.ends.get(address).cloned() else { return true };
            let (a, b) = (near.id.name.clone(), far.id.name.clone());
            let in_the_way = a == b
                || state.wires.contains_key(&pair(&a, &b))
                || state.blocked.contains(&(a.clone(), b.clone()))
                || state.blocked.contains(&(b, a));
            if in_the_way {
                return true;
            }
            state.epoch += 1;
            (near, far, state.epoch)
        };
        let line = |end: &End, peer: &End| {
            end.exchange.connected(Connection { peer: peer.id.clone(), epoch, version: 1 })
        };
        let lines = [line(&near, &far), line(&far, &near)];
        let names = [near.id.name, far.id.name];
        let wire = Wire::new(self.clone(), names.clone(), lines, epoch);
        self.0.lock().wires.insert(pair(&names[0], &names[1]), wire.clone());
        self.tell(Traffic::Opened { ends: [&names[0], &names[1]], epoch });
        wire.start();
        true
    }

    /// Between half of the configured time and all of it.
    fn redial(&self) -> Duration {
        let mut state = self.0.lock();
        let longest = state.faults.redial;
        state.rng.random_range(longest / 2..=longest)
    }
}

fn pair(a: &NodeName, b: &NodeName) -> (NodeName, NodeName) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

impl Carrier for SimCarrier {
    fn keep(&self, address: &str) {
        if !self.kept.lock().insert(address.to_owned()) {
            return;
        }
        let (network, id, kept) = (self.network.clone(), self.id.clone(), self.kept.clone());
        let address = address.to_owned();
        tokio::spawn(async move {
            while kept.lock().contains(&address) && network.dial(&id, &address) {
                tokio::time::sleep(network.redial()).await;
            }
        });
    }

    fn forget(&self, address: &str) {
        self.kept.lock().remove(address);
        let far = self.network.0.lock().ends.get(address).map(|end| end.id.name.clone());
        if let Some(far) = far {
            self.close(&far, CloseReason::Closed("it is not wanted any more".into()));
        }
    }

    fn close(&self, peer: &NodeName, reason: CloseReason) {
        let wire = self.network.0.lock().wires.get(&pair(&self.id.name, peer)).cloned();
        if let Some(wire) = wire {
            wire.close(&reason);
        }
    }
}
