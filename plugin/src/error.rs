//! Conversion of errors to gRPC statuses.

use kmslab_kmsv2::limits::LimitError;
use tonic::{Code, Status};

use crate::kek::KekError;
use crate::key_id::{ANNOTATION, LabelError};

/// A request that is rejected before any call to the cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("plaintext is empty: there is nothing to encrypt")]
    PlaintextEmpty,
    #[error("plaintext is {0} bytes, over the {1} bytes that the cloud encrypts in one call")]
    PlaintextTooLong(usize, usize),
    #[error("{0}; such a ciphertext was not made by a KMS v2 plugin")]
    Ciphertext(LimitError),
    #[error("{0}")]
    KeyId(LimitError),
    #[error("annotations: {0}")]
    Annotations(LimitError),
    #[error(
        "annotation {ANNOTATION} is missing: the data was not encrypted by this plugin; read it with the plugin that wrote it"
    )]
    Unlabelled,
    #[error("{0}")]
    Label(LabelError),
    #[error(
        "key_id {0:?} is not the one of annotation {ANNOTATION}, which is {1:?}: the stored value was relabelled"
    )]
    Mislabelled(String, String),
    #[error(
        "the data was encrypted through provider {0:?}, this plugin uses {1:?}: read it with a plugin for {0}"
    )]
    OtherProvider(String, &'static str),
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::OtherProvider(..) => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        };
        Status::new(code, error.to_string())
    }
}

/// The status of a failed call to the cloud.
pub(crate) fn to_status(error: &KekError) -> Status {
    let code = match error {
        KekError::Denied { .. } => Code::PermissionDenied,
        KekError::Disabled { .. }
        | KekError::PendingDeletion { .. }
        | KekError::NotFound { .. }
        | KekError::Unusable { .. }
        | KekError::WrongKey { .. } => Code::FailedPrecondition,
        KekError::Corrupt { .. } => Code::InvalidArgument,
        KekError::Throttled { .. } => Code::ResourceExhausted,
        KekError::Credentials { .. } => Code::Unauthenticated,
        KekError::Unreachable { .. }
        | KekError::Certificate { .. }
        | KekError::ClockSkew { .. }
        | KekError::ServiceError { .. } => Code::Unavailable,
        KekError::Unexpected { .. } => Code::Internal,
    };
    Status::new(code, error.to_string())
}
