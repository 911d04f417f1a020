//! The admin port: health, lab clock, reset, addresses, key table, request counts, faults, audit
//! trail and export as JSON, and metrics. It has no authentication and is bound to loopback by
//! default; requests from web pages of another origin are rejected.

mod audit;
mod clock;
mod export;
mod faults;
mod metrics;

use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use axum::{Router, body::Bytes};
use serde_json::{Value, json};

use audit::Streams;
use tokio_util::sync::CancellationToken;

use crate::http::body::{self as http_body, BodyError};
use crate::state::State;

/// Bodies are a few bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

pub(crate) fn router(state: Arc<State>, stop: CancellationToken) -> Router {
    let streams = Streams {
        state: Arc::clone(&state),
        stop,
    };
    let streams = Router::new()
        .route("/audit/stream", get(audit::follow))
        .with_state(streams);
    Router::new()
        .route("/healthz", get(ok))
        .route("/readyz", get(ok))
        .route("/clock", get(clock::read).post(clock::change))
        .route("/reset", post(reset))
        .route("/endpoints", get(endpoints))
        .route("/keys", get(keys))
        .route("/requests", get(requests))
        .route(
            "/faults",
            get(faults::list).post(faults::add).delete(faults::clear),
        )
        .route("/faults/{name}", delete(faults::remove))
        .route("/audit", get(audit::query))
        .route("/audit/{format}", get(audit::export))
        .route("/export", get(export::read))
        .route("/metrics", get(scrape))
        .with_state(state)
        .merge(streams)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(with_timeout))
        .layer(from_fn(same_origin))
}

/// An error response of this port.
fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({ "error": message.into() }))).into_response()
}

async fn ok() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn keys(Extract(state): Extract<Arc<State>>) -> Response {
    Json(json!({ "keys": state.key_table().await })).into_response()
}

async fn endpoints(Extract(state): Extract<Arc<State>>) -> Response {
    Json(state.endpoints()).into_response()
}

async fn requests(Extract(state): Extract<Arc<State>>) -> Response {
    Json(state.requests()).into_response()
}

async fn reset(Extract(state): Extract<Arc<State>>, _body: Bytes) -> Response {
    match state.reset().await {
        Ok(()) => Json(json!({ "status": "ok", "seeded": state.seed.keys.len() })).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn scrape(Extract(state): Extract<Arc<State>>) -> Response {
    let keys = state.key_table().await.rows.len();
    match metrics::render(&state, keys) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn unknown_path(request: Request) -> Response {
    let message = format!(
        "no {} here; there are /healthz, /readyz, /clock, /reset, /endpoints, /keys, /requests, /faults, /audit, /audit/stream, /audit/cloudtrail, /audit/azure, /audit/google, /export and /metrics",
        request.uri().path()
    );
    problem(StatusCode::NOT_FOUND, message)
}

async fn unknown_method(request: Request) -> Response {
    let message = format!(
        "{} does not take {}",
        request.uri().path(),
        request.method()
    );
    problem(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// Limits the time of a request, so that a slow body does not hold a connection.
async fn with_timeout(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match http_body::read(body, MAX_BODY_BYTES).await {
        Ok(body) => next.run(Request::from_parts(parts, body.into())).await,
        Err(BodyError::TooLarge) => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a request to this port has at most 64 KiB",
        ),
        Err(BodyError::Broken) => problem(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not come",
        ),
    }
}

/// Browsers send the origin of the page that makes a request; pages of other origins must not move
/// the clock.
async fn same_origin(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match headers.get(ORIGIN) {
        Some(origin) if origin.as_bytes() != format!("http://{host}").as_bytes() => problem(
            StatusCode::FORBIDDEN,
            "requests from web pages of another origin are rejected",
        ),
        _ => next.run(request).await,
    }
}
