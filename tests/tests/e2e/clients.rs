//! The clients' endpoint of a real node: the protocol, and clients that mean no good.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use nexus_client::protocol::Encoding;
use nexus_client::{Client, ClientError, Heard, Options, Request};
use nexus_tests::http::Endpoint;
use nexus_tests::process::{ENDPOINT, Process, Sandbox};
use nexus_tests::wait::until;
use nexus_tests::{nexus_binary, seed};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a node may grow by under abuse.
const GROWTH_MAX_KIB: u64 = 48 * 1024;

const AGENTS: &str = r#"
[[agent]]
name = "kv/*"
behavior = "kv"

[[agent]]
name = "secret"
behavior = "kv"

[[group]]
name = "all"
members = ["kv/*"]
"#;

/// A node with `[clients]`.
struct Site {
    process: Process,
    endpoint: Endpoint,
    address: SocketAddr,
    sandbox: Sandbox,
}

impl Site {
    fn start(clients: &str) -> Self {
        Self::with(&format!("{AGENTS}\n[clients]\nallow = [\"kv/*\", \"group:all\"]\n{clients}"))
    }

    fn with(topology: &str) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.write("clients.toml", format!("{topology}\n{ENDPOINT}"));
        let process = sandbox.run(nexus_binary!(), &file, &[]);
        let endpoint = sandbox.endpoint(&process);
        let address = until("the clients' endpoint", PATIENCE, || {
            endpoint.json("/debug/clients")["address"].as_str()?.parse().ok()
        });
        Self { process, endpoint, address, sandbox }
    }

    fn open() -> Self {
        Self::start("listen = \"127.0.0.1:0\"\nauth = \"off\"\n")
    }

    fn options(&self) -> Options {
        Options::new(format!("ws://{}/v1", self.address))
    }

    async fn connect(&self) -> Client {
        Client::connect(self.options()).await.unwrap()
    }

    async fn socket(&self) -> WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>> {
        connect_async(format!("ws://{}/v1", self.address)).await.unwrap().0
    }

    fn publish(&self, request: &Value) {
        let answer = self.endpoint.post_json("/api/groups/all/publish", request);
        assert_eq!(answer.status, 202, "{answer:?}");
    }

    fn totals(&self) -> Value {
        self.endpoint.json("/debug/clients")
    }

    /// Waits until so many clients have gone for `reason`.
    fn until_closed(&self, reason: &str, count: u64) {
        until(reason, PATIENCE, || (self.totals()["closed"][reason] == count).then_some(()));
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

/// The code of the close frame that ends a connection; `None` if it ends without.
async fn close_code(socket: &mut WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>) -> Option<u16> {
    in_time(async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    })
    .await
}

/// Goal: ask, tell and subscribe work in both encodings, with values that are the same on both ends.
#[tokio::test(flavor = "multi_thread")]
async fn ask_tell_and_subscribe() {
    let site = Site::start("listen = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef\"\n");
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let options = site.options().token("0123456789abcdef").encoding(encoding);
        let client = Client::connect(options).await.unwrap();
        let value = json!({ "n": [1, -2, 2.5, null, "x"] });
        client.tell("kv/a", Request::update("k", &value).unwrap()).await.unwrap();
        let read = client.ask("kv/a", Request::query("k")).await.unwrap();
        assert_eq!(read.to_value::<Value>().unwrap(), value);
        let refused = |error| match error {
            ClientError::Refused { code, .. } => code,
            other => panic!("{other}"),
        };
        let none = client.ask("kv/a", Request::query("other")).await.unwrap_err();
        assert_eq!(refused(none), "not_found");
        assert_eq!(refused(client.ask("secret", Request::query("k")).await.unwrap_err()), "not_allowed");
        let unborn = client.ask("kv/unborn", Request::query("k")).await.unwrap_err();
        assert_eq!(refused(unborn), "unknown_agent", "a query only looks");
        assert_eq!(refused(client.subscribe("others").await.unwrap_err()), "not_allowed");

        let mut all = client.subscribe("all").await.unwrap();
        site.publish(&json!({ "operation": "update", "key": "p", "payload": value }));
        let Some(Heard::Published(published)) = in_time(all.next()).await else { panic!("nothing heard") };
        assert_eq!((published.key.as_str(), published.payload.to_value::<Value>().unwrap()), ("p", value));
        drop(all);
        until("the subscription to end", PATIENCE, || {
            (site.totals()["clients"][0]["subscriptions"] == 0).then_some(())
        });
        drop(client);
        until("it to go", PATIENCE, || (site.totals()["connections"] == 0).then_some(()));
    }
    let totals = site.totals();
    assert_eq!((&totals["accepted"], &totals["closed"]["client"]), (&json!(2), &json!(2)));
    let metrics = site.endpoint.get("/metrics").body;
    assert!(metrics.contains("nexus_clients_accepted_total 2"), "{metrics}");
}

