//! Counting what is not under the current key, from stored bytes alone.

use std::collections::{BTreeMap, BTreeSet};

use kmslab_kmsv2::stored::EncryptedDekSourceType;
use serde::Serialize;

use super::Stored;
use super::keytable::{BlobId, blob_id};
use super::value::{Format, Value, recognise};

/// What a value must show to count as current. What is `None` is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentKey {
    /// The first provider of the API server's configuration.
    pub provider: String,
    /// What the plugin's Status says now.
    pub key_id: Option<String>,
    /// The material that the cloud key encrypts with now, where ciphertexts show theirs.
    pub blob_id: Option<BlobId>,
    /// Where they do not: the DEK sources that the cloud has opened with the version that encrypts
    /// now.
    pub sources: Option<BTreeSet<Vec<u8>>>,
}

impl CurrentKey {
    /// Whether a DEK source was sealed by another version than the current one; false where neither
    /// is looked at.
    fn is_of_another_version(&self, dek_source: &[u8]) -> bool {
        let by_id = self.blob_id.is_some() && self.blob_id != blob_id(dek_source);
        by_id
            || self
                .sources
                .as_ref()
                .is_some_and(|sources| !sources.contains(dek_source))
    }
}

/// Why a value is not under the current key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not encrypted at all.
    Plaintext,
    /// Encrypted by something that is not KMS v2.
    OtherFormat,
    /// By another KMS v2 provider.
    OtherProvider,
    /// Its key_id is another.
    OtherKeyId,
    /// Its key_id may be right, but its DEK source was sealed by another version of the cloud key.
    OtherKeyVersion,
    /// A DEK without a seed, as before Kubernetes 1.28.
    OldSourceType,
    /// Nobody can read it as it is.
    Unreadable,
}

impl Reason {
    /// The word in tables and JSON.
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

/// What [`count_stale`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StaleReport {
    /// Values looked at.
    pub total: usize,
    /// Those that are not under the current key.
    pub stale: usize,
    /// Those whose key_id and ciphertext disagree about being current: a plugin's bug.
    pub mislabelled: usize,
    /// By who wrote them.
    pub groups: Vec<Group>,
}

/// Values with the same origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Format by name.
    pub format: &'static str,
    /// Provider or local key.
    pub provider: Option<String>,
    /// As stored.
    pub key_id: Option<String>,
    /// Hex of the key material's id, where the DEK source shows one.
    pub blob_id: Option<String>,
    /// `None`: current.
    pub reason: Option<Reason>,
    /// How many.
    pub count: usize,
    /// One of them.
    pub example: String,
}

/// What of a value decides whether it is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Encrypted by a KMS v2 provider.
    KmsV2 {
        /// The provider.
        provider: &'a str,
        /// As stored.
        key_id: &'a str,
        /// Whether its DEK source was sealed by another version of the cloud key than the current
        /// one.
        of_another_version: bool,
        /// Whether it is a DEK without a seed.
        old_source: bool,
    },
    /// Not encrypted.
    Plaintext,
    /// Encrypted by something else.
    OtherFormat,
    /// Damaged, or of no known format.
    Unreadable,
}

/// Why `value` is not current; `None` where it is.
#[must_use]
pub fn judge(value: &Value<'_>, current: &CurrentKey) -> Option<Reason> {
    let seed = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed;
    let origin = match value {
        Value::KmsV2 { provider, object } => Origin::KmsV2 {
            provider,
            key_id: &object.key_id,
            of_another_version: current.is_of_another_version(&object.encrypted_dek_source),
            old_source: object.encrypted_dek_source_type != seed as i32,
        },
        Value::Malformed { .. } | Value::Unrecognised | Value::UnknownEncrypted { .. } => {
            Origin::Unreadable
        }
        other if other.format().is_plaintext() => Origin::Plaintext,
        _ => Origin::OtherFormat,
    };
    judge_origin(&origin, current)
}

/// Why a value of that origin is not current; `None` where it is.
#[must_use]
pub fn judge_origin(origin: &Origin<'_>, current: &CurrentKey) -> Option<Reason> {
    match origin {
        Origin::Unreadable => Some(Reason::Unreadable),
        Origin::Plaintext => Some(Reason::Plaintext),
        Origin::OtherFormat => Some(Reason::OtherFormat),
        Origin::KmsV2 {
            provider,
            key_id,
            of_another_version,
            old_source,
        } => [
            (*provider != current.provider, Reason::OtherProvider),
            (
                current
                    .key_id
                    .as_ref()
                    .is_some_and(|current| current != key_id),
                Reason::OtherKeyId,
            ),
            (*of_another_version, Reason::OtherKeyVersion),
            (*old_source, Reason::OldSourceType),
        ]
        .into_iter()
        .find_map(|(differs, reason)| differs.then_some(reason)),
    }
}

