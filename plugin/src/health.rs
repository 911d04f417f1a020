//! The HTTP port for probes and metrics: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::error::ServiceError;
use crate::metrics::Gauges;
use crate::service::Service;

pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "there are /livez, /readyz and /metrics\n",
            )
        })
        .with_state(service)
}

/// Succeeds while the process runs and its socket can be connected to. A dead key is not a reason
/// to restart.
async fn livez(State(service): State<Arc<Service>>) -> (StatusCode, String) {
    respond(service.ensure_socket_bound())
}

/// Succeeds while Status would report healthy.
async fn readyz(State(service): State<Arc<Service>>) -> (StatusCode, String) {
    respond(service.health_now().map(drop))
}

fn respond(health: Result<(), ServiceError>) -> (StatusCode, String) {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let readings = Gauges {
        usage: service.monitor.usage(),
        healthy: service.health_now().is_ok(),
    };
    match service.metrics.render(readings) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(err) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics cannot be written: {err}\n"),
        )
            .into_response(),
    }
}
