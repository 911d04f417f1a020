//! REST transcoding: path, query and JSON of a request become a gRPC call as Google's annotations
//! define, and its response becomes JSON. Both wires thus share one implementation, authentication
//! and error messages.

pub(super) mod json;
mod request;
mod rules;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use kmslab_googleapis::google::rpc::Status;
use prost::Message as _;
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use tonic::Code;
use tower::ServiceExt as _;

use super::GcpError;
use crate::http::body;
use crate::http::connection::{Connection, Cut};
use crate::pipeline::Failure as _;

/// Well above 64 KiB of plaintext with as much additional data, as base64 in JSON.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Length of the header of gRPC messages: a compression flag and a length.
const FRAME_HEADER_LEN: usize = 5;

/// Answers a REST request by a gRPC call.
pub(crate) async fn serve(grpc: Router, parts: Parts, body: Body) -> Response {
    let enums_as_numbers = request::wants_enum_numbers(&parts);
    let outcome = async {
        let (rule, variables) =
            rules::find(&parts.method, parts.uri.path()).ok_or_else(not_found)?;
        let body = body::read(body, MAX_BODY_BYTES)
            .await
            .map_err(|unread| GcpError::unread(unread, MAX_BODY_BYTES))?;
        let message = request::to_message(
            rule,
            variables,
            parts.uri.query().unwrap_or_default(),
            &body,
        )?;
        let (answer, cut) = call(grpc, &rule.call, &parts, &message.encode_to_vec()).await?;
        let body = json::response_json(rule.call.output(), &answer, enums_as_numbers)?;
        Ok((body, cut))
    };
    match outcome.await {
        Ok((body, cut)) => {
            let mut response = response(StatusCode::OK, &body);
            if let Some(cut) = cut {
                response.extensions_mut().insert(cut);
            }
            response
        }
        Err(error) => error_response(&error),
    }
}

/// A path that is not mapped to a call.
fn not_found() -> GcpError {
    GcpError::new(Code::NotFound, "Method not found.")
}

/// Makes a unary call. A fault may cut its response.
async fn call(
    grpc: Router,
    call: &MethodDescriptor,
    parts: &Parts,
    message: &[u8],
) -> Result<(Bytes, Option<Cut>), GcpError> {
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_LEN + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).map_err(GcpError::internal)?);
    frame.put_slice(message);
    let path = format!("/{}/{}", call.parent_service().full_name(), call.name());
    let mut request = http::Request::post(path)
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers");
    let token = request::access_token(parts).or_else(|| parts.headers.get(AUTHORIZATION).cloned());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    if let Some(connection) = parts.extensions.get::<Connection>() {
        request = request.extension(connection.clone());
    }
    let request = request
        .body(Body::from(frame.freeze()))
        .map_err(GcpError::internal)?;
    let answer = grpc.oneshot(request).await.map_err(GcpError::internal)?;
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map_err(GcpError::internal)?;
    // An error without a message has its status in the headers.
    let status = body
        .trailers()
        .filter(|trailers| trailers.contains_key("grpc-status"))
        .unwrap_or(&head.headers);
    check_status(status)?;
    let cut = head.extensions.remove();
    Ok((body.to_bytes().slice(FRAME_HEADER_LEN..), cut))
}

/// Returns the error that a call ended with.
fn check_status(trailers: &HeaderMap) -> Result<(), GcpError> {
    let status = tonic::Status::from_header_map(trailers)
        .ok_or_else(|| GcpError::internal("a call without a status"))?;
    if status.code() == Code::Ok {
        return Ok(());
    }
    let details = Status::decode(status.details())
        .map(|status| status.details)
        .unwrap_or_default();
    Err(GcpError {
        code: status.code(),
        message: status.message().to_owned(),
        details,
    })
}

/// The JSON response of an error.
pub(crate) fn error_response(error: &GcpError) -> Response {
    let status = http_status(error.code);
    let shown = json::to_rest_json(&error.status()).unwrap_or_default();
    let mut body = json!({
        "code": status.as_u16(),
        "message": error.message,
        "status": code_name(error.code),
    });
    if let Some(details) = shown.get("details") {
        body["details"] = details.clone();
    }
    let mut response = response(status, &json!({ "error": body }));
    if error.code == Code::Unauthenticated {
        let challenge = HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

pub(crate) fn response(status: StatusCode, body: &Value) -> Response {
    let text = serde_json::to_string_pretty(body).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json; charset=UTF-8"),
        ("vary", "Origin, X-Origin, Referer"),
        ("server", "ESF"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "private"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Name of the code in `google.rpc.Code`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The codes of `google.rpc.Code`, without `OK`.
pub(super) fn codes() -> impl Iterator<Item = Code> {
    (1..=16).map(Code::from)
}

/// The code of a name; `None` if there is no such code.
pub(super) fn code(name: &str) -> Option<Code> {
    codes().find(|code| code_name(*code) == name)
}

/// The mapping of `google/rpc/code.proto`.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
