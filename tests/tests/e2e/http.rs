//! The debug endpoint under clients that mean no good, over plain sockets. While they do their worst, `/livez` stays quick and
//! the node's memory bounded.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nexus_tests::http::{Endpoint, parse, read_to_close};
use nexus_tests::process::{Process, Sandbox};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;

/// The node's limit on a request, its headers and body included.
const REQUEST_MAX: Duration = Duration::from_secs(1);
/// How much later than at a limit a connection may be closed on a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// `/livez` answers within this, whatever goes on.
const QUICK: Duration = Duration::from_secs(2);
const CONNECTIONS_MAX: usize = 100;
/// What a node may grow by under abuse.
const GROWTH_MAX_KIB: u64 = 48 * 1024;

const TOPOLOGY: &str = r#"
[[agent]]
name = "echo"
behavior = "echo"

[debug]
listen = "127.0.0.1:0"
allow_control = true
request_timeout = "1s"
max_body_bytes = 4096
max_connections = 100
"#;

/// A node under attack, with its memory before.
struct Victim {
    process: Process,
    endpoint: Endpoint,
    rss_kib: u64,
    _sandbox: Sandbox,
}

impl Victim {
    fn start() -> Self {
        Self::with(TOPOLOGY)
    }

    fn with(topology: &str) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.write("victim.toml", topology);
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        let victim = Self { rss_kib: 0, process, endpoint, _sandbox: sandbox };
        victim.is_alive();
        Self { rss_kib: victim.process.memory_kib().0, ..victim }
    }

    fn is_alive(&self) {
        let started = Instant::now();
        let answer = self.endpoint.get("/livez");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(started.elapsed() < QUICK, "/livez took {:?}", started.elapsed());
    }

    /// It has survived: quick, small, and still of service.
    fn is_well(&self) {
        self.is_alive();
        assert_eq!(self.endpoint.json("/debug/agents/echo")["status"], "running");
        let (_, peak) = self.process.memory_kib();
        let growth = peak.saturating_sub(self.rss_kib);
        assert!(growth < GROWTH_MAX_KIB, "it grew by {growth} KiB from {} KiB", self.rss_kib);
    }
}

/// Sends `bytes` one by one, each when the other side has said nothing for a while, until it closes. What it said, and when.
fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration, victim: &Victim) -> (Vec<u8>, Duration) {
    stream.set_read_timeout(Some(pause)).unwrap();
    let started = Instant::now();
    let mut said = Vec::new();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        let mut room = [0; 1024];
        match stream.read(&mut room) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&room[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        victim.is_alive();
        assert!(started.elapsed() < REQUEST_MAX + GRACE, "still open after {:?}", started.elapsed());
    }
    (said, started.elapsed())
}

/// Goal: a client that sends its headers, or its body, one byte at a time is cut off within the limits, though it never falls silent.
#[test]
fn one_byte_at_a_time() {
    let victim = Victim::start();
    let pause = Duration::from_millis(100);
    let mut stream = victim.endpoint.connect();
    let (_, took) = drip(&mut stream, &b"GET /livez HTTP/1.1\r\n".repeat(20), pause, &victim);
    assert!(took >= REQUEST_MAX / 2, "headers had their time: {took:?}");

    let mut stream = victim.endpoint.connect();
    let head = victim.endpoint.head("POST", "/api/agents/echo/tell");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (said, took) = drip(&mut stream, &[b' '; 4000], pause, &victim);
    assert!(took >= REQUEST_MAX / 2, "the body had its time: {took:?}");
    let answer = parse(&said).expect("it is told why");
    assert_eq!((answer.status, &answer.json()["code"]), (408, &"body_too_slow".into()));
    victim.is_well();
}

