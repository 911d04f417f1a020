//! Which version of which cloud key sealed a DEK source: read from the ciphertext, looked up in the
//! emulator's key table.
//!
//! A value's `keyID` and annotation are what the plugin says; the ciphertext is what the cloud did.
//! Proofs use the second.

use kmslab_kmsv2::stored::EncryptedObject;
use kmslab_plugin::kek::aws::canonical;
use kmslab_plugin::{ANNOTATION, Label, parse_annotation};
use serde::{Deserialize, Serialize};

/// An AWS CiphertextBlob of a symmetric key: this, then the 32-byte id of the key material.
const AWS_BLOB: &[u8] = &[0x01, 0x02, 0x02, 0x00, 0x78];
/// A Google ciphertext of a symmetric key: this, then the 32-byte id by which the emulator names
/// the version.
const GCP_BLOB: &[u8] = &[0x0a, 0x24, 0x00];

/// The id of the material or version that a ciphertext shows.
pub type BlobId = [u8; 32];

/// All keys of an emulator, as its admin port's `GET /keys` lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyTable {
    /// One row per key.
    pub rows: Vec<KeyRow>,
}

/// One cloud key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// `aws`, `azure`, `gcp`.
    pub cloud: String,
    /// The key's full name: for AWS its ARN, for Google its resource name.
    pub key: String,
    /// Number of the version that encrypts now.
    pub primary: u64,
    /// All versions.
    pub versions: Vec<VersionRow>,
}

/// One version of a cloud key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// From 1, in order of creation.
    pub number: u64,
    /// The cloud's name for it: for AWS the KeyMaterialId, for Google its number.
    pub id: String,
    /// What ciphertexts show of it, in hex.
    #[serde(default)]
    pub blob_id: String,
}

/// A version found in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used<'a> {
    /// The key's row.
    pub key: &'a KeyRow,
    /// The version's row.
    pub version: &'a VersionRow,
}

impl KeyRow {
    /// The version that sealed a DEK source, where the ciphertext shows it; `None` where it is no
    /// blob of this key.
    #[must_use]
    pub fn used_by(&self, encrypted_dek_source: &[u8]) -> Option<&VersionRow> {
        let shown = hex::encode(blob_id(encrypted_dek_source)?);
        self.versions
            .iter()
            .find(|version| version.blob_id.eq_ignore_ascii_case(&shown))
    }
}

impl KeyTable {
    /// Reads the admin port's JSON.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// The version that sealed `encrypted_dek_source`; `None` where it is no blob of these keys.
    #[must_use]
    pub fn used_by(&self, encrypted_dek_source: &[u8]) -> Option<Used<'_>> {
        self.rows.iter().find_map(|key| {
            Some(Used {
                key,
                version: key.used_by(encrypted_dek_source)?,
            })
        })
    }

    /// The version that a label names.
    #[must_use]
    pub fn labelled(&self, label: &Label) -> Option<Used<'_>> {
        self.find(|row, version| label.key == canonical(&row.key) && version.id == label.version)
    }

    fn find(&self, wanted: impl Fn(&KeyRow, &VersionRow) -> bool) -> Option<Used<'_>> {
        let mut all = self.rows.iter().flat_map(|key| {
            key.versions
                .iter()
                .map(move |version| Used { key, version })
        });
        all.find(|used| wanted(used.key, used.version))
    }
}

/// The id in a ciphertext of AWS' or Google's shape, `None` where the bytes are of neither.
#[must_use]
pub fn blob_id(ciphertext: &[u8]) -> Option<BlobId> {
    let shown = [AWS_BLOB, GCP_BLOB]
        .iter()
        .find_map(|shape| ciphertext.strip_prefix(*shape))?;
    shown.first_chunk().copied()
}

/// The readable key and version beside a value that kmslab's plugin wrote; other plugins'
/// annotations are none.
#[must_use]
pub fn label_of(object: &EncryptedObject) -> Option<Label> {
    parse_annotation(object.annotations.get(ANNOTATION)?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of `keys` keys with two versions each; the blob id of key k's version v is 32 × (16k
    /// + v).
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

    /// A blob of AWS's shape; `salt` tells two DEK sources of one version apart.
    pub(crate) fn blob(key: u8, version: u8, salt: u8) -> Vec<u8> {
        [AWS_BLOB, &[16 * key + version; 32], &[1, salt]].concat()
    }

    #[test]
    fn a_blob_names_its_version() {
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
    fn a_multi_region_label_has_no_region() {
        let mut table = table(1);
        table.rows[0].key = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1".to_owned();
        let label = |key: &str| Label {
            provider: "aws".into(),
            key: key.into(),
            version: "material-1-2".into(),
            generation: 0,
        };
        let found = table.labelled(&label("arn:aws:kms::123456789012:key/mrk-1"));
        assert_eq!(found.map(|used| used.version.number), Some(2));
        assert_eq!(
            table.labelled(&label("arn:aws:kms::123456789012:key/mrk-2")),
            None
        );
    }

    #[test]
    fn the_admin_ports_table_reads_with_more_columns_than_these() {
        let json = br#"[{"cloud":"aws","key":"arn","state":"Enabled","primary":1,
            "versions":[{"number":1,"id":"m1","blob_id":"00ff","created":"2026-01-01T00:00:00Z"}]}]"#;
        assert_eq!(
            KeyTable::from_json(json).unwrap().rows[0].versions[0].blob_id,
            "00ff"
        );
    }
}
