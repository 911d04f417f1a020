//! `GET /export`: everything that the emulator has, as a seed file in JSON.

use std::sync::Arc;

use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;

use super::problem;
use crate::state::State;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Parameters {
    /// Includes key material and what callers log in with.
    #[serde(default)]
    with_material: bool,
}

pub(super) async fn read(
    Extract(state): Extract<Arc<State>>,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Parameters { with_material })) = parameters else {
        let message = "the only parameter is with-material, which is true or false";
        return problem(StatusCode::BAD_REQUEST, message);
    };
    match state.export(with_material).await {
        Ok(seed) => Json(seed).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
