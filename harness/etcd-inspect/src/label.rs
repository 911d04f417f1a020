//! The label that kmslab's plugin adds to a value, and the version in an emulator's key table that
//! it names.
//!
//! A value's `keyID` and annotation are statements of the plugin; the ciphertext shows what the
//! cloud did. Proofs use the ciphertext.

use kmslab_emulator_api::{KeyTable, UsedVersion};
use kmslab_kmsv2::label::{ANNOTATION, Label, canonical_arn, parse_annotation};
use kmslab_kmsv2::stored::EncryptedObject;

/// Parses the label of a value; `None` for annotations of other plugins.
#[must_use]
pub fn parse_label(object: &EncryptedObject) -> Option<Label> {
    parse_annotation(object.annotations.get(ANNOTATION)?).ok()
}

/// Returns the version that a label names.
#[must_use]
pub fn find_label<'a>(table: &'a KeyTable, label: &Label) -> Option<UsedVersion<'a>> {
    table
        .versions()
        .find(|used| label.key == canonical_arn(&used.key.key) && used.version.id == label.version)
}

#[cfg(test)]
pub(crate) mod tests {
    use kmslab_emulator_api::{KeyRow, VersionRow};

    use super::*;

    /// A table of `keys` keys with two versions each; the blob id of version v of key k is 32 ×
    /// (16k + v).
    pub(crate) fn table(keys: u8) -> KeyTable {
        let version = |key: u8, number: u8| VersionRow {
            number: number.into(),
            id: format!("material-{key}-{number}"),
            blob_id: Some(hex::encode([16 * key + number; 32])),
            created: None,
        };
        let row = |key: u8| KeyRow {
            cloud: "aws".to_owned(),
            key: format!("arn:aws:kms:us-east-1:123456789012:key/{key}"),
            state: "Enabled".to_owned(),
            primary: 2,
            versions: vec![version(key, 1), version(key, 2)],
        };
        KeyTable {
            rows: (1..=keys).map(row).collect(),
        }
    }

    /// A ciphertext in AWS' format; `salt` distinguishes DEK sources of one version.
    pub(crate) fn blob(key: u8, version: u8, salt: u8) -> Vec<u8> {
        [
            &[0x01, 0x02, 0x02, 0x00, 0x78],
            &[16 * key + version; 32][..],
            &[1, salt],
        ]
        .concat()
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
        let found = find_label(&table, &label("arn:aws:kms::123456789012:key/mrk-1"));
        assert_eq!(found.map(|used| used.version.number), Some(2));
        assert_eq!(
            find_label(&table, &label("arn:aws:kms::123456789012:key/mrk-2")),
            None
        );
    }
}
