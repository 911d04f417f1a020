//! Errors of Cloud KMS: a gRPC code, a message and details, for gRPC and REST alike.

// A new error of the core must be translated here, and not become an internal one by default.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use kmslab_googleapis::google::rpc::{
    BadRequest, ErrorInfo, PreconditionFailure, RetryInfo, Status, bad_request,
    precondition_failure,
};
use kmslab_keycore::{KeyError, VersionState};
use prost::{Message, Name};
use prost_types::Any;
use tonic::Code;

use super::names::{KeyName, VersionName};
use super::wire::state_name;

/// Domain of error details.
const DOMAIN: &str = "googleapis.com";
const SERVICE: &str = "cloudkms.googleapis.com";

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct GcpError {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: Vec<Any>,
}

impl GcpError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    fn with<M: Message + Name>(mut self, detail: &M) -> Self {
        self.details.push(Any {
            type_url: format!("type.googleapis.com/{}", M::full_name()),
            value: detail.encode_to_vec(),
        });
        self
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// An invalid field, with its path.
    pub(crate) fn bad_field(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let violation = bad_request::FieldViolation {
            field: field.to_owned(),
            description: message.clone(),
            ..bad_request::FieldViolation::default()
        };
        Self::invalid(message).with(&BadRequest {
            field_violations: vec![violation],
        })
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    pub(crate) fn unimplemented(what: &str) -> Self {
        Self::new(
            Code::Unimplemented,
            format!("{what} is not supported by this emulator."),
        )
    }

    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(%what, "internal error");
        Self::new(Code::Internal, "Internal error encountered.")
    }

