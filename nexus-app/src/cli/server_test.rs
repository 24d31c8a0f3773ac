//! Commands against a small HTTP server: what is asked, what is printed, and the exit code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;

const TOKEN: &str = "right-token-0123456789";

/// What a request looked like: `GET /path?query`, and its body.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A server with canned answers, one per test. Ends when dropped.
struct Server {
    address: SocketAddr,
    seen: Seen,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let seen = Seen::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = std::sync::mpsc::channel();
        let app = axum::Router::new().fallback(answer).with_state(seen.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), seen, stop: Some(stop), thread: Some(thread) }
    }

    fn run(&self, line: &[&str]) -> Ended {
        self.run_with(TOKEN, line)
    }

    fn run_with(&self, token: &str, line: &[&str]) -> Ended {
        let url = format!("http://{}", self.address);
        ended(&[("NEXUS_URL", &url), ("NEXUS_TOKEN", token)], line)
    }

    fn last(&self) -> (String, Value) {
        self.seen.lock().last().cloned().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({ "type": format!("urn:nexus:problem:{code}"), "code": code, "title": "Title", "status": status,
        "detail": detail, "remedy": "the endpoint's remedy" });
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/problem+json")], body.to_string())
        .into_response()
}

async fn answer(State(seen): State<Seen>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let authorized = request
        .headers()
        .get("authorization")
        .is_some_and(|value| *value == format!("Bearer {TOKEN}").as_str());
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    seen.lock().push((line, serde_json::from_slice(&body).unwrap_or(Value::Null)));
    if path == "/healthz" {
        return Json(
            json!({ "node": "test", "version": "0", "status": "ok", "uptime_ms": 1000, "agents": 1 }),
        )
        .into_response();
    }
    if !authorized {
        return problem(401, "unauthorized", "no or a wrong token");
    }
    let agent =
        json!({ "name": "kv/a", "behavior": "kv", "status": "running", "queued": 2, "processed": 1234 });
    match path.as_str() {
        "/debug/agents" => {
            Json(json!({ "agents": [agent], "total": 7, "offset": 0, "limit": 1 })).into_response()
        }
        "/debug/agents/kv%2Fa" => {
            Json(json!({ "name": "kv/a", "exits": [], "state": { "limit": 3 } })).into_response()
        }
        "/api/agents/kv%2Fa/ask" => Json(json!({ "value": { "limit": 3 } })).into_response(),
        "/api/agents/kv%2Fa/tell" => StatusCode::ACCEPTED.into_response(),
        "/api/agents/crashes/ask" => problem(502, "crashed", "the agent crashed: boom\u{1b}[2J"),
        "/debug/agents/kv%2Fa/kill" | "/debug/supervisors/nexus%2Fsup/kill" => {
            Json(json!({ "done": "killed", "path": "/test/kv/a" })).into_response()
        }
        "/debug/agents/kv%2Fa/stop" => problem(403, "control_off", "control is off"),
        "/debug/agents/kv%2Fa/level" => {
            Json(json!({ "requested": "emergent", "granted": "reactive" })).into_response()
        }
        "/debug/feeds" => Json(json!({ "feeds": [] })).into_response(),
        "/debug/dead-letters" => {
            Json(json!({ "dead_letters": [], "counts": { "crashed": 2 } })).into_response()
        }
        "/debug/tree" => "no json at all".into_response(),
        "/debug/events" if query.contains("format=json") => {
            // Two pages; what comes after `newest` is left for the next reader.
            let next = if query.contains("since=0&") { 1 } else { 2 };
            let name = ["agent.started", "agent.stopped"][next - 1];
            Json(json!({ "newest": 2, "missed": 0, "next_since": next, "events": [{ "seq": next, "event": name }] }))
                .into_response()
        }
        "/debug/events" => {
            let stream = "id: 1\nevent: agent.started\ndata: {\"seq\":1,\"unix_ms\":0,\"event\":\"agent.started\"}\n\n\
                          : keep-alive\n\ndata: {\"seq\":2,\"unix_ms\":0,\"event\":\"agent.stopped\"}\n\n";
            ([("content-type", "text/event-stream")], Body::from(stream)).into_response()
        }
        _ => problem(404, "unknown_agent", "unknown agent"),
    }
}

