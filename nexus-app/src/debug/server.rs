//! Connections and their limits.
//!
//! | limit | what happens |
//! |---|---|
//! | `debug.max_connections` | further ones get `/livez` or "too many", a few at a time; still further ones wait |
//! | time for headers | closed; also bounds how long an unused connection stays |
//! | size of headers | 431, closed |
//! | time of a client that does not read its answer | closed |
//! | size and time of bodies and requests | see `body.rs` and `guard.rs` |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::route::{overflow_router, router};
use super::stall::StallGuard;
use super::state::DebugState;

/// The longest a client may take for a request's headers, and the longest an unused connection stays open.
const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The same for connections past the limit: short, since whoever asks for `/livez` waits for those before it.
const OVERFLOW_HEADER_TIMEOUT: Duration = Duration::from_millis(500);
/// The most bytes of a request's line and headers.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The most bytes read ahead.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long a client may leave its answer unread.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Connections past the limit that are told so at one time. With the time above, 256 silent ones a second make room.
const OVERFLOW_CONNECTIONS: usize = 128;
/// How long open requests may go on when the endpoint stops.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The pause after an `accept` that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled; then open requests have two seconds to end. Dropping the future closes all
/// connections at once.
pub async fn serve(listener: TcpListener, state: DebugState, shutdown: CancellationToken) {
    let server = Server {
        full: router(&state, shutdown.clone()),
        overflow: overflow_router(&state),
        header_timeout: HEADER_TIMEOUT_MAX.min(state.config().request_timeout),
        shutdown,
    };
    let regular = Arc::new(Semaphore::new(state.config().max_connections as usize));
    let reserve = Arc::new(Semaphore::new(OVERFLOW_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Whoever is accepted has at least a place in the reserve.
        let next = async {
            let place = reserve.clone().acquire_owned().await.expect("it is never closed");
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = server.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (reserved, accepted) = next => match accepted {
                Ok((stream, _)) => match regular.clone().try_acquire_owned() {
                    Ok(place) => {
                        let serving = server.connection(stream, false);
                        connections.spawn(async move { serving.await; drop(place) });
                    }
                    Err(_) => {
                        let serving = server.connection(stream, true);
                        connections.spawn(async move { serving.await; drop(reserved) });
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "the debug endpoint cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let draining = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, draining).await.is_err() {
        tracing::debug!(open = connections.len(), "debug connections closed before their requests ended");
    }
}

struct Server {
    full: Router,
    overflow: Router,
    header_timeout: Duration,
    shutdown: CancellationToken,
}

impl Server {
    /// Serves one connection to its end.
    fn connection(&self, stream: TcpStream, overflow: bool) -> impl Future<Output = ()> + Send + use<> {
        let (router, header_timeout) = if overflow {
            (self.overflow.clone(), OVERFLOW_HEADER_TIMEOUT.min(self.header_timeout))
        } else {
            (self.full.clone(), self.header_timeout)
        };
        let shutdown = self.shutdown.clone();
        async move {
            // Without it small answers wait for the client's acknowledgements; no harm if it is refused.
            let _ = stream.set_nodelay(true);
            let io = TokioIo::new(StallGuard::new(stream, WRITE_STALL_MAX));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_header_size(HEADER_BYTES_MAX)
                .max_buf_size(BUFFER_BYTES_MAX)
                .keep_alive(!overflow)
                .serve_connection(io, TowerToHyperService::new(router));
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                // Clients that vanish, stall or send garbage: their business.
                tracing::debug!(%error, "debug connection ended early");
            }
        }
    }
}

/// Opens the endpoint's port.
///
/// # Errors
/// With the address, the reason and the remedy.
pub(crate) async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or set `debug.listen` to another port (port 0 takes a free one)"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: set `debug.listen` to a higher port",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address: correct `debug.listen`",
            _ => "correct `debug.listen`",
        };
        format!("the debug endpoint cannot listen on {address}: {error}; {remedy}")
    })
}
