//! The AWS Query protocol of STS and IAM: a form with an `Action`, answered in XML. The emulator
//! serves only KMS and says so in that protocol.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use kmslab_emulator_api::Cloud;

use super::service::{MAX_BODY_BYTES, claimed_caller};
use crate::http::body::BodyError;
use crate::pipeline::{Call, Exchange, Failure, Labels};

/// Reports whether a request uses the Query protocol.
pub(super) fn is_query(parts: &Parts) -> bool {
    let form = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    parts.method == Method::POST
        && parts.uri.path() == "/"
        && form
        && !parts.headers.contains_key("x-amz-target")
}

/// A request in the Query protocol.
#[derive(Debug)]
pub(super) struct QueryExchange;

/// Why a request failed. The codes are those of the STS API Reference, "Common Errors".
#[derive(Debug)]
pub(super) enum QueryError {
    /// An action of another service. Both values are empty if the body could not be read.
    InvalidAction {
        action: String,
        version: String,
    },
    InternalFailure,
}

/// A request that is carried out: there is none.
pub(super) struct QueryCall(Infallible);

impl Call for QueryCall {
    const CLOUD: Cloud = Cloud::Aws;
    type Output = Infallible;
    type Error = QueryError;

    fn run(&mut self) -> Result<Infallible, QueryError> {
        match self.0 {}
    }
}

impl Exchange for QueryExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = QueryCall;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), QueryError> {
        labels.caller = claimed_caller(parts);
        Ok(())
    }

    fn accept(
        &mut self,
        _: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<QueryCall, QueryError> {
        let field = |name: &str| {
            let mut fields = form_urlencoded::parse(&body);
            fields
                .find(|(key, _)| key == name)
                .map_or_else(String::new, |(_, value)| without_markup(&value))
        };
        Err(QueryError::InvalidAction {
            action: field("Action"),
            version: field("Version"),
        })
    }

    fn encode(
        &self,
        _: &Parts,
        request_id: &str,
        outcome: Result<Infallible, QueryError>,
    ) -> Response {
        let Err(error) = outcome;
        let (status, fault, message) = match &error {
            QueryError::InvalidAction { action, version } => (
                StatusCode::BAD_REQUEST,
                "Sender",
                format!(
                    "The kmslab emulator serves AWS KMS only, not the action {action} (version {version}) of another service: \
                     set AWS_ENDPOINT_URL_KMS, and not AWS_ENDPOINT_URL."
                ),
            ),
            QueryError::InternalFailure => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Receiver",
                "The request processing has failed because of an unknown error, exception or failure."
                    .to_owned(),
            ),
        };
        let code = error.code();
        let text = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{fault}</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        );
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }
}

impl Failure for QueryError {
    fn unread(_: BodyError, _: usize) -> Self {
        Self::InvalidAction {
            action: String::new(),
            version: String::new(),
        }
    }

    fn panicked() -> Self {
        Self::InternalFailure
    }

    fn code(&self) -> Cow<'_, str> {
        match self {
            Self::InvalidAction { .. } => "InvalidAction".into(),
            Self::InternalFailure => "InternalFailure".into(),
        }
    }
}

/// Keeps only characters that need no escaping in XML.
fn without_markup(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect()
}
