//! Metrics and spans on their way out: Prometheus text for whoever scrapes, OTLP to a collector where the topology names one.
//!
//! One meter provider feeds both: the instruments exist once.

mod clients;
mod cluster;
mod feed;
mod node;
mod otlp;
mod performance;
mod process;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::Node;
use nexus_actors::performance::Performance;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};

use self::node::NodeMetrics;
use crate::clients::Clients;
use crate::cluster::Clustered;
use crate::feed::FeedSlot;
use crate::topology::TelemetryConfig;

pub(crate) use process::{cpu_seconds, status_bytes};

/// The media type of [`Telemetry::prometheus_text`].
pub const PROMETHEUS_MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// Why metrics or spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The collector's address or headers make no sense. Correct `telemetry.otlp`.
    #[error("telemetry.otlp: {0}")]
    Otlp(String),
    /// The metrics contradict each other: two instruments with one name. A bug.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// A node's metrics and spans. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    registry: Registry,
    observed: std::sync::OnceLock<Arc<NodeMetrics>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("otlp", &self.inner.tracers.is_some()).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Sets metrics up and, with `config.otlp`, the exporters and the process's tracer. Call it within a tokio runtime, whose
    /// connections the exporters use, and hand its [`Telemetry::meter`] to the node.
    ///
    /// # Errors
    /// [`TelemetryError`]; nothing runs then.
    pub fn start(config: &TelemetryConfig, node_name: &str) -> Result<Self, TelemetryError> {
        let resource = Resource::builder()
            .with_service_name("nexus")
            .with_attributes([
                KeyValue::new("service.instance.id", node_name.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(prometheus);
        let mut tracers = None;
        if let Some(otlp) = &config.otlp {
            let exporters = otlp::exporters(otlp)?;
            let periodic = PeriodicReader::builder(exporters.metrics).with_interval(otlp.interval).build();
            meters = meters.with_reader(periodic);
            let provider = SdkTracerProvider::builder()
                .with_resource(resource)
                .with_batch_exporter(exporters.spans)
                .build();
            global::set_tracer_provider(provider.clone());
            tracers = Some(provider);
        }
        let inner = Inner { meters: meters.build(), tracers, registry, observed: std::sync::OnceLock::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes instruments.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.inner.meters.meter("nexus")
    }

    /// Exports the counters of the node and its feeds, and the process's use of memory, CPU and files, from now on. Only the
    /// first call counts.
    pub fn observe(&self, node: &Node, feeds: &[Arc<FeedSlot>]) {
        self.inner.observed.get_or_init(|| {
            let meter = self.meter();
            process::observe(&meter, *node.clock());
            feed::observe(&meter, feeds.to_vec());
            if let Some(store) = node.store() {
                store::observe(&meter, store);
            }
            NodeMetrics::observe(&meter, node.clone())
        });
    }

    /// Exports the counters of the clients' endpoint from now on. Call it once.
    pub fn observe_clients(&self, clients: &Clients) {
        clients::observe(&self.meter(), clients);
    }

    /// Exports the node's part in its cluster from now on. Call it once.
    pub fn observe_cluster(&self, cluster: &Clustered) {
        cluster::observe(&self.meter(), cluster);
    }

    /// Exports what the performance monitor sees and does from now on. Call it once.
    pub fn observe_performance(&self, performance: &Performance) {
        performance::observe(&self.meter(), performance);
    }

    /// All metrics in Prometheus's text format, fresh. Looks at every agent: not for an async thread.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`].
    pub fn prometheus_text(&self) -> Result<String, TelemetryError> {
        if let Some(observed) = self.inner.observed.get() {
            observed.refresh();
        }
        TextEncoder::new()
            .encode_to_string(&self.inner.registry.gather())
            .map_err(|error| TelemetryError::Metrics(error.to_string()))
    }

    /// Exports what waits and stops the exporters, waiting at most `limit`. Blocks: not for an async thread.
    pub fn shutdown(&self, limit: Duration) {
        if let Some(tracers) = &self.inner.tracers
            && let Err(error) = tracers.shutdown_with_timeout(limit)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
        if self.inner.tracers.is_some()
            && let Err(error) = self.inner.meters.shutdown_with_timeout(limit)
        {
            tracing::warn!(%error, "the last metrics were not exported");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::topology::OtlpConfig;

    fn exporting_to(endpoint: &str) -> TelemetryConfig {
        let otlp = OtlpConfig {
            endpoint: endpoint.to_owned(),
            headers: BTreeMap::new(),
            interval: Duration::from_secs(3600),
        };
        TelemetryConfig { otlp: Some(otlp), ..TelemetryConfig::default() }
    }

    /// Goal: an address nobody could export to is refused with an example of a right one.
    #[tokio::test]
    async fn bad_endpoints_are_refused() {
        for endpoint in ["localhost:4318", "ftp://localhost", "", "http://a b", "/v1"] {
            let error = Telemetry::start(&exporting_to(endpoint), "test").unwrap_err().to_string();
            assert!(error.starts_with("telemetry.otlp: endpoint"), "{endpoint:?}: {error}");
        }
    }

    /// Goal: a collector that is not there delays the end by no more than the limit. Method: a port nobody listens on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_absent_collector_is_survived() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let telemetry = Telemetry::start(&exporting_to(&format!("http://127.0.0.1:{port}")), "test").unwrap();
        telemetry.meter().u64_counter("test").build().add(1, &[]);
        let ending = tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(5)));
        tokio::time::timeout(Duration::from_secs(20), ending).await.expect("it ends").unwrap();
    }
}
