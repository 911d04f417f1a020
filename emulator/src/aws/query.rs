//! The AWS Query protocol of STS and IAM: a form with an `Action`, answered in XML. The emulator
//! serves only KMS and says so in that protocol.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

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

/// The error response. `InvalidAction` is a code of the protocol (STS API Reference, "Common
/// Errors"); the message is the emulator's own.
pub(super) fn error_response(body: &[u8], request_id: &str) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    // Both values come from the request; only characters that need no escaping in XML are kept.
    let plain = |text: &str| {
        text.chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .take(64)
            .collect::<String>()
    };
    let (action, version) = (plain(field("Action")), plain(field("Version")));
    let text = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidAction</Code>\
         <Message>The kmslab emulator serves AWS KMS only, not the action {action} (version {version}) of another service: set \
         AWS_ENDPOINT_URL_KMS, and not AWS_ENDPOINT_URL.</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
