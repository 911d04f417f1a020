//! The admin port: health, the lab clock, reset, the key table and metrics, in JSON. It has no
//! authentication, so it is on loopback by default; a request that a web page of another origin
//! sends is refused.

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
use kmslab_keycore::{DueChanges, KeyCore, LabClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::front::Fronts;
use crate::http_body::{self, Unread};
use crate::keytable::KeyRow;
use crate::seed::SeedFile;

/// A clock move is a few bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// What the admin port reads and changes.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) fronts: Fronts,
    pub(crate) core: Arc<KeyCore>,
    pub(crate) lab: Arc<LabClock>,
    pub(crate) seed: SeedFile,
    /// Held by who settles all keys: one thread does, and whoever moves the clock is told of what
    /// his own move made.
    pub(crate) settling: tokio::sync::Mutex<()>,
}

impl Admin {
    /// Carries out what is due by the lab clock, after `before`. A long jump over many keys makes
    /// much key material, hence the other thread; it ends when nobody waits for the answer any
    /// more.
    pub(crate) async fn settle<E>(
        &self,
        before: impl FnOnce() -> Result<(), E>,
    ) -> Result<DueChanges, E> {
        let _one = self.settling.lock().await;
        before()?;
        let waits = CancellationToken::new();
        let _waits = waits.clone().drop_guard();
        let core = Arc::clone(&self.core);
        let settled =
            tokio::task::spawn_blocking(move || core.apply_due_while(&|| !waits.is_cancelled()));
        Ok(settled.await.unwrap_or_default())
    }

    /// Every key of every cloud. Keys that are due are rotated before they are shown.
    pub(crate) async fn key_table(&self) -> Vec<KeyRow> {
        let fronts = self.fronts.clone();
        tokio::task::spawn_blocking(move || fronts.key_table())
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
        .route("/metrics", get(scrape))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(in_time))
        .layer(from_fn(same_origin))
        .with_state(state)
}

/// An error in the one shape of this port.
fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({ "error": message.into() }))).into_response()
}

async fn ok() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn keys(State(state): State<Arc<Admin>>) -> Response {
    Json(json!({ "keys": state.key_table().await })).into_response()
}

async fn reset(State(state): State<Arc<Admin>>, _body: Bytes) -> Response {
    state.core.reset();
    state.fronts.azure.reset();
    state.fronts.gcp.reset();
    state.fronts.counter.clear();
    match state.seed.plant(
        &state.fronts.aws.aws,
        &state.fronts.azure,
        &state.fronts.gcp,
    ) {
        Ok(()) => Json(json!({ "status": "ok", "seeded": state.seed.keys.len() })).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn scrape(State(state): State<Arc<Admin>>) -> Response {
    let keys = state.key_table().await.len();
    match metrics::render(&state, keys) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn unknown_path(request: Request) -> Response {
    let message = format!(
        "no {} here; there are /healthz, /readyz, /clock, /reset, /keys and /metrics",
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

/// A body that comes in pieces, or never, holds no connection for long.
async fn in_time(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match http_body::read(body, LARGEST_BODY).await {
        Ok(body) => next.run(Request::from_parts(parts, body.into())).await,
        Err(Unread::TooLarge) => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a request to this port has at most 64 KiB",
        ),
        Err(Unread::Broken) => problem(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not come",
        ),
    }
}

/// Browsers name the page that sends a request; a page that this port did not serve must not move
/// the clock.
async fn same_origin(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match headers.get(ORIGIN) {
        Some(origin) if origin.as_bytes() != format!("http://{host}").as_bytes() => problem(
            StatusCode::FORBIDDEN,
            "requests of web pages from another origin are refused",
        ),
        _ => next.run(request).await,
    }
}
