//! An exchange that records, nodes on loopback, and a proxy that cuts.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::rng::Seed;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval};

use super::*;
use crate::transport::{Connection, Exchange, Lane, Line, Outgoing};

/// How long a condition may take to hold on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds`.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut look = interval(Duration::from_millis(1));
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
        look.tick().await;
    }
}

/// A line with queues that the test fills.
pub(super) struct TestLine {
    pub(super) connection: Connection,
    control: Mutex<VecDeque<Bytes>>,
    data: Mutex<VecDeque<Bytes>>,
    /// While set there is always another frame of 64 KiB.
    pub(super) flood: AtomicBool,
    work: Notify,
    pub(super) heard: Mutex<Heard>,
    pub(super) data_bytes: AtomicU64,
    pub(super) closed: Mutex<Vec<CloseReason>>,
}

#[derive(Default)]
pub(super) struct Heard {
    pub(super) control: Vec<Bytes>,
    pub(super) data: Vec<Bytes>,
}

impl TestLine {
    pub(super) fn send(&self, lane: Lane, bytes: impl Into<Bytes>) {
        let queue = if lane == Lane::Control { &self.control } else { &self.data };
        queue.lock().push_back(bytes.into());
        self.work.notify_one();
    }

    /// Control messages that the carrier has not taken.
    pub(super) fn control_left(&self) -> usize {
        self.control.lock().len()
    }

    pub(super) fn set_flood(&self, on: bool) {
        self.flood.store(on, Ordering::SeqCst);
        self.work.notify_one();
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.lock().is_empty()
    }

    pub(super) fn heard_count(&self) -> usize {
        let heard = self.heard.lock();
        heard.control.len() + heard.data.len()
    }
}

static FLOOD: [u8; 65_536] = [7; 65_536];

impl Line for TestLine {
    fn take(&self) -> Option<Outgoing> {
        if let Some(bytes) = self.control.lock().pop_front() {
            return Some(Outgoing::Control(bytes));
        }
        if let Some(bytes) = self.data.lock().pop_front() {
            return Some(Outgoing::Data([Bytes::new(), bytes]));
        }
        self.flood.load(Ordering::SeqCst).then(|| Outgoing::Data([Bytes::new(), Bytes::from_static(&FLOOD)]))
    }

    fn work(&self) -> &Notify {
        &self.work
    }

    fn arrived(&self, lane: Lane, bytes: Bytes) -> Result<(), CloseReason> {
        if bytes == b"bad"[..] {
            return Err(CloseReason::Malformed("bad".into()));
        }
        let mut heard = self.heard.lock();
        match lane {
            Lane::Control => heard.control.push(bytes),
            Lane::Data if bytes.len() == FLOOD.len() => {
                self.data_bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
            Lane::Data => heard.data.push(bytes),
        }
        Ok(())
    }

    fn closed(&self, reason: CloseReason) {
        self.closed.lock().push(reason);
    }
}

#[derive(Default)]
pub(super) struct TestExchange {
    pub(super) lines: Mutex<Vec<Arc<TestLine>>>,
}

impl Exchange for TestExchange {
    fn connected(&self, connection: Connection) -> Arc<dyn Line> {
        let line = Arc::new(TestLine {
            connection,
            control: Mutex::default(),
            data: Mutex::default(),
            flood: AtomicBool::new(false),
            work: Notify::new(),
            heard: Mutex::default(),
            data_bytes: AtomicU64::new(0),
            closed: Mutex::default(),
        });
        self.lines.lock().push(line.clone());
        line
    }
}

/// A running node.
pub(super) struct TestNode {
    pub(super) carrier: ClusterCarrier,
    pub(super) exchange: Arc<TestExchange>,
}

/// A configuration with times for tests.
pub(super) fn config(name: &str) -> ClusterConfig {
    let node = NodeId { name: name.parse().unwrap(), incarnation: 1 };
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = ClusterConfig::new(node, "test", Cookie::new("0123456789abcdef"), listen);
    config.timing.heartbeat = Duration::from_millis(200);
    config.timing.idle = Duration::from_secs(2);
    config.timing.redial_min = Duration::from_millis(10);
    config.timing.redial_max = Duration::from_millis(100);
    config
}

impl TestNode {
    pub(super) async fn start(config: ClusterConfig) -> Self {
        let exchange = Arc::new(TestExchange::default());
        let carrier = ClusterCarrier::new(config, Seed::new(7), exchange.clone()).unwrap();
        carrier.start().await.unwrap();
        Self { carrier, exchange }
    }

