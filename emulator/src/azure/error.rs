//! Errors of Key Vault, with recorded messages, and the translation of [`KeyError`].
//!
//! The messages come from recordings in azure-sdk-for-js and from users' logs. SEMANTICS.md lists
//! those that are recorded nowhere.

// A new error of the core must be translated here, and not become an internal one by default.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use http::StatusCode;
use kmslab_keycore::{KeyError, VersionState};
use serde_json::{Value, json};

use super::names::KeyName;
use crate::pipeline::faults::catalog::INJECTED;

/// An error response: `{"error":{"code","message","innererror":{"code"}}}` with an HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AzureError {
    /// HTTP status.
    pub status: StatusCode,
    /// Value of `error.code`.
    pub code: &'static str,
    /// Value of `error.message`.
    pub message: String,
    /// Value of `error.innererror.code`.
    pub inner: Option<&'static str>,
    /// Whether the response has a `WWW-Authenticate` challenge.
    pub challenge: bool,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
}

const SEE_404: &str = "If you recently deleted this key you may be able to recover it using the correct recovery command. For help \
                       resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182";

/// Message of an expired token.
pub(super) const TOKEN_EXPIRED: &str = "[TokenExpired] Error validating token: 'S2S12086'.";

impl AzureError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            inner: None,
            challenge: false,
            retry_after: None,
        }
    }

    fn inner(self, inner: &'static str) -> Self {
        Self {
            inner: Some(inner),
            ..self
        }
    }

    /// A parameter has an invalid value.
    pub(crate) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    /// 401: the token is absent or invalid.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            challenge: true,
            ..Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
        }
    }

    pub(crate) fn no_token() -> Self {
        Self::unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
    }

    /// A token whose lifetime is over.
    pub(crate) fn token_expired() -> Self {
        Self::unauthorized(TOKEN_EXPIRED)
    }

    /// Too many requests, as recorded in a user's report (AzureSignTool#219).
    pub(crate) fn throttled(retry_after: Option<Duration>) -> Self {
        Self {
            retry_after: retry_after.map(|time| time.as_secs()),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Throttled",
                "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
            )
        }
    }

    /// An error that a fault asks for by its code.
    pub(crate) fn injected(status: StatusCode, code: &'static str) -> Self {
        Self {
            challenge: status == StatusCode::UNAUTHORIZED,
            ..Self::new(status, code, INJECTED)
        }
    }

    pub(crate) fn unknown_version(version: &str, latest: &str) -> Self {
        Self::bad_parameter(format!(
            "The specified version ({version}) is not recognized. Consider using the latest supported version ({latest})."
        ))
    }

    pub(crate) fn no_version() -> Self {
        Self::bad_parameter("api-version must be specified")
    }

    pub(crate) fn not_found(name: &KeyName, version: Option<&str>) -> Self {
        let id = version.map_or_else(|| name.to_string(), |version| format!("{name}/{version}"));
        let message =
            format!("A key with (name/id) {id} was not found in this key vault. {SEE_404}");
        Self::new(StatusCode::NOT_FOUND, "KeyNotFound", message)
    }

    pub(crate) fn no_deleted_key(name: &KeyName) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "KeyNotFound",
            format!("Deleted Key not found: {name}"),
        )
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "The requested path was not found.",
        )
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The HTTP method is not allowed for this resource.",
        )
    }

    pub(crate) fn no_vault(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "VaultNotFound",
            format!("there is no vault {name}"),
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("The request body is larger than {limit} bytes.");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    pub(crate) fn is_deleted(name: &KeyName) -> Self {
        let message = format!(
            "Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can \
             only be recovered or purged."
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).inner("ObjectIsDeletedButRecoverable")
    }

    pub(crate) fn already_exists(name: &KeyName) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("A key with (name/id) {name} already exists."),
        )
    }

    fn forbidden(message: impl Into<String>, inner: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner(inner)
    }

    pub(crate) fn disabled(operation: &str) -> Self {
        Self::forbidden(
            format!("Operation {operation} is not allowed on a disabled key."),
            "KeyDisabled",
        )
    }

    pub(crate) fn not_permitted(operation: &str) -> Self {
        Self::forbidden(
            format!("Operation {operation} is not permitted on this key."),
            "KeyOperationForbidden",
        )
    }

    pub(crate) fn not_yet_valid(operation: &str) -> Self {
        Self::forbidden(
            format!("Operation {operation} is not allowed on a key that is not yet valid."),
            "KeyNotYetValid",
        )
    }

    pub(crate) fn expired(operation: &str) -> Self {
        Self::forbidden(
            format!("Operation {operation} is not allowed on an expired key."),
            "KeyExpired",
        )
    }

    /// The vault's access policies do not allow the operation.
    pub(crate) fn access_denied(
        caller: &str,
        permission: &str,
        vault: &str,
        location: &str,
    ) -> Self {
        let message = format!(
            "The user, group or application '{caller}' does not have keys {permission} permission on key vault \
             '{vault};location={location}'. For help resolving this issue, please see \
             https://go.microsoft.com/fwlink/?linkid=2125287"
        );
        Self::forbidden(message, "AccessDenied")
    }

    /// The caller has no role that allows the operation.
    pub(crate) fn forbidden_by_rbac(
        caller: &str,
        action: &str,
        resource: &str,
        vault: &str,
        location: &str,
    ) -> Self {
        let message = format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions \
             were changed recently, please observe propagation time.\r\nCaller: {caller}\r\nAction: '{action}'\r\nResource: \
             '{resource}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\nVault: \
             {vault};location={location}\r\n"
        );
        Self::forbidden(message, "ForbiddenByRbac")
    }

    /// An internal error of the emulator.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(%what, "internal error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "An internal error occurred.",
        )
    }

    /// Translates an error of the core in `operation` on a key.
    pub(crate) fn from_key_error(
        name: &KeyName,
        version: Option<&str>,
        operation: &str,
        error: KeyError,
    ) -> Self {
        match error {
            // Operations on keys do not see deleted keys.
            KeyError::NotFound { .. }
            | KeyError::VersionNotFound
            | KeyError::PendingDeletion { .. } => Self::not_found(name, version),
            KeyError::NotPendingDeletion { .. } => Self::no_deleted_key(name),
            KeyError::AlreadyExists { .. } => Self::already_exists(name),
            KeyError::Disabled { .. }
            | KeyError::VersionUnusable {
                state: VersionState::Disabled,
            } => Self::disabled(operation),
            KeyError::NotYetValid { .. } => Self::not_yet_valid(operation),
            KeyError::Expired { .. } => Self::expired(operation),
            KeyError::WrongAlgorithm { .. } => {
                Self::bad_parameter("Key and signing algorithm are incompatible")
            }
            KeyError::WrongPurpose { .. } => Self::not_permitted(operation),
            KeyError::DecryptionFailed => Self::bad_parameter("The parameter is incorrect."),
            KeyError::TooLong { .. } => Self::bad_parameter("The parameter is incorrect."),
            KeyError::BadDigestLength => Self::bad_parameter("Invalid length of digest"),
            KeyError::BadLength { what, expected } => Self::bad_parameter(format!(
                "Invalid length of {what}: it must have {expected} bytes"
            )),
            KeyError::BadMaterial => Self::bad_parameter("Invalid key material"),
            KeyError::BadBackup => {
                Self::bad_parameter("Backup blob contains invalid or corrupt version.")
            }
            error @ (KeyError::VersionUnusable { .. }
            | KeyError::NoPrimary { .. }
            | KeyError::RotationUnsupported
            | KeyError::RotationLimit { .. }
            | KeyError::AliasNotFound { .. }
            | KeyError::AliasExists { .. }
            | KeyError::InvalidTransition { .. }
            | KeyError::OutOfRange
            | KeyError::HasVersions { .. }
            | KeyError::Store(_)
            | KeyError::Internal { .. }) => Self::internal(error),
        }
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(inner) = self.inner {
            error["innererror"] = json!({ "code": inner });
        }
        json!({ "error": error })
    }
}
