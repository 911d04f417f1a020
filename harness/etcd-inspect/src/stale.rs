//! Counts values that are not encrypted with the current key, from stored bytes only.

use std::collections::{BTreeMap, BTreeSet};

use kmslab_kmsv2::stored::EncryptedDekSourceType;
use serde::Serialize;

use super::Stored;
use super::value::{Format, Value, recognise};
use kmslab_emulator_api::{BlobId, blob_id};

/// What a value must have to count as current. `None` is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentKey {
    /// The first provider of the API server's configuration.
    pub provider: String,
    /// The key_id in the plugin's Status.
    pub key_id: Option<String>,
    /// Id of the key material that encrypts now, if ciphertexts show it.
    pub blob_id: Option<BlobId>,
    /// If they do not: the DEK sources that the cloud decrypted with the version that encrypts now.
    pub sources: Option<BTreeSet<Vec<u8>>>,
}

impl CurrentKey {
    /// Whether a DEK source was encrypted by another version than the current one; false if
    /// unknown.
    fn has_other_version(&self, dek_source: &[u8]) -> bool {
        let by_id = self.blob_id.is_some() && self.blob_id != blob_id(dek_source);
        by_id
            || self
                .sources
                .as_ref()
                .is_some_and(|sources| !sources.contains(dek_source))
    }
}

/// Why a value is not current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaleReason {
    /// Not encrypted.
    Plaintext,
    /// Encrypted by something other than KMS v2.
    OtherFormat,
    /// Encrypted by another KMS v2 provider.
    OtherProvider,
    /// Another key_id.
    OtherKeyId,
    /// The key_id matches, but another version of the cloud key encrypted the DEK source.
    OtherKeyVersion,
    /// A DEK without a seed, from before Kubernetes 1.28.
    OldSourceType,
    /// The value cannot be read.
    Unreadable,
}

impl StaleReason {
    /// The name in tables and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::OtherFormat => "other-format",
            Self::OtherProvider => "other-provider",
            Self::OtherKeyId => "other-key-id",
            Self::OtherKeyVersion => "other-key-version",
            Self::OldSourceType => "old-source-type",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Result of [`count_stale`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StaleReport {
    /// Number of values.
    pub total: usize,
    /// Number of values that are not current.
    pub stale: usize,
    /// Number of values whose key_id and ciphertext disagree about being current, which is a bug of
    /// the plugin.
    pub mislabelled: usize,
    /// Counts by origin.
    pub groups: Vec<Group>,
}

/// Values with the same origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name of the format.
    pub format: &'static str,
    /// Provider or local key.
    pub provider: Option<String>,
    /// The stored key_id.
    pub key_id: Option<String>,
    /// Id of the key material in hex, if the DEK source shows one.
    pub blob_id: Option<String>,
    /// `None` means current.
    pub reason: Option<StaleReason>,
    /// Number of values.
    pub count: usize,
    /// The etcd key of one of them.
    pub example: String,
}

/// The properties of a value that decide whether it is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Encrypted by a KMS v2 provider.
    KmsV2 {
        /// The provider.
        provider: &'a str,
        /// The stored key_id.
        key_id: &'a str,
        /// Whether another version of the cloud key encrypted the DEK source.
        other_version: bool,
        /// Whether it is a DEK without a seed.
        old_source: bool,
    },
    /// Not encrypted.
    Plaintext,
    /// Encrypted by something else.
    OtherFormat,
    /// Damaged or of unknown format.
    Unreadable,
}

/// Returns why `value` is not current; `None` if it is.
#[must_use]
pub fn stale_reason(value: &Value<'_>, current: &CurrentKey) -> Option<StaleReason> {
    let seed = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed;
    let origin = match value {
        Value::KmsV2 { provider, object } => Origin::KmsV2 {
            provider,
            key_id: &object.key_id,
            other_version: current.has_other_version(&object.encrypted_dek_source),
            old_source: object.encrypted_dek_source_type != seed as i32,
        },
        Value::Malformed { .. } | Value::Unrecognised | Value::UnknownEncrypted { .. } => {
            Origin::Unreadable
        }
        other if other.format().is_plaintext() => Origin::Plaintext,
        _ => Origin::OtherFormat,
    };
    stale_reason_by_origin(&origin, current)
}

