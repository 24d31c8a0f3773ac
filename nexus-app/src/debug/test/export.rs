//! Export by OTLP: a request over HTTP becomes spans and metrics at a collector.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use serde_json::json;
use tokio::sync::mpsc;

use super::site::{PATIENCE, TOKEN};
use super::{Site, request};
use crate::topology::{OtlpConfig, Secret, TelemetryConfig};

struct Export {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Export {
    fn has(&self, part: &[u8]) -> bool {
        self.body.windows(part.len()).any(|window| window == part)
    }
}

/// A collector that takes everything and shows it.
async fn collector() -> (String, mpsc::UnboundedReceiver<Export>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let take = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let sent = sender.send(Export { path: uri.path().to_owned(), headers, body });
        async move { sent.map(|()| "").map_err(|_| axum::http::StatusCode::GONE) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(take);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), receiver)
}

/// Goal: an ask over HTTP continues the caller's trace through the endpoint and the agent to the collector, and the metrics
/// arrive there under their names, both with the configured headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_and_metrics_reach_a_collector() {
    let (endpoint, mut exports) = collector().await;
    let otlp = OtlpConfig {
        endpoint,
        headers: BTreeMap::from([("x-api-key".to_owned(), Secret::new("hunter2".to_owned()))]),
        interval: Duration::from_secs(3600),
    };
    let config = TelemetryConfig { otlp: Some(otlp), ..TelemetryConfig::default() };
    let site = Site::exporting(|_| {}, &config).await;

    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let body = json!({ "operation": "update", "key": "set", "payload": 1 }).to_string();
    assert_eq!(
        site.send(request("POST", "/api/agents/tower/ask", &headers, body.as_bytes())).await.status,
        200
    );

    // The same instruments, before the end stops their readers.
    let text = site.get("/metrics").await.text();
    assert!(
        text.lines().any(|line| line == "nexus_messages_processed_total 1"),
        "Prometheus as well: {text}"
    );
    let telemetry = site.state.sources().telemetry.clone();
    let ending = tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(10)));
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends").unwrap();

    let mut found = BTreeMap::new();
    while let Ok(export) = exports.try_recv() {
        assert_eq!(export.headers["x-api-key"], "hunter2");
        assert_eq!(export.headers["content-type"], "application/x-protobuf");
        found.insert(export.path.clone(), export);
    }
    let spans = &found["/v1/traces"];
    assert!(spans.has(b"POST /api/agents/{id}/ask"), "the endpoint's span");
    assert!(spans.has(b"agent.request") && spans.has(b"tower"), "the agent's span");
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    assert!(spans.has(&trace_id), "the caller's trace");
    let metrics = &found["/v1/metrics"];
    for name in ["nexus.messages.processed", "nexus.agent.message.duration", "nexus.process.uptime"] {
        assert!(metrics.has(name.as_bytes()), "{name}");
    }
}
