//! Errors of AWS KMS, with messages as recorded from the service, and the translation of
//! [`KeyError`].

// A new error of the core must be translated here, and not become an internal one by default.
#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt::Display;

use kmslab_keycore::KeyError;

/// An error response: `{"__type": kind, "message": message}` with an HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// Value of `__type`.
    pub kind: String,
    /// Value of `message`; some errors of the service have none.
    pub message: Option<String>,
    /// HTTP status: 400, or 500 for an internal error.
    pub status: u16,
}

impl AwsError {
    /// An error with a message.
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: Some(message.into()),
            status: 400,
        }
    }

    /// An error without a message.
    pub(crate) fn bare(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            message: None,
            status: 400,
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A constraint of the API model that a member violates. `value` is the text between `Value`
    /// and `at`: `null`, a quoted value, or nothing for members that may be secret.
    pub(crate) fn constraint(value: &str, member: &str, constraint: impl Display) -> Self {
        let space = if value.is_empty() { "" } else { " " };
        Self::validation(format!(
            "1 validation error detected: Value{space}{value} at '{member}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// The body is not a JSON object.
    pub(crate) fn malformed_body() -> Self {
        Self::bare("SerializationException")
    }

    /// A member has the wrong JSON type.
    pub(crate) fn wrong_type(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::bare("UnknownOperationException")
    }

    /// A well-formed key ARN that does not exist.
    pub(crate) fn no_such_key(arn: impl Display) -> Self {
        Self::new("NotFoundException", format!("Key '{arn}' does not exist"))
    }

    /// A text that cannot be a key id.
    pub(crate) fn invalid_key_id(text: &str) -> Self {
        Self::new("NotFoundException", format!("Invalid keyId '{text}'"))
    }

    /// An ARN of another service or region; `part` is the part that does not match.
    pub(crate) fn invalid_arn(part: &str) -> Self {
        Self::new("NotFoundException", format!("Invalid arn {part}"))
    }

    pub(crate) fn no_such_alias(alias_arn: impl Display) -> Self {
        Self::new(
            "NotFoundException",
            format!("Alias {alias_arn} is not found."),
        )
    }

    pub(crate) fn alias_exists(alias_arn: impl Display) -> Self {
        Self::new(
            "AlreadyExistsException",
            format!("An alias with the name {alias_arn} already exists"),
        )
    }

    /// A key of another account. Key policies are not evaluated, so none allows it.
    pub(crate) fn access_denied(user_arn: &str, permission: &str, resource: &str) -> Self {
        Self::new(
            "AccessDeniedException",
            format!(
                "User: {user_arn} is not authorized to perform: {permission} on resource: {resource} because no \
                 resource-based policy allows the {permission} action"
            ),
        )
    }

    /// A caller without permission for an operation that names no key.
    pub(crate) fn access_denied_by_identity(user_arn: &str, permission: &str) -> Self {
        Self::new(
            "AccessDeniedException",
            format!(
                "User: {user_arn} is not authorized to perform: {permission} because no identity-based policy allows the \
                 {permission} action"
            ),
        )
    }

    /// Too many requests, as recorded in a user's report (hyperlane-monorepo#2391).
    pub(crate) fn throttled() -> Self {
        Self::new(
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        )
    }

    /// Temporary credentials that have expired.
    pub(crate) fn expired_token() -> Self {
        Self::new(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )
    }

    /// A well-formed ciphertext whose key is not in the caller's account and region.
    pub(crate) fn unknown_ciphertext_key() -> Self {
        Self::new(
            "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not \
             allowed to access.",
        )
    }

    pub(crate) fn disabled(arn: &str) -> Self {
        Self::new("DisabledException", format!("{arn} is disabled."))
    }

    pub(crate) fn pending_deletion(arn: &str) -> Self {
        Self::new(
            "KMSInvalidStateException",
            format!("{arn} is pending deletion."),
        )
    }

    pub(crate) fn not_pending_deletion(arn: &str) -> Self {
        Self::new(
            "KMSInvalidStateException",
            format!("{arn} is not pending deletion."),
        )
    }

    /// An algorithm that keys of `spec` do not support.
    pub(crate) fn incompatible_algorithm(algorithm: &str, spec: &str) -> Self {
        Self::new(
            "InvalidKeyUsageException",
            format!("Algorithm {algorithm} is incompatible with key spec {spec}."),
        )
    }

    /// A symmetric encryption key in an operation for other keys.
    pub(crate) fn wrong_usage(arn: &str, operation: &str) -> Self {
        let message =
            format!("{arn} key usage is ENCRYPT_DECRYPT which is not valid for {operation}.");
        Self::new("InvalidKeyUsageException", message)
    }

    /// The ciphertext was made by another key than the one that was named.
    pub(crate) fn incorrect_key() -> Self {
        Self::new(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    }

    /// The ciphertext is malformed, was changed, or has another encryption context. The error does
    /// not tell which.
    pub(crate) fn invalid_ciphertext() -> Self {
        Self::bare("InvalidCiphertextException")
    }

    /// A parameter or resource that the service has, but the emulator or this operation does not
    /// support.
    pub(crate) fn unsupported() -> Self {
        Self::bare("UnsupportedOperationException")
    }

    /// The response to a dry run that would have succeeded.
    pub(crate) fn dry_run() -> Self {
        Self::new(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        )
    }

    pub(crate) fn rotation_limit(arn: &str) -> Self {
        Self::new(
            "LimitExceededException",
            format!(
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed \
                 for this key: {arn}"
            ),
        )
    }

    /// An internal error of the emulator.
    pub(crate) fn internal(what: impl Display) -> Self {
        tracing::error!(%what, "internal error");
        Self {
            kind: "KMSInternalException".to_owned(),
            message: Some(
                "The request was rejected because an internal exception occurred. The request can be retried."
                    .to_owned(),
            ),
            status: 500,
        }
    }

    /// Translates an error of the core about the key at `arn`.
    pub(crate) fn from_key_error(arn: &str, error: KeyError) -> Self {
        match error {
            KeyError::NotFound { .. } => Self::no_such_key(arn),
            KeyError::Disabled { .. } => Self::disabled(arn),
            KeyError::PendingDeletion { .. } => Self::pending_deletion(arn),
            KeyError::NotPendingDeletion { .. } => Self::not_pending_deletion(arn),
            KeyError::DecryptionFailed | KeyError::VersionNotFound => Self::invalid_ciphertext(),
            KeyError::RotationUnsupported => Self::unsupported(),
            KeyError::RotationLimit { .. } => Self::rotation_limit(arn),
            // Requests cannot cause these: aliases are resolved before, and all keys are symmetric.
            error @ (KeyError::AlreadyExists { .. }
            | KeyError::NoPrimary { .. }
            | KeyError::WrongPurpose { .. }
            | KeyError::WrongAlgorithm { .. }
            | KeyError::VersionUnusable { .. }
            | KeyError::NotYetValid { .. }
            | KeyError::Expired { .. }
            | KeyError::BadLength { .. }
            | KeyError::BadMaterial
            | KeyError::BadBackup
            | KeyError::TooLong { .. }
            | KeyError::BadDigestLength
            | KeyError::AliasNotFound { .. }
            | KeyError::AliasExists { .. }
            | KeyError::InvalidTransition { .. }
            | KeyError::OutOfRange
            | KeyError::HasVersions { .. }
            | KeyError::Store(_)
            | KeyError::Internal { .. }) => Self::internal(error),
        }
    }
}
