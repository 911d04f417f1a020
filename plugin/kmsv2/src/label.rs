//! The `key_id` of kmslab's plugin, which kube-apiserver compares and stores, and the annotation
//! that explains it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// A version of a key: what a `key_id` stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyVersion {
    /// Canonical name of the key: never an alias, and the same for every replica.
    pub key: String,
    /// Version of the key material.
    pub version: String,
}

/// Name of the annotation on every ciphertext; its value is a [`Label`] as JSON.
pub const ANNOTATION: &str = "kek.kmslab.dev";

/// `k1-` and 64 hex digits: SHA-256 over provider, canonical key, version (each preceded by its
/// length as big-endian u32) and generation (big-endian u32). It changes exactly when one of the
/// four does and reveals none of them.
pub fn key_id(provider: &str, key: &str, version: &str, generation: u32) -> String {
    let mut hashed = Vec::with_capacity(provider.len() + key.len() + version.len() + 16);
    for field in [provider, key, version] {
        // Fields of 4 GiB do not occur; saturating keeps the function total.
        hashed.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hashed.extend_from_slice(field.as_bytes());
    }
    hashed.extend_from_slice(&generation.to_be_bytes());
    format!("k1-{}", hex::encode(digest(&SHA256, &hashed)))
}

/// The meaning of a `key_id`, stored unencrypted in etcd next to the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Cloud: `aws`, `azure` or `gcp`.
    pub provider: String,
    /// Canonical name of the key.
    pub key: String,
    /// Version of the key material.
    pub version: String,
    /// The operator's number that distinguishes two periods of use of one key.
    pub generation: u32,
}

/// The annotation is not a [`Label`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {ANNOTATION} is not JSON with provider, key, version and generation: {0}")]
pub struct LabelError(String);

impl Label {
    /// The label of ciphertexts of `version`.
    pub fn new(provider: &str, version: &KeyVersion, generation: u32) -> Self {
        let KeyVersion { key, version } = version.clone();
        Self {
            provider: provider.to_owned(),
            key,
            version,
            generation,
        }
    }

    /// The key id of this label.
    pub fn key_id(&self) -> String {
        key_id(&self.provider, &self.key, &self.version, self.generation)
    }

    /// Key and version.
    pub fn key_version(&self) -> KeyVersion {
        KeyVersion {
            key: self.key.clone(),
            version: self.version.clone(),
        }
    }

    /// The value of the annotation.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("three strings and a number are always JSON")
    }
}

/// Parses the value of the annotation; unknown fields are ignored.
pub fn parse_annotation(value: &[u8]) -> Result<Label, LabelError> {
    serde_json::from_slice(value).map_err(|err| LabelError(err.to_string()))
}

/// The name of an AWS key in key ids: its ARN, without the region for a multi-Region key, since all
/// replicas decrypt each other's ciphertexts.
pub fn canonical_arn(arn: &str) -> String {
    match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        [arn, partition, service, _, account, resource] if resource.starts_with("key/mrk-") => {
            format!("{arn}:{partition}:{service}::{account}:{resource}")
        }
        _ => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn key_id_format_is_stable() {
        // printf '\x00\x00\x00\x03aws\x00\x00\x00\x01k\x00\x00\x00\x01v\x00\x00\x00\x00' |
        // sha256sum
        assert_eq!(
            key_id("aws", "k", "v", 0),
            "k1-e59b74d856bff808544403640369a2602ff6d8abaa6ef890ab90e6701dd67604"
        );
    }

    #[test]
    fn key_id_depends_on_every_field_separately() {
        let all = [
            key_id("aws", KEY, "1", 0),
            key_id("gcp", KEY, "1", 0),
            key_id("aws", "other", "1", 0),
            key_id("aws", KEY, "2", 0),
            key_id("aws", KEY, "1", 1),
            key_id("aw", &format!("s{KEY}"), "1", 0),
            key_id("aws", &format!("{KEY}1"), "", 0),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        for id in &all {
            assert!(
                id.len() == 67 && id.starts_with("k1-") && !id.contains("arn"),
                "{id}"
            );
        }
    }

    #[test]
    fn label_round_trips_and_gives_its_key_id() {
        let version = KeyVersion {
            key: KEY.into(),
            version: "ab".repeat(32),
        };
        let label = Label::new("aws", &version, 3);
        let read = parse_annotation(&label.to_json()).unwrap();
        assert_eq!(read, label);
        assert_eq!(read.key_version(), version);
        assert_eq!(read.key_id(), key_id("aws", KEY, &"ab".repeat(32), 3));
        assert!(
            parse_annotation(b"{}")
                .unwrap_err()
                .to_string()
                .contains("kek.kmslab.dev is not JSON with provider")
        );
        assert!(parse_annotation(&[0xff, 0]).is_err());
    }

    #[test]
    fn replicas_of_a_multi_region_key_share_a_canonical_name() {
        const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let mrk = "mrk-1234abcd12ab34cd56ef1234567890ab";
        assert_eq!(
            canonical_arn(&format!("arn:aws:kms:us-east-1:123456789012:key/{mrk}")),
            format!("arn:aws:kms::123456789012:key/{mrk}")
        );
        let single = format!("arn:aws:kms:us-east-1:123456789012:key/{ID}");
        assert_eq!(canonical_arn(&single), single);
        assert_eq!(canonical_arn("no arn"), "no arn");
    }
}
