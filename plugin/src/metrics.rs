//! Counters and latencies in Prometheus' text format. Labels have few values; error messages are
//! not among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::Code;

use crate::kek::Usage;

/// Histogram buckets in seconds. kube-apiserver's documentation recommends 10 ms for Decrypt and
/// 100 ms for Encrypt; its default timeout is 3 s.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0,
];

/// The largest code of gRPC.
const LAST_CODE: i32 = Code::Unauthenticated as i32;

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

impl RequestLabels {
    fn new(operation: Operation, code: Code) -> Self {
        Self {
            operation: operation.name(),
            code: format!("{code:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KekCallLabels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyUseLabels {
    operation: &'static str,
}

type Latencies = Family<LatencyLabels, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Latencies,
    kek_calls: Family<KekCallLabels, Counter>,
    kek_seconds: Latencies,
    cloud_requests: Counter<u64, AtomicU64>,
    key_uses: Family<KeyUseLabels, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
    healthy: Gauge<i64, AtomicI64>,
}

/// Values read when metrics are scraped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) usage: Usage,
    pub(crate) healthy: bool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("kmslab_plugin"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            kek_calls: Family::default(),
            kek_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            cloud_requests: Counter::default(),
            key_uses: Family::default(),
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
            "kek_calls",
            "Calls of the key in the cloud, probes included, by result",
            metrics.kek_calls.clone(),
        );
        registry.register(
            "kek_call_duration_seconds",
            "Time of a call of the key in the cloud",
            metrics.kek_seconds.clone(),
        );
        registry.register(
            "cloud_requests",
            "Requests sent to the cloud, retries included",
            metrics.cloud_requests.clone(),
        );
        registry.register(
            "key_uses",
            "Successful responses of the cloud to encrypt and decrypt, probes included",
            metrics.key_uses.clone(),
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

    /// Begins a gRPC call. One that is dropped before its end counts as cancelled.
    pub(crate) fn begin(self: &Arc<Self>, operation: Operation) -> Call {
        self.in_flight.inc();
        Call {
            metrics: Arc::clone(self),
            operation,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Number of gRPC calls answered.
    pub(crate) fn answered(&self, operation: Operation) -> u64 {
        (0..=LAST_CODE)
            .filter_map(|code| {
                self.requests
                    .get(&RequestLabels::new(operation, Code::from(code)))
                    .map(|counter| counter.get())
            })
            .sum()
    }

    /// Number of gRPC calls in progress.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.get().unsigned_abs()
    }

    pub(crate) fn kek_call(&self, operation: &'static str, result: &'static str, took: Duration) {
        self.kek_calls
            .get_or_create(&KekCallLabels { operation, result })
            .inc();
        self.kek_seconds
            .get_or_create(&LatencyLabels { operation })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn render(&self, readings: Gauges) -> Result<String, std::fmt::Error> {
        self.cloud_requests
            .inner()
            .store(readings.usage.requests, Ordering::Relaxed);
        for (operation, uses) in [
            ("encrypt", readings.usage.encrypts),
            ("decrypt", readings.usage.decrypts),
        ] {
            let counter = self.key_uses.get_or_create(&KeyUseLabels { operation });
            counter.inner().store(uses, Ordering::Relaxed);
        }
        self.healthy.set(i64::from(readings.healthy));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A gRPC call in progress.
#[derive(Debug)]
pub(crate) struct Call {
    metrics: Arc<Metrics>,
    operation: Operation,
    started: Instant,
    code: Code,
}

impl Call {
    pub(crate) fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let operation = self.operation;
        self.metrics.in_flight.dec();
        self.metrics
            .requests
            .get_or_create(&RequestLabels::new(operation, self.code))
            .inc();
        self.metrics
            .seconds
            .get_or_create(&LatencyLabels {
                operation: operation.name(),
            })
            .observe(self.started.elapsed().as_secs_f64());
    }
}
