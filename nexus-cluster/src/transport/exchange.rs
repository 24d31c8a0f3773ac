//! The node's gateway: owns the links by their peers' names, hands connections to them, and the control lane's messages to services.
//!
//! Of two lives of a peer the newer one wins: its connection ends the older life's link, and a connection of an older one gets a line on
//! which nothing is ever sent. One tick serves all links.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nexus_actors::agent::{AgentId, Request};
use nexus_actors::route::remote::{Asker, Claimed, Forwarded, Parcel, Remote, Way};
use nexus_actors::{AgentError, Node};
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
    /// The other node that has the agent, or that is to start it; `None` if it is this node's, or nobody's.
    fn locate(&self, agent: AgentId, name: Option<&str>) -> Option<NodeName>;

    /// The agent is to be started on this node: `None` if it may be, else the node where it lives.
    fn claim(
        &self,
        agent: AgentId,
        name: &Arc<str>,
    ) -> BoxFuture<'static, Result<Option<NodeName>, AgentError>> {
        let _ = (agent, name);
        async { Ok(None) }.boxed()
    }

    /// The agent does not live on this node any more.
    fn release(&self, agent: AgentId) {
        let _ = agent;
    }

    /// The node `sender` is to be told that the agent, to which it has sent by way of this one, lives on the node `home`.
    fn redirect(&self, sender: &NodeName, agent: &Arc<str>, home: &NodeName) {
        let _ = (sender, agent, home);
    }
}

/// Agents in a fixed place.
#[derive(Clone, Debug, Default)]
pub struct StaticTable(pub BTreeMap<AgentId, NodeName>);

impl Locate for StaticTable {
    fn locate(&self, agent: AgentId, _: Option<&str>) -> Option<NodeName> {
        self.0.get(&agent).cloned()
    }
}

/// Who hears a service's events. Must not block: an actor's `cast`.
pub type Listener = Arc<dyn Fn(ControlEvent) + Send + Sync>;

/// See the module.
pub struct Gateway {
    me: Weak<Self>,
    node: Node,
    config: Arc<LinkConfig>,
    table: Arc<dyn Locate>,
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

/// What the node knows of the gateway. Holds it only as long as somebody else does.
#[derive(Debug)]
struct Outside(Weak<Gateway>);

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
            table,
            peers: RwLock::default(),
            services: RwLock::default(),
            changing: Mutex::default(),
        });
        node.set_remote(Arc::new(Outside(Arc::downgrade(&gateway))));
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

    /// How often a peer has sent what no peer that keeps to the protocol sends, by reason. Each has ended its connection.
    #[must_use]
    pub fn violations(&self, peer: &NodeName) -> BTreeMap<&'static str, u64> {
        self.peers.read().get(peer).map(|peer| peer.link.violations()).unwrap_or_default()
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

impl Remote for Outside {
    fn way(&self, to: AgentId, name: Option<&str>) -> Option<Arc<dyn Way>> {
        let gateway = self.0.upgrade()?;
        let node = gateway.table.locate(to, name)?;
        Some(gateway.link(&node))
    }

    fn publish(&self, group: &str, request: &Request) -> (u64, u64) {
        let Some(gateway) = self.0.upgrade() else { return (0, 0) };
        let links: Vec<_> = gateway.peers.read().values().map(|peer| peer.link.clone()).collect();
        let taken = links.iter().filter_map(|link| link.publish(group, request));
        taken.fold((0, 0), |(on, full), taken| if taken { (on + 1, full) } else { (on, full + 1) })
    }

    fn claim(&self, id: AgentId, name: &Arc<str>) -> BoxFuture<'static, Result<Claimed, AgentError>> {
        let Some(gateway) = self.0.upgrade() else { return async { Ok(Claimed::Here) }.boxed() };
        let claiming = gateway.table.claim(id, name);
        async move {
            Ok(match claiming.await? {
                None => Claimed::Here,
                Some(node) => Claimed::Elsewhere(gateway.link(&node)),
            })
        }
        .boxed()
    }

    fn way_to(&self, node: &str) -> Option<Arc<dyn Way>> {
        let gateway = self.0.upgrade()?;
        Some(gateway.link(&node.parse().ok()?))
    }

    fn release(&self, id: AgentId) {
        if let Some(gateway) = self.0.upgrade() {
            gateway.table.release(id);
        }
    }

    fn redirect(&self, sender: &str, agent: &Arc<str>, home: &str) {
        if let (Some(gateway), Ok(sender), Ok(home)) = (self.0.upgrade(), sender.parse(), home.parse()) {
            gateway.table.redirect(&sender, agent, &home);
        }
    }
}

impl Way for Link {
    fn fence(&self, to: AgentId, origin: &str, asker: Asker) {
        Self::fence(self, to, origin, asker);
    }

    fn forward(&self, to: AgentId, name: Option<&str>, parcel: Parcel) -> Forwarded {
        Self::forward(self, to, name, parcel)
    }

    fn queue(&self) -> (u64, u64) {
        Self::queue(self)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        Self::room(self)
    }

    fn is_quiet(&self) -> bool {
        let LinkOverview { queued, unacknowledged, .. } = self.overview();
        queued == 0 && unacknowledged == 0
    }

    fn node(&self) -> &str {
        self.peer().as_str()
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
                link.outlive(&format!("it was started anew as {}", connection.peer));
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
