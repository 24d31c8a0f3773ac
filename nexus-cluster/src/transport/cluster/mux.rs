//! One stream, three channels.
//!
//! - Channel 0: ractor_cluster's own bytes, through a bounded pipe. The control lane is in it.
//! - Channel 1: frames of the data lane, whole.
//! - Channel 2: the carrier's own words: alive, ready, handled, closing.
//!
//! The writer sends channel 2 before channel 0 before channel 1 and writes at most [`BATCH_BYTES`] or one frame of channel 1 before it
//! looks at the others again. Nothing of either lane is sent before both ends have said *ready*, which an end says when its ractor_cluster
//! session is ready and its line exists; a data frame that comes earlier ends the connection.
//!
//! ractor's queues have no bound, so the control lane has a window: the peer's gateway counts what it has handled, and no more than the
//! window is ever between a line and the gateway.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use nexus_actors::scheduler::requeue;
use ractor::ActorRef;
use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::config::{Limits, Timing};
use super::core::ConnId;
use super::outer::{Channel, PIECE_BYTES_MAX, Word, header, next, put};
use super::session::ControlFrame;
use crate::transport::{CloseReason, Connection, Lane, Line, Outgoing};

/// Small frames are written together up to about so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// A frame from so many bytes on is written from where it lies.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// Bytes that are read at once: some frames, so that little of what is read is the beginning of one that is copied for its end.
const READ_BYTES: usize = 256 * 1024;

/// Woken so soon after it has written, the writer expects more of the same.
const BURST: Duration = Duration::from_micros(20);

/// How long the last word may take before the stream is cut.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The pipe to ractor_cluster holds so many bytes each way.
pub(super) const PIPE_BYTES: usize = PIECE_BYTES_MAX;

/// What an end has once it is ready.
pub(super) struct Ours {
    pub(super) line: Arc<dyn Line>,
    /// The proxy of the peer's gateway.
    pub(super) gateway: ActorRef<ControlFrame>,
    pub(super) connection: Connection,
    pub(super) dialed: bool,
}

/// What the tasks and actors of one connection share.
pub(super) struct Conn {
    pub(super) id: ConnId,
    /// Why it is to end.
    closing: watch::Sender<Option<CloseReason>>,
    /// Wakes the writer.
    pulse: Notify,
    /// Set when our end is ready.
    ours: OnceLock<Ours>,
    peer_ready: AtomicBool,
    /// Control messages that our gateway has handled.
    handled: AtomicU64,
    /// Control messages that the peer's gateway has handled.
    acknowledged: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

impl Conn {
    pub(super) fn new(id: ConnId) -> Self {
        Self {
            id,
            closing: watch::Sender::new(None),
            pulse: Notify::new(),
            ours: OnceLock::new(),
            peer_ready: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    /// Ends it with `reason`, unless it is ending already.
    pub(super) fn close(&self, reason: CloseReason) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            closing.get_or_insert(reason);
            first
        });
    }

    /// Until it is to end.
    pub(super) async fn closing(&self) -> CloseReason {
        let mut closing = self.closing.subscribe();
        let reason = closing.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or(CloseReason::Replaced)
    }

    /// Our end is ready.
    pub(super) fn ready(&self, ours: Ours) {
        _ = self.ours.set(ours);
        self.pulse.notify_one();
    }

    /// The line, from ready on.
    pub(super) fn line(&self) -> Option<&Arc<dyn Line>> {
        self.ours.get().map(|ours| &ours.line)
    }

    /// What our end has, from ready on.
    pub(super) fn ours(&self) -> Option<&Ours> {
        self.ours.get()
    }

    /// Both ends are ready.
    pub(super) fn is_open(&self) -> bool {
        self.ours.get().is_some() && self.peer_ready.load(Ordering::Acquire)
    }

    /// A message of the control lane has come, through the gateway.
    pub(super) fn control(&self, bytes: Bytes) {
        if let Some(line) = self.line()
            && let Err(reason) = line.arrived(Lane::Control, bytes)
        {
            self.close(reason);
        }
        self.handled.fetch_add(1, Ordering::Release);
        self.pulse.notify_one();
    }
}

