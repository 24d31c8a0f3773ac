//! The node's gateway: owns the links by their peers' names, hands connections to them, and the control lane's messages to services.
//!
//! Of two lives of a peer the newer one wins: its connection ends the older life's link, and a connection of an older one gets a line on
//! which nothing is ever sent. One tick serves all links.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::Node;
use nexus_actors::agent::{AgentId, Request};
use nexus_actors::route::remote::{Forwarded, Parcel, Remote};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::config::{LinkConfig, TICK};
use super::link::{Link, LinkOverview};
use super::{
    CloseReason, Connection, ControlError, ControlEvent, ControlLane, Exchange, Lane, Line, Outgoing, Service,
};
use crate::{NodeId, NodeName};

/// Knows which node has an agent. Must not block.
pub trait Locate: fmt::Debug + Send + Sync + 'static {
    /// The other node that has the agent; `None` if it is this node's, or nobody's.
    fn locate(&self, agent: AgentId, name: Option<&str>) -> Option<NodeName>;

    /// Another number whenever an answer that named a node may be another one than before: such answers are remembered by the threads that
    /// send, as long as this stays the same. `None`: they are not remembered. One atomic read, as it is asked with each message.
    fn version(&self) -> Option<u64> {
        None
    }
}

/// Agents in a fixed place.
#[derive(Clone, Debug, Default)]
pub struct StaticTable(pub BTreeMap<AgentId, NodeName>);

impl Locate for StaticTable {
    fn locate(&self, agent: AgentId, _: Option<&str>) -> Option<NodeName> {
        self.0.get(&agent).cloned()
    }

    fn version(&self) -> Option<u64> {
        Some(0)
    }
}

/// Who hears a service's events. Must not block: an actor's `cast`.
pub type Listener = Arc<dyn Fn(ControlEvent) + Send + Sync>;

/// See the module.
pub struct Gateway {
    me: Weak<Self>,
    node: Node,
    config: Arc<LinkConfig>,
    peers: RwLock<BTreeMap<NodeName, Peer>>,
    services: RwLock<BTreeMap<Service, Listener>>,
    /// Held while a connection comes or goes and its services are told, so that they hear it in order.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Peer {
    link: Arc<Link>,
    /// Its newest life; `None` until it was connected.
    id: Option<NodeId>,
    /// The epoch of its connection.
    connected: Option<u64>,
}

/// The way of a node to the others. Holds its gateway only as long as somebody else does.
#[derive(Debug)]
struct Way {
    gateway: Weak<Gateway>,
    table: Arc<dyn Locate>,
    /// Unique in the process: tells what threads remember of several nodes apart.
    number: u64,
}

static WAYS: AtomicU64 = AtomicU64::new(1);

/// What a thread remembers of an agent.
#[derive(Clone, Debug)]
struct Recent {
    /// Of which [`Way`], as of which version of its table, and whom.
    key: (u64, u64, AgentId),
    link: Weak<Link>,
}

/// Agents that a thread remembers at most, and the places where one may be: from that of its key's lowest bits on.
const RECENT: usize = 256;
const RECENT_PLACES: usize = 4;

thread_local! {
    static RECENTLY: RefCell<Vec<Recent>> = const { RefCell::new(Vec::new()) };
}

