//! The content of etcd as text for insta. What differs between runs is renamed by first appearance,
//! never omitted.
//!
//! A key takes two lines:
//!
//! ```text
//! /registry/secrets/default/s1
//!     kms-v2 kmslab key#1/v1 id#1 dek#1 seed -> protobuf v1 Secret plaintext#1
//! ```
//!
//! `key#1/v1` is the key and version number that the emulator's table has for the DEK source's
//! ciphertext, so a value that only claims a version does not show it. Names stay assigned as long
//! as [`Names`] lives, so that texts from before and after a rotation use the same names for keys,
//! DEK sources and plaintexts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use kmslab_kmsv2::stored::{EncryptedDekSourceType, EncryptedObject};

use super::Stored;
use super::label::{find_label, parse_label};
use super::value::{Value, recognise};
use kmslab_emulator_api::{KeyTable, UsedVersion, blob_id};

/// Plaintexts by etcd key: the decrypted bytes, or why decryption failed. Missing keys were not
/// tried.
pub type Plaintexts = BTreeMap<String, Result<zeroize::Zeroizing<Vec<u8>>, String>>;

/// Names assigned so far. Contains digests, no plaintext.
#[derive(Debug, Default)]
pub struct Names {
    given: BTreeMap<&'static str, BTreeMap<Vec<u8>, usize>>,
}

impl Names {
    /// Renders `items` in their order.
    #[must_use]
    pub fn render<'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a Stored>,
        table: &KeyTable,
        plaintexts: &Plaintexts,
    ) -> String {
        let mut text = String::new();
        for stored in items {
            let line = self.line(stored, table, plaintexts.get(&stored.key));
            let _ = writeln!(text, "{}\n    {line}", stored.key);
        }
        text
    }

    fn line(
        &mut self,
        stored: &Stored,
        table: &KeyTable,
        decrypted: Option<&Result<zeroize::Zeroizing<Vec<u8>>, String>>,
    ) -> String {
        let value = recognise(&stored.value);
        let format = value.format();
        let written = match &value {
            Value::KmsV2 { provider, object } => {
                format!("{format} {provider} {}", self.object(object, table))
            }
            Value::Protobuf { .. } | Value::Json { .. } | Value::Cbor => {
                return format!("NOT ENCRYPTED {}", self.plaintext(&stored.value));
            }
            Value::Malformed { reason, .. } => format!(
                "MALFORMED {format}: {reason}, {}",
                self.value(&stored.value)
            ),
            Value::UnknownEncrypted { prefix } => {
                format!("{format} {prefix} {}", self.value(&stored.value))
            }
            other => format!(
                "{format} {} {}",
                other.name().unwrap_or("-"),
                self.value(&stored.value)
            ),
        };
        match decrypted {
            None => written,
            Some(Ok(plaintext)) => format!("{written} -> {}", self.plaintext(plaintext)),
            Some(Err(reason)) => format!("{written} -> UNREADABLE {reason}"),
        }
    }

    fn object(&mut self, object: &EncryptedObject, table: &KeyTable) -> String {
        let source = &object.encrypted_dek_source;
        let used = match (table.used_by(source), blob_id(source)) {
            (Some(used), _) => self.version(used),
            (None, Some(id)) => format!("{} (not in the key table)", self.name("blob", &id)),
            (None, None) => "no cloud blob".to_owned(),
        };
        let label = match parse_label(object) {
            None => " unlabelled".to_owned(),
            Some(label) => {
                let labelled = match find_label(table, &label) {
                    Some(version) => self.version(version),
                    None => self.name("label", format!("{label:?}").as_bytes()),
                };
                if labelled == used {
                    String::new()
                } else {
                    format!(" LABELLED {labelled}")
                }
            }
        };
        let key_id = self.name("id", object.key_id.as_bytes());
        let dek = self.name("dek", source);
        let kind = match EncryptedDekSourceType::try_from(object.encrypted_dek_source_type) {
            Ok(EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed) => "seed",
            _ => "dek",
        };
        format!("{used}{label} {key_id} {dek} {kind}")
    }

    fn version(&mut self, used: UsedVersion<'_>) -> String {
        format!(
            "{}/v{}",
            self.name("key", used.key.key.as_bytes()),
            used.version.number
        )
    }

    /// Type and name of the object.
    fn plaintext(&mut self, plaintext: &[u8]) -> String {
        let what = match recognise(plaintext) {
            Value::Protobuf { api_version, kind } => format!("protobuf {api_version} {kind}"),
            Value::Json { api_version, kind } => format!("json {api_version} {kind}"),
            Value::Malformed { format, .. } => format!("malformed {format}"),
            other => other.format().to_string(),
        };
        format!("{what} {}", self.name("plaintext", plaintext))
    }

    fn value(&mut self, bytes: &[u8]) -> String {
        self.name("value", bytes)
    }

    fn name(&mut self, class: &'static str, bytes: &[u8]) -> String {
        let sum = digest(&SHA256, bytes).as_ref().to_vec();
        let given = self.given.entry(class).or_default();
        let next = given.len() + 1;
        format!("{class}#{}", given.entry(sum).or_insert(next))
    }
}

