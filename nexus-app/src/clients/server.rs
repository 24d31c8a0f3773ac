//! The listener and its limit.
//!
//! | limit | what happens |
//! |---|---|
//! | `clients.connections` | further ones are told so, a few at a time; still further ones are closed |
//! | `clients.handshake_timeout` | closed |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use super::handshake;
use super::hub::Hubs;
use super::state::{Clients, RefusalReason};

/// Connections that the system holds for us until they are accepted.
const BACKLOG: u32 = 4096;
/// The system's buffers for a connection, in bytes; it doubles them. Without this limit a client that does not read may have
/// 4 MB of the system's memory.
const SYSTEM_BUFFER_BYTES: u32 = 64 * 1024;
/// Connections past the limit that are told so at one time.
const OVERFLOW_CONNECTIONS: usize = 64;
/// How long they may take to ask.
const OVERFLOW_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause after an `accept` that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long closing all connections may take when the endpoint stops.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Serves until `shutdown` is cancelled; then clients are told and have a moment to go. Dropping the future tells them as well,
/// without waiting.
pub(super) async fn serve(
    listener: TcpListener,
    clients: Clients,
    connections: u64,
    shutdown: CancellationToken,
) {
    // Connections are told to go also if this future is dropped.
    let _told = shutdown.clone().drop_guard();
    let tasks = TaskTracker::new();
    let hubs = Arc::new(Hubs::new(clients.node().clone(), shutdown.clone(), tasks.clone()));
    let regular = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS)));
    let overflow = Arc::new(Semaphore::new(OVERFLOW_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(place) = regular.clone().try_acquire_owned() {
                    tasks.spawn(admit(stream, peer, clients.clone(), hubs.clone(), shutdown.clone(), place));
                } else if let Ok(place) = overflow.clone().try_acquire_owned() {
                    tasks.spawn(turn_away(stream, clients.clone(), place));
                } else {
                    clients.refused(RefusalReason::Full);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the clients' endpoint cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN_MAX, tasks.wait()).await.is_err() {
        tracing::debug!(open = tasks.len(), "clients were left before they had gone");
    }
}

/// One connection, from its handshake to its end.
async fn admit(
    mut stream: TcpStream,
    peer: SocketAddr,
    clients: Clients,
    hubs: Arc<Hubs>,
    shutdown: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    // Without it small answers wait for the client's acknowledgements; no harm if it is refused.
    let _ = stream.set_nodelay(true);
    // In boxes, so that a connection's task does not keep the room of its handshake and its farewell.
    let limit = clients.config().handshake_timeout;
    let opening = Box::pin(tokio::time::timeout(limit, handshake::open(&mut stream, &clients, false)));
    let opened = tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        opened = opening => opened.unwrap_or(Err(RefusalReason::Handshake)),
    };
    match opened {
        Ok(rest) => connection::run(stream, rest, peer, clients, hubs, shutdown).await,
        Err(reason) => clients.refused(reason),
    }
    drop(place);
}

async fn turn_away(mut stream: TcpStream, clients: Clients, place: OwnedSemaphorePermit) {
    let _ = tokio::time::timeout(OVERFLOW_TIMEOUT, handshake::open(&mut stream, &clients, true)).await;
    clients.refused(RefusalReason::Full);
    drop(place);
}

/// Opens the endpoint's port.
///
/// # Errors
/// With the address, the reason and the remedy.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, (io::ErrorKind, String)> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Connections inherit them.
        socket.set_send_buffer_size(SYSTEM_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(SYSTEM_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or set `clients.listen` to another port (port 0 takes a free one)"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: set `clients.listen` to a higher port",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address: correct `clients.listen`",
            _ => "correct `clients.listen`",
        };
        (error.kind(), format!("the clients' endpoint cannot listen on {address}: {error}; {remedy}"))
    })
}