/// Returns why values of an origin are not current; `None` if they are.
#[must_use]
pub fn stale_reason_by_origin(origin: &Origin<'_>, current: &CurrentKey) -> Option<StaleReason> {
    match origin {
        Origin::Unreadable => Some(StaleReason::Unreadable),
        Origin::Plaintext => Some(StaleReason::Plaintext),
        Origin::OtherFormat => Some(StaleReason::OtherFormat),
        Origin::KmsV2 {
            provider,
            key_id,
            other_version: of_another_version,
            old_source,
        } => [
            (*provider != current.provider, StaleReason::OtherProvider),
            (
                current
                    .key_id
                    .as_ref()
                    .is_some_and(|current| current != key_id),
                StaleReason::OtherKeyId,
            ),
            (*of_another_version, StaleReason::OtherKeyVersion),
            (*old_source, StaleReason::OldSourceType),
        ]
        .into_iter()
        .find_map(|(differs, reason)| differs.then_some(reason)),
    }
}

/// Classifies all values and counts them by origin.
#[must_use]
pub fn count_stale<'a>(
    values: impl IntoIterator<Item = &'a Stored>,
    current: &CurrentKey,
) -> StaleReport {
    let mut report = StaleReport::default();
    let mut groups = BTreeMap::new();
    for stored in values {
        let value = recognise(&stored.value);
        let reason = stale_reason(&value, current);
        report.total += 1;
        report.stale += usize::from(reason.is_some());
        let (key_id, blob) = match &value {
            Value::KmsV2 { object, .. } => (
                Some(object.key_id.clone()),
                blob_id(&object.encrypted_dek_source),
            ),
            _ => (None, None),
        };
        report.mislabelled += usize::from(is_mislabelled(&value, current));
        let origin = (
            value.format(),
            value.name().map(str::to_owned),
            key_id,
            blob,
            reason,
        );
        groups.entry(origin).or_insert((0, stored.key.as_str())).0 += 1;
    }
    report.groups = groups.into_iter().map(group).collect();
    report
}

fn is_mislabelled(value: &Value<'_>, current: &CurrentKey) -> bool {
    let (Value::KmsV2 { object, .. }, Some(key_id)) = (value, &current.key_id) else {
        return false;
    };
    let looked_at = current.blob_id.is_some() || current.sources.is_some();
    looked_at
        && (object.key_id == *key_id) == current.has_other_version(&object.encrypted_dek_source)
}

/// Format, provider, key_id, id of the key material, and the reason.
type GroupKey = (
    Format,
    Option<String>,
    Option<String>,
    Option<BlobId>,
    Option<StaleReason>,
);