/// Carries both ways until the connection ends, and says why it did. `pipe` is our end of ractor_cluster's bytes.
pub(super) async fn run(
    stream: (BoxRead, BoxWrite),
    pipe: DuplexStream,
    conn: &Conn,
    limits: &Limits,
    timing: &Timing,
) -> CloseReason {
    let (from_session, to_session) = tokio::io::split(pipe);
    let mut writer = Writer {
        stream: stream.1,
        session: from_session,
        conn,
        limits,
        out: BytesMut::with_capacity(2 * BATCH_BYTES),
        piece: BytesMut::with_capacity(PIPE_BYTES),
        ready_said: false,
        handled_said: 0,
        window: Window::default(),
    };
    let mut write = pin!(writer.run(timing.heartbeat));
    let mut read = pin!(read(stream.0, to_session, conn, limits, timing.idle));
    let cut = async {
        let reason = conn.closing().await;
        sleep(LAST_WORD).await;
        reason
    };
    let overdue = async {
        sleep(timing.handshake).await;
        while conn.is_open() {
            std::future::pending::<()>().await;
        }
        CloseReason::Lost(format!("not ready after {:?}", timing.handshake))
    };
    tokio::select! {
        biased;
        reason = &mut write => reason,
        // A last word that has come explains why writing fails.
        reason = &mut read => reason,
        reason = cut => reason,
        reason = overdue => reason,
    }
}

/// Control messages on their way to the peer's gateway.
#[derive(Default)]
struct Window {
    lengths: VecDeque<usize>,
    bytes: usize,
    sent: u64,
}

impl Window {
    fn settle(&mut self, acknowledged: u64) -> Result<(), CloseReason> {
        if acknowledged > self.sent {
            let why = format!("{acknowledged} control messages handled, {} were sent", self.sent);
            return Err(CloseReason::Malformed(why));
        }
        while (self.lengths.len() as u64) > self.sent - acknowledged {
            self.bytes -= self.lengths.pop_front().unwrap_or_default();
        }
        Ok(())
    }

    fn is_open(&self, limits: &Limits) -> bool {
        (self.lengths.len() as u64) < limits.control_messages_max && self.bytes < limits.control_bytes_max
    }

    fn add(&mut self, length: usize) {
        self.lengths.push_back(length);
        self.bytes += length;
        self.sent += 1;
    }
}

struct Writer<'a> {
    stream: BoxWrite,
    session: ReadHalf<DuplexStream>,
    conn: &'a Conn,
    limits: &'a Limits,
    /// What is written next.
    out: BytesMut,
    /// A piece of channel 0.
    piece: BytesMut,
    ready_said: bool,
    handled_said: u64,
    window: Window,
}

