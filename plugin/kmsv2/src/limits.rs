//! Limits of kube-apiserver on what a plugin returns and etcd contains, with its error messages.
//!
//! Source: `ValidateEncryptedObject` in k8s.io/apiserver v0.36.3,
//! `pkg/storage/value/encrypt/envelope/kmsv2/envelope.go`, and `IsFullyQualifiedDomainName` in
//! k8s.io/apimachinery v0.36.3.

use std::collections::BTreeMap;

/// Maximum length in bytes of `EncryptResponse.ciphertext`, which becomes `encryptedDEKSource`.
pub const MAX_CIPHERTEXT: usize = 1024;
/// Maximum length in bytes of a key id. The documentation says "less than 1 kB"; the code accepts
/// 1024.
pub const MAX_KEY_ID: usize = 1024;
/// Maximum total length in bytes of all annotation names and values.
pub const MAX_ANNOTATIONS: usize = 32 * 1024;
/// Maximum lengths in bytes of a DNS name and of one of its labels (RFC 1123).
const MAX_DNS_NAME: usize = 253;
const MAX_DNS_LABEL: usize = 63;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
    with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// A violated limit. `Display` is the message of kube-apiserver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The key id is empty.
    #[error("keyID is empty")]
    KeyIdEmpty,
    /// The key id exceeds [`MAX_KEY_ID`].
    #[error("keyID is {0} bytes, which exceeds the max size of {MAX_KEY_ID}")]
    KeyIdTooLong(usize),
    /// The ciphertext is empty.
    #[error("encrypted DEK source is empty")]
    DekSourceEmpty,
    /// The ciphertext exceeds [`MAX_CIPHERTEXT`].
    #[error("encrypted DEK source is {0} bytes, which exceeds the max size of {MAX_CIPHERTEXT}")]
    DekSourceTooLong(usize),
    /// Names that are not FQDNs, a total length over [`MAX_ANNOTATIONS`], or both. Several messages
    /// are joined in brackets.
    #[error("{}", aggregate(.0))]
    Annotations(Vec<String>),
}

/// Checks for 1 to 1024 bytes.
pub fn check_key_id(key_id: &str) -> Result<(), LimitError> {
    match key_id.len() {
        0 => Err(LimitError::KeyIdEmpty),
        1..=MAX_KEY_ID => Ok(()),
        len => Err(LimitError::KeyIdTooLong(len)),
    }
}

/// Checks for 1 to 1024 bytes; the same check applies to a plugin's ciphertext.
pub fn check_encrypted_dek_source(source: &[u8]) -> Result<(), LimitError> {
    match source.len() {
        0 => Err(LimitError::DekSourceEmpty),
        1..=MAX_CIPHERTEXT => Ok(()),
        len => Err(LimitError::DekSourceTooLong(len)),
    }
}

/// Checks that every name is an FQDN and the total length is at most 32768 bytes. Names are checked
/// in sorted order (kube-apiserver's order is random).
pub fn check_annotations(annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), LimitError> {
    let mut faults: Vec<String> = annotations
        .keys()
        .filter_map(|name| fqdn_error(name))
        .collect();
    let total: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if total > MAX_ANNOTATIONS {
        faults.push(format!(
            "total size of annotations is {total}, which exceeds the max size of {MAX_ANNOTATIONS}"
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(LimitError::Annotations(faults))
    }
}

/// Returns why a name is not a fully qualified domain name, as a field error of `annotations`. One
/// trailing dot is allowed.
fn fqdn_error(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("annotations: Required value".into());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut details = Vec::new();
    if name.len() > MAX_DNS_NAME {
        details.push(format!("must be no more than {MAX_DNS_NAME} characters"));
    }
    if !name.split('.').all(is_label) {
        details.push(SUBDOMAIN.to_owned());
    }
    if !details.is_empty() {
        return Some(invalid(name, &details.join(",")));
    }
    if !name.contains('.') {
        return Some(invalid(
            name,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    let long = name.split('.').find(|label| label.len() > MAX_DNS_LABEL)?;
    Some(invalid(
        long,
        &format!("must be no more than {MAX_DNS_LABEL} characters"),
    ))
}

/// Matches `[a-z0-9]([-a-z0-9]*[a-z0-9])?`.
fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

fn invalid(value: &str, detail: &str) -> String {
    format!("annotations: Invalid value: {value:?}: {detail}")
}

/// Formats like Kubernetes' aggregate error: without duplicates, and in brackets if there are
/// several.
fn aggregate(faults: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for fault in faults {
        if !distinct.contains(&fault.as_str()) {
            distinct.push(fault);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}