/// Goal: docs/protocol.md says what is so. Method: its topology, and every conversation in it, line by line.
#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_page_is_true() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = |language: &str| {
        let begin = format!("```{language}\n");
        text.split(&begin)
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let topology = blocks("toml").remove(0).replace("127.0.0.1:7071", "127.0.0.1:0");
    let site = Site::with(&topology);
    let mut socket = site.socket().await;
    let mut lines = 0;
    for conversation in blocks("conversation") {
        for line in conversation.lines() {
            lines += 1;
            let (who, message) = line.split_at(2);
            match who {
                "> " => socket.send(Message::text(message)).await.unwrap(),
                "! " => site.publish(&serde_json::from_str(message).unwrap()),
                "< " => {
                    let said = in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap();
                    let said: Value = serde_json::from_str(&said).unwrap();
                    assert_eq!(said, serde_json::from_str::<Value>(message).unwrap(), "{line}");
                }
                _ => panic!("neither said nor heard: {line}"),
            }
        }
    }
    assert!(lines > 15, "{lines}");
    for reason in nexus_client::protocol::CloseReason::ALL {
        assert!(reason.code() == 1000 || text.contains(&format!("| {} |", reason.code())), "{reason:?}");
    }
}

/// Writes `request` and reads the answer's status line and body.
fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    // A reset after the answer ends it as well.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// Goal: whoever may not come, or comes to the wrong door, is told so in HTTP; a silent one is closed; and past the limit of
/// connections others are refused while those that are in are served.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_is_told() {
    let site = Site::start(
        "listen = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef\"\nconnections = 3\nhandshake_timeout = \"500ms\"\n",
    );
    let address = site.address;
    let upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
    let token = "Authorization: Bearer 0123456789abcdef\n";
    let host = "Host: localhost\n";
    let table = [
        (format!("GET /v1 HTTP/1.1\n{host}{upgrade}\n"), 401, "unauthorized"),
        (format!("GET /v1 HTTP/1.1\n{host}{upgrade}Authorization: Bearer wrong\n\n"), 401, "unauthorized"),
        (
            format!("GET /v1 HTTP/1.1\n{host}{upgrade}Sec-WebSocket-Protocol: nexus.v1, nexus.token.x\n\n"),
            401,
            "unauthorized",
        ),
        (
            format!("GET /v1 HTTP/1.1\n{host}{upgrade}{token}Origin: http://evil.example\n\n"),
            403,
            "cross_origin",
        ),
        (format!("GET /v1 HTTP/1.1\nHost: evil.example\n{upgrade}{token}\n"), 421, "foreign_host"),
        (format!("GET /v2 HTTP/1.1\n{host}{upgrade}{token}\n"), 404, "unknown_route"),
        (format!("GET /v1 HTTP/1.1\n{host}{token}\n"), 426, "upgrade_required"),
        (format!("POST /v1 HTTP/1.1\n{host}{upgrade}{token}\n"), 426, "upgrade_required"),
        (
            format!(
                "GET /v1 HTTP/1.1\n{host}{}{token}\n",
                upgrade.replace("dGhlIHNhbXBsZSBub25jZQ==", "abc")
            ),
            400,
            "bad_request",
        ),
        ("GARBAGE\n\n".to_owned(), 400, "bad_request"),
        (format!("GET /v1 HTTP/1.1\nX: {}\n\n", "x".repeat(9000)), 400, "bad_request"),
    ];
    for (request, status, code) in table {
        let (answered, text) = http(address, &request);
        assert_eq!(answered, status, "{request}: {text}");
        assert!(text.contains(&format!("\"code\":\"{code}\"")), "{request}: {text}");
    }
    let browser = format!(
        "GET /v1 HTTP/1.1\nHost: {address}\nOrigin: http://{address}\n{upgrade}Sec-WebSocket-Protocol: nexus.v1, nexus.token.0123456789abcdef\n\n"
    );
    let mut welcome = TcpStream::connect(address).unwrap();
    welcome.write_all(browser.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut answer = [0; 12];
    welcome.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    assert_eq!(http(address, "").0, 0, "silence is not answered");

    let options = || site.options().token("0123456789abcdef");
    let client = Client::connect(options()).await.unwrap();
    let _second = Client::connect(options()).await.unwrap();
    match Client::connect(options()).await {
        Err(ClientError::Connect { reason, .. }) => {
            assert!(reason.contains("too_many_connections"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    client.ask("kv/a", Request::update("k", &1).unwrap()).await.unwrap();
    drop(welcome);
    until("room again", PATIENCE, || (site.totals()["connections"] == 2).then_some(()));
    Client::connect(options()).await.unwrap();
}

/// Goal: frames that are too long, not masked or not text end their connection with the right code, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_end_their_connection() {
    let site = Site::start("listen = \"127.0.0.1:0\"\nauth = \"off\"\nmessage_bytes = 4096\n");
    let bystander = site.connect().await;
    let mut socket = site.socket().await;
    socket.send(Message::text("x".repeat(4096))).await.unwrap();
    let said = in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap();
    assert!(said.contains("malformed_message"), "{said}: as long as allowed, and answered");
    socket.send(Message::binary(vec![0; 1 << 20])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(1009));
    for (frame, code) in [
        (&[0x81_u8, 0x82, 0, 0, 0, 0, 0xff, 0xfe][..], 1007),
        (&[0x81, 0x02, b'h', b'i'], 1002),
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
    ] {
        let mut socket = site.socket().await;
        let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("no TLS here") };
        tokio::io::AsyncWriteExt::write_all(stream, frame).await.unwrap();
        assert_eq!(close_code(&mut socket).await, Some(code), "{frame:x?}");
    }
    bystander.ask("kv/a", Request::update("k", &1).unwrap()).await.unwrap();
    for (reason, count) in [("too_long", 2), ("text", 1), ("protocol", 3)] {
        site.until_closed(reason, count);
    }
}

/// Goal: no bytes do harm. Method: random ones in the middle of a connection, raw and as well-formed frames; the node then still
/// serves others in bounded memory.
#[tokio::test(flavor = "multi_thread")]
async fn seeded_garbage_is_survived() {
    let mut rng = seed::of("seeded_garbage_is_survived").stream("garbage");
    let site = Site::open();
    let bystander = site.connect().await;
    bystander.ask("kv/a", Request::update("k", &1).unwrap()).await.unwrap();
    let (before, _) = site.process.memory_kib();
    for round in 0..200 {
        let mut socket = site.socket().await;
        let length = rng.random_range(1..2000);
        let mut bytes = vec![0_u8; length];
        rng.fill(&mut bytes[..]);
        match round % 3 {
            0 => {
                let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("no TLS here") };
                // It may be closed under way.
                let _ = tokio::io::AsyncWriteExt::write_all(stream, &bytes).await;
            }
            1 => {
                let _ = socket.send(Message::binary(bytes)).await;
                let _ = socket.send(Message::Ping(vec![0; 100].into())).await;
            }
            _ => {
                let text: String = bytes.iter().map(|byte| char::from(32 + byte % 95)).collect();
                let _ = socket.send(Message::text(format!("{{\"type\":\"ask\",\"id\":1,{text}"))).await;
            }
        }
        if rng.random_bool(0.5) {
            let _ = socket.close(None).await;
        }
    }
    bystander.ask("kv/a", Request::query("k")).await.unwrap();
    until("they to go", PATIENCE, || (site.totals()["connections"] == 1).then_some(()));
    let (after, _) = site.process.memory_kib();
    assert!(after < before + GROWTH_MAX_KIB, "from {before} to {after} KiB");
}

/// Goal: a client that sends too much is told to wait, and disconnected when it does not; another has its whole rate.
#[tokio::test(flavor = "multi_thread")]
async fn floods_are_limited() {
    let site = Site::start("listen = \"127.0.0.1:0\"\nauth = \"off\"\nrate = 10\nburst = 20\n");
    let patient = site.connect().await;
    let flood = site.socket().await;
    let ask = json!({ "type": "ask", "id": 1, "to": "kv/a", "operation": "update", "key": "k" }).to_string();
    let (mut sink, mut stream) = flood.split();
    let sending = tokio::spawn(async move { while sink.send(Message::text(ask.clone())).await.is_ok() {} });
    let (mut answered, mut refused) = (0, 0);
    let code = in_time(async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Text(text))) if text.contains("rate_limited") => refused += 1,
                Some(Ok(Message::Text(_))) => answered += 1,
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break None,
            }
        }
    })
    .await;
    assert!(answered < 100 && refused >= 50, "{answered} answered, {refused} refused");
    assert_eq!(code, Some(4003));
    sending.abort();
    patient.ask("kv/a", Request::update("k", &1).unwrap()).await.unwrap();
    site.until_closed("rate_limited", 1);
    assert!(site.totals()["rate_limited"].as_u64() >= Some(100));
}

