//! The service's errors by meaning, in the words it is on record with, and what each refusal of the
//! core is here.

use std::fmt::Display;

use kmslab_keycore::KeyError;

/// A refusal as it goes over the wire: `{"__type": kind, "message": message}` under an HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// The `__type`.
    pub kind: String,
    /// The `message`; some errors of the service have none, and then the member is absent.
    pub message: Option<String>,
    /// HTTP status: 400, or 500 for a fault of the service.
    pub status: u16,
}

impl AwsError {
    /// Any modelled error with its message.
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: Some(message.into()),
            status: 400,
        }
    }

    /// An error that the service gives without a word.
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

    /// One constraint of the API model that a member breaks. `value` is what stands between `Value`
    /// and `at`: `null`, a quoted value, or nothing for a member that may be secret.
    pub(crate) fn constraint(value: &str, member: &str, constraint: impl Display) -> Self {
        let space = if value.is_empty() { "" } else { " " };
        Self::validation(format!(
            "1 validation error detected: Value{space}{value} at '{member}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// The body is no JSON object.
    pub(crate) fn malformed_body() -> Self {
        Self::bare("SerializationException")
    }

    /// A member of the wrong JSON type.
    pub(crate) fn wrong_type(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::bare("UnknownOperationException")
    }

    /// A well-formed key ARN that names nothing.
    pub(crate) fn no_such_key(arn: impl Display) -> Self {
        Self::new("NotFoundException", format!("Key '{arn}' does not exist"))
    }

    /// A text that is no key's name.
    pub(crate) fn invalid_key_id(text: &str) -> Self {
        Self::new("NotFoundException", format!("Invalid keyId '{text}'"))
    }

    /// An ARN of another service or region; `part` is what does not fit.
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

    /// Another account's key. Key policies are kept, not evaluated, so none allows a stranger.
    pub(crate) fn access_denied(user_arn: &str, operation: &str, resource: &str) -> Self {
        Self::new(
            "AccessDeniedException",
            format!(
                "User: {user_arn} is not authorized to perform: kms:{operation} on resource: {resource} because no \
                 resource-based policy allows the kms:{operation} action"
            ),
        )
    }

    /// A well-formed ciphertext under a backing key that is not in the caller's account and region.
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

    /// An algorithm that keys of that spec do not know.
    pub(crate) fn incompatible_algorithm(algorithm: &str, spec: &str) -> Self {
        Self::new(
            "InvalidKeyUsageException",
            format!("Algorithm {algorithm} is incompatible with key spec {spec}."),
        )
    }

    /// A symmetric encryption key for an operation of other keys.
    pub(crate) fn wrong_usage(arn: &str, operation: &str) -> Self {
        let message =
            format!("{arn} key usage is ENCRYPT_DECRYPT which is not valid for {operation}.");
        Self::new("InvalidKeyUsageException", message)
    }

    /// The ciphertext is not the pinned key's.
    pub(crate) fn incorrect_key() -> Self {
        Self::new(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    }

    /// Garbage, tampered with, or under another encryption context; which of these is not told.
    pub(crate) fn invalid_ciphertext() -> Self {
        Self::bare("InvalidCiphertextException")
    }

    /// A parameter or resource that the service knows and this emulator, or that operation, does
    /// not offer.
    pub(crate) fn unsupported() -> Self {
        Self::bare("UnsupportedOperationException")
    }

    /// What a dry run answers where the request would have gone through.
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

    /// A fault of the emulator.
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

    /// What the core's refusal about the key at `arn` is in the words of this service, for an
    /// operation that cannot say it better.
    pub(crate) fn of_key(arn: &str, error: KeyError) -> Self {
        match error {
            KeyError::NotFound { .. } => Self::no_such_key(arn),
            KeyError::Disabled { .. } => Self::disabled(arn),
            KeyError::PendingDeletion { .. } => Self::pending_deletion(arn),
            KeyError::NotPendingDeletion { .. } => Self::not_pending_deletion(arn),
            KeyError::DoesNotOpen | KeyError::VersionNotFound => Self::invalid_ciphertext(),
            KeyError::RotationUnsupported => Self::unsupported(),
            KeyError::RotationLimit { .. } => Self::rotation_limit(arn),
            // What no request can bring about here: aliases are resolved before, and there is one
            // kind of key.
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
            | KeyError::IllegalMove { .. }
            | KeyError::OutOfRange
            | KeyError::HasVersions { .. }
            | KeyError::Internal { .. }) => Self::internal(error),
        }
    }
}
