//! The HTTP side of the identity platform.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use kmslab_emulator_api::{Cloud, Wrong};

use super::super::service::{MAX_BODY_BYTES, json};
use super::super::{Azure, AzureError};
use super::endpoint::Endpoint;
use super::{Content, IdentityResponse, Request, faults};
use crate::counts::UNKNOWN;
use crate::http::host;
use crate::pipeline::faults::Rejection;
use crate::pipeline::{Call, Exchange, Labels};

/// A request to the identity platform.
#[derive(Debug)]
pub(crate) struct IdentityExchange(Arc<Azure>);

impl IdentityExchange {
    pub(crate) fn new(azure: Arc<Azure>) -> Self {
        Self(azure)
    }
}

/// A request with its body.
pub(crate) struct ReadRequest {
    azure: Arc<Azure>,
    parts: Arc<Parts>,
    body: Bytes,
    /// `client_id` of a token request.
    client_id: Option<String>,
}

impl ReadRequest {
    fn endpoint(&self) -> Option<Endpoint<'_>> {
        Endpoint::of(&self.parts.method, self.parts.uri.path())
    }
}

impl Call for ReadRequest {
    const CLOUD: Cloud = Cloud::Azure;
    type Output = IdentityResponse;
    type Error = AzureError;

    fn run(&mut self) -> Result<IdentityResponse, AzureError> {
        let parts = &self.parts;
        let metadata = parts.headers.get("metadata");
        Ok(self.azure.identity.respond(Request {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            base: &format!("https://{}", host::host(parts)),
            metadata: metadata.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")),
            body: &self.body,
        }))
    }

    fn rejected(&self, rejection: Rejection<'_>) -> Option<Result<IdentityResponse, AzureError>> {
        let client_id = self.client_id.as_deref().unwrap_or_default();
        let identity = &self.azure.identity;
        let response = identity.rejected(self.endpoint()?, client_id, rejection)?;
        Some(Ok(response))
    }

    fn corrupt(response: &mut IdentityResponse, wrong: Wrong) -> bool {
        faults::corrupt(response, wrong)
    }

    fn code(response: &IdentityResponse, labels: &mut Labels) -> Cow<'static, str> {
        if let Some(caller) = &response.caller {
            labels.caller = caller.clone().into();
        }
        response.code.clone().into()
    }
}

impl Exchange for IdentityExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = ReadRequest;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), AzureError> {
        let endpoint = Endpoint::of(&parts.method, parts.uri.path());
        let operation = endpoint.map_or(UNKNOWN, Endpoint::operation);
        labels.operation = operation.into();
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        labels: &mut Labels,
    ) -> Result<ReadRequest, AzureError> {
        let request = ReadRequest {
            azure: Arc::clone(&self.0),
            parts: Arc::clone(parts),
            client_id: None,
            body,
        };
        let Some(Endpoint::Token { .. }) = request.endpoint() else {
            return Ok(request);
        };
        let mut form = form_urlencoded::parse(&request.body);
        let client_id = form
            .find(|(name, _)| name == "client_id")
            .map(|(_, value)| value.into_owned());
        if let Some(client_id) = &client_id {
            labels.caller = client_id.clone().into();
        }
        Ok(ReadRequest {
            client_id,
            ..request
        })
    }

    fn encode(
        &self,
        parts: &Parts,
        request_id: &str,
        outcome: Result<IdentityResponse, AzureError>,
    ) -> Response {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => return self.0.respond(parts, None, request_id, Err(error)),
        };
        let mut response = match &answer.body {
            Content::Json(body) => json(answer.status, body),
            Content::Text(text) => {
                let mut response = Response::new(Body::from(*text));
                *response.status_mut() = answer.status;
                let kind = HeaderValue::from_static("text/plain");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        };
        let headers = response.headers_mut();
        if let Some(seconds) = answer.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        headers.insert(
            "cache-control",
            HeaderValue::from_static("no-store, no-cache"),
        );
        headers.insert("pragma", HeaderValue::from_static("no-cache"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-ms-request-id", id);
        }
        response
    }
}
