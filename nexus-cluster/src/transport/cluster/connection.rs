//! One stream, from its first byte to its last: handshake, admission, session, line, end. A task each, so that none waits for another.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{ActorCell, ActorRef};
use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use super::actor::{CarrierMsg, Open, Shared};
use super::core::{Candidate, Decision};
use super::handshake::{self, Identity, MAGIC, Peer, Role, TLS_RECORD};
use super::mux::{self, Conn, Ours, PIPE_BYTES};
use super::refusal::{HandshakeError, Refusal};
use super::session::SessionStream;
use super::tls::{Secured, Tls};
use crate::NodeName;
use crate::transport::{CloseReason, Connection};

/// How the stream came about.
pub(super) enum Origin {
    /// We dial the address.
    Dialed(String),
    /// Another opened it.
    Accepted(TcpStream),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A stream, with or without TLS.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn io(&mut self) -> &mut dyn Io {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }

    fn split(self) -> (BoxRead, BoxWrite) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (Box::new(read), Box::new(write))
            }
        }
    }
}

/// Serves `conn` to its end and tells the carrier.
pub(super) async fn serve(
    shared: Arc<Shared>,
    carrier: ActorRef<CarrierMsg>,
    conn: Arc<Conn>,
    origin: Origin,
) {
    let dialed = match &origin {
        Origin::Dialed(address) => Some(address.clone()),
        Origin::Accepted(_) => None,
    };
    let address = match &origin {
        Origin::Dialed(address) => address.clone(),
        // One that has no address any more has gone.
        Origin::Accepted(stream) => stream.peer_addr().map(|from| from.to_string()).unwrap_or_default(),
    };
    let mut name = None;
    let limit = shared.config.timing.handshake;
    let establish = establish(&shared, &carrier, &conn, origin, &mut name);
    let established = tokio::select! {
        biased;
        // Ours to end: not the other's failure, so not counted.
        _ = conn.closing() => None,
        result = timeout(limit, establish) => Some(result.unwrap_or_else(|_| {
            Err(HandshakeError::refused(Refusal::TimeOut, format!("no connection after {limit:?}")))
        })),
    };
    shared.handshakes.lock().remove(&conn.id);
    match established {
        None => {}
        Some(Ok((wire, peer))) => {
            let reason = carry(&shared, &carrier, &conn, wire, &peer, dialed.is_none()).await;
            tracing::info!(peer = %peer.node, %reason, "connection ended");
        }
        Some(Err(error)) => {
            tracing::debug!(%error, ?dialed, peer = ?name, "no connection");
            shared.tally.fail(&address, &error);
        }
    }
    _ = carrier.cast(CarrierMsg::Ended { conn: conn.id, dialed, peer: name });
}

/// From nothing to an admitted stream. `name` is set as soon as the peer is proven.
async fn establish(
    shared: &Shared,
    carrier: &ActorRef<CarrierMsg>,
    conn: &Arc<Conn>,
    origin: Origin,
    name: &mut Option<NodeName>,
) -> Result<(Wire, Peer), HandshakeError> {
    let (mut wire, peer, dialed) = match origin {
        Origin::Accepted(stream) => {
            let (wire, peer) = accept(stream, shared.tls.as_ref(), &shared.identity).await?;
            (wire, peer, None)
        }
        Origin::Dialed(address) => {
            let (wire, peer) = dial(&address, shared.tls.as_ref(), &shared.identity).await?;
            (wire, peer, Some(address))
        }
    };
    *name = Some(peer.node.name.clone());
    // From here on the stream is not one of those that a stranger may crowd out.
    if dialed.is_none() && shared.handshakes.lock().remove(&conn.id).is_none() {
        // Crowded out a moment ago, and counted: whoever did it has also closed it.
        std::future::pending::<()>().await;
    }

    let mut io = wire.io();
    let decides = shared.identity.decides(&peer.node.name);
    let decision = if decides {
        Decision::Ours { holds: handshake::asked(&mut io).await? }
    } else {
        let holds = call(carrier, |reply| CarrierMsg::Holds(peer.node.name.clone(), reply)).await?;
        Decision::Theirs { sequence: handshake::ask(&mut io, holds).await? }
    };
    let newest = shared.newest();
    let candidate =
        Candidate { conn: conn.id, newest, peer: peer.node.clone(), epoch: peer.epoch, dialed, decision };
    let verdict = call(carrier, |reply| CarrierMsg::Proven(conn.clone(), candidate, reply)).await?;
    match verdict {
        Ok(sequence) if decides => handshake::admit(&mut io, sequence).await?,
        Ok(_) => {}
        Err(refusal) => {
            handshake::refuse(&mut io, refusal).await;
            let detail = format!("`{}` is not admitted", peer.node);
            return Err(HandshakeError::refused(refusal, detail));
        }
    }
    Ok((wire, peer))
}