impl Writer<'_> {
    async fn run(&mut self, heartbeat: Duration) -> CloseReason {
        let mut beat = interval(heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut quiet, mut written) = (false, Instant::now());
        loop {
            match self.turn().await {
                Err(reason) => return reason,
                Ok(true) => {
                    (quiet, written) = (false, Instant::now());
                    // The runtime's other tasks have their turn even if the socket takes everything at once.
                    requeue().await;
                    continue;
                }
                Ok(false) => {}
            }
            let work = self.line().filter(|_| self.window.is_open(self.limits));
            let more = async {
                match work {
                    Some(line) => line.work().notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.conn.closing() => {}
                () = self.conn.pulse.notified() => {}
                read = self.session.read_buf(&mut self.piece) => match read {
                    Ok(0) | Err(_) => return CloseReason::Lost("the session ended".into()),
                    Ok(_) => self.put_piece(),
                },
                () = more => {
                    // Whoever else is about to send does so first: then it goes in one piece. One who asks and waits is not kept waiting.
                    if written.elapsed() < BURST {
                        requeue().await;
                    }
                }
                _ = beat.tick() => {
                    if quiet {
                        Word::Alive.put(&mut self.out);
                    }
                    quiet = true;
                }
            }
        }
    }

    fn line(&self) -> Option<Arc<dyn Line>> {
        self.conn.line().filter(|_| self.conn.is_open()).cloned()
    }

    /// Writes what there is, in the order of the channels. False if there was nothing.
    async fn turn(&mut self) -> Result<bool, CloseReason> {
        if let Some(reason) = self.conn.closing().now_or_never() {
            Word::Closing(reason.clone()).put(&mut self.out);
            self.write(None).await?;
            _ = self.stream.shutdown().await;
            return Err(reason);
        }
        self.put_words()?;
        while self.out.len() < BATCH_BYTES {
            match self.session.read_buf(&mut self.piece).now_or_never() {
                None => break,
                Some(Ok(0) | Err(_)) => return Err(CloseReason::Lost("the session ended".into())),
                Some(Ok(_)) => self.put_piece(),
            }
        }
        let large = self.put_lanes()?;
        if self.out.is_empty() {
            return Ok(false);
        }
        self.write(large).await?;
        Ok(true)
    }

    fn put_words(&mut self) -> Result<(), CloseReason> {
        self.window.settle(self.conn.acknowledged.load(Ordering::Acquire))?;
        if !self.ready_said && self.conn.line().is_some() {
            self.ready_said = true;
            Word::Ready.put(&mut self.out);
        }
        let handled = self.conn.handled.load(Ordering::Acquire);
        if handled > self.handled_said {
            self.handled_said = handled;
            Word::Handled(handled).put(&mut self.out);
        }
        Ok(())
    }

    fn put_piece(&mut self) {
        put(&mut self.out, Channel::Session, &self.piece);
        self.piece.clear();
    }

    /// Takes from the line: messages of the control lane go to the peer's gateway, frames into the batch. A large frame ends the batch and
    /// is given back, its header written.
    fn put_lanes(&mut self) -> Result<Option<Bytes>, CloseReason> {
        let Some(line) = self.line() else { return Ok(None) };
        let Some(Ours { gateway, connection, .. }) = self.conn.ours.get() else { return Ok(None) };
        while self.out.len() < BATCH_BYTES && self.window.is_open(self.limits) {
            match line.take() {
                None => break,
                Some(Outgoing::Control(bytes)) => {
                    check(bytes.len(), self.limits.control_bytes_max, "control message")?;
                    self.window.add(bytes.len());
                    let lost = |_| CloseReason::Lost("the session ended".into());
                    gateway.cast(ControlFrame { epoch: connection.epoch, bytes }).map_err(lost)?;
                }
                Some(Outgoing::Data([head, body])) => {
                    let length = head.len() + body.len();
                    check(length, self.limits.frame_bytes_max, "frame")?;
                    self.out.put_u32(header(Channel::Data, length));
                    self.out.put_slice(&head);
                    if body.len() >= COPY_BYTES_MAX {
                        return Ok(Some(body));
                    }
                    self.out.put_slice(&body);
                }
            }
        }
        Ok(None)
    }

    async fn write(&mut self, large: Option<Bytes>) -> Result<(), CloseReason> {
        let lost = |error: std::io::Error| CloseReason::Lost(error.to_string());
        let length = self.out.len() + large.as_ref().map_or(0, Bytes::len);
        let mut bytes = (&mut self.out).chain(large.unwrap_or_default());
        self.stream.write_all_buf(&mut bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        self.out.clear();
        self.conn.sent_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// What the line gives must fit; else the peer would end the connection.
fn check(bytes: usize, max: usize, what: &str) -> Result<(), CloseReason> {
    let why = || CloseReason::Malformed(format!("our own {what} of {bytes} bytes, {max} are allowed"));
    if bytes > max { Err(why()) } else { Ok(()) }
}

async fn read(
    mut stream: BoxRead,
    mut session: WriteHalf<DuplexStream>,
    conn: &Conn,
    limits: &Limits,
    idle: Duration,
) -> CloseReason {
    let mut buffer = BytesMut::with_capacity(2 * READ_BYTES);
    loop {
        loop {
            let (channel, bytes) = match next(&mut buffer, limits) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(reason) => return reason,
            };
            let done = match channel {
                Channel::Session => {
                    let lost = |_| CloseReason::Lost("the session ended".into());
                    session.write_all(&bytes).await.map_err(lost)
                }
                Channel::Data => match conn.line() {
                    Some(line) => line.arrived(Lane::Data, bytes),
                    None => Err(CloseReason::Malformed("a frame before we were ready".into())),
                },
                Channel::Own => hear(bytes, conn),
            };
            if let Err(reason) = done {
                return reason;
            }
        }
        // Room grows with the bytes that come, not with what a header announces.
        buffer.reserve(READ_BYTES);
        match timeout(idle, stream.read_buf(&mut buffer)).await {
            Err(_) => return CloseReason::Idle,
            Ok(Err(error)) => return CloseReason::Lost(error.to_string()),
            Ok(Ok(0)) if buffer.is_empty() => return CloseReason::Lost("the stream ended".into()),
            Ok(Ok(0)) => return CloseReason::Lost("the stream was cut short".into()),
            Ok(Ok(count)) => _ = conn.received_bytes.fetch_add(count as u64, Ordering::Relaxed),
        }
    }
}

fn hear(bytes: Bytes, conn: &Conn) -> Result<(), CloseReason> {
    match Word::get(bytes)? {
        Word::Alive => {}
        Word::Ready => {
            conn.peer_ready.store(true, Ordering::Release);
            conn.pulse.notify_one();
        }
        Word::Handled(count) => {
            conn.acknowledged.fetch_max(count, Ordering::AcqRel);
            conn.pulse.notify_one();
        }
        Word::Closing(reason) => return Err(reason),
    }
    Ok(())
}
