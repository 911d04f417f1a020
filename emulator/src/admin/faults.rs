//! `GET /faults` lists the faults with their hits, `POST /faults` adds one or several, and `DELETE
//! /faults/NAME` or `/faults` removes one or all.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use kmslab_emulator_api::{FaultFile, FaultTable, FaultsAdded, FaultsRemoved};

use super::problem;
use crate::pipeline::faults::AddFaultError;
use crate::state::State;

const EXAMPLE: &str =
    r#"for example {"effect":"throttle","cloud":"aws","operations":["Encrypt"],"share":0.5}"#;

pub(super) async fn list(Extract(state): Extract<Arc<State>>) -> Json<FaultTable> {
    Json(state.services.pipeline.faults.table())
}

pub(super) async fn add(Extract(state): Extract<Arc<State>>, body: Bytes) -> Response {
    let file = match parse(&body) {
        Ok(file) => file,
        Err(error) => {
            let message = format!("not a fault ({error}); {EXAMPLE}");
            return problem(StatusCode::BAD_REQUEST, message);
        }
    };
    match state.services.pipeline.faults.add_all(file) {
        Ok(names) => Json(FaultsAdded { names }).into_response(),
        Err(error) => {
            let status = match error {
                AddFaultError::Invalid(_) => StatusCode::BAD_REQUEST,
                AddFaultError::Exists(_) | AddFaultError::TooMany => StatusCode::CONFLICT,
            };
            problem(status, error.to_string())
        }
    }
}

/// One fault, or `{"faults": […]}`.
fn parse(body: &[u8]) -> Result<FaultFile, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_slice(body)?;
    match value.get("faults") {
        Some(_) => serde_json::from_value(value),
        None => serde_json::from_value(value).map(|fault| FaultFile {
            seed: None,
            faults: vec![fault],
        }),
    }
}

pub(super) async fn clear(Extract(state): Extract<Arc<State>>) -> Json<FaultsRemoved> {
    Json(FaultsRemoved {
        removed: state.services.pipeline.faults.clear(),
    })
}

pub(super) async fn remove(
    Extract(state): Extract<Arc<State>>,
    Path(name): Path<String>,
) -> Response {
    match state.services.pipeline.faults.remove(&name) {
        true => Json(FaultsRemoved { removed: 1 }).into_response(),
        false => problem(StatusCode::NOT_FOUND, format!("there is no fault {name}")),
    }
}
