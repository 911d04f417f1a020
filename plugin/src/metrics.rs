//! Counters and latencies in Prometheus' text format. Labels have few values; error messages are
//! not among them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Histogram buckets in seconds. kube-apiserver's documentation recommends 10 ms for Decrypt and
/// 100 ms for Encrypt; its default timeout is 3 s.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Status,
    Encrypt,
    Decrypt,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    operation: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    cloud_requests: Counter<u64, AtomicU64>,
    in_flight: Gauge<i64, AtomicI64>,
    healthy: Gauge<i64, AtomicI64>,
}

/// Values read when metrics are scraped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) cloud_requests: u64,
    pub(crate) in_flight: u64,
    pub(crate) healthy: bool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("kmslab_plugin"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            cloud_requests: Counter::default(),
            in_flight: Gauge::default(),
            healthy: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "gRPC calls answered", metrics.requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time to answer a gRPC call",
            metrics.seconds.clone(),
        );
        registry.register(
            "cloud_requests",
            "Requests sent to the cloud, retries included",
            metrics.cloud_requests.clone(),
        );
        registry.register(
            "in_flight",
            "gRPC calls being answered",
            metrics.in_flight.clone(),
        );
        registry.register(
            "healthy",
            "1 if Status would say ok",
            metrics.healthy.clone(),
        );
        metrics
    }

    pub(crate) fn request(&self, operation: Operation, code: tonic::Code, took: Duration) {
        let answered = RequestLabels {
            operation: operation.name(),
            code: format!("{code:?}"),
        };
        self.requests.get_or_create(&answered).inc();
        self.seconds
            .get_or_create(&LatencyLabels {
                operation: operation.name(),
            })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn render(&self, readings: Gauges) -> Result<String, std::fmt::Error> {
        self.cloud_requests
            .inner()
            .store(readings.cloud_requests, Ordering::Relaxed);
        self.in_flight
            .set(i64::try_from(readings.in_flight).unwrap_or(i64::MAX));
        self.healthy.set(i64::from(readings.healthy));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
