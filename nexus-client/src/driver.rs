//! The task behind a client: owns the connection, and opens it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::client::Command;
use crate::error::ClientError;
use crate::options::Options;
use crate::protocol::{ClientMessage, CloseReason, Encoding, Payload, ServerMessage, decode, encode};
use crate::subscription::{Groups, Heard, Published};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Reply = oneshot::Sender<Result<Payload, ClientError>>;

/// How long opening a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What is read at once: a client is one of many in its process, too.
const BUFFER_BYTES: usize = 4096;

/// Opens a connection.
pub(crate) async fn open(options: &Options) -> Result<Socket, ClientError> {
    let failed = |reason: String| ClientError::Connect { url: options.url.clone(), reason };
    let mut request =
        options.url.as_str().into_client_request().map_err(|error| failed(error.to_string()))?;
    if let Some(token) = &options.token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value =
            value.map_err(|_| failed("the token has characters that no header can carry".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    match tokio::time::timeout(CONNECT_MAX, connect_async_with_config(request, Some(config), true)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => {
            let said = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Err(failed(format!("{} {said}", response.status())))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", CONNECT_MAX.as_secs()))),
    }
}

/// Who waits for an answer, by number.
#[derive(Default)]
struct Pending(Mutex<HashMap<u64, Waiting>>);

enum Waiting {
    Caller(Reply),
    /// A group that was subscribed to again: if the node refuses, its readers must know.
    Group(String),
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_all(&self, reason: Option<CloseReason>) {
        for (_, waiting) in self.lock().drain() {
            if let Waiting::Caller(reply) = waiting {
                // Fails when nobody waits any more.
                let _ = reply.send(Err(ClientError::Disconnected { reason }));
            }
        }
    }
}

/// Until the last client is dropped.
pub(crate) async fn run(
    options: Options,
    first: Socket,
    mut commands: mpsc::Receiver<Command>,
    groups: Groups,
    next_id: Arc<AtomicU64>,
) {
    let mut socket = first;
    let mut again = false;
    loop {
        let pending = Pending::default();
        let (sink, stream) = socket.split();
        let subscribing = if again { groups.names() } else { Vec::new() };
        // Each goes on while the other waits: a client that only wrote would never read the answers that the node waits to
        // write.
        let ended = tokio::select! {
            biased;
            reason = read(stream, &options, &pending, &groups) => Some(reason),
            over = write(sink, &options, &pending, &mut commands, subscribing, &next_id) => match over {
                Over::Unused => None,
                Over::Lost => Some(None),
            },
        };
        let Some(reason) = ended else { return };
        pending.fail_all(reason);
        let Some(opened) = reopen(&options, &mut commands).await else { return };
        socket = opened;
        again = true;
        for group in groups.names() {
            groups.hear(&group, &Heard::Reconnected);
        }
    }
}

/// Hears the node until the connection is lost; why, if it says so.
async fn read(
    mut stream: impl Stream<Item = Result<Message, Error>> + Unpin,
    options: &Options,
    pending: &Pending,
    groups: &Groups,
) -> Option<CloseReason> {
    let mut silent = false;
    loop {
        let message = match tokio::time::timeout(options.ping_interval, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) => return None,
            // A ping is on its way.
            Err(_) if !silent => {
                silent = true;
                continue;
            }
            Err(_) => return None,
        };
        silent = false;
        let said = match &message {
            Message::Text(text) => decode(Encoding::Json, text.as_bytes()),
            Message::Binary(bytes) => decode(Encoding::MessagePack, bytes),
            Message::Close(frame) => {
                return frame.as_ref().and_then(|frame| CloseReason::from_code(frame.code.into()));
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        // A later node may say more than this client knows.
        if let Ok(said) = said {
            dispatch(said, pending, groups);
        }
    }
}

fn dispatch(said: ServerMessage, pending: &Pending, groups: &Groups) {
    let answer = |id: u64, result: Result<Payload, ClientError>| match pending.lock().remove(&id) {
        Some(Waiting::Caller(reply)) => {
            // Fails when nobody waits any more.
            let _ = reply.send(result);
        }
        Some(Waiting::Group(group)) if result.is_err() => groups.forget(&group),
        _ => {}
    };
    match said {
        ServerMessage::Answer { id, value } => answer(id, Ok(value)),
        ServerMessage::Done { id } => answer(id, Ok(Payload::EMPTY)),
        ServerMessage::Error { id: Some(id), code, message, retry_after_ms } => {
            answer(id, Err(ClientError::Refused { code, message, retry_after_ms }));
        }
        // Everything sent here has a number.
        ServerMessage::Error { id: None, .. } => {}
        ServerMessage::Published { group, operation, key, payload } => {
            groups.hear(&group, &Heard::Published(Published { operation, key, payload }));
        }
        ServerMessage::Missed { group, count } => groups.hear(&group, &Heard::Missed(count)),
    }
}

/// Why writing ended.
enum Over {
    /// Nobody has the client any more.
    Unused,
    Lost,
}

/// Writes what callers send, and pings, until the connection is lost or nobody calls any more.
async fn write(
    mut sink: impl Sink<Message, Error = Error> + Unpin,
    options: &Options,
    pending: &Pending,
    commands: &mut mpsc::Receiver<Command>,
    subscribing: Vec<String>,
    next_id: &AtomicU64,
) -> Over {
    for group in subscribing {
        let id = next_id.fetch_add(1, Ordering::Relaxed);
        pending.lock().insert(id, Waiting::Group(group.clone()));
        let Ok(frame) = frame(options.encoding, &ClientMessage::Subscribe { id, group }) else { continue };
        if sink.send(frame).await.is_err() {
            return Over::Lost;
        }
    }
    let mut ping = tokio::time::interval(options.ping_interval);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let command = tokio::select! {
            biased;
            _ = ping.tick() => None,
            command = commands.recv() => match command {
                Some(command) => Some(command),
                None => {
                    // The node need not hear it.
                    let _ = sink.close().await;
                    return Over::Unused;
                }
            },
        };
        let message = match command {
            None => Message::Ping(bytes::Bytes::new()),
            Some(Command { message, reply }) => match (frame(options.encoding, &message), reply) {
                (Ok(frame), Some(reply)) => {
                    let id = message.id().unwrap_or_default();
                    pending.lock().insert(id, Waiting::Caller(reply));
                    frame
                }
                (Ok(frame), None) => frame,
                (Err(error), reply) => {
                    if let Some(reply) = reply {
                        // Fails when nobody waits any more.
                        let _ = reply.send(Err(error));
                    }
                    continue;
                }
            },
        };
        if sink.send(message).await.is_err() {
            return Over::Lost;
        }
    }
}

fn frame(encoding: Encoding, message: &ClientMessage) -> Result<Message, ClientError> {
    let bytes = encode(encoding, message)?;
    Ok(match encoding {
        // JSON is UTF-8.
        Encoding::Json => Message::Text(Utf8Bytes::try_from(bytes).unwrap_or_default()),
        Encoding::MessagePack => Message::Binary(bytes),
    })
}

/// Tries until a connection is open; callers are told meanwhile that there is none. `None` when nobody has the client any more.
async fn reopen(options: &Options, commands: &mut mpsc::Receiver<Command>) -> Option<Socket> {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(options.retry_min)
        .with_max_delay(options.retry_max)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let pause = pauses.next().unwrap_or(options.retry_max);
        let mut trying = std::pin::pin!(async {
            tokio::time::sleep(pause).await;
            open(options).await
        });
        loop {
            tokio::select! {
                biased;
                opened = trying.as_mut() => match opened {
                    Ok(socket) => return Some(socket),
                    Err(_) => break,
                },
                command = commands.recv() => {
                    if let Some(reply) = command?.reply {
                        // Fails when nobody waits any more.
                        let _ = reply.send(Err(ClientError::Disconnected { reason: None }));
                    }
                }
            }
        }
    }
}
