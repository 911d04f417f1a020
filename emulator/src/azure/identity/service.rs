//! The HTTP side of the identity platform.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use kmslab_emulator_api::Cloud;

use super::super::service::{MAX_BODY_BYTES, json};
use super::super::{Azure, AzureError};
use super::{IdentityResponse, Request};
use crate::http::host;
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
}

impl Call for ReadRequest {
    const CLOUD: Cloud = Cloud::Azure;
    type Output = IdentityResponse;
    type Error = AzureError;

    fn run(self) -> Result<IdentityResponse, AzureError> {
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

    fn code(response: &IdentityResponse, labels: &mut Labels) -> Cow<'static, str> {
        labels.operation = response.operation.into();
        if let Some(caller) = &response.caller {
            labels.caller = caller.clone().into();
        }
        response.code.clone().into()
    }
}

impl Exchange for IdentityExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = ReadRequest;

    fn admit(&mut self, _: &Parts, _: &Body, _: &mut Labels) -> Result<(), AzureError> {
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<ReadRequest, AzureError> {
        Ok(ReadRequest {
            azure: Arc::clone(&self.0),
            parts: Arc::clone(parts),
            body,
        })
    }

    fn encode(&self, parts: &Parts, outcome: Result<IdentityResponse, AzureError>) -> Response {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => return self.0.respond(parts, None, Err(error)),
        };
        let mut response = json(answer.status, &answer.body);
        let headers = response.headers_mut();
        headers.insert(
            "cache-control",
            HeaderValue::from_static("no-store, no-cache"),
        );
        headers.insert("pragma", HeaderValue::from_static("no-cache"));
        if let Ok(id) = HeaderValue::from_str(&self.0.guid()) {
            headers.insert("x-ms-request-id", id);
        }
        response
    }
}