/// Judges every value and counts by origin.
#[must_use]
pub fn count_stale<'a>(
    values: impl IntoIterator<Item = &'a Stored>,
    current: &CurrentKey,
) -> StaleReport {
    let mut report = StaleReport::default();
    let mut groups = BTreeMap::new();
    for stored in values {
        let value = recognise(&stored.value);
        let reason = judge(&value, current);
        report.total += 1;
        report.stale += usize::from(reason.is_some());
        let (key_id, blob) = match &value {
            Value::KmsV2 { object, .. } => (
                Some(object.key_id.clone()),
                blob_id(&object.encrypted_dek_source),
            ),
            _ => (None, None),
        };
        report.mislabelled += usize::from(disagree(&value, current));
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

fn disagree(value: &Value<'_>, current: &CurrentKey) -> bool {
    let (Value::KmsV2 { object, .. }, Some(key_id)) = (value, &current.key_id) else {
        return false;
    };
    let looked_at = current.blob_id.is_some() || current.sources.is_some();
    looked_at
        && (object.key_id == *key_id) == current.is_of_another_version(&object.encrypted_dek_source)
}

/// Format, provider, key_id, id of the key material, and the verdict.
type GroupKey = (
    Format,
    Option<String>,
    Option<String>,
    Option<BlobId>,
    Option<Reason>,
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

    use super::super::keytable::tests::blob;
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

    fn reason(value: &[u8]) -> Option<Reason> {
        judge(&recognise(value), &current())
    }

    #[test]
    fn only_the_current_material_under_the_current_name_counts() {
        assert_eq!(reason(&kms_v2("p", "id-2", blob(1, 2, 7), 1)), None);
        assert_eq!(
            reason(&kms_v2("q", "id-2", blob(1, 2, 7), 1)),
            Some(Reason::OtherProvider)
        );
        assert_eq!(
            reason(&kms_v2("p", "id-1", blob(1, 1, 7), 1)),
            Some(Reason::OtherKeyId)
        );
        assert_eq!(
            reason(&kms_v2("p", "id-2", blob(1, 2, 7), 0)),
            Some(Reason::OldSourceType)
        );
        assert_eq!(reason(b"k8s\0"), Some(Reason::Plaintext));
        assert_eq!(reason(b"{}"), Some(Reason::Plaintext));
        assert_eq!(
            reason(&[&b"k8s:enc:aescbc:v1:k:"[..], &[0; 32]].concat()),
            Some(Reason::OtherFormat)
        );
        assert_eq!(reason(b"k8s:enc:kms:v2:p:\xff"), Some(Reason::Unreadable));
    }

    #[test]
    fn a_key_id_that_lies_about_the_ciphertext_is_stale() {
        let lying = kms_v2("p", "id-2", blob(1, 1, 7), 1);
        assert_eq!(reason(&lying), Some(Reason::OtherKeyVersion));
        let opaque = kms_v2("p", "id-2", b"opaque".to_vec(), 1);
        assert_eq!(reason(&opaque), Some(Reason::OtherKeyVersion));
        let by_name = CurrentKey {
            blob_id: None,
            ..current()
        };
        assert_eq!(judge(&recognise(&lying), &by_name), None);
    }

    #[test]
    fn where_ciphertexts_show_no_version_the_cloud_says_which_are_current() {
        let sources = Some([b"rsa-2".to_vec()].into());
        let current = CurrentKey {
            blob_id: None,
            sources,
            ..current()
        };
        for (key_id, source, reason, lies) in [
            ("id-2", &b"rsa-2"[..], None, false),
            ("id-2", b"rsa-1", Some(Reason::OtherKeyVersion), true),
            ("id-1", b"rsa-1", Some(Reason::OtherKeyId), false),
            ("id-1", b"rsa-2", Some(Reason::OtherKeyId), true),
        ] {
            let value = kms_v2("p", key_id, source.to_vec(), 1);
            let value = recognise(&value);
            assert_eq!(
                (judge(&value, &current), disagree(&value, &current)),
                (reason, lies),
                "{key_id} {source:?}"
            );
        }
    }

    #[test]
    fn values_are_counted_by_origin() {
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
                (2, Some(Reason::OtherKeyId), "/a"),
                (1, Some(Reason::OtherKeyVersion), "/d"),
                (1, None, "/c"),
                (1, Some(Reason::Plaintext), "/e"),
            ]
        );
    }
}