/// Goal: a client that does not read is cut off, told of in the events, and nobody else notices: another subscriber of the same
/// group hears everything, in bounded memory of the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_cut_off_alone() {
    let site =
        Site::start("listen = \"127.0.0.1:0\"\nauth = \"off\"\nqueue_messages = 64\nqueue_bytes = 262144\n");
    let (before, _) = site.process.memory_kib();
    let good = site.connect().await;
    let mut heard = good.subscribe("all").await.unwrap();
    let mut slow = site.socket().await;
    slow.send(Message::text(r#"{"type":"subscribe","id":1,"group":"all"}"#)).await.unwrap();
    assert!(in_time(slow.next()).await.unwrap().is_ok());
    // From here on it reads nothing.
    let payload = "x".repeat(32 * 1024);
    let mut number = 0;
    while site.totals()["closed"]["slow"] == 0 {
        site.publish(&json!({ "operation": "action", "key": number.to_string(), "payload": payload }));
        let Some(Heard::Published(published)) = in_time(heard.next()).await else {
            panic!("missed {number}")
        };
        assert_eq!(published.key, number.to_string());
        number += 1;
        assert!(number < 1000, "it is never cut off");
    }
    let events = site.endpoint.json("/debug/events?format=json&event=clients.cut_off");
    assert_eq!(events["events"][0]["reason"], "slow", "{events}");
    let (after, _) = site.process.memory_kib();
    println!("cut off after {number} publications of 32 KiB; {before} to {after} KiB");
    assert!(after < before + GROWTH_MAX_KIB, "from {before} to {after} KiB");
    // It can hear the reason if it reads at last, or finds itself reset.
    let code = in_time(async {
        loop {
            match slow.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(Error::Io(_) | Error::Protocol(_))) | None => break None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    })
    .await;
    assert!(code.is_none_or(|code| code == 4002), "{code:?}");
}

/// Goal: a client finds its node again after a restart, and its subscriptions go on. Method: the node is killed and another
/// started on the same port.
#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back() {
    let site = Site::open();
    let options = site.options().retry(Duration::from_millis(10), Duration::from_millis(50));
    let client = Client::connect(options).await.unwrap();
    let mut heard = client.subscribe("all").await.unwrap();
    let Site { process, address, sandbox, .. } = site;
    drop(process);
    drop(sandbox);
    let site = Site::start(&format!("listen = \"{address}\"\nauth = \"off\"\n"));
    assert_eq!(in_time(heard.next()).await, Some(Heard::Reconnected));
    in_time(async {
        while client.ask("kv/a", Request::update("k", &1).unwrap()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until("it to listen", PATIENCE, || (site.totals()["clients"][0]["subscriptions"] == 1).then_some(()));
    site.publish(&json!({ "operation": "action", "key": "again" }));
    assert!(
        matches!(in_time(heard.next()).await, Some(Heard::Published(published)) if published.key == "again")
    );
    // A node that stops says so.
    let mut socket = site.socket().await;
    site.process.signal(nexus_tests::process::Signal::TERM);
    assert_eq!(close_code(&mut socket).await, Some(1001));
}
