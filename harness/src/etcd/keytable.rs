//! Finds the version of a cloud key that encrypted a DEK source: the id in the ciphertext is looked
//! up in the emulator's key table.
//!
//! A value's `keyID` and annotation are statements of the plugin; the ciphertext shows what the
//! cloud did. Proofs use the ciphertext.

use kmslab_kmsv2::stored::EncryptedObject;
use kmslab_plugin::kek::aws::canonical;
use kmslab_plugin::{ANNOTATION, Label, parse_annotation};
use serde::{Deserialize, Serialize};

/// Prefix of an AWS CiphertextBlob of a symmetric key, followed by the 32-byte id of the key
/// material.
const AWS_BLOB: &[u8] = &[0x01, 0x02, 0x02, 0x00, 0x78];
/// Prefix of a Google ciphertext of a symmetric key, followed by the 32-byte id of the version.
const GCP_BLOB: &[u8] = &[0x0a, 0x24, 0x00];

/// The id of material or version in a ciphertext.
pub type BlobId = [u8; 32];

/// All keys of an emulator, from its admin port's `GET /keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyTable {
    /// One row per key.
    pub rows: Vec<KeyRow>,
}

/// A cloud key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// `aws`, `azure` or `gcp`.
    pub cloud: String,
    /// Full name of the key: ARN, URL or resource name.
    pub key: String,
    /// Number of the version that encrypts now.
    pub primary: u64,
    /// All versions.
    pub versions: Vec<VersionRow>,
}

/// A version of a cloud key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Number, from 1, in order of creation.
    pub number: u64,
    /// The cloud's id: KeyMaterialId for AWS, number for Google.
    pub id: String,
    /// The id in ciphertexts, in hex.
    #[serde(default)]
    pub blob_id: String,
}

/// A version found in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedVersion<'a> {
    /// Row of the key.
    pub key: &'a KeyRow,
    /// Row of the version.
    pub version: &'a VersionRow,
}

impl KeyRow {
    /// Returns the version that encrypted a DEK source; `None` if the ciphertext shows no version
    /// of this key.
    #[must_use]
    pub fn find_by_ciphertext(&self, encrypted_dek_source: &[u8]) -> Option<&VersionRow> {
        let displayed = hex::encode(blob_id(encrypted_dek_source)?);
        self.versions
            .iter()
            .find(|version| version.blob_id.eq_ignore_ascii_case(&displayed))
    }
}

impl KeyTable {
    /// Parses the admin port's JSON.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Returns the version that encrypted `encrypted_dek_source`; `None` if it is not a ciphertext
    /// of these keys.
    #[must_use]
    pub fn used_by(&self, encrypted_dek_source: &[u8]) -> Option<UsedVersion<'_>> {
        self.rows.iter().find_map(|key| {
            Some(UsedVersion {
                key,
                version: key.find_by_ciphertext(encrypted_dek_source)?,
            })
        })
    }

    /// Returns the version that a label names.
    #[must_use]
    pub fn find_label(&self, label: &Label) -> Option<UsedVersion<'_>> {
        self.find(|row, version| label.key == canonical(&row.key) && version.id == label.version)
    }

    fn find(&self, expected: impl Fn(&KeyRow, &VersionRow) -> bool) -> Option<UsedVersion<'_>> {
        let mut all = self.rows.iter().flat_map(|key| {
            key.versions
                .iter()
                .map(move |version| UsedVersion { key, version })
        });
        all.find(|used| expected(used.key, used.version))
    }
}

/// The id in a ciphertext of AWS or Google; `None` for other bytes.
#[must_use]
pub fn blob_id(ciphertext: &[u8]) -> Option<BlobId> {
    let displayed = [AWS_BLOB, GCP_BLOB]
        .iter()
        .find_map(|shape| ciphertext.strip_prefix(*shape))?;
    displayed.first_chunk().copied()
}

/// Parses the label that kmslab's plugin adds to a value; `None` for annotations of other plugins.
#[must_use]
pub fn parse_label(object: &EncryptedObject) -> Option<Label> {
    parse_annotation(object.annotations.get(ANNOTATION)?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of `keys` keys with two versions each; the blob id of version v of key k is 32 ×
    /// (16k + v).
    pub(crate) fn table(keys: u8) -> KeyTable {
        let version = |key: u8, number: u8| VersionRow {
            number: number.into(),
            id: format!("material-{key}-{number}"),
            blob_id: hex::encode([16 * key + number; 32]),
        };
        let row = |key: u8| KeyRow {
            cloud: "aws".to_owned(),
            key: format!("arn:aws:kms:us-east-1:123456789012:key/{key}"),
            primary: 2,
            versions: vec![version(key, 1), version(key, 2)],
        };
        KeyTable {
            rows: (1..=keys).map(row).collect(),
        }
    }

    /// A ciphertext in AWS' format; `salt` distinguishes DEK sources of one version.
    pub(crate) fn blob(key: u8, version: u8, salt: u8) -> Vec<u8> {
        [AWS_BLOB, &[16 * key + version; 32], &[1, salt]].concat()
    }

    #[test]
    fn aws_ciphertext_identifies_its_version() {
        let table = table(2);
        let used = table.used_by(&blob(2, 1, 0)).unwrap();
        assert_eq!(
            (used.key.key.as_str(), used.version.number),
            ("arn:aws:kms:us-east-1:123456789012:key/2", 1)
        );
        assert_eq!(table.used_by(&blob(3, 1, 0)), None);
        assert_eq!(table.used_by(&blob(2, 1, 0)[..36]), None);
        assert_eq!(table.used_by(b"Z3oFmgFBd9g="), None);
    }

    #[test]
    fn label_of_a_multi_region_key_has_no_region() {
        let mut table = table(1);
        table.rows[0].key = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1".to_owned();
        let label = |key: &str| Label {
            provider: "aws".into(),
            key: key.into(),
            version: "material-1-2".into(),
            generation: 0,
        };
        let found = table.find_label(&label("arn:aws:kms::123456789012:key/mrk-1"));
        assert_eq!(found.map(|used| used.version.number), Some(2));
        assert_eq!(
            table.find_label(&label("arn:aws:kms::123456789012:key/mrk-2")),
            None
        );
    }

    #[test]
    fn key_table_with_additional_columns_parses() {
        let json = br#"[{"cloud":"aws","key":"arn","state":"Enabled","primary":1,
            "versions":[{"number":1,"id":"m1","blob_id":"00ff","created":"2026-01-01T00:00:00Z"}]}]"#;
        assert_eq!(
            KeyTable::from_json(json).unwrap().rows[0].versions[0].blob_id,
            "00ff"
        );
    }
}
