//! Errors of Azure Resource Manager.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::auth::Principal;

/// An error response: `{"error":{"code","message"}}` with an HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArmError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    message: String,
}

impl ArmError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn body(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }

    pub(crate) fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
        )
    }

    pub(crate) fn invalid_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "InvalidAuthenticationToken",
            "The access token is invalid.",
        )
    }

    pub(crate) fn expired_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "ExpiredAuthenticationToken",
            "The access token expiry UTC time is earlier than current UTC time.",
        )
    }

    pub(super) fn forbidden(caller: &Principal, method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::GET | Method::HEAD => "read",
            Method::DELETE => "delete",
            Method::POST => "action",
            _ => "write",
        };
        let action = action(path);
        let message = format!(
            "The client '{0}' with object id '{1}' does not have authorization to perform action '{action}/{verb}' over scope '{path}' or \
             the scope is invalid. If access was recently granted, please refresh your credentials.",
            caller.client_id, caller.object_id
        );
        Self::new(StatusCode::FORBIDDEN, "AuthorizationFailed", message)
    }

    pub(super) fn no_subscription(id: &str) -> Self {
        let message = format!("The subscription '{id}' could not be found.");
        Self::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", message)
    }

    pub(super) fn no_group(name: &str) -> Self {
        let message = format!("Resource group '{name}' could not be found.");
        Self::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message)
    }

    pub(super) fn no_resource(kind: &str, name: &str, group: &str) -> Self {
        let message = format!(
            "The Resource '{kind}/{name}' under resource group '{group}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix"
        );
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    pub(super) fn no_such_path(path: &str) -> Self {
        let message = format!("The emulator's part of Azure Resource Manager has no {path}");
        Self::new(StatusCode::NOT_FOUND, "InvalidResourceType", message)
    }

    pub(super) fn method_not_allowed(method: &Method) -> Self {
        let message = format!("The request method {method} is not supported for this resource.");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "HttpMethodNotSupported",
            message,
        )
    }

    pub(super) fn invalid_content(error: &serde_json::Error) -> Self {
        let message =
            format!("The request content was invalid and could not be deserialized: '{error}'.");
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestContent", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The message is the emulator's own.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("The request body is larger than {limit} bytes.");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(status, "RequestEntityTooLarge", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "There was an internal error.",
        )
    }

    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }
}

/// The resource type that a path names, such as `Microsoft.KeyVault/vaults`.
fn action(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let provider = segments
        .iter()
        .rposition(|segment| segment.eq_ignore_ascii_case("providers"));
    match provider.and_then(|at| Some((segments.get(at + 1)?, segments.get(at + 2)?))) {
        Some((namespace, kind)) => format!("{namespace}/{kind}"),
        None if segments.len() > 2 => "Microsoft.Resources/subscriptions/resourceGroups".to_owned(),
        None => "Microsoft.Resources/subscriptions".to_owned(),
    }
}
