//! `GET /metrics`: the request counts as OpenMetrics text, for Prometheus.

use std::fmt;

use kmslab_emulator_api::RequestCounts;
use kmslab_keycore::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::state::State;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn render(state: &State, keys: usize) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        requests: state.services.pipeline.counter.snapshot(),
        keys: keys as u64,
        lab_seconds: state.lab.now().as_second(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    requests: RequestCounts,
    keys: u64,
    lab_seconds: i64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut requests = encoder.encode_descriptor(
            "kmslab_emulator_requests",
            "Requests by operation, stated caller and outcome, including rejected ones",
            None,
            MetricType::Counter,
        )?;
        for row in &self.requests.rows {
            let labels = [
                ("cloud", row.cloud.as_str()),
                ("operation", row.operation.as_str()),
                ("caller", row.caller.as_str()),
                ("code", row.code.as_str()),
            ];
            requests
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&row.count, None)?;
        }
        encoder
            .encode_descriptor(
                "kmslab_emulator_keys",
                "Keys that exist",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.keys)?;
        encoder
            .encode_descriptor(
                "kmslab_emulator_lab_clock_seconds",
                "The lab clock",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.lab_seconds)
    }
}
