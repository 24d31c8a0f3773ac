//! What hostile clients get: an answer or a closed connection, in bounded time and memory.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::site::{PATIENCE, TOKEN};
use super::{Answer, Site, request};

fn posting(length: usize) -> String {
    format!(
        "POST /api/agents/tower/ask HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Goal: a body past the limit is refused, announced or not.
#[tokio::test]
async fn big_bodies() {
    let site = Site::configured(|config| config.max_body_bytes = 2000).await;
    let answer = site.post("/api/agents/tower/ask", &json!({ "key": "x".repeat(3000) })).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body_too_large"));
    let mut stream = site.connect().await;
    stream.write_all(posting(100_000_000_000).as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 413, "refused before it comes");

    let head = posting(0).replace("content-length: 0", "transfer-encoding: chunked");
    let mut stream = site.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    for _ in 0..1000 {
        // The endpoint stops reading and closes: writing then fails.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert!(matches!(Answer::read(&mut stream).await.status, 413 | 0), "answered, or reset while writing");
    assert_eq!(site.get("/livez").await.status, 200);
}

/// Goal: a body one byte at a time is cut off when the request's time is over. Method: a client that never tires.
#[tokio::test]
async fn slow_bodies() {
    let site = Site::configured(|config| config.request_timeout = Duration::from_millis(200)).await;
    let mut stream = site.connect().await;
    stream.write_all(posting(1000).as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut bytes = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it is cut off");
    let answer = Answer::parse(&bytes);
    assert_eq!((answer.status, answer.problem().as_str()), (408, "body_too_slow"));
    dripping.abort();
}

/// Goal: headers one byte at a time, and connections that say nothing, are closed.
#[tokio::test]
async fn slow_headers() {
    let site = Site::configured(|config| config.request_timeout = Duration::from_millis(200)).await;
    let mut silent = site.connect().await;
    let slow = site.connect().await;
    let (mut reader, mut writer) = slow.into_split();
    let dripping = tokio::spawn(async move {
        let head = request("GET", "/livez", &[("x", &"y".repeat(10_000))], b"");
        for byte in head {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut bytes = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it is cut off");
    assert!(matches!(Answer::parse(&bytes).status, 0 | 408));
    assert!(matches!(Answer::read(&mut silent).await.status, 0 | 408));
    dripping.abort();
}

/// Goal: headers of a megabyte, a path of a megabyte, too many headers, and bytes that are no HTTP do no harm.
#[tokio::test]
async fn garbage() {
    let site = Site::start().await;
    let long = "x".repeat(1_000_000);
    let many: String = (0..1000).map(|number| format!("h{number}: 1\r\n")).collect();
    let hostile: [Vec<u8>; 8] = [
        request("GET", "/livez", &[("x", &long)], b""),
        request("GET", &format!("/{long}"), &[], b""),
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").into_bytes(),
        (0..=255).cycle().take(100_000).collect(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".to_vec(),
    ];
    for bytes in hostile {
        let mut stream = site.connect().await;
        // It may close while we write.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let status = Answer::read(&mut stream).await.status;
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(matches!(status, 0 | 400..500), "{status} for {start:?}");
    }
    for path in [
        "/%ff%fe",
        "/debug/agents/%00",
        "/debug/agents/%",
        "/debug/agents?limit=%ff",
        "//",
        "/debug/tree?%%%",
    ] {
        let status = site.get(path).await.status;
        assert!((400..500).contains(&status), "{status} for {path}");
    }
    assert_eq!(site.get("/livez").await.status, 200);
}

/// Goal: past the limit of connections `/livez` still answers, others are told, and freed places are used again.
#[tokio::test]
async fn too_many_connections() {
    let site = Site::configured(|config| config.max_connections = 2).await;
    // A stream and a quiet one that has had its answer.
    let stream = super::stream::open(&site, "/debug/events", &[]).await;
    let mut quiet = site.connect().await;
    quiet.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut quiet, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");

    let refused = site.get("/debug/tree").await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too_many_connections"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(site.get("/livez").await.text(), "alive\n");
    drop((stream, quiet));
    let again = async { while site.get("/debug/tree").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("freed places are used again");
}

/// Goal: `/livez` answers while every agent is stuck and their inboxes are full.
#[tokio::test]
async fn livez_while_agents_are_stuck() {
    let site = Site::start().await;
    for agent in ["tower", "a/b/c"] {
        for _ in 0..6 {
            site.post(&format!("/api/agents/{agent}/tell"), &json!({ "operation": "action", "key": "hang" }))
                .await;
        }
    }
    assert_eq!(site.get("/livez").await.status, 200);
    let tree = site.get("/debug/tree").await;
    assert_eq!(tree.status, 200);
    assert_eq!(tree.json()["tree"]["children"][0]["children"][0]["queued"], 4);
}

/// Goal: several requests on one connection, sent at once, are answered in order.
#[tokio::test]
async fn pipelining() {
    let site = Site::start().await;
    let keep = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = String::from_utf8(request("GET", "/livez", &[], b"")).unwrap();
    let answer = site.send(format!("{keep}{keep}{last}")).await;
    assert_eq!(answer.text().matches("alive").count(), 3);
}
