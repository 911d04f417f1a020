//! The value in etcd: `k8s:enc:kms:v2:<provider>:` followed by a protobuf [`EncryptedObject`].

use prost::Message as _;

use crate::limits::{self, LimitError};

mod generated {
    #![allow(
        clippy::all,
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        reason = "generated code"
    )]
    include!("gen/stored/v2.rs");
}

pub use generated::{EncryptedDekSourceType, EncryptedObject};

/// Prefix of every KMS v2 value, followed by the provider's name and a `:`.
pub const PREFIX: &str = "k8s:enc:kms:v2:";

/// Why bytes are not an EncryptedObject that kube-apiserver accepts.
///
/// Except for [`StoredError::Malformed`] and [`StoredError::Provider`] the messages are those of
/// kube-apiserver's `ValidateEncryptedObject`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The bytes are truncated or not this protobuf message.
    #[error("not an EncryptedObject: {0}")]
    Malformed(String),
    /// A value of the enum that this Kubernetes release does not know.
    #[error("unknown encryptedDEKSourceType: {0}")]
    UnknownDekSourceType(i32),
    /// `encryptedData` is empty.
    #[error("encrypted data is empty")]
    NoData,
    /// `encryptedDEKSource` is empty or too long.
    #[error("failed to validate encrypted DEK source: {0}")]
    DekSource(#[source] LimitError),
    /// `keyID` is empty or too long.
    #[error("failed to validate key id: {0}")]
    KeyId(#[source] LimitError),
    /// An annotation's name is not an FQDN, or all annotations together are too long.
    #[error("failed to validate annotations: {0}")]
    Annotations(#[source] LimitError),
    /// The name cannot be part of a prefix.
    #[error(
        "the provider's name {0:?} is empty or has a ':', which would end it in the stored prefix"
    )]
    Provider(String),
}

/// Splits a stored value into provider and payload. Returns `None` if it has no KMS v2 prefix, no
/// `:` after the provider, or a provider that is empty or not UTF-8.
pub fn split(value: &[u8]) -> Option<(&str, &[u8])> {
    let rest = value.strip_prefix(PREFIX.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b':')?;
    let provider = std::str::from_utf8(&rest[..end]).ok()?;
    (!provider.is_empty()).then_some((provider, &rest[end + 1..]))
}

/// Decodes what follows the prefix and validates it as kube-apiserver does. Unknown fields are
/// skipped.
pub fn decode(payload: &[u8]) -> Result<EncryptedObject, StoredError> {
    let object =
        EncryptedObject::decode(payload).map_err(|err| StoredError::Malformed(err.to_string()))?;
    validate(&object)?;
    Ok(object)
}

/// Encodes a stored value, including the prefix. The same object always gives the same bytes:
/// annotations are sorted by name (kube-apiserver's order is random).
pub fn encode(provider: &str, object: &EncryptedObject) -> Result<Vec<u8>, StoredError> {
    if provider.is_empty() || provider.contains(':') {
        return Err(StoredError::Provider(provider.to_owned()));
    }
    validate(object)?;
    let mut value = Vec::with_capacity(PREFIX.len() + provider.len() + 1 + object.encoded_len());
    value.extend_from_slice(PREFIX.as_bytes());
    value.extend_from_slice(provider.as_bytes());
    value.push(b':');
    value.extend_from_slice(&object.encode_to_vec());
    Ok(value)
}

/// Runs the checks of kube-apiserver in its order and returns the first failure.
pub fn validate(object: &EncryptedObject) -> Result<(), StoredError> {
    if EncryptedDekSourceType::try_from(object.encrypted_dek_source_type).is_err() {
        return Err(StoredError::UnknownDekSourceType(
            object.encrypted_dek_source_type,
        ));
    }
    if object.encrypted_data.is_empty() {
        return Err(StoredError::NoData);
    }
    limits::check_encrypted_dek_source(&object.encrypted_dek_source)
        .map_err(StoredError::DekSource)?;
    limits::check_key_id(&object.key_id).map_err(StoredError::KeyId)?;
    limits::check_annotations(&object.annotations).map_err(StoredError::Annotations)
}
