//! Carrier actor: carries out what the core decides.
//!
//! Supervised by `transport.sup` as `permanent`. Owns the listener, ractor_cluster's server, the gateway and a task for each stream. A
//! restart ends all connections and dials the addresses that are kept again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use ractor_cluster::NodeServerMessage;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::ClusterCarrier;
use super::config::ClusterConfig;
use super::connection::{Origin, serve};
use super::core::{Candidate, ConnId, Core, Effect, Input};
use super::handshake::Identity;
use super::listener::listen;
use super::mux::Conn;
use super::refusal::{Refusal, Tally};
use super::session::{self, Conns, Gateway, SessionEvent, SessionStream};
use super::tls::Tls;
use crate::NodeName;
use crate::transport::{CloseReason, Exchange};

/// What all streams of one run of the carrier share.
pub(super) struct Shared {
    pub(super) config: Arc<ClusterConfig>,
    pub(super) identity: Identity,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) tally: Arc<Tally>,
    pub(super) conns: Conns,
    /// Streams of strangers, the oldest first.
    pub(super) handshakes: Mutex<BTreeMap<ConnId, Arc<Conn>>>,
    pub(super) tasks: Tasks,
    ids: AtomicU64,
}

impl Shared {
    pub(super) fn next_id(&self) -> ConnId {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn newest(&self) -> ConnId {
        self.ids.load(Ordering::Relaxed)
    }
}

/// Tasks that end with the carrier.
#[derive(Default)]
pub(super) struct Tasks(Mutex<tokio::task::JoinSet<()>>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock();
        // Those that have ended are forgotten here.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn end(&self) {
        self.0.lock().abort_all();
    }
}

/// What the carrier is told.
pub(super) enum CarrierMsg {
    /// For the core.
    Input(Input),
    /// Which connection do we have to a node?
    Holds(NodeName, oneshot::Sender<Option<u64>>),
    /// A stream's ends are proven: is it admitted, and under which number?
    Proven(Arc<Conn>, Candidate, oneshot::Sender<Result<u64, Refusal>>),
    /// Give an admitted stream to ractor_cluster.
    Open(Open),
    /// ractor_cluster says something of a stream.
    Session(ConnId, SessionEvent),
    /// A stream's task has ended.
    Ended { conn: ConnId, dialed: Option<String>, peer: Option<NodeName> },
}

impl ractor::Message for CarrierMsg {}

/// An admitted stream for ractor_cluster.
pub(super) struct Open {
    pub(super) name: NodeName,
    /// The id of the peer's gateway.
    pub(super) gateway: u64,
    pub(super) is_server: bool,
    pub(super) stream: SessionStream,
    /// Told the gateway's proxy when the session is ready.
    pub(super) reply: oneshot::Sender<ActorCell>,
}

/// A session of ractor_cluster. It elects one of several sessions of a pair by a rule of its own, which may keep a dead one: so the next
/// is opened when this one is gone on both counts.
struct Session {
    conn: ConnId,
    gateway: u64,
    reply: Option<oneshot::Sender<ActorCell>>,
    /// ractor_cluster is done with it.
    gone: bool,
    /// We are.
    ended: bool,
}

pub(super) struct Carrier;

pub(super) struct CarrierState {
    carrier: ClusterCarrier,
    shared: Arc<Shared>,
    server: ActorRef<NodeServerMessage>,
    core: Core,
    /// Streams whose task runs and whom the core knows or dials.
    conns: BTreeMap<ConnId, Arc<Conn>>,
    asked: BTreeMap<ConnId, oneshot::Sender<Result<u64, Refusal>>>,
    sessions: BTreeMap<NodeName, Session>,
    /// Those that wait for the former session's end, the newest of each peer.
    waiting: BTreeMap<NodeName, Open>,
}

impl Actor for Carrier {
    type Msg = CarrierMsg;
    type State = CarrierState;
    type Arguments = ClusterCarrier;

