//! The admin port: health, lab clock, reset, key table and request counts as JSON, and metrics. It has no
//! authentication and is bound to loopback by default; requests from web pages of another origin
//! are rejected.

mod clock;
mod metrics;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use kmslab_emulator_api::KeyTable;
use kmslab_keycore::{Clock, DueChanges, KeyCore, LabClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::http::body::{self as http_body, BodyError};
use crate::router::Services;
use crate::seed::SeedFile;

/// Bodies are a few bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// State that the admin port reads and changes.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) services: Services,
    pub(crate) core: Arc<KeyCore>,
    pub(crate) lab: Arc<LabClock>,
    pub(crate) wall: Arc<dyn Clock>,
    pub(crate) seed: SeedFile,
    /// Held while due changes are applied to all keys, so that the result of a clock move counts
    /// its own changes only.
    pub(crate) applying_due: tokio::sync::Mutex<()>,
}

impl Admin {
    /// Runs `before`, then applies what is due by the lab clock. Runs on a blocking thread, since a
    /// long jump over many keys generates much key material, and stops when the request is
    /// cancelled.
    pub(crate) async fn apply_due<E>(
        &self,
        before: impl FnOnce() -> Result<(), E>,
    ) -> Result<DueChanges, E> {
        let _one = self.applying_due.lock().await;
        before()?;
        let waits = CancellationToken::new();
        let _waits = waits.clone().drop_guard();
        let core = Arc::clone(&self.core);
        let applied =
            tokio::task::spawn_blocking(move || core.apply_due_while(&|| !waits.is_cancelled()));
        Ok(applied.await.unwrap_or_default())
    }

    /// All keys of all clouds, after their due rotations.
    pub(crate) async fn key_table(&self) -> KeyTable {
        let services = self.services.clone();
        tokio::task::spawn_blocking(move || services.key_table())
            .await
            .unwrap_or_default()
    }
}

pub(crate) fn router(state: Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(ok))
        .route("/readyz", get(ok))
        .route("/clock", get(clock::read).post(clock::change))
        .route("/reset", post(reset))
        .route("/keys", get(keys))
        .route("/requests", get(requests))
        .route("/metrics", get(scrape))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(with_timeout))
        .layer(from_fn(same_origin))
        .with_state(state)
}

/// An error response of this port.
fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({ "error": message.into() }))).into_response()
}

async fn ok() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn keys(State(state): State<Arc<Admin>>) -> Response {
    Json(json!({ "keys": state.key_table().await })).into_response()
}

async fn requests(State(state): State<Arc<Admin>>) -> Response {
    Json(state.services.pipeline.counter.snapshot()).into_response()
}

async fn reset(State(state): State<Arc<Admin>>, _body: Bytes) -> Response {
    state.core.reset();
    state.services.azure.reset();
    state.services.gcp.reset();
    state.services.pipeline.counter.clear();
    match state.seed.apply(
        &state.services.aws.aws,
        &state.services.azure,
        &state.services.gcp,
    ) {
        Ok(()) => Json(json!({ "status": "ok", "seeded": state.seed.keys.len() })).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn scrape(State(state): State<Arc<Admin>>) -> Response {
    let keys = state.key_table().await.rows.len();
    match metrics::render(&state, keys) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn unknown_path(request: Request) -> Response {
    let message = format!(
        "no {} here; there are /healthz, /readyz, /clock, /reset, /keys, /requests and /metrics",
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
