//! Error responses of the API server, with status, reason and message of k8s.io/apimachinery
//! v0.36.3 `pkg/api/errors`.

use super::super::{ApiError, Resource};

/// Used if a request names the object version it changes and another request came first.
const CONFLICT_MESSAGE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

fn status(status: u16, reason: &str, message: String) -> ApiError {
    ApiError {
        status,
        reason: reason.into(),
        message,
    }
}

pub(crate) fn not_found(resource: &Resource, name: &str) -> ApiError {
    status(
        404,
        "NotFound",
        format!("{} {name:?} not found", resource.group_resource()),
    )
}

/// The path is not served. The message is client-go's, since the server itself only says "404 page
/// not found".
pub(crate) fn not_served() -> ApiError {
    status(
        404,
        "NotFound",
        "the server could not find the requested resource".into(),
    )
}

pub(crate) fn method_not_allowed() -> ApiError {
    status(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource".into(),
    )
}

pub(crate) fn already_exists(resource: &Resource, name: &str) -> ApiError {
    status(
        409,
        "AlreadyExists",
        format!("{} {name:?} already exists", resource.group_resource()),
    )
}

pub(crate) fn conflict(resource: &Resource, name: &str) -> ApiError {
    conflict_because(resource, name, CONFLICT_MESSAGE)
}

pub(crate) fn conflict_because(resource: &Resource, name: &str, why: &str) -> ApiError {
    let message = format!(
        "Operation cannot be fulfilled on {} {name:?}: {why}",
        resource.group_resource()
    );
    status(409, "Conflict", message)
}

pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> ApiError {
    status(
        403,
        "Forbidden",
        format!("{} {name:?} is forbidden: {why}", resource.group_resource()),
    )
}

/// Errors of a transformer: `storage.InternalError` becomes reason InternalError.
pub(crate) fn internal(why: impl std::fmt::Display) -> ApiError {
    status(
        500,
        "InternalError",
        format!("Internal error occurred: {why}"),
    )
}

/// An error inside the server that is not a Status object: 500 without a reason.
pub(crate) fn unknown(message: impl Into<String>) -> ApiError {
    status(500, "", message.into())
}

pub(crate) fn bad_request(message: String) -> ApiError {
    status(400, "BadRequest", message)
}

pub(crate) fn too_large(limit: usize) -> ApiError {
    status(
        413,
        "RequestEntityTooLarge",
        format!("Request entity too large: limit is {limit}"),
    )
}

/// Field errors, each as `path: what`.
pub(crate) fn invalid(resource: &Resource, name: &str, faults: &[String]) -> ApiError {
    let kind = if resource.group.is_empty() {
        resource.kind.clone()
    } else {
        format!("{}.{}", resource.kind, resource.group)
    };
    let faults = match faults {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    status(
        422,
        "Invalid",
        format!("{kind} {name:?} is invalid: {faults}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_messages_match_upstream() {
        let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
        assert_eq!(
            not_found(&widgets, "w").message,
            r#"widgets.example.com "w" not found"#
        );
        assert_eq!(
            conflict(&Resource::secrets(), "s").message,
            r#"Operation cannot be fulfilled on secrets "s": the object has been modified; please apply your changes to the latest version and try again"#
        );
        let both = [
            "a: Required value".to_owned(),
            "b: Required value".to_owned(),
        ];
        assert_eq!(
            invalid(&widgets, "w", &both).message,
            r#"Widget.example.com "w" is invalid: [a: Required value, b: Required value]"#
        );
    }
}
