//! Export by OTLP over HTTP (protobuf), as the OpenTelemetry protocol's specification has it: `/v1/metrics`, `/v1/traces`.
//!
//! The SDK's exporters run on threads of their own and have no runtime; the client here sends on the node's runtime for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::uri::Scheme;
use axum::http::{Request, Response, Uri};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use tokio::runtime::Handle;
use tokio_rustls::rustls::crypto::ring;

use super::TelemetryError;
use crate::topology::OtlpConfig;

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most of a collector's answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The two exporters.
pub(super) struct Exporters {
    pub(super) metrics: MetricExporter,
    pub(super) spans: SpanExporter,
}

/// Exporters to the configured collector.
pub(super) fn exporters(config: &OtlpConfig) -> Result<Exporters, TelemetryError> {
    let base = config.endpoint.trim_end_matches('/');
    let uri: Uri = base
        .parse()
        .map_err(|error| TelemetryError::Otlp(format!("endpoint `{base}` is no address: {error}")))?;
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => {
            return Err(TelemetryError::Otlp(format!(
                "endpoint `{base}` must begin with `http://` or `https://`, such as `http://localhost:4318`"
            )));
        }
    };
    let headers: HashMap<String, String> =
        config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    let failed = |error: &dyn std::fmt::Display| TelemetryError::Otlp(error.to_string());

    let metrics = MetricExporter::builder()
        .with_http()
        .with_http_client(RuntimeClient::new(tls)?)
        .with_headers(headers.clone())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/metrics"))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| failed(&error))?;
    let spans = SpanExporter::builder()
        .with_http()
        .with_http_client(RuntimeClient::new(tls)?)
        .with_headers(headers)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| failed(&error))?;
    Ok(Exporters { metrics, spans })
}

#[derive(Clone, Debug)]
enum Connection {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Sends on the runtime it was made in, whatever thread asks for it.
#[derive(Debug)]
struct RuntimeClient {
    runtime: Handle,
    connection: Connection,
    /// Whether the last export failed: failure and recovery are logged once each.
    failing: AtomicBool,
}

impl RuntimeClient {
    fn new(tls: bool) -> Result<Self, TelemetryError> {
        let runtime = Handle::try_current()
            .map_err(|_| TelemetryError::Otlp("export needs a tokio runtime to be started in".to_owned()))?;
        let connection = if tls {
            let connector = HttpsConnectorBuilder::new()
                // Named, as more than one provider is compiled in.
                .with_provider_and_native_roots(ring::default_provider())
                .map_err(|error| {
                    TelemetryError::Otlp(format!(
                        "the system's certificates cannot be read ({error}): install them, or use `http://`"
                    ))
                })?
                .https_only()
                .enable_http1()
                .build();
            Connection::Tls(Client::builder(TokioExecutor::new()).build(connector))
        } else {
            Connection::Plain(Client::builder(TokioExecutor::new()).build_http())
        };
        Ok(Self { runtime, connection, failing: AtomicBool::new(false) })
    }

    fn report(&self, path: &str, failure: Option<String>) {
        let failed_before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !failed_before => {
                tracing::warn!(path, error, "OTLP export fails; it goes on trying")
            }
            None if failed_before => tracing::info!(path, "OTLP export works again"),
            _ => {}
        }
    }
}

async fn exchange(
    connection: Connection,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, HttpError> {
    let answered = match &connection {
        Connection::Plain(client) => client.request(request).await?,
        Connection::Tls(client) => client.request(request).await?,
    };
    let (parts, body) = answered.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

impl HttpClient for RuntimeClient {
    // The expansion of `#[async_trait]`, which the trait is declared with.
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, HttpError>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let request = request.map(Full::new);
            let exchanging = exchange(self.connection.clone(), request);
            // The timer, too, belongs to the runtime.
            let task =
                self.runtime.spawn(async move { tokio::time::timeout(EXPORT_TIMEOUT, exchanging).await });
            let result: Result<Response<Bytes>, HttpError> = match task.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(format!("no answer within {EXPORT_TIMEOUT:?}").into()),
                Err(_) => Err("the node's runtime has ended".into()),
            };
            let failure = match &result {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(format!("the collector answered {}", response.status())),
                Err(error) => Some(error.to_string()),
            };
            self.report(&path, failure);
            result
        })
    }
}