impl Way {
    fn new(gateway: &Weak<Gateway>, table: Arc<dyn Locate>) -> Self {
        Self { gateway: gateway.clone(), table, number: WAYS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Looked up once for many messages: a sender's next one is mostly for an agent that it has sent to before.
    fn to(&self, agent: AgentId, name: Option<&str>) -> Option<Arc<Link>> {
        // Read before the look, so that an answer is never taken for newer than it is.
        let Some(version) = self.table.version() else { return self.find(agent, name) };
        let home = usize::try_from(agent.get() % RECENT as u128).unwrap_or_default();
        let key = (self.number, version, agent);
        let known = RECENTLY.with_borrow(|recent| {
            let places = (home..home + RECENT_PLACES).filter_map(|at| recent.get(at % RECENT));
            places.filter(|known| known.key == key).find_map(|known| known.link.upgrade())
        });
        known.or_else(|| {
            let link = self.find(agent, name)?;
            RECENTLY.with_borrow_mut(|recent| {
                if recent.is_empty() {
                    recent.resize(RECENT, Recent { key: (0, 0, agent), link: Weak::new() });
                }
                // One that nobody will ask for again makes room, else the first.
                let is_old = |at: &usize| (recent[*at].key.0, recent[*at].key.1) != (key.0, key.1);
                let places = (home..home + RECENT_PLACES).map(|at| at % RECENT);
                let at = places.into_iter().find(is_old).unwrap_or(home);
                recent[at] = Recent { key, link: Arc::downgrade(&link) };
            });
            Some(link)
        })
    }

    fn find(&self, agent: AgentId, name: Option<&str>) -> Option<Arc<Link>> {
        let peer = self.table.locate(agent, name)?;
        Some(self.gateway.upgrade()?.link(&peer))
    }
}

/// One connection of a link.
struct Strand {
    gateway: Arc<Gateway>,
    link: Arc<Link>,
    connection: Connection,
}

/// The line of a life that is over.
#[derive(Default)]
struct Dead(Notify);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Gateway {
    /// The gateway of `node`, which finds other nodes' agents by `table` from now on. Its links' clocks run as long as it lives; to be
    /// called on a runtime.
    #[must_use]
    pub fn new(node: Node, table: Arc<dyn Locate>, config: LinkConfig) -> Arc<Self> {
        let gateway = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            node: node.clone(),
            config: Arc::new(config),
            peers: RwLock::default(),
            services: RwLock::default(),
            changing: Mutex::default(),
        });
        node.set_remote(Arc::new(Way::new(&gateway.me, table)));
        tokio::spawn(keep_time(Arc::downgrade(&gateway)));
        gateway
    }

    /// From now on `listener` hears what comes for `service`, and of each connection; first of those there are.
    pub fn register(&self, service: Service, listener: Listener) {
        let _order = self.changing.lock();
        for peer in self.peers() {
            listener(ControlEvent::Connected(peer));
        }
        self.services.write().insert(service, listener);
    }

    /// The node called `peer` is known to be gone: what waits for it is given up now, not at the time-out. A connected one is not given
    /// up: [close](super::Carrier::close) its connection first. Answers whether it was.
    pub fn give_up(&self, peer: &NodeName, reason: &str) -> bool {
        let link = self.peers.read().get(peer).map(|peer| peer.link.clone());
        link.is_some_and(|link| link.give_up(reason))
    }

    /// What is known of each link, by the peers' names.
    #[must_use]
    pub fn links(&self) -> Vec<(NodeName, LinkOverview)> {
        self.peers.read().iter().map(|(name, peer)| (name.clone(), peer.link.overview())).collect()
    }

    fn link(&self, peer: &NodeName) -> Arc<Link> {
        if let Some(peer) = self.peers.read().get(peer) {
            return peer.link.clone();
        }
        let mut peers = self.peers.write();
        let make = || Peer {
            link: Link::new(peer.clone(), self.node.clone(), self.config.clone()),
            id: None,
            connected: None,
        };
        peers.entry(peer.clone()).or_insert_with(make).link.clone()
    }

    fn tell_all(&self, event: &ControlEvent) {
        let listeners: Vec<_> = self.services.read().values().cloned().collect();
        for listener in listeners {
            listener(event.clone());
        }
    }
}

/// Gives all links the time until the gateway is gone.
async fn keep_time(gateway: Weak<Gateway>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        let links: Vec<_> = gateway.peers.read().values().map(|peer| peer.link.clone()).collect();
        for link in links {
            link.tick();
        }
    }
}

impl Remote for Way {
    fn forward(&self, to: AgentId, name: Option<&str>, parcel: Parcel) -> Forwarded {
        match self.to(to, name) {
            Some(link) => link.forward(to, name, parcel),
            None => Forwarded::NotRemote(parcel),
        }
    }

    fn publish(&self, group: &str, request: &Request) -> (u64, u64) {
        let Some(gateway) = self.gateway.upgrade() else { return (0, 0) };
        let links: Vec<_> = gateway.peers.read().values().map(|peer| peer.link.clone()).collect();
        let taken = links.iter().filter_map(|link| link.publish(group, request));
        taken.fold((0, 0), |(on, full), taken| if taken { (on + 1, full) } else { (on, full + 1) })
    }

