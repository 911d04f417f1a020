//! The HTTP side of the token endpoint and the metadata server.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, LOCATION, SERVER};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use kmslab_emulator_api::{Cloud, Wrong};
use serde_json::json;

use super::super::Gcp;
use super::super::service::{BODY_BROKEN, body_too_large};
use super::endpoints::{Content, IdentityResponse, METADATA, Request, TOKEN, is_metadata_path};
use super::metadata::etag;
use super::{certificates, faults};
use crate::counts::OK;
use crate::http::body::BodyError;
use crate::http::host;
use crate::pipeline::faults::Rejection;
use crate::pipeline::{Call, Exchange, Failure, Labels};

/// A signed assertion has about 1 KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request to the token endpoint or the metadata server.
#[derive(Debug)]
pub(crate) struct IdentityExchange(Arc<Gcp>);

impl IdentityExchange {
    pub(crate) fn new(gcp: Arc<Gcp>) -> Self {
        Self(gcp)
    }
}

/// A request with its body.
pub(crate) struct ReadRequest {
    gcp: Arc<Gcp>,
    parts: Arc<Parts>,
    body: Bytes,
}

/// Why an endpoint did not look at a request. The messages are the emulator's own.
#[derive(Debug)]
pub(crate) struct NotServed {
    status: StatusCode,
    message: String,
}

impl Call for ReadRequest {
    const CLOUD: Cloud = Cloud::Gcp;
    type Output = IdentityResponse;
    type Error = NotServed;

    fn run(&mut self) -> Result<IdentityResponse, NotServed> {
        let parts = &self.parts;
        let flavor = parts.headers.get("metadata-flavor");
        Ok(self.gcp.identity.respond(Request {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            host: &host::host(parts),
            forwarded: parts.headers.contains_key("x-forwarded-for"),
            flavor: flavor.and_then(|value| value.to_str().ok()),
            body: &self.body,
        }))
    }

    fn rejected(&self, rejection: Rejection<'_>) -> Option<Result<IdentityResponse, NotServed>> {
        faults::rejected(operation(self.parts.uri.path()), rejection).map(Ok)
    }

    fn corrupt(response: &mut IdentityResponse, wrong: Wrong) -> bool {
        faults::corrupt(response, wrong)
    }

    fn code(response: &IdentityResponse, labels: &mut Labels) -> Cow<'static, str> {
        labels.operation = response.operation.into();
        if let Some(caller) = &response.caller {
            labels.caller = caller.clone().into();
        }
        match response.status.is_success() {
            true => OK.into(),
            false => response.status.as_u16().to_string().into(),
        }
    }
}

impl Exchange for IdentityExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = ReadRequest;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), NotServed> {
        labels.operation = operation(parts.uri.path()).into();
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        labels: &mut Labels,
    ) -> Result<ReadRequest, NotServed> {
        let identity = &self.0.identity;
        let account = match is_metadata_path(parts.uri.path()) {
            true => Some(identity.default()),
            false => identity.claimed_account(&body),
        };
        if let Some(account) = account {
            labels.caller = account.into();
        }
        Ok(ReadRequest {
            gcp: Arc::clone(&self.0),
            parts: Arc::clone(parts),
            body,
        })
    }

    fn encode(
        &self,
        parts: &Parts,
        _: &str,
        outcome: Result<IdentityResponse, NotServed>,
    ) -> Response {
        let answer = outcome.unwrap_or_else(|error| error.response(parts.uri.path()));
        let (kind, text) = match &answer.body {
            Content::Json(value) => ("application/json", value.to_string()),
            Content::Text(text) => ("application/text", text.clone()),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if answer.operation == METADATA {
            headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
            headers.insert(SERVER, HeaderValue::from_static("Metadata Server for VM"));
            headers.insert("x-xss-protection", HeaderValue::from_static("0"));
            headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
            if let Ok(tag) = HeaderValue::from_str(&etag(&answer.body)) {
                headers.insert(ETAG, tag);
            }
        }
        let location = answer.location.as_deref();
        if let Some(Ok(location)) = location.map(HeaderValue::from_str) {
            headers.insert(LOCATION, location);
        }
        response
    }
}

impl NotServed {
    /// The response in the endpoint's format.
    fn response(self, path: &str) -> IdentityResponse {
        match operation(path) {
            METADATA => IdentityResponse::text(self.status, self.message),
            operation => {
                let error = match self.status.is_server_error() {
                    true => "internal_failure",
                    false => "invalid_request",
                };
                let body = json!({ "error": error, "error_description": self.message });
                IdentityResponse::json(operation, self.status, body)
            }
        }
    }
}

impl Failure for NotServed {
    fn unread(unread: BodyError, limit: usize) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: match unread {
                BodyError::TooLarge => body_too_large(limit),
                BodyError::Broken => BODY_BROKEN.to_owned(),
            },
        }
    }

    fn panicked() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "Internal error encountered.".to_owned(),
        }
    }

    fn code(&self) -> Cow<'_, str> {
        self.status.as_u16().to_string().into()
    }
}

fn operation(path: &str) -> &'static str {
    match is_metadata_path(path) {
        true => METADATA,
        false => certificates::operation(path).unwrap_or(TOKEN),
    }
}
