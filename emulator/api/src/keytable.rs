//! The key table: all keys of an emulator with their versions, without key material.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Prefix of an AWS CiphertextBlob of a symmetric key, followed by the 32-byte id of the key
/// material.
const AWS_PREFIX: &[u8] = &[0x01, 0x02, 0x02, 0x00, 0x78];
/// Prefix of a Google ciphertext of a symmetric key, followed by the 32-byte id of the version.
const GCP_PREFIX: &[u8] = &[0x0a, 0x24, 0x00];

/// The id of key material or of a version in a ciphertext.
pub type BlobId = [u8; 32];

/// All keys of an emulator, by cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyTable {
    /// One row per key.
    pub rows: Vec<KeyRow>,
}

/// A key with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// `aws`, `azure` or `gcp`.
    pub cloud: String,
    /// Full name: ARN, URL or resource name.
    pub key: String,
    /// The vendor's name of its state.
    #[serde(default)]
    pub state: String,
    /// Number of the version that encrypts; 0 if there is none.
    pub primary: u32,
    /// Versions, oldest first.
    pub versions: Vec<VersionRow>,
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Number, from 1, in order of creation.
    pub number: u32,
    /// The vendor's id: the KeyMaterialId of AWS, the last segment of Key Vault's kid, Google's
    /// number.
    pub id: String,
    /// The id that identifies the version in ciphertexts, in hex; `None` if they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<String>,
    /// Creation time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
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
    /// Returns the version that made a ciphertext; `None` if the ciphertext names no version of
    /// this key.
    #[must_use]
    pub fn find_by_ciphertext(&self, ciphertext: &[u8]) -> Option<&VersionRow> {
        let id = hex::encode(blob_id(ciphertext)?);
        self.versions.iter().find(|version| {
            version
                .blob_id
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(&id))
        })
    }
}

impl KeyTable {
    /// Parses the admin port's JSON.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Returns the version that made a ciphertext; `None` if it is not a ciphertext of these keys.
    #[must_use]
    pub fn used_by(&self, ciphertext: &[u8]) -> Option<UsedVersion<'_>> {
        self.rows.iter().find_map(|key| {
            Some(UsedVersion {
                key,
                version: key.find_by_ciphertext(ciphertext)?,
            })
        })
    }

    /// All versions of all keys.
    pub fn versions(&self) -> impl Iterator<Item = UsedVersion<'_>> {
        self.rows.iter().flat_map(|key| {
            let versions = key.versions.iter();
            versions.map(move |version| UsedVersion { key, version })
        })
    }
}

/// Returns the id in a ciphertext of AWS or Google; `None` for other bytes.
#[must_use]
pub fn blob_id(ciphertext: &[u8]) -> Option<BlobId> {
    let id = [AWS_PREFIX, GCP_PREFIX]
        .iter()
        .find_map(|prefix| ciphertext.strip_prefix(*prefix))?;
    id.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> KeyTable {
        let json = br#"[{"cloud":"aws","key":"arn","state":"Enabled","primary":2,"versions":[
            {"number":1,"id":"m1","blob_id":"0101010101010101010101010101010101010101010101010101010101010101"},
            {"number":2,"id":"m2","blob_id":"ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"}]}]"#;
        KeyTable::from_json(json).unwrap()
    }

    #[test]
    fn ciphertext_identifies_its_version() {
        let table = table();
        for (prefix, id, number) in [
            (AWS_PREFIX, 1, Some(1)),
            (AWS_PREFIX, 0xab, Some(2)),
            (GCP_PREFIX, 1, Some(1)),
            (AWS_PREFIX, 2, None),
            (b"other", 1, None),
        ] {
            let ciphertext = [prefix, &[id; 32], b"rest"].concat();
            let used = table.used_by(&ciphertext);
            assert_eq!(used.map(|used| used.version.number), number);
            assert_eq!(table.used_by(&ciphertext[..prefix.len() + 31]), None);
        }
    }

    #[test]
    fn table_with_additional_and_without_optional_members_parses() {
        let json = br#"[{"cloud":"azure","key":"url","primary":1,"usage":"wrap",
            "versions":[{"number":1,"id":"v1","created":"2026-01-01T00:00:00Z"}]}]"#;
        let table = KeyTable::from_json(json).unwrap();
        let version = table.versions().next().unwrap().version;
        assert_eq!((version.id.as_str(), &version.blob_id), ("v1", &None));
    }
}
