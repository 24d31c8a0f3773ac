//! A bare framed TCP connection: length-prefixed messages through a buffer, counted at the other end and sent back if asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::far::{Far, obey};
use super::load::{BYTES, Contestant, Load, Measured, Measures, measure};

pub(crate) const FAR: &str = "remote-tcp-far";

/// Messages between the senders and the one that writes, and bytes that are written or read at once.
const QUEUE: usize = 8192;
const BUFFER: usize = 64 << 10;

#[derive(Clone)]
struct Near {
    out: mpsc::Sender<u64>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Contestant for Near {
    async fn tell(&self, _: usize) {
        self.out.send(0).await.expect("the connection lives");
    }

    async fn ask(&self, _: usize) {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(number, answer);
        self.out.send(number).await.expect("the connection lives");
        answered.await.expect("it is answered");
    }
}

/// Measures it.
pub(crate) async fn near(load: Load) -> Measured<Measures> {
    let mut far = Far::start(FAR)?;
    let address = far.order("listen")?;
    let stream = TcpStream::connect(&*address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (read, write) = stream.into_split();
    let (out, queue) = mpsc::channel(QUEUE);
    let near = Near { out, waiting: Arc::default(), next: Arc::new(1.into()) };
    tokio::spawn(send_all(write, queue));
    let waiting = near.waiting.clone();
    tokio::spawn(each(read, move |number| {
        if let Some(answer) = waiting.lock().remove(&number) {
            // An asker that has ended is no matter.
            let _ = answer.send(());
        }
        async {}
    }));
    measure(near, load).await
}

async fn send_all(write: OwnedWriteHalf, mut queue: mpsc::Receiver<u64>) {
    let mut out = BufWriter::with_capacity(BUFFER, write);
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(number) = next {
            let mut frame = [7; 4 + BYTES];
            frame[..4].copy_from_slice(&100_u32.to_be_bytes());
            frame[4..12].copy_from_slice(&number.to_be_bytes());
            out.write_all(&frame).await.expect("the connection lives");
            next = queue.try_recv().ok();
        }
        out.flush().await.expect("the connection lives");
    }
}

/// Calls `heard` with the number of each message.
async fn each<F: Future<Output = ()>>(mut read: OwnedReadHalf, mut heard: impl FnMut(u64) -> F) {
    let mut buffer = BytesMut::with_capacity(2 * BUFFER);
    loop {
        while buffer.len() >= 4 + BYTES {
            let length = buffer.get_u32() as usize;
            let message = buffer.split_to(length);
            heard((&message[..8]).get_u64()).await;
        }
        buffer.reserve(BUFFER);
        if !matches!(read.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

/// The other end.
pub(crate) fn far() -> Measured<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    runtime.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (read, write) = stream.into_split();
        let (out, queue) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(write, queue));
        each(read, move |number| {
            let out = out.clone();
            async move {
                if number > 0 {
                    out.send(number).await.expect("the connection lives");
                }
            }
        })
        .await;
    });
    obey(|_| Ok(address.clone()))
}