/// Goal: headers and bodies past their limits are refused with the right status, whether their size is known or not.
#[test]
fn too_large() {
    let victim = Victim::start();
    let headers = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(200_000));
    let mut stream = victim.endpoint.connect();
    // It may close before it has read all.
    let _ = stream.write_all(headers.as_bytes());
    let said = read_to_close(&mut stream).expect("it closes");
    // The answer may be lost when the connection is reset under the bytes that nobody read.
    assert!(parse(&said).is_none_or(|answer| answer.status == 431), "{:?}", String::from_utf8_lossy(&said));

    let post = victim.endpoint.head("POST", "/api/agents/echo/tell") + "Content-Type: application/json\r\n";
    let mut stream = victim.endpoint.connect();
    stream
        .write_all(format!("{post}Content-Length: 1000000000\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let answer = parse(&read_to_close(&mut stream).expect("it closes")).expect("it answers");
    assert_eq!((answer.status, &answer.json()["code"]), (413, &"body_too_large".into()));

    // Chunk after chunk, without an end.
    let mut stream = victim.endpoint.connect();
    stream.write_all(format!("{post}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let mut written = 0;
    while stream.write_all(chunk.as_bytes()).is_ok() {
        written += chunk.len();
        assert!(written < 100 * 1024 * 1024, "it reads without end");
    }
    let said = read_to_close(&mut stream).expect("it closes");
    assert!(parse(&said).is_none_or(|answer| answer.status == 413), "{:?}", String::from_utf8_lossy(&said));
    victim.is_well();
}

/// Goal: connections past the limit are told that there are too many, two hundred of them do not shut out `/livez`, and all are
/// forgotten once they have gone. Method: connections that say nothing, with a limit on that far beyond the test's end.
#[test]
fn more_connections_than_allowed() {
    let victim = Victim::with(&TOPOLOGY.replace("\"1s\"", "\"1m\""));
    let connections = |number| (0..number).map(|_| victim.endpoint.connect()).collect::<Vec<_>>();
    let allowed = connections(CONNECTIONS_MAX);
    let refused = victim.endpoint.get("/debug/agents/echo");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"too_many_connections".into()));
    let past = connections(200);
    victim.is_alive();
    drop((allowed, past));
    until("it serves again", GRACE, || {
        (victim.endpoint.get("/debug/agents/echo").status == 200).then_some(())
    });
    victim.is_well();
}

/// Goal: bytes that are no HTTP get an error or a closed connection, never silence and never a crash. Method: seeded garbage, some of
/// it behind an honest beginning.
#[test]
fn seeded_garbage() {
    let mut rng = seed::of("seeded_garbage").stream("bytes");
    let victim = Victim::start();
    let beginnings =
        ["", "GET ", "GET / HTTP/1.1\r\n", "POST /api/agents/echo/ask HTTP/1.1\r\nHost: localhost\r\n"];
    for round in 0..100 {
        let mut bytes = beginnings[round % beginnings.len()].as_bytes().to_vec();
        bytes.extend((0..rng.random_range(1..3000)).map(|_| rng.random::<u8>()));
        let mut stream = victim.endpoint.connect();
        let _ = stream.write_all(&bytes);
        // Nothing more will come: whatever it waits for, it need not.
        let _ = stream.shutdown(Shutdown::Write);
        let said = read_to_close(&mut stream).unwrap_or_else(|| panic!("round {round}: silence"));
        if let Some(answer) = parse(&said) {
            assert!((400..500).contains(&answer.status), "round {round}: {answer:?}");
        }
    }
    victim.is_well();
}

/// Goal: pipelined requests are answered one by one, in order, however many there are.
#[test]
fn pipelined() {
    let victim = Victim::start();
    let mut stream = victim.endpoint.connect();
    let names = ["/livez", "/debug/agents/echo", "/nowhere"];
    let mut requests = String::new();
    for round in 0..600 {
        requests += &victim.endpoint.head("GET", names[round % 3]);
        requests += if round == 599 { "Connection: close\r\n\r\n" } else { "\r\n" };
    }
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(requests.as_bytes()));
    let said = read_to_close(&mut stream).expect("it closes after the last");
    writer.join().unwrap().unwrap();
    let said = String::from_utf8(said).unwrap();
    let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404"].repeat(200));
    victim.is_well();
}