#[cfg(test)]
mod tests {
    use kmslab_kmsv2::stored;
    use zeroize::Zeroizing;

    use super::super::label::tests::{blob, table};
    use super::*;

    const SECRET: &[u8] = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x02hi\x1a\0\"\0";

    fn value(key: u8, version: u8, salt: u8) -> Vec<u8> {
        labelled(key, version, salt, version)
    }

    fn labelled(key: u8, version: u8, salt: u8, says: u8) -> Vec<u8> {
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{key}");
        let label = format!(
            r#"{{"provider":"aws","key":"{arn}","version":"material-{key}-{says}","generation":0}}"#
        );
        let object = EncryptedObject {
            encrypted_data: vec![salt; 60],
            key_id: format!("k1-{key}-{says}"),
            encrypted_dek_source: blob(key, version, salt),
            annotations: [("kek.kmslab.dev".to_owned(), label.into_bytes())].into(),
            encrypted_dek_source_type: 1,
        };
        stored::encode("kmslab", &object).unwrap()
    }

    fn items(values: Vec<Vec<u8>>) -> Vec<Stored> {
        let stored = |(at, value)| Stored {
            key: format!("/registry/secrets/default/s{at}"),
            value,
            create_revision: 5,
            mod_revision: 9,
            version: 2,
        };
        values.into_iter().enumerate().map(stored).collect()
    }

    fn render(names: &mut Names, values: Vec<Vec<u8>>) -> String {
        let items = items(values);
        let object = |name: &str| {
            format!(r#"{{"apiVersion":"v1","kind":"Secret","name":"{name}"}}"#).into_bytes()
        };
        let decrypted = items
            .iter()
            .map(|one| (one.key.clone(), Ok(Zeroizing::new(object(&one.key)))));
        let text = names.render(&items, &table(2), &decrypted.collect());
        // Only the lines about values, to keep expectations short.
        text.lines()
            .skip(1)
            .step_by(2)
            .map(|line| format!("{}\n", line.trim()))
            .collect()
    }

    #[test]
    fn rotation_renders_as_version_1_to_version_2() {
        let mut names = Names::default();
        let before = render(&mut names, vec![value(2, 1, 1), value(2, 1, 1)]);
        let after = render(&mut names, vec![value(2, 2, 9), value(2, 2, 9)]);
        assert_eq!(
            before,
            "kms-v2 kmslab key#1/v1 id#1 dek#1 seed -> json v1 Secret plaintext#1\n\
             kms-v2 kmslab key#1/v1 id#1 dek#1 seed -> json v1 Secret plaintext#2\n"
        );
        assert_eq!(
            after,
            "kms-v2 kmslab key#1/v2 id#2 dek#2 seed -> json v1 Secret plaintext#1\n\
             kms-v2 kmslab key#1/v2 id#2 dek#2 seed -> json v1 Secret plaintext#2\n"
        );
    }

    #[test]
    fn run_dependent_values_are_not_rendered() {
        let first = render(&mut Names::default(), vec![value(1, 1, 3), value(1, 1, 4)]);
        let second = render(&mut Names::default(), vec![value(2, 1, 7), value(2, 1, 8)]);
        assert_eq!(first, second);
    }

    #[test]
    fn damaged_value_changes_the_text() {
        let good = vec![value(1, 2, 5), value(1, 2, 5), value(1, 2, 5)];
        let good_text = render(&mut Names::default(), good.clone());
        for (harm, shows, what) in [
            (value(1, 1, 4), "key#1/v1", "put back under the old key"),
            (value(1, 2, 6), "dek#2", "another DEK source"),
            (
                SECRET.to_vec(),
                "NOT ENCRYPTED protobuf v1 Secret",
                "plaintext",
            ),
            (
                labelled(1, 1, 5, 2),
                "key#1/v1 LABELLED key#1/v2",
                "a label that lies",
            ),
            (value(2, 2, 5), "key#2/v2", "another key"),
            (
                value(9, 2, 5),
                "blob#1 (not in the key table)",
                "a key nobody knows",
            ),
            (value(1, 2, 5)[..50].to_vec(), "MALFORMED kms-v2", "cut"),
            (
                b"k8s:enc:kms:v7:p:x".to_vec(),
                "unknown-encrypted k8s:enc:kms:v7:p: value#1",
                "a future provider",
            ),
        ] {
            let mut values = good.clone();
            values[1] = harm;
            let text = render(&mut Names::default(), values);
            assert_ne!(text, good_text, "{what}");
            assert!(
                text.lines().nth(1).unwrap().contains(shows),
                "{what}: {text}"
            );
        }
    }

    #[test]
    fn undecryptable_value_renders_the_reason() {
        let items = items(vec![value(1, 1, 1)]);
        let decrypted = [(items[0].key.clone(), Err("key disabled".to_owned()))].into();
        let text = Names::default().render(&items, &table(1), &decrypted);
        assert!(text.ends_with("-> UNREADABLE key disabled\n"), "{text}");
    }
}