    pub(super) async fn named(name: &str) -> Self {
        Self::start(config(name)).await
    }

    pub(super) fn address(&self) -> String {
        self.carrier.listening().unwrap().to_string()
    }

    pub(super) fn keep(&self, other: &Self) {
        self.carrier.keep(&other.address());
    }

    /// The open line to `peer`, if there is exactly one.
    pub(super) fn open_line(&self, peer: &str) -> Option<Arc<TestLine>> {
        let lines = self.exchange.lines.lock();
        let mut open = lines.iter().filter(|l| l.is_open() && l.connection.peer.name.as_str() == peer);
        open.next().filter(|_| open.next().is_none()).cloned()
    }

    /// Waits for an open line to `peer`.
    pub(super) async fn line(&self, peer: &str) -> Arc<TestLine> {
        let mut line = None;
        until(&format!("a line to {peer}"), || {
            line = self.open_line(peer);
            line.is_some()
        })
        .await;
        line.unwrap()
    }

    pub(super) fn refused(&self) -> BTreeMap<Refusal, u64> {
        self.carrier.overview().handshakes.refused
    }

    pub(super) fn refused_by_peer(&self) -> BTreeMap<Refusal, u64> {
        self.carrier.overview().handshakes.refused_by_peer
    }

    pub(super) fn lines(&self) -> usize {
        self.exchange.lines.lock().len()
    }
}

/// The lines of both ends, with the same epoch.
pub(super) async fn pair(a: &TestNode, b: &TestNode) -> (Arc<TestLine>, Arc<TestLine>) {
    let name = |node: &TestNode| node.carrier.overview().node.name.to_string();
    let (a_name, b_name) = (name(a), name(b));
    let mut lines = None;
    until("both ends of one connection", || {
        lines = a.open_line(&b_name).zip(b.open_line(&a_name));
        lines.as_ref().is_some_and(|(one, other)| one.connection.epoch == other.connection.epoch)
    })
    .await;
    lines.unwrap()
}

/// What the proxy does with the streams that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Relay,
    /// Nothing passes; the sockets stay.
    Silent,
    /// The sockets close.
    Cut,
}

/// Relays to `to` and keeps what the dialers said.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) mode: watch::Sender<Mode>,
    pub(super) said: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    pub(super) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mode) = (listener.local_addr().unwrap(), watch::Sender::new(Mode::Relay));
        let said: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (modes, record) = (mode.subscribe(), said.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let index = record.lock().len();
                record.lock().push(Vec::new());
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(relay(near.0, far.1, modes.clone(), Some((record.clone(), index))));
                tokio::spawn(relay(far.0, near.1, modes.clone(), None));
            }
        });
        Self { address, mode, said }
    }
}

type Record = Option<(Arc<Mutex<Vec<Vec<u8>>>>, usize)>;

async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    record: Record,
) {
    let mut buffer = vec![0; 65_536];
    let now = mode.clone();
    loop {
        tokio::select! {
            biased;
            () = async { _ = mode.wait_for(|mode| *mode == Mode::Cut).await; } => return,
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => {
                    // The end does not pass either.
                    _ = now.clone().wait_for(|mode| *mode != Mode::Silent).await;
                    return;
                }
                Ok(count) => {
                    if let Some((said, index)) = &record {
                        let mut said = said.lock();
                        let room = 8_192_usize.saturating_sub(said[*index].len());
                        said[*index].extend_from_slice(&buffer[..count.min(room)]);
                    }
                    let relays = *now.borrow() == Mode::Relay;
                    if relays && to.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}