    async fn pre_start(
        &self,
        myself: ActorRef<CarrierMsg>,
        carrier: ClusterCarrier,
    ) -> Result<CarrierState, ActorProcessingErr> {
        let inner = &carrier.inner;
        let config = &inner.config;
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            format!(
                "cannot listen at {}: {error}; choose an address of this machine and a free port",
                config.listen
            )
        })?;
        let address = listener.local_addr()?;

        let conns = inner.conns.clone();
        let (gateway, _) = Actor::spawn_linked(None, Gateway, conns.clone(), myself.get_cell()).await?;
        let server = session::start(config, &myself).await?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            identity: Identity::new(config, gateway.get_id().pid()),
            tls: inner.tls.clone(),
            exchange: inner.exchange.clone(),
            tally: inner.tally.clone(),
            conns,
            handshakes: Mutex::default(),
            tasks: Tasks::default(),
            ids: AtomicU64::new(0),
        });
        let timing = &config.timing;
        let core = Core::new(
            (timing.redial_min, timing.redial_max),
            config.limits.connections_max,
            inner.seed.stream("transport.cluster"),
        );
        shared.tasks.spawn(listen(listener, shared.clone(), myself.clone()));
        for address in carrier.started(&myself, address) {
            myself.cast(CarrierMsg::Input(Input::Keep(address)))?;
        }
        let (conns, asked, sessions, waiting) = Default::default();
        Ok(CarrierState { carrier, shared, server, core, conns, asked, sessions, waiting })
    }

    async fn post_stop(
        &self,
        _: ActorRef<CarrierMsg>,
        state: &mut CarrierState,
    ) -> Result<(), ActorProcessingErr> {
        state.shared.tasks.end();
        let conns = std::mem::take(&mut *state.shared.conns.write());
        for conn in conns.into_values() {
            if let Some(line) = conn.line() {
                line.closed(CloseReason::Closed("the node stops".into()));
            }
        }
        state.carrier.stopped();
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<CarrierMsg>,
        message: CarrierMsg,
        state: &mut CarrierState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CarrierMsg::Input(input) => state.step(&myself, input),
            CarrierMsg::Holds(peer, reply) => _ = reply.send(state.core.holds(&peer)),
            CarrierMsg::Proven(conn, candidate, reply) => state.on_proven(&myself, conn, candidate, reply),
            CarrierMsg::Open(open) => state.on_open(open),
            CarrierMsg::Session(conn, event) => state.on_session(conn, event),
            CarrierMsg::Ended { conn, dialed, peer } => state.on_ended(&myself, conn, dialed, peer),
        }
        Ok(())
    }
}

impl CarrierState {
    fn step(&mut self, myself: &ActorRef<CarrierMsg>, input: Input) {
        for effect in self.core.step(input) {
            self.run(myself, effect);
        }
    }

    fn on_proven(
        &mut self,
        myself: &ActorRef<CarrierMsg>,
        conn: Arc<Conn>,
        candidate: Candidate,
        reply: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        self.conns.insert(conn.id, conn.clone());
        self.asked.insert(conn.id, reply);
        self.step(myself, Input::Proven(candidate));
    }

    fn on_open(&mut self, open: Open) {
        if self.sessions.contains_key(&open.name) {
            self.waiting.insert(open.name.clone(), open);
            return;
        }
        let Open { name, gateway, is_server, stream, reply } = open;
        let conn = stream.conn;
        self.sessions.insert(name, Session { conn, gateway, reply: Some(reply), gone: false, ended: false });
        let stream = Box::new(stream);
        _ = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
    }

    fn on_session(&mut self, conn: ConnId, event: SessionEvent) {
        let Some(session) = self.sessions.values_mut().find(|session| session.conn == conn) else { return };
        match event {
            SessionEvent::Ready(info) => {
                let gateway = session::gateway_of(&info, session.gateway);
                if let Some((reply, gateway)) = session.reply.take().zip(gateway) {
                    _ = reply.send(gateway);
                }
            }
            SessionEvent::Gone => session.gone = true,
        }
        self.free(conn);
    }

    fn on_ended(
        &mut self,
        myself: &ActorRef<CarrierMsg>,
        conn: ConnId,
        dialed: Option<String>,
        peer: Option<NodeName>,
    ) {
        self.conns.remove(&conn);
        self.asked.remove(&conn);
        self.waiting.retain(|_, open| open.stream.conn != conn);
        if let Some(session) = self.sessions.values_mut().find(|session| session.conn == conn) {
            session.ended = true;
        }
        self.free(conn);
        self.step(myself, Input::Ended { conn, dialed, peer });
    }

    /// Opens the next session of a pair if the former is over.
    fn free(&mut self, conn: ConnId) {
        let over = |session: &Session| session.conn == conn && session.gone && session.ended;
        let name = self.sessions.iter().find(|(_, session)| over(session)).map(|(name, _)| name.clone());
        let Some(name) = name else { return };
        self.sessions.remove(&name);
        if let Some(open) = self.waiting.remove(&name) {
            self.on_open(open);
        }
    }

    fn run(&mut self, myself: &ActorRef<CarrierMsg>, effect: Effect) {
        match effect {
            Effect::Dial { address } => {
                let conn = Arc::new(Conn::new(self.shared.next_id()));
                self.conns.insert(conn.id, conn.clone());
                let shared = self.shared.clone();
                self.shared.tasks.spawn(serve(shared, myself.clone(), conn, Origin::Dialed(address)));
            }
            Effect::Wait { address, attempt, after } => {
                myself.send_after(after, move || CarrierMsg::Input(Input::Waited { address, attempt }));
            }
            Effect::Admit { conn, sequence } => self.answer(conn, Ok(sequence)),
            Effect::Refuse { conn, refusal } => self.answer(conn, Err(refusal)),
            Effect::Close { conn, reason } => {
                if let Some(conn) = self.conns.get(&conn) {
                    conn.close(reason);
                }
            }
        }
    }

    fn answer(&mut self, conn: ConnId, verdict: Result<u64, Refusal>) {
        if let Some(reply) = self.asked.remove(&conn) {
            _ = reply.send(verdict);
        }
    }
}