fn group(
    ((format, provider, key_id, blob, reason), (count, example)): (GroupKey, (usize, &str)),
) -> Group {
    Group {
        format: format.as_str(),
        provider,
        key_id,
        blob_id: blob.map(hex::encode),
        reason,
        count,
        example: example.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kmslab_kmsv2::stored::{self, EncryptedObject};

    use super::super::label::tests::blob;
    use super::*;

    fn kms_v2(provider: &str, key_id: &str, dek_source: Vec<u8>, kind: i32) -> Vec<u8> {
        let object = EncryptedObject {
            encrypted_data: vec![0; 60],
            key_id: key_id.to_owned(),
            encrypted_dek_source: dek_source,
            annotations: [].into(),
            encrypted_dek_source_type: kind,
        };
        stored::encode(provider, &object).unwrap()
    }

    fn current() -> CurrentKey {
        let blob_id = blob_id(&blob(1, 2, 0));
        CurrentKey {
            provider: "p".into(),
            key_id: Some("id-2".into()),
            blob_id,
            sources: None,
        }
    }

    fn reason(value: &[u8]) -> Option<StaleReason> {
        stale_reason(&recognise(value), &current())
    }

    #[test]
    fn only_current_material_and_key_id_count_as_current() {
        assert_eq!(reason(&kms_v2("p", "id-2", blob(1, 2, 7), 1)), None);
        assert_eq!(
            reason(&kms_v2("q", "id-2", blob(1, 2, 7), 1)),
            Some(StaleReason::OtherProvider)
        );
        assert_eq!(
            reason(&kms_v2("p", "id-1", blob(1, 1, 7), 1)),
            Some(StaleReason::OtherKeyId)
        );
        assert_eq!(
            reason(&kms_v2("p", "id-2", blob(1, 2, 7), 0)),
            Some(StaleReason::OldSourceType)
        );
        assert_eq!(reason(b"k8s\0"), Some(StaleReason::Plaintext));
        assert_eq!(reason(b"{}"), Some(StaleReason::Plaintext));
        assert_eq!(
            reason(&[&b"k8s:enc:aescbc:v1:k:"[..], &[0; 32]].concat()),
            Some(StaleReason::OtherFormat)
        );
        assert_eq!(
            reason(b"k8s:enc:kms:v2:p:\xff"),
            Some(StaleReason::Unreadable)
        );
    }

    #[test]
    fn mislabelled_key_id_is_stale() {
        let lying = kms_v2("p", "id-2", blob(1, 1, 7), 1);
        assert_eq!(reason(&lying), Some(StaleReason::OtherKeyVersion));
        let opaque = kms_v2("p", "id-2", b"opaque".to_vec(), 1);
        assert_eq!(reason(&opaque), Some(StaleReason::OtherKeyVersion));
        let by_name = CurrentKey {
            blob_id: None,
            ..current()
        };
        assert_eq!(stale_reason(&recognise(&lying), &by_name), None);
    }

    #[test]
    fn cloud_decides_if_ciphertexts_show_no_version() {
        let sources = Some([b"rsa-2".to_vec()].into());
        let current = CurrentKey {
            blob_id: None,
            sources,
            ..current()
        };
        for (key_id, source, reason, lies) in [
            ("id-2", &b"rsa-2"[..], None, false),
            ("id-2", b"rsa-1", Some(StaleReason::OtherKeyVersion), true),
            ("id-1", b"rsa-1", Some(StaleReason::OtherKeyId), false),
            ("id-1", b"rsa-2", Some(StaleReason::OtherKeyId), true),
        ] {
            let value = kms_v2("p", key_id, source.to_vec(), 1);
            let value = recognise(&value);
            assert_eq!(
                (
                    stale_reason(&value, &current),
                    is_mislabelled(&value, &current)
                ),
                (reason, lies),
                "{key_id} {source:?}"
            );
        }
    }

    #[test]
    fn stale_values_are_counted_by_origin() {
        let stored = |key: &str, value| Stored {
            key: key.to_owned(),
            value,
            create_revision: 1,
            mod_revision: 1,
            version: 1,
        };
        let values = [
            stored("/a", kms_v2("p", "id-1", blob(1, 1, 0), 1)),
            stored("/b", kms_v2("p", "id-1", blob(1, 1, 1), 1)),
            stored("/c", kms_v2("p", "id-2", blob(1, 2, 0), 1)),
            stored("/d", kms_v2("p", "id-2", blob(1, 1, 0), 1)),
            stored("/e", b"{}".to_vec()),
        ];
        let report = count_stale(&values, &current());
        assert_eq!((report.total, report.stale, report.mislabelled), (5, 4, 1));
        let groups: Vec<_> = report
            .groups
            .iter()
            .map(|one| (one.count, one.reason, one.example.as_str()))
            .collect();
        assert_eq!(
            groups,
            [
                (2, Some(StaleReason::OtherKeyId), "/a"),
                (1, Some(StaleReason::OtherKeyVersion), "/d"),
                (1, None, "/c"),
                (1, Some(StaleReason::Plaintext), "/e"),
            ]
        );
    }
}
