//! Server-sent events over a real connection.

use nexus_actors::telemetry::Event;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::site::{PATIENCE, TOKEN};
use super::{Answer, Site};

/// An open stream of events.
pub(super) struct Stream(BufReader<TcpStream>);

#[derive(Debug)]
pub(super) struct Told {
    id: u64,
    event: String,
    data: Value,
}

/// Opens a stream and reads its headers.
pub(super) async fn open(site: &Site, path: &str, headers: &[(&str, &str)]) -> Stream {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = BufReader::new(site.connect().await);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let reading = tokio::time::timeout(PATIENCE, stream.read_line(&mut head));
        assert!(reading.await.expect("headers come at once").unwrap() > 0, "{head}");
    }
    let answer = Answer::parse(head.as_bytes());
    assert_eq!(answer.status, 200, "{head}");
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    Stream(stream)
}

impl Stream {
    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let (mut id, mut event, mut data) = (0, String::new(), Value::Null);
        loop {
            let mut line = String::new();
            match tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an event comes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            let line = line.trim_end();
            // The last chunk: the stream has ended, the connection has not.
            if line == "0" {
                return None;
            }
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.parse().unwrap();
            } else if let Some(value) = line.strip_prefix("event: ") {
                event = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = serde_json::from_str(value).unwrap();
            } else if line.is_empty() && !event.is_empty() {
                return Some(Told { id, event, data });
            }
        }
    }
}

fn emit(site: &Site, agent: &str) -> u64 {
    site.node.events().emit(Event::AgentStarted {
        agent: agent.into(),
        behavior: "probe".into(),
        incarnation: 1,
    });
    site.node.events().emitted()
}

/// Goal: live events arrive; a client that comes back goes on after the last one it saw, without gap or repetition.
#[tokio::test]
async fn a_client_comes_back() {
    let site = Site::start().await;
    let mut stream = open(&site, "/debug/events", &[]).await;
    let first = emit(&site, "x/1");
    let told = stream.next().await.unwrap();
    assert_eq!(
        (told.id, told.event.as_str(), &told.data["agent"]),
        (first, "agent.started", &Value::from("x/1"))
    );
    assert_eq!(told.data["seq"], first);
    drop(stream);
    emit(&site, "x/2");
    emit(&site, "x/3");
    let mut stream = open(&site, "/debug/events?since=0", &[("last-event-id", &first.to_string())]).await;
    assert_eq!((stream.next().await.unwrap().id, stream.next().await.unwrap().id), (first + 1, first + 2));
    let last = emit(&site, "x/4");
    assert_eq!(stream.next().await.unwrap().id, last);
}

/// Goal: filters, all that is kept, and what is not kept any more.
#[tokio::test]
async fn replay_and_filters() {
    let site = Site::start().await;
    let mut stream = open(&site, "/debug/events?since=0", &[]).await;
    assert_eq!(stream.next().await.unwrap().id, 1);
    for number in 0..300 {
        emit(&site, &format!("y/{number}"));
    }
    let mut stream = open(&site, "/debug/events?since=0", &[]).await;
    let missed = stream.next().await.unwrap();
    assert_eq!(missed.event, "missed", "the log keeps 256");
    assert_eq!(missed.data["count"], missed.data["to"]);
    let next = stream.next().await.unwrap();
    assert_eq!(next.id, missed.data["to"].as_u64().unwrap() + 1);

    let mut stream = open(&site, "/debug/events?since=99999999&event=agent.&agent=y/299", &[]).await;
    let mut told = stream.next().await.unwrap();
    if told.event == "missed" {
        told = stream.next().await.unwrap();
    }
    assert_eq!(told.data["agent"], "y/299", "a place of an earlier run: all that is kept");

    let mut stream = open(&site, "/debug/events?since=0&follow=false&agent=y/299", &[]).await;
    assert_eq!(stream.next().await.unwrap().event, "missed");
    assert_eq!(stream.next().await.unwrap().data["agent"], "y/299");
    assert!(stream.next().await.is_none(), "the stream ends with what is kept");

    let page = site.get("/debug/events?format=json&agent=y/298").await.json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["newest"], site.node.events().emitted());
    assert_eq!(site.get("/debug/events?since=x").await.problem(), "bad_parameter");
}

/// Goal: half of the connections may be streams; the next one is told.
#[tokio::test]
async fn streams_are_limited() {
    let site = Site::configured(|config| config.max_connections = 4).await;
    let streams = [open(&site, "/debug/events", &[]).await, open(&site, "/debug/events", &[]).await];
    let refused = site.get("/debug/events").await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too_many_streams"));
    drop(streams);
    let waiting = async {
        while site.state.streams().available_permits() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("closed streams free their places");
    open(&site, "/debug/events", &[]).await;
}
