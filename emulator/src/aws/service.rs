//! The HTTP side of the AWS front end: from a request to the response of the service.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use kmslab_emulator_api::{Cloud, Wrong};
use kmslab_keycore::{Clock, VersionUse};
use serde_json::Value;

use super::auth::{Authenticator, claimed_access_key};
use super::wire::Input;
use super::{Aws, AwsError, Caller, Operation, faults};
use crate::counts::UNKNOWN;
use crate::http::body::BodyError;
use crate::pipeline::audit::Audited;
use crate::pipeline::faults::{Rejection, Subject};
use crate::pipeline::{Call, Cost, Exchange, Failure, Labels};

/// Well above the largest request of the API: 32 KiB of policy, or 6 KiB of ciphertext, as base64
/// in JSON.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
const TARGET_PREFIX: &str = "TrentService.";

/// State that requests need.
#[derive(Debug)]
pub(crate) struct AwsService {
    pub(crate) aws: Aws,
    pub(crate) authenticator: Authenticator,
    pub(crate) wall: Arc<dyn Clock>,
}

/// A request in the JSON protocol of AWS KMS.
#[derive(Debug)]
pub(crate) struct JsonExchange {
    service: Arc<AwsService>,
    operation: Option<&'static Operation>,
}

impl JsonExchange {
    pub(crate) fn new(service: Arc<AwsService>) -> Self {
        Self {
            service,
            operation: None,
        }
    }
}

/// An authenticated request.
pub(crate) struct JsonCall {
    service: Arc<AwsService>,
    operation: &'static Operation,
    caller: Caller,
    input: Input,
}

impl Call for JsonCall {
    const CLOUD: Cloud = Cloud::Aws;
    type Output = Value;
    type Error = AwsError;

    fn cost(&self) -> Cost {
        // All keys are symmetric.
        Cost::Inline
    }

    fn run(&mut self) -> Result<Value, AwsError> {
        let Self {
            service,
            operation,
            caller,
            input,
        } = self;
        operation.run(&service.aws, caller, input)
    }

    fn audited(&self, uses: &[VersionUse], outcome: Option<Result<&Value, &AwsError>>) -> Audited {
        let Self { caller, input, .. } = self;
        self.service.aws.audited(caller, input, uses, outcome)
    }

    fn subject(&self) -> Option<Subject> {
        self.service.aws.fault_subject(&self.caller, &self.input)
    }

    fn rejected(&self, rejection: Rejection<'_>) -> Option<Result<Value, AwsError>> {
        let aws = &self.service.aws;
        aws.rejected(&self.caller, self.operation, &self.input, rejection)
            .map(Err)
    }

    fn corrupt(output: &mut Value, wrong: Wrong) -> bool {
        faults::corrupt(output, wrong)
    }
}

impl Exchange for JsonExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = JsonCall;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), AwsError> {
        self.operation = target(parts).and_then(Operation::find);
        labels.operation = self
            .operation
            .map_or(UNKNOWN, |operation| operation.name)
            .into();
        labels.caller = claimed_caller(parts);
        // Everything but `POST /` gets the error of the service.
        if parts.method != Method::POST || parts.uri.path() != "/" {
            return Err(error(
                StatusCode::NOT_FOUND,
                "UnknownOperationException",
                None,
            ));
        }
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<JsonCall, AwsError> {
        let operation = self.operation.ok_or_else(AwsError::unknown_operation)?;
        let service = Arc::clone(&self.service);
        let caller = service
            .authenticator
            .authenticate(parts, &body, service.wall.now())?;
        let input = Input::parse(operation, &body)?;
        Ok(JsonCall {
            service,
            operation,
            caller,
            input,
        })
    }

    fn encode(&self, _: &Parts, request_id: &str, outcome: Result<Value, AwsError>) -> Response {
        let encoded = outcome.and_then(|output| {
            // An answer of Encrypt to a short plaintext has about 420 bytes.
            let mut body = Vec::with_capacity(512);
            serde_json::to_writer(&mut body, &output).map_err(AwsError::internal)?;
            Ok(body)
        });
        let (status, body) = match encoded {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => {
                let mut body = serde_json::json!({ "__type": error.kind });
                if let Some(message) = error.message {
                    body["message"] = message.into();
                }
                let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
                (status, body.to_string().into_bytes())
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.1"),
        );
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }
}

impl Failure for AwsError {
    fn unread(unread: BodyError, limit: usize) -> Self {
        match unread {
            BodyError::TooLarge => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
                Some(format!("The request body is larger than {limit} bytes.")),
            ),
            BodyError::Broken => error(StatusCode::BAD_REQUEST, "RequestAbortedException", None),
        }
    }

    fn panicked() -> Self {
        Self::internal("a request made the emulator panic")
    }

    fn code(&self) -> Cow<'_, str> {
        self.kind.as_str().into()
    }
}

/// The access key that an unverified request states.
pub(super) fn claimed_caller(parts: &Parts) -> Cow<'static, str> {
    match claimed_access_key(parts) {
        Some(id) => id.to_owned().into(),
        None => UNKNOWN.into(),
    }
}

fn target(parts: &Parts) -> Option<&str> {
    parts
        .headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .strip_prefix(TARGET_PREFIX)
}

fn error(status: StatusCode, kind: &str, message: Option<String>) -> AwsError {
    AwsError {
        kind: kind.to_owned(),
        message,
        status: status.as_u16(),
    }
}