/// Asks the carrier.
async fn call<T>(
    carrier: &ActorRef<CarrierMsg>,
    message: impl FnOnce(oneshot::Sender<T>) -> CarrierMsg,
) -> Result<T, HandshakeError> {
    let (reply, answer) = oneshot::channel();
    let stopped = || HandshakeError::Unreachable("the carrier has stopped".into());
    carrier.cast(message(reply)).map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())
}

fn unreachable(error: io::Error) -> HandshakeError {
    HandshakeError::Unreachable(error.to_string())
}

async fn accept(
    mut stream: TcpStream,
    tls: Option<&Arc<Tls>>,
    identity: &Identity,
) -> Result<(Wire, Peer), HandshakeError> {
    let Some(tls) = tls else {
        let peer = handshake::authenticate(&mut stream, Role::Acceptor, identity, &[]).await?;
        return Ok((Wire::Plain(stream), peer));
    };
    let mut first = [0];
    let gone = |why: String| HandshakeError::refused(Refusal::Closed, why);
    if stream.peek(&mut first).await.map_err(|error| gone(error.to_string()))? == 0 {
        return Err(gone("the peer went away".into()));
    }
    if first[0] != TLS_RECORD {
        let refusal = if first[0] == MAGIC[0] { Refusal::Plaintext } else { Refusal::Malformed };
        return Err(HandshakeError::refused(refusal, "TLS is asked for: set it on both sides"));
    }
    let secured = tls.accept(stream).await?;
    authenticate(secured, Role::Acceptor, identity).await
}

async fn dial(
    address: &str,
    tls: Option<&Arc<Tls>>,
    identity: &Identity,
) -> Result<(Wire, Peer), HandshakeError> {
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(tls) = tls else {
        let peer = handshake::authenticate(&mut stream, Role::Dialer, identity, &[]).await?;
        return Ok((Wire::Plain(stream), peer));
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let secured = tls.connect(host.trim_start_matches('[').trim_end_matches(']'), stream).await?;
    authenticate(secured, Role::Dialer, identity).await
}

async fn authenticate(
    mut secured: Secured,
    role: Role,
    identity: &Identity,
) -> Result<(Wire, Peer), HandshakeError> {
    let peer = handshake::authenticate(&mut secured.stream, role, identity, &secured.binding).await?;
    if let Err(error) = secured.check_name(&peer.node.name) {
        handshake::refuse(&mut secured.stream, Refusal::BadCertificate).await;
        return Err(error);
    }
    Ok((Wire::Tls(Box::new(secured.stream)), peer))
}

/// The connection's life.
async fn carry(
    shared: &Arc<Shared>,
    carrier: &ActorRef<CarrierMsg>,
    conn: &Arc<Conn>,
    wire: Wire,
    peer: &Peer,
    is_server: bool,
) -> CloseReason {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (reply, ready) = oneshot::channel();
    let stream = SessionStream { conn: conn.id, pipe: theirs };
    let (name, gateway) = (peer.node.name.clone(), peer.gateway);
    _ = carrier.cast(CarrierMsg::Open(Open { name, gateway, is_server, stream, reply }));

    let config = &shared.config;
    let run = mux::run(wire.split(), ours, conn, &config.limits, &config.timing);
    let reason = with(run, serve_line(shared, conn, peer, !is_server, ready)).await;
    // Whoever takes the connection out of the table closes its line: we, or the carrier when it stops.
    let ours = shared.conns.write().remove(&peer.epoch);
    if let Some(line) = ours.as_ref().and_then(|conn| conn.line()) {
        line.closed(reason.clone());
    }
    reason
}

/// Runs `side` beside `main` until that ends.
async fn with<T>(main: impl Future<Output = T>, side: impl Future<Output = ()>) -> T {
    let side = async {
        side.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        result = main => result,
        result = side => result,
    }
}

/// Once the session is ready: tells the exchange, and then the other end.
async fn serve_line(
    shared: &Shared,
    conn: &Arc<Conn>,
    peer: &Peer,
    dialed: bool,
    ready: oneshot::Receiver<ActorCell>,
) {
    let Ok(gateway) = ready.await else {
        conn.close(CloseReason::Lost("no session".into()));
        return;
    };
    let connection = Connection { peer: peer.node.clone(), epoch: peer.epoch, version: peer.version };
    let line = shared.exchange.connected(connection.clone());
    conn.ready(Ours { line, gateway: gateway.into(), connection, dialed });
    shared.conns.write().insert(peer.epoch, conn.clone());
    shared.tally.connected.fetch_add(1, Ordering::Relaxed);
}
