//! The HTTP side of the AWS front end: from a request to the response of the service.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use kmslab_keycore::{Clock, Entropy};

use super::auth::{Authenticator, claimed_access_key};
use super::{Aws, AwsError, query};
use crate::counts::{Counter, OK, UNKNOWN};
use crate::http::body::{self as http_body, BodyError};
use crate::ids::random_uuid;

/// Well above the largest request of the API: 32 KiB of policy, or 6 KiB of ciphertext, as base64
/// in JSON.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const CLOUD: &str = "aws";
const TARGET_PREFIX: &str = "TrentService.";

/// State that requests need.
#[derive(Debug)]
pub(crate) struct AwsService {
    pub(crate) aws: Aws,
    pub(crate) authenticator: Authenticator,
    pub(crate) wall: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) counter: Arc<Counter>,
}

/// Answers a request. Everything but `POST /` gets the error of the service.
pub(crate) async fn answer(service: &AwsService, parts: Parts, body: Body) -> Response {
    if query::is_query(&parts) {
        let caller = claimed_access_key(&parts).unwrap_or(UNKNOWN);
        service
            .counter
            .count(CLOUD, UNKNOWN, caller, "InvalidAction");
        let body = read(body).await.unwrap_or_default();
        return query::error_response(&body, &service.request_id());
    }
    let operation = target(&parts).filter(|name| Aws::OPERATIONS.contains(name));
    let outcome = catch_panic(service.answer(&parts, operation, body)).await;
    let code = outcome
        .as_ref()
        .map_or_else(|error| error.kind.as_str(), |_| OK);
    let caller = claimed_access_key(&parts).unwrap_or(UNKNOWN);
    service
        .counter
        .count(CLOUD, operation.unwrap_or(UNKNOWN), caller, code);
    response(outcome, service.request_id())
}

fn target(parts: &Parts) -> Option<&str> {
    parts
        .headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .strip_prefix(TARGET_PREFIX)
}

impl AwsService {
    async fn answer(
        &self,
        parts: &Parts,
        operation: Option<&str>,
        body: Body,
    ) -> Result<Vec<u8>, AwsError> {
        if parts.method != Method::POST || parts.uri.path() != "/" {
            return Err(error(
                StatusCode::NOT_FOUND,
                "UnknownOperationException",
                None,
            ));
        }
        let body = read(body).await?;
        let Some(operation) = operation else {
            return Err(error(
                StatusCode::BAD_REQUEST,
                "UnknownOperationException",
                None,
            ));
        };
        let caller = self
            .authenticator
            .authenticate(parts, &body, self.wall.now())?;
        self.aws.call(&caller, operation, &body)
    }

    /// A version 4 UUID, as the service returns.
    fn request_id(&self) -> String {
        random_uuid(self.entropy.as_ref()).to_string()
    }
}

async fn read(body: Body) -> Result<Bytes, AwsError> {
    http_body::read(body, MAX_BODY_BYTES)
        .await
        .map_err(|unread| match unread {
            BodyError::TooLarge => {
                let message = format!("The request body is larger than {MAX_BODY_BYTES} bytes.");
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLargeException",
                    Some(message),
                )
            }
            BodyError::Broken => error(StatusCode::BAD_REQUEST, "RequestAbortedException", None),
        })
}

fn error(status: StatusCode, kind: &str, message: Option<String>) -> AwsError {
    AwsError {
        kind: kind.to_owned(),
        message,
        status: status.as_u16(),
    }
}

/// Runs an operation. A panic is a bug of the emulator: the caller gets the service's internal
/// error and the process keeps running.
async fn catch_panic(
    work: impl Future<Output = Result<Vec<u8>, AwsError>>,
) -> Result<Vec<u8>, AwsError> {
    let mut work = Box::pin(work);
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!("a request made the emulator panic; the panic message is above");
            let message =
                "The request was rejected because an internal exception occurred. The request can be retried.";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Poll::Ready(Err(error(status, "KMSInternalException", Some(message.to_owned()))))
        })
    })
    .await
}

fn response(outcome: Result<Vec<u8>, AwsError>, request_id: String) -> Response {
    let (status, body) = match outcome {
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
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_returns_the_vendors_internal_error() {
        let error = catch_panic(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.status),
            ("KMSInternalException", 500)
        );
        assert_eq!(catch_panic(async { Ok(vec![1]) }).await.unwrap(), [1]);
    }
}
