//! A node under very many clients: connect time, memory per connection, an ask's round trip while 1 % are active, and slow clients
//! that hurt nobody. Prints a table; fails if a bystander suffered.
//!
//! ```sh
//! cargo build --release -p nexus-tests --bins                            # the node too
//! cargo run --release -p nexus-tests --bin client-load -- 50000 1000     # connections, slow ones beside them
//! ```
//!
//! Node and clients are two processes on one machine, so they share its processors. Each needs as many files as there are
//! connections: both raise their soft limit to the hard one (`ulimit -Hn`), and fewer connections are made where that is too low.
//! Clients come from several loopback addresses, since one has some 28,000 ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Process, Sandbox};
use nexus_tests::wait::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Files that both processes need beside connections.
const FILES_RESERVE: u64 = 600;
/// Connections from one source address.
const PER_ADDRESS: usize = 10_000;
/// Handshakes at one time.
const CONNECTING: usize = 128;
/// How long round trips are measured.
const MEASURED: Duration = Duration::from_secs(10);
/// The pause of an active client between two asks.
const THINK: Duration = Duration::from_millis(100);
/// Bytes of a publication's payload.
const PUBLISHED_BYTES: usize = 4096;
/// Clients that listen and read while the slow ones do not.
const GOOD_LISTENERS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(600);

const TOPOLOGY: &str = r#"
[[agent]]
name = "echo/{0..99}"
behavior = "echo"

[[group]]
name = "all"
members = ["echo/*"]

[clients]
listen = "127.0.0.1:0"
auth = "off"
connections = 100000
# The first connections answer no ping until the last are made.
ping_interval = "10m"
allow = ["echo/*", "group:all"]
"#;

type Socket = WebSocketStream<TcpStream>;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| {
        arguments.next().map_or(default, |text| text.parse().expect("CONNECTIONS SLOW, both numbers"))
    };
    let (wanted, slow) = (number(50_000), number(1_000));
    let connections = wanted.min(room().saturating_sub(slow + GOOD_LISTENERS));
    println!("connections        {connections} of {wanted} wanted, and {slow} slow ones");

    let node = Node::start();
    let before = node.process.memory_kib().0;
    let started = Instant::now();
    let sockets = node.connect(connections).await;
    let took = started.elapsed();
    until("all to be in", PATIENCE, || (node.count("connections") == connections as u64).then_some(()));
    let idle = node.process.memory_kib().0;
    println!("connect            {took:.2?}, {:.0} a second", connections as f64 / took.as_secs_f64());
    println!(
        "memory             {before} to {idle} KiB: {} bytes per idle connection",
        (idle - before) * 1024 / connections.max(1) as u64
    );

    let mut tasks = JoinSet::new();
    let active = (connections / 100).max(1);
    let mut sockets = sockets.into_iter();
    let asking: Vec<_> = sockets.by_ref().take(active).map(futures::StreamExt::split).collect();
    for mut socket in sockets {
        // Reads, so that pings are answered.
        tasks.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    }
    let (asking, latencies) = measure(asking).await;
    report(&format!("ask, {active} active"), latencies);

    let livez = Arc::new(AtomicU64::new(0));
    let watching = tasks.spawn(watch_livez(node.endpoint.clone(), livez.clone()));
    let slow_sockets = node.subscribe(slow, Some(4096)).await;
    let good = node.subscribe(GOOD_LISTENERS, None).await;
    let heard: Vec<_> = good.into_iter().map(|socket| tokio::spawn(count_publications(socket))).collect();
    let measuring = tokio::spawn(measure(asking));
    let started = Instant::now();
    let mut published = 0_u64;
    let payload = "x".repeat(PUBLISHED_BYTES);
    while node.closed("slow") < slow as u64 {
        let request = json!({ "operation": "action", "key": "load", "payload": payload });
        assert_eq!(node.endpoint.post_json("/api/groups/all/publish", &request).status, 202);
        published += 1;
        assert!(started.elapsed() < PATIENCE, "{} of {slow} slow ones are cut off", node.closed("slow"));
        tokio::task::yield_now().await;
    }
    println!(
        "slow               {slow} cut off after {published} publications of {PUBLISHED_BYTES} bytes, {:.2?}",
        started.elapsed()
    );
    let (_, latencies) = measuring.await.expect("it does not panic");
    report("ask meanwhile", latencies);
    // The node is about to end.
    watching.abort();
    println!("/livez meanwhile   {:.2?} at most", Duration::from_micros(livez.load(Ordering::Relaxed)));
    println!("memory at the peak {} KiB", node.process.memory_kib().1);
    let request = json!({ "operation": "action", "key": "end" });
    assert_eq!(node.endpoint.post_json("/api/groups/all/publish", &request).status, 202);
    for listener in heard {
        let heard = listener.await.expect("it does not panic");
        assert_eq!(heard, published, "a good listener missed some");
    }
    assert_eq!(node.count("missed"), 0);
    let closed = node.totals()["closed"].clone();
    let others = closed.as_object().expect("by reason").iter();
    let others: Vec<_> =
        others.filter(|(why, count)| !matches!(why.as_str(), "client" | "slow") && **count != 0).collect();
    assert!(others.is_empty() && closed["slow"] == slow, "bystanders were cut off: {closed}");
    println!("good listeners     {GOOD_LISTENERS} heard all {published}; nobody else was disconnected");
    drop(slow_sockets);
    tasks.abort_all();
}