#[derive(Debug)]
struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

/// Runs a command line as the binary does, with this environment alone.
fn ended(variables: &[(&str, &str)], line: &[&str]) -> Ended {
    let mut environment = Environment::default();
    environment.set("XDG_RUNTIME_DIR", "/nonexistent");
    for (name, value) in variables {
        environment.set(name, value);
    }
    let cli = parse(std::iter::once("nexus").chain(line.iter().copied()).map(OsString::from)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let behaviors = Behaviors::new();
    let format = cli.output;
    let context =
        Context { environment: &environment, behaviors: &behaviors, out: Out::to(&mut out, format) };
    let exit = execute(cli, context, &mut err, false);
    Ended { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Goal: what is printed comes from the node, and the requests are those of the endpoint.
#[test]
fn shows_what_the_node_says() {
    let server = Server::start();
    let agents = server.run(&["agents", "--sort", "queued", "--limit", "1", "--contains", "kv/&"]);
    assert_eq!(agents.exit, Exit::Ok);
    assert_eq!(
        server.last().0,
        "GET /debug/agents?contains=kv%2F%26&sort=queued&order=desc&offset=0&limit=1"
    );
    assert!(agents.out.contains("kv/a") && agents.out.contains("1,234"), "{}", agents.out);
    assert!(agents.out.contains("1 to 1 of 7"), "{}", agents.out);
    let json = server.run(&["agents", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["total"], 7);
    assert_eq!(server.run(&["feeds"]).out, "the topology has no feeds\n");
    assert_eq!(server.run(&["dead-letters"]).out, "in all: crashed 2\n");
    assert!(server.run(&["inspect", "kv/a"]).out.contains("limit: 3"));
    let once = server.run(&["top", "--once", "--interval", "100ms"]);
    assert_eq!(once.exit, Exit::Ok);
    assert!(once.out.contains("node test") && once.out.contains("handled 1,234, 0/s"), "{}", once.out);
    let events = server.run(&["events", "-o", "json"]);
    let names: Vec<Value> = events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        names.iter().map(|event| &event["event"]).collect::<Vec<_>>(),
        ["agent.started", "agent.stopped"]
    );
    assert_eq!(server.last().0, "GET /debug/events?since=1&format=json");
    let environment = Environment::of([("NEXUS_TOKEN", TOKEN)]);
    let url = format!("http://{}", server.address);
    let Command::Events(args) = parsed_events(&url) else { panic!("events were asked for") };
    let mut out = Vec::new();
    let mut since = 0;
    let client = args.client(&environment).unwrap();
    args.stream(&client, &mut since, &mut Out::to(&mut out, Format::Text)).unwrap();
    assert_eq!(since, 2, "a stream is followed to its end");
}

fn parsed_events(url: &str) -> Command {
    parse(["nexus", "events", "--follow", "--url", url].map(OsString::from)).unwrap().command
}

/// Goal: asks and tells carry the request as written.
#[test]
fn asks_and_tells() {
    let server = Server::start();
    let asked = server.run(&["ask", "kv/a", "limit", "--default", "3", "--timeout", "2s"]);
    assert_eq!((asked.exit, asked.out.as_str()), (Exit::Ok, "limit: 3\n"));
    let body = json!({ "operation": "query", "key": "limit", "default": 3, "timeout_ms": 2000 });
    assert_eq!(server.last(), ("POST /api/agents/kv%2Fa/ask".to_owned(), body));
    let told = server.run(&["tell", "kv/a", "add", "--action", "by=3"]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Ok, "sent to kv/a\n"));
    let body = json!({ "operation": "action", "key": "add", "payload": { "by": 3 } });
    assert_eq!(server.last(), ("POST /api/agents/kv%2Fa/tell".to_owned(), body));
    assert_eq!(server.run(&["tell", "kv/a", "limit"]).exit, Exit::Usage);
}

/// Goal: an agent comes first, then a supervisor; neither is an error that names where to look.
#[test]
fn kills_agents_and_supervisors() {
    let server = Server::start();
    assert_eq!(server.run(&["kill", "kv/a"]).out, "killed agent kv/a\n");
    assert_eq!(server.run(&["kill", "nexus/sup"]).out, "killed supervisor nexus/sup\n");
    let nothing = server.run(&["kill", "ghost"]);
    assert_eq!(nothing.exit, Exit::Failed);
    assert!(nothing.err.contains("neither an agent nor a supervisor is called `ghost`"), "{}", nothing.err);
    assert!(nothing.err.contains("nexus tree"), "{}", nothing.err);
    let level = server.run(&["level", "kv/a", "emergent"]);
    assert_eq!(level.out, "kv/a: reactive (asked for emergent)\n");
}

/// Goal: every way to fail has its documented code and its remedy, in text and as JSON.
#[test]
fn failures_have_their_codes() {
    let server = Server::start();
    let crashed = server.run(&["ask", "crashes", "now"]);
    assert_eq!(crashed.exit, Exit::Failed);
    insta::assert_snapshot!(crashed.err, @r"
    error: the agent crashed: boom\u{1b}[2J
    remedy: the request is among `nexus dead-letters`; `nexus inspect AGENT` shows the exits
    ");
    let json = server.run(&["ask", "crashes", "now", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.err).unwrap()["error"]["problem"]["code"], "crashed");
    assert_eq!(server.run_with("wrong-token", &["agents"]).exit, Exit::Denied);
    let forbidden = server.run(&["stop", "kv/a"]);
    assert_eq!(forbidden.exit, Exit::Denied);
    assert!(forbidden.err.contains("allow_control"), "{}", forbidden.err);
    let nonsense = server.run(&["tree"]);
    assert_eq!(nonsense.exit, Exit::Failed);
    assert!(nonsense.err.contains("makes no sense"), "{}", nonsense.err);
    let url = format!("http://{}", server.address);
    drop(server);
    let gone = ended(&[("NEXUS_URL", &url)], &["tree"]);
    assert_eq!(gone.exit, Exit::Unreachable);
    assert!(gone.err.contains(&format!("no node answers at {url}")), "{}", gone.err);
    assert!(gone.err.contains("nexus run FILE"), "{}", gone.err);
    assert_eq!(ended(&[], &["tree"]).exit, Exit::Unreachable);
}

/// Goal: an invalid topology ends `check` and `run` with their code, and the report names the place; the schema is JSON.
#[test]
fn checks_topologies() {
    let home = tempfile::tempdir().unwrap();
    let (good, bad) = (home.path().join("good.toml"), home.path().join("bad.toml"));
    std::fs::write(&good, "[node]\nname = \"air\"\n").unwrap();
    std::fs::write(&bad, "[node]\nnam = \"air\"\n").unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let checked = ended(&[], &["check", good]);
    assert_eq!(checked.exit, Exit::Ok, "{checked:?}");
    assert!(checked.out.contains("valid; node air: 0 supervisors, 0 agent entries"), "{}", checked.out);
    let refused = ended(&[], &["check", bad]);
    assert_eq!(refused.exit, Exit::Config);
    assert!(refused.out.contains("bad.toml:2:1"), "{}", refused.out);
    let json: Value = serde_json::from_str(&ended(&[], &["check", bad, "-o", "json"]).out).unwrap();
    assert_eq!((&json["valid"], &json["diagnostics"][0]["line"]), (&json!(false), &json!(2)));
    let run = ended(&[], &["run", bad]);
    assert_eq!(run.exit, Exit::Config);
    assert!(run.err.contains("bad.toml:2:1"), "{}", run.err);
    let schema: Value = serde_json::from_str(&ended(&[], &["check", "--schema"]).out).unwrap();
    assert!(schema["properties"]["supervisor"].is_object());
}

/// Goal: a reader that has seen enough (`nexus version | head -0`) is neither an error nor a panic.
#[test]
fn a_closed_pipe_is_fine() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let environment = Environment::default();
    let behaviors = Behaviors::new();
    let cli = parse(["nexus", "version"].map(OsString::from)).unwrap();
    let out = Out::to_writer(Closed, Format::Text);
    let mut err = Vec::new();
    let exit =
        execute(cli, Context { environment: &environment, behaviors: &behaviors, out }, &mut err, false);
    assert_eq!((exit, err.as_slice()), (Exit::Ok, &b""[..]));
}
