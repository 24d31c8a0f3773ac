//! One connection: a task that carries out what its core decides.
//!
//! Small by construction, since there are many: tungstenite's read buffer has 1 KiB instead of its default of 128, its write
//! buffer is made on the first write and, because long messages are written in fragments, never gets long. What only busy
//! connections need (asks, subscriptions, the queue) takes memory only while they are busy.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{Sink, SinkExt, Stream, StreamExt};
use nexus_actors::AgentError;
use nexus_actors::agent::Reply;
use nexus_client::protocol::{CloseReason, Encoding, Operation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{self, CloseFrame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::core::{Core, Effect, Input, Order, Ticket};
use super::hub::{Hubs, News};
use super::protocol::{Frame, request};
use super::state::{ClientRecord, Clients};

/// What is read at once, and kept for reading.
const READ_BYTES: usize = 1024;
/// Small messages are written together up to this size; longer ones in fragments of it.
const WRITE_BYTES: usize = 4096;
/// The most that may be handed to tungstenite and not be written yet. Not reached: it is asked before each fragment.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// With so many messages waiting to be written, none is read: whoever asks must read the answers.
const READ_PAUSE_MESSAGES: usize = 16;
/// How long the farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

type Asking = Pin<Box<dyn Future<Output = (Ticket, Reply)> + Send>>;

/// A group that is listened to.
struct Listening {
    group: Arc<str>,
    encoding: Encoding,
    news: BoxStream<'static, News>,
}

struct Connection {
    socket: WebSocketStream<TcpStream>,
    core: Core,
    clients: Clients,
    hubs: Arc<Hubs>,
    record: Arc<ClientRecord>,
    /// Messages to write, in order.
    queue: VecDeque<Frame>,
    /// Bytes of the queue's head that are written already.
    written: usize,
    /// Whether nothing lies in tungstenite's buffer.
    flushed: bool,
    /// Asks in flight; `None` without.
    asks: Option<Box<FuturesUnordered<Asking>>>,
    listening: Vec<Listening>,
    /// Whether reading comes first this time. Alternates, so that neither a client nor a group takes every turn.
    read_first: bool,
}

/// Serves a connection whose handshake is done to its end. `rest` came behind the handshake.
pub(super) async fn run(
    stream: TcpStream,
    rest: Vec<u8>,
    peer: SocketAddr,
    clients: Clients,
    hubs: Arc<Hubs>,
    shutdown: CancellationToken,
) {
    let most = clients.config().message_bytes as usize;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await;
    let (id, record) = clients.came(peer);
    let gone = Gone { id, clients: clients.clone(), record: record.clone(), reason: CloseReason::Client };
    let core = Core::new(clients.rules().clone(), clients.node().clock().now());
    let connection = Connection {
        socket,
        core,
        clients,
        hubs,
        record,
        queue: VecDeque::new(),
        written: 0,
        flushed: true,
        asks: None,
        listening: Vec::new(),
        read_first: true,
    };
    connection.serve(shutdown, gone).await;
}

/// Takes the client off the list when it is dropped, also by a panic.
struct Gone {
    id: u64,
    clients: Clients,
    record: Arc<ClientRecord>,
    reason: CloseReason,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.clients.went(self.id, &self.record, self.reason);
    }
}

impl Connection {
    async fn serve(mut self, shutdown: CancellationToken, mut gone: Gone) {
        {
            let mut stopping = pin!(shutdown.cancelled());
            let mut timer = pin!(sleep_until(self.due()));
            loop {
                let input = poll_fn(|cx| self.poll_input(cx, timer.as_mut(), stopping.as_mut())).await;
                if let Some(reason) = self.take(input) {
                    gone.reason = reason;
                    break;
                }
                // A deadline that has moved away is found when the timer fires: most move with every message.
                let due = self.due();
                if timer.is_elapsed() || due < timer.deadline() {
                    timer.as_mut().reset(due);
                }
            }
        }
        let reason = gone.reason;
        // What waited for it is let go before the farewell, and it counts as gone.
        drop(gone);
        Box::pin(farewell(self.into_socket(), reason)).await;
    }

    fn into_socket(self) -> WebSocketStream<TcpStream> {
        self.socket
    }

    fn due(&self) -> Instant {
        let now = self.clients.node().clock().now();
        Instant::now() + self.core.deadline().since(now)
    }

    /// Hands what happened to the core and does what it says; `Some` when the connection is over.
    fn take(&mut self, input: Input) -> Option<CloseReason> {
        if let Input::Missed(_, _, count) = &input {
            self.clients.count_missed(&self.record, *count);
        }
        let now = self.clients.node().clock().now();
        for effect in self.core.step(now, input) {
            let follows = match effect {
                Effect::Send(frame) => {
                    self.queue.push_back(frame);
                    None
                }
                Effect::Ping => {
                    self.ping();
                    None
                }
                Effect::Ask(ticket, order, timeout) => {
                    self.ask(ticket, &order, timeout);
                    None
                }
                Effect::Tell(ticket, order) => Some(Input::Told(ticket, self.tell(&order))),
                Effect::Listen(ticket, group) => {
                    let heard = self.listen(ticket.encoding, &group);
                    Some(Input::Listening(ticket, group, heard))
                }
                Effect::Leave(group) => {
                    self.listening.retain(|listening| listening.group != group);
                    None
                }
                Effect::CountRateLimited => {
                    self.clients.count_rate_limited(&self.record);
                    None
                }
                Effect::Close(reason) => return Some(reason),
            };
            // At most one deep: what follows sends or does nothing.
            if let Some(reason) = follows.and_then(|input| self.take(input)) {
                return Some(reason);
            }
        }
        let (asks, groups) = self.core.overview();
        self.record.asks.store(asks, Ordering::Relaxed);
        self.record.subscriptions.store(u32::try_from(groups).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.record.queued.store(u32::try_from(self.core.queued()).unwrap_or(u32::MAX), Ordering::Relaxed);
        None
    }

    // ---- effects ----

    fn ping(&mut self) {
        self.flushed = false;
        // Fails when the connection has, which reading finds out.
        let _ = Pin::new(&mut self.socket).start_send(Message::Ping(bytes::Bytes::new()));
    }

    fn ask(&mut self, ticket: Ticket, order: &Order, timeout: Duration) {
        let asking: Asking = match self.check_there(order) {
            Ok(()) => {
                let mut request = request(order.operation, &order.key, &order.payload);
                if order.at_least_once {
                    request = request.at_least_once();
                }
                let asking = self.clients.node().ask(order.to.as_str(), request, timeout);
                Box::pin(async move { (ticket, asking.await) })
            }
            Err(error) => Box::pin(std::future::ready((ticket, Err(error)))),
        };
        self.asks.get_or_insert_default().push(asking);
    }

    fn tell(&self, order: &Order) -> Result<(), AgentError> {
        self.check_there(order)?;
        let request = request(order.operation, &order.key, &order.payload);
        self.clients.node().send(order.to.as_str(), request)
    }

    /// A query only looks: it brings no member of a family to life.
    fn check_there(&self, order: &Order) -> Result<(), AgentError> {
        if order.operation == Operation::Query && self.clients.node().agent(order.to.as_str()).is_none() {
            return Err(AgentError::UnknownAgent { name: order.to.clone() });
        }
        Ok(())
    }

    fn listen(&mut self, encoding: Encoding, group: &Arc<str>) -> Result<(), AgentError> {
        let receiver = self.hubs.listen(group)?;
        let news = stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(news) => Some((news, receiver)),
                Err(RecvError::Lagged(count)) => Some((News::Missed(count), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        self.listening.push(Listening { group: group.clone(), encoding, news: news.boxed() });
        Ok(())
    }

    // ---- inputs ----

    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Input> {
        if stopping.poll(cx).is_ready() {
            return Poll::Ready(Input::Ended(CloseReason::Stopping));
        }
        if let Poll::Ready(input) = self.poll_write(cx) {
            return Poll::Ready(input);
        }
        if timer.poll(cx).is_ready() {
            return Poll::Ready(Input::Tick);
        }
        self.read_first = !self.read_first;
        if self.read_first
            && let Poll::Ready(input) = self.poll_read(cx)
        {
            return Poll::Ready(input);
        }
        if let Poll::Ready(input) = self.poll_answers(cx) {
            return Poll::Ready(input);
        }
        if let Poll::Ready(input) = self.poll_news(cx) {
            return Poll::Ready(input);
        }
        if self.read_first { Poll::Pending } else { self.poll_read(cx) }
    }

    /// Writes until the queue is empty or the socket full.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let mut socket = Pin::new(&mut self.socket);
        while let Some(head) = self.queue.front() {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Input::Ended(CloseReason::Client)),
                Poll::Pending => return Poll::Pending,
            }
            let (length, start) = (head.bytes.len(), self.written);
            let end = length.min(start + WRITE_BYTES);
            let kind = match (start, head.encoding) {
                (0, Encoding::Json) => Data::Text,
                (0, Encoding::MessagePack) => Data::Binary,
                _ => Data::Continue,
            };
            let part = frame::Frame::message(head.bytes.slice(start..end), OpCode::Data(kind), end == length);
            if socket.as_mut().start_send(Message::Frame(part)).is_err() {
                return Poll::Ready(Input::Ended(CloseReason::Client));
            }
            self.flushed = false;
            self.written = end;
            if end == length {
                self.written = 0;
                self.queue.pop_front();
                if self.queue.is_empty() {
                    self.queue = VecDeque::new();
                }
                self.clients.count_sent(&self.record);
                return Poll::Ready(Input::Written(length));
            }
        }
        if !self.flushed {
            match socket.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Input::Ended(CloseReason::Client)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if self.queue.len() >= READ_PAUSE_MESSAGES {
            // Woken again by writing.
            return Poll::Pending;
        }
        let Poll::Ready(read) = Pin::new(&mut self.socket).poll_next(cx) else { return Poll::Pending };
        Poll::Ready(match read {
            Some(Ok(Message::Text(text))) => {
                self.clients.count_received(&self.record);
                Input::Message(Encoding::Json, text.into())
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.clients.count_received(&self.record);
                Input::Message(Encoding::MessagePack, bytes)
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // The answer to a ping lies in tungstenite's buffer.
                self.flushed = false;
                Input::Control
            }
            Some(Ok(Message::Close(_))) | None => Input::Ended(CloseReason::Client),
            Some(Err(Error::Capacity(_))) => Input::Ended(CloseReason::TooLong),
            Some(Err(Error::Utf8(_))) => Input::Ended(CloseReason::Text),
            Some(Err(Error::Protocol(error))) => Input::Ended(match error {
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake => {
                    CloseReason::Client
                }
                _ => CloseReason::Protocol,
            }),
            Some(Err(_)) => Input::Ended(CloseReason::Client),
        })
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let Some(asks) = &mut self.asks else { return Poll::Pending };
        match asks.poll_next_unpin(cx) {
            Poll::Ready(Some((ticket, reply))) => Poll::Ready(Input::Answered(ticket, reply)),
            Poll::Ready(None) => {
                self.asks = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let mut over = None;
        for (at, listening) in self.listening.iter_mut().enumerate() {
            match listening.news.poll_next_unpin(cx) {
                Poll::Ready(Some(news)) => {
                    let (group, encoding) = (listening.group.clone(), listening.encoding);
                    // The next time another group comes first.
                    self.listening.rotate_left(1);
                    return Poll::Ready(match news {
                        News::Missed(count) => Input::Missed(group, encoding, count),
                        News::Posted(posting) => match posting.frame(encoding) {
                            Some(frame) => Input::Published(frame),
                            None => Input::Missed(group, encoding, 1),
                        },
                    });
                }
                Poll::Ready(None) => over = Some(at),
                Poll::Pending => {}
            }
        }
        // Only when the endpoint stops.
        if let Some(at) = over {
            self.listening.remove(at);
        }
        Poll::Pending
    }
}

/// Says why, and gives the client a moment to hear it. One that does not is reset, so that the system's memory is free at once.
async fn farewell(mut socket: WebSocketStream<TcpStream>, reason: CloseReason) {
    let saying = async {
        if reason == CloseReason::Client {
            // Its own close is answered, if it said one.
            let _ = socket.flush().await;
            return;
        }
        let code = CloseCode::from(reason.code());
        let frame = CloseFrame { code, reason: reason.text().into() };
        if socket.close(Some(frame)).await.is_ok() && socket.get_mut().shutdown().await.is_ok() {
            // Closing with unread bytes would take the farewell back.
            let mut rest = Vec::with_capacity(1024);
            while let Ok(1..) = socket.get_mut().read_buf(&mut rest).await {
                rest.clear();
            }
        }
    };
    if tokio::time::timeout(CLOSE_MAX, saying).await.is_err() {
        // Closed the slow way if that is refused.
        let _ = socket.get_ref().set_zero_linger();
    }
}