    /// A malformed resource name, or one of another type.
    pub(crate) fn bad_name(name: &str, expected: &str) -> Self {
        Self::invalid(format!(
            "Resource name [{name}] is not a valid {expected} name."
        ))
    }

    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("{what} {name} not found."))
    }

    pub(crate) fn already_exists(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(
            Code::AlreadyExists,
            format!("{what} {name} already exists."),
        )
    }

    /// A caller without the permission does not learn whether the resource exists.
    pub(crate) fn denied(permission: &str, resource: &str) -> Self {
        let info = ErrorInfo {
            reason: "IAM_PERMISSION_DENIED".to_owned(),
            domain: SERVICE.to_owned(),
            metadata: [("permission", permission), ("resource", resource)]
                .map(quote)
                .into(),
        };
        let message = format!(
            "Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
        );
        Self::new(Code::PermissionDenied, message).with(&info)
    }

    /// Too many requests. The message is recorded in users' reports, with "Write requests" and
    /// "Read requests" (python-docs-samples#3482, jsign#94).
    pub(crate) fn quota_exceeded(
        quota: &str,
        project: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let message = format!(
            "Quota exceeded for quota metric '{quota}' and limit '{quota} per minute' of service '{SERVICE}' for consumer \
             'project_number:{project}'."
        );
        let error = Self::new(Code::ResourceExhausted, message);
        match retry_after.and_then(|time| prost_types::Duration::try_from(time).ok()) {
            Some(delay) => error.with(&RetryInfo {
                retry_delay: Some(delay),
            }),
            None => error,
        }
    }

    /// A call without a token.
    pub(crate) fn no_credentials(method: &str) -> Self {
        Self::unauthenticated(
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid \
             authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            "CREDENTIALS_MISSING",
            method,
        )
    }

    /// A call with an invalid token.
    pub(crate) fn bad_credentials(reason: &str, method: &str) -> Self {
        Self::unauthenticated(
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication \
             credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            reason,
            method,
        )
    }

    /// A call with a token for other scopes.
    pub(crate) fn insufficient_scopes(method: &str, service: &str) -> Self {
        let service = service.strip_prefix("https://").unwrap_or(service);
        let info = ErrorInfo {
            reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT".to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: [("service", service), ("method", method)].map(quote).into(),
        };
        Self::new(
            Code::PermissionDenied,
            "Request had insufficient authentication scopes.",
        )
        .with(&info)
    }

    fn unauthenticated(message: &str, reason: &str, method: &str) -> Self {
        let info = ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: [("service", SERVICE), ("method", method)].map(quote).into(),
        };
        Self::new(Code::Unauthenticated, message).with(&info)
    }

    /// A version whose state does not allow the operation.
    pub(crate) fn not_enabled(name: &VersionName, state: VersionState) -> Self {
        let state = state_name(state);
        let message = format!("{name} is not enabled, current state is: {state}.");
        let violation = precondition_failure::Violation {
            r#type: format!("KEY_{state}"),
            subject: name.to_string(),
            description: message.clone(),
        };
        Self::precondition(message).with(&PreconditionFailure {
            violations: vec![violation],
        })
    }

    /// A ciphertext that no version of the key can decrypt.
    pub(crate) fn decryption_failed() -> Self {
        Self::invalid("Decryption failed: the ciphertext is invalid.")
    }

    /// A ciphertext of another key.
    pub(crate) fn wrong_key() -> Self {
        Self::invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
    }

    /// Translates an error of the core about a key.
    pub(crate) fn from_key_error(name: &KeyName, error: KeyError) -> Self {
        Self::translate(name, None, error)
    }

    /// Translates an error of the core about a version.
    pub(crate) fn from_version_error(name: &VersionName, error: KeyError) -> Self {
        Self::translate(&name.key, Some(name), error)
    }

    fn translate(key: &KeyName, version: Option<&VersionName>, error: KeyError) -> Self {
        match error {
            KeyError::NotFound { .. } => Self::not_found("CryptoKey", key),
            KeyError::AlreadyExists { .. } => Self::already_exists("CryptoKey", key),
            KeyError::NoPrimary { .. } => {
                Self::precondition(format!("CryptoKey {key} has no primary version."))
            }
            KeyError::DecryptionFailed => Self::decryption_failed(),
            KeyError::WrongPurpose { .. } | KeyError::RotationUnsupported => {
                Self::precondition(format!("{key} has another purpose than the call is for."))
            }
            KeyError::VersionNotFound => match version {
                Some(version) => Self::not_found("CryptoKeyVersion", version),
                None => Self::internal(error),
            },
            KeyError::VersionUnusable { state } => match version {
                Some(version) => Self::not_enabled(version, state),
                None => Self::internal(error),
            },
            KeyError::WrongAlgorithm { .. } => match version {
                Some(version) => Self::precondition(format!(
                    "{version} has an algorithm that the call is not for."
                )),
                None => Self::internal(error),
            },
            KeyError::TooLong { max } => {
                Self::invalid(format!("The input is too long: at most {max} bytes fit."))
            }
            KeyError::BadLength { what, expected } => {
                Self::invalid(format!("The {what} must have {expected} bytes."))
            }
            KeyError::BadDigestLength => {
                Self::invalid("The digest has another length than the algorithm's.")
            }
            KeyError::BadMaterial => {
                Self::invalid("The key material is not of the algorithm's kind.")
            }
            KeyError::OutOfRange => Self::invalid("The time is out of range."),
            // Requests cannot cause these: Google has neither disabled or deleted keys nor aliases,
            // limits and backups.
            KeyError::Disabled { .. }
            | KeyError::PendingDeletion { .. }
            | KeyError::NotPendingDeletion { .. }
            | KeyError::HasVersions { .. }
            | KeyError::NotYetValid { .. }
            | KeyError::Expired { .. }
            | KeyError::BadBackup
            | KeyError::RotationLimit { .. }
            | KeyError::AliasNotFound { .. }
            | KeyError::AliasExists { .. }
            | KeyError::InvalidTransition { .. }
            | KeyError::Store(_)
            | KeyError::Internal { .. } => Self::internal(error),
        }
    }

    /// Converts to `google.rpc.Status`.
    pub(crate) fn status(&self) -> Status {
        Status {
            code: self.code.into(),
            message: self.message.clone(),
            details: self.details.clone(),
        }
    }
}

fn quote((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

impl From<GcpError> for tonic::Status {
    fn from(error: GcpError) -> Self {
        let details = error.status().encode_to_vec();
        Self::with_details(error.code, error.message, details.into())
    }
}
