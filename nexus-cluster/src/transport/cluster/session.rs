//! ractor_cluster: its server, its events, and the one actor of ours that it may announce.
//!
//! ractor_cluster tells every peer of every actor whose messages can be serialized, so a node has exactly one: the gateway. Its actor id
//! travels in the handshake; when a session is ready, the proxy with that id is among the session's children. A message names the epoch of
//! its connection: one that outlives its connection finds no line and is dropped.
//!
//! The server's own listener takes no peers: it is parked on a free port of loopback, asks for a cookie that is derived from ours, and the
//! mode is `Isolated`. A remote reference is never stopped or killed, as that would end its session.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, SpawnErr};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, NodeEventSubscription, NodeServer, NodeServerMessage,
};
use tokio::io::DuplexStream;

use super::actor::CarrierMsg;
use super::config::ClusterConfig;
use super::core::ConnId;
use super::handshake::Identity;
use super::mux::Conn;

/// What a ractor_cluster frame has beside the message in it, at most.
const ENVELOPE_BYTES_MAX: usize = 4 * 1024;

/// A message of the control lane.
pub(super) struct ControlFrame {
    pub(super) epoch: u64,
    pub(super) bytes: Bytes,
}

impl Message for ControlFrame {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let mut args = Vec::with_capacity(8 + self.bytes.len());
        args.extend_from_slice(&self.epoch.to_be_bytes());
        args.extend_from_slice(&self.bytes);
        Ok(SerializedMessage::Cast { variant: String::new(), args, metadata: None })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        let SerializedMessage::Cast { args, .. } = message else { return Err(BoxedDowncastErr) };
        let Some(epoch) = args.first_chunk().copied().map(u64::from_be_bytes) else {
            return Err(BoxedDowncastErr);
        };
        Ok(Self { epoch, bytes: Bytes::from(args).slice(8..) })
    }
}

/// The connections whose end here is ready, by epoch.
pub(super) type Conns = Arc<RwLock<BTreeMap<u64, Arc<Conn>>>>;

/// Hands messages of the control lane to their lines.
pub(super) struct Gateway;

impl Actor for Gateway {
    type Msg = ControlFrame;
    type State = Conns;
    type Arguments = Conns;

    async fn pre_start(&self, _: ActorRef<ControlFrame>, conns: Conns) -> Result<Conns, ActorProcessingErr> {
        Ok(conns)
    }

    async fn handle(
        &self,
        _: ActorRef<ControlFrame>,
        message: ControlFrame,
        conns: &mut Conns,
    ) -> Result<(), ActorProcessingErr> {
        let conn = conns.read().get(&message.epoch).cloned();
        if let Some(conn) = conn {
            conn.control(message.bytes);
        }
        Ok(())
    }
}

/// What the server says of a stream that it was given.
pub(super) enum SessionEvent {
    /// Both ends know each other's actors.
    Ready(NodeServerSessionInformation),
    /// It is over.
    Gone,
}

/// Hands the server's events to the carrier.
struct Events(ActorRef<CarrierMsg>);

impl Events {
    fn tell(&self, session: &NodeServerSessionInformation, event: SessionEvent) {
        // Streams that came by the parked listener bear no label of ours.
        if let Ok(conn) = session.peer_addr.parse::<ConnId>() {
            _ = self.0.cast(CarrierMsg::Session(conn, event));
        }
    }
}

impl NodeEventSubscription for Events {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.tell(&session, SessionEvent::Gone);
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        self.tell(&session.clone(), SessionEvent::Ready(session));
    }
}

/// Starts the server below `carrier`.
pub(super) async fn start(
    config: &ClusterConfig,
    carrier: &ActorRef<CarrierMsg>,
) -> Result<ActorRef<NodeServerMessage>, SpawnErr> {
    // The host part has the incarnation: ractor_cluster takes two nodes with the same `host:port` for one.
    let (name, host) = (config.node.name.to_string(), config.node.to_string());
    let cookie = Identity::session_cookie(config);
    let server = NodeServer::new(0, cookie, name, host, None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(Ipv4Addr::LOCALHOST.into())
        .with_max_inbound_frame_size((config.limits.control_bytes_max + ENVELOPE_BYTES_MAX) as u64);
    let (server, _) = Actor::spawn_linked(None, server, (), carrier.get_cell()).await?;
    let subscription = Box::new(Events(carrier.clone()));
    _ = server.cast(NodeServerMessage::SubscribeToEvents { id: "nexus".into(), subscription });
    Ok(server)
}

/// The proxy of the peer's gateway in a session that is ready.
pub(super) fn gateway_of(session: &NodeServerSessionInformation, pid: u64) -> Option<ActorCell> {
    let id = ActorId::Remote { node_id: session.node_id, pid };
    session.actor.get_cell().get_children().into_iter().find(|child| child.get_id() == id)
}

/// ractor_cluster's end of the pipe; the label comes back in its events.
pub(super) struct SessionStream {
    pub(super) conn: ConnId,
    pub(super) pipe: DuplexStream,
}

impl ClusterBidiStream for SessionStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.pipe);
        (Box::new(read), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.conn.to_string())
    }
}