    fn queue(&self, to: AgentId, name: Option<&str>) -> Option<(u64, u64)> {
        Some(self.to(to, name)?.queue())
    }

    fn room(&self, to: AgentId, name: Option<&str>) -> BoxFuture<'static, ()> {
        let link = self.to(to, name);
        async move {
            if let Some(link) = link {
                link.room().await;
            }
        }
        .boxed()
    }
}

impl Exchange for Gateway {
    fn connected(&self, connection: Connection) -> Arc<dyn Line> {
        let _order = self.changing.lock();
        let link = self.link(&connection.peer.name);
        let (before, was) = {
            let mut peers = self.peers.write();
            let peer = peers.get_mut(&connection.peer.name).expect("links are never removed");
            if peer.id.as_ref().is_some_and(|known| known.incarnation > connection.peer.incarnation) {
                return Arc::new(Dead::default());
            }
            let before = peer.id.replace(connection.peer.clone());
            (before, peer.connected.replace(connection.epoch))
        };
        if let Some(before) = before {
            if was.is_some() {
                self.tell_all(&ControlEvent::Disconnected(before.clone(), CloseReason::Replaced));
            }
            if before.incarnation < connection.peer.incarnation {
                link.lose(&format!("it was started anew as {}", connection.peer));
            }
        }
        link.connected(connection.epoch);
        self.tell_all(&ControlEvent::Connected(connection.peer.clone()));
        let gateway = self.me.upgrade().expect("whoever calls it holds it");
        Arc::new(Strand { gateway, link, connection })
    }
}

impl ControlLane for Gateway {
    fn send(&self, to: &NodeName, service: Service, bytes: Bytes) -> Result<(), ControlError> {
        let link = self.peers.read().get(to).map(|peer| peer.link.clone());
        let link = link.ok_or_else(|| ControlError::NotConnected { to: to.clone() })?;
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(service as u8);
        message.extend_from_slice(&bytes);
        link.send_control(message.freeze())
    }

    fn peers(&self) -> Vec<NodeId> {
        let peers = self.peers.read();
        peers.values().filter(|peer| peer.connected.is_some()).filter_map(|peer| peer.id.clone()).collect()
    }
}

impl Strand {
    fn control(&self, bytes: &Bytes) -> Result<(), CloseReason> {
        if !self.link.is_on(self.connection.epoch) {
            return Err(CloseReason::Replaced);
        }
        let Some(code) = bytes.first() else {
            return Err(CloseReason::Malformed("an empty control message".into()));
        };
        // A newer release may have services that this one has not: what is for them is dropped, as anything may be on this lane.
        let listener = Service::ALL.into_iter().find(|service| *service as u8 == *code);
        let listener = listener.and_then(|service| self.gateway.services.read().get(&service).cloned());
        if let Some(listener) = listener {
            listener(ControlEvent::Message { from: self.connection.peer.clone(), bytes: bytes.slice(1..) });
        }
        Ok(())
    }
}

impl Line for Strand {
    fn take(&self) -> Option<Outgoing> {
        self.link.take(self.connection.epoch)
    }

    fn work(&self) -> &Notify {
        &self.link.work
    }

    fn arrived(&self, lane: Lane, bytes: Bytes) -> Result<(), CloseReason> {
        match lane {
            Lane::Control => self.control(&bytes),
            Lane::Data => self.link.arrived(self.connection.epoch, &bytes),
        }
    }

    fn closed(&self, reason: CloseReason) {
        let _order = self.gateway.changing.lock();
        if !self.link.closed(self.connection.epoch) {
            // Another one has its place; services have heard.
            return;
        }
        if let Some(peer) = self.gateway.peers.write().get_mut(&self.connection.peer.name) {
            peer.connected = None;
        }
        self.gateway.tell_all(&ControlEvent::Disconnected(self.connection.peer.clone(), reason));
    }
}

impl Line for Dead {
    fn take(&self) -> Option<Outgoing> {
        None
    }

    fn work(&self) -> &Notify {
        &self.0
    }

    fn arrived(&self, _: Lane, _: Bytes) -> Result<(), CloseReason> {
        Err(CloseReason::Replaced)
    }

    fn closed(&self, _: CloseReason) {}
}
