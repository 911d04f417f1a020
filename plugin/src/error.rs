//! Errors of the service, and the only place that makes gRPC statuses.

use std::sync::Arc;
use std::time::Duration;

use kmslab_kmsv2::limits::LimitError;
use tonic::{Code, Status};

use crate::kek::KekError;
use kmslab_kmsv2::label::{ANNOTATION, LabelError};

/// Why a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Kek(#[from] KekError),
    /// There was no probe yet.
    #[error("the plugin has just started and its key is not proven usable yet: try again")]
    Starting,
    /// Probes have failed or not come for longer than the grace period.
    #[error("the key was last proven usable {} s ago: {cause}", silent.as_secs())]
    Stale { silent: Duration, cause: String },
    /// The current version and the one that encrypts stay apart.
    #[error(
        "the cloud answered {attempts} times with another version of the key than the current one, {current}: it is \
         rotating; try again in a few seconds"
    )]
    Rotating { attempts: usize, current: String },
    /// The socket cannot be connected to.
    #[error("{0}")]
    Socket(Arc<String>),
    #[error("the plugin is gone")]
    Killed,
}

/// A request that is rejected, most of them before any call to the cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("plaintext is empty: there is nothing to encrypt")]
    PlaintextEmpty,
    #[error("plaintext is {0} bytes, over the {1} bytes that the cloud encrypts in one call")]
    PlaintextTooLong(usize, usize),
    #[error("plaintext of {0} bytes is too long, kube-apiserver would refuse its ciphertext: {1}")]
    CiphertextTooLong(usize, LimitError),
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

impl ServiceError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Request(error) => error.code(),
            Self::Kek(error) => kek_code(error),
            Self::Starting
            | Self::Stale { .. }
            | Self::Rotating { .. }
            | Self::Socket(_)
            | Self::Killed => Code::Unavailable,
        }
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl RequestError {
    fn code(&self) -> Code {
        match self {
            Self::OtherProvider(..) => Code::FailedPrecondition,
            Self::PlaintextEmpty
            | Self::PlaintextTooLong(..)
            | Self::CiphertextTooLong(..)
            | Self::Ciphertext(_)
            | Self::KeyId(_)
            | Self::Annotations(_)
            | Self::Unlabelled
            | Self::Label(_)
            | Self::Mislabelled(..) => Code::InvalidArgument,
        }
    }
}

/// A call of a service that the plugin does not implement.
pub(crate) fn unsupported(remedy: &str) -> Status {
    Status::unimplemented(remedy)
}

fn kek_code(error: &KekError) -> Code {
    match error {
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
    }
}