/// Raises this process's limit of open files; the connections there can be.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // It may be as high as it can be already.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(FILES_RESERVE)).unwrap_or(usize::MAX)
}

struct Node {
    process: Process,
    endpoint: Endpoint,
    address: SocketAddr,
    _sandbox: Sandbox,
}

impl Node {
    fn start() -> Self {
        let own: PathBuf = std::env::current_exe().expect("it runs");
        let binary = own.with_file_name("nexus-under-test");
        assert!(binary.exists(), "build it first: cargo build -p nexus-tests --bins");
        let sandbox = Sandbox::new();
        let file = sandbox.write("load.toml", format!("{TOPOLOGY}{ENDPOINT}"));
        let process = sandbox.run(&binary, &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        let address = until("the clients' endpoint", PATIENCE, || {
            endpoint.json("/debug/clients?limit=1")["address"].as_str()?.parse().ok()
        });
        Self { process, endpoint, address, _sandbox: sandbox }
    }

    fn totals(&self) -> Value {
        self.endpoint.json("/debug/clients?limit=1")
    }

    fn count(&self, what: &str) -> u64 {
        self.totals()[what].as_u64().expect("a number")
    }

    fn closed(&self, reason: &str) -> u64 {
        self.totals()["closed"][reason].as_u64().expect("a number")
    }

    async fn connect(&self, count: usize) -> Vec<Socket> {
        let address = self.address;
        stream::iter(0..count)
            .map(|number| tokio::spawn(connect(address, number, None)))
            .buffer_unordered(CONNECTING)
            .map(|socket| socket.expect("it does not panic"))
            .collect()
            .await
    }

    /// Clients that listen to the group, with a receive buffer of their own size.
    async fn subscribe(&self, count: usize, receive: Option<u32>) -> Vec<Socket> {
        let mut sockets = Vec::with_capacity(count);
        for number in 0..count {
            let mut socket = connect(self.address, number, receive).await;
            let subscribe = json!({ "type": "subscribe", "id": 1, "group": "all" });
            socket.send(Message::text(subscribe.to_string())).await.expect("it is open");
            socket.next().await.expect("it is open").expect("it answers");
            sockets.push(socket);
        }
        sockets
    }
}

async fn connect(address: SocketAddr, number: usize, receive: Option<u32>) -> Socket {
    let socket = TcpSocket::new_v4().expect("there are files left");
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes).expect("a size");
    }
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number / PER_ADDRESS).expect("few addresses"));
    socket.bind((source, 0).into()).expect("loopback has them all");
    let stream = socket.connect(address).await.expect("the node listens");
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(1024);
    let url = format!("ws://{address}/v1");
    client_async_with_config(url, stream, Some(config)).await.expect("the node lets it in").0
}

type Halves = (SplitSink<Socket, Message>, SplitStream<Socket>);

/// Every client asks, thinks, and asks again. The round trips, and the clients.
async fn measure(clients: Vec<Halves>) -> (Vec<Halves>, Vec<Duration>) {
    let mut tasks = JoinSet::new();
    let count = clients.len().max(1);
    for (number, (mut sink, mut stream)) in clients.into_iter().enumerate() {
        tasks.spawn(async move {
            let ask = json!({
                "type": "ask", "id": number, "to": format!("echo/{}", number % 100),
                "operation": "action", "key": "k", "payload": "hello"
            });
            let ask = ask.to_string();
            // Spread over the time between two asks.
            tokio::time::sleep(THINK.mul_f64(number as f64 / count as f64)).await;
            let started = Instant::now();
            let mut latencies = Vec::new();
            while started.elapsed() < MEASURED {
                let sent = Instant::now();
                sink.send(Message::text(ask.clone())).await.expect("a bystander is not cut off");
                loop {
                    match stream.next().await.expect("a bystander is not cut off").expect("nor broken") {
                        Message::Text(text) => {
                            assert!(text.contains("\"answer\""), "{text}");
                            break;
                        }
                        _ => continue,
                    }
                }
                latencies.push(sent.elapsed());
                tokio::time::sleep(THINK).await;
            }
            ((sink, stream), latencies)
        });
    }
    let (mut clients, mut all) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (client, latencies) = done.expect("it does not panic");
        clients.push(client);
        all.extend(latencies);
    }
    (clients, all)
}

fn report(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{what:18} {} asks: p50 {:.2?}, p99 {:.2?}, longest {:.2?}",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Publications heard before the one that ends it.
async fn count_publications(mut socket: Socket) -> u64 {
    let mut heard = 0;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            if text.contains("\"key\":\"end\"") {
                break;
            }
            heard += 1;
        }
    }
    heard
}

/// Keeps the longest time `/livez` took, in microseconds.
async fn watch_livez(endpoint: Endpoint, longest: Arc<AtomicU64>) {
    loop {
        let endpoint = endpoint.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            assert_eq!(endpoint.get("/livez").status, 200);
            started.elapsed()
        });
        let took = looked.await.expect("it answers");
        longest.fetch_max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
