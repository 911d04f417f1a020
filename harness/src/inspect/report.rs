//! What an inspection says: a row per value and a summary; the JSON form is stable.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_kmsv2::stored::{EncryptedDekSourceType, EncryptedObject};
use kmslab_plugin::{ANNOTATION, Label};
use serde::Serialize;

use crate::etcd::Stored;
use crate::etcd::keytable::{blob_id, label_of};
use crate::etcd::stale::Reason;
use crate::etcd::value::{Value, recognise};

/// Hex digits of a DEK source's hash: enough to tell a million apart by eye.
const SHORT: usize = 12;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Row {
    /// The etcd key.
    pub key: String,
    /// Revision of its last change; 0 from a pipe.
    pub revision: i64,
    /// Bytes stored.
    pub bytes: usize,
    /// `kms-v2`, `protobuf`, `unknown-encrypted` …
    pub kind: &'static str,
    /// KMS provider or local key.
    pub provider: Option<String>,
    /// As stored.
    pub key_id: Option<String>,
    /// Which DEK source.
    pub dek_source: Option<DekSource>,
    /// Key and version in the words of kmslab's plugin.
    pub label: Option<Label>,
    /// Other annotations; what is not UTF-8 in base64.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with it, and what to do.
    pub problem: Option<String>,
    /// The object, where it could be read.
    pub object: Option<Object>,
    /// Why it did not decrypt.
    pub decrypt_error: Option<String>,
    /// What it decrypted to.
    pub plaintext: Option<Plaintext>,
    /// Why it is not under the key of the newest value; `None`: it is, or its resource is not
    /// encrypted. Known when all values were seen.
    pub stale: Option<Reason>,
}

/// A DEK source, named by what is stored of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DekSource {
    /// The first digits of the SHA-256 over its ciphertext.
    pub id: String,
    /// `seed`, or `dek` for values from before Kubernetes 1.28.
    pub kind: &'static str,
    /// Hex of the key material's id, where the ciphertext is an AWS blob.
    pub blob_id: Option<String>,
}

/// A Kubernetes object's type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `v1`
    pub api_version: String,
    /// `Secret`
    pub kind: String,
}

/// A plaintext, redacted unless its bytes were asked for.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Plaintext {
    /// Its length.
    pub bytes: usize,
    /// Hex of its SHA-256.
    pub sha256: String,
    /// The plaintext itself: text, or bytes escaped as in a Rust literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plaintext")
            .field("bytes", &self.bytes)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

impl Row {
    /// What the stored bytes say without any key.
    #[must_use]
    pub fn of(stored: &Stored, value: &Value<'_>) -> Self {
        let mut row = Self {
            key: stored.key.clone(),
            revision: stored.mod_revision,
            bytes: stored.value.len(),
            kind: value.format().as_str(),
            provider: value.name().map(str::to_owned),
            key_id: None,
            dek_source: None,
            label: None,
            annotations: BTreeMap::new(),
            problem: problem(value),
            object: object(value),
            decrypt_error: None,
            plaintext: None,
            stale: None,
        };
        if let Value::KmsV2 { object, .. } = value {
            row.key_id = Some(object.key_id.clone());
            row.dek_source = Some(DekSource::of(object));
            row.label = label_of(object);
            row.annotations = annotations(object, row.label.is_some());
        }
        row
    }

    /// Adds what it decrypted to.
    pub fn opened(&mut self, plaintext: &[u8], show_value: bool) {
        self.object = object(&recognise(plaintext));
        self.plaintext = Some(Plaintext {
            bytes: plaintext.len(),
            sha256: hex::encode(digest(&SHA256, plaintext)),
            value: show_value.then(|| readable(plaintext)),
        });
    }
}

impl DekSource {
    /// Its id in few bytes.
    pub(super) fn short(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        // Hex digits are ASCII: two make a byte.
        for (to, digits) in bytes.iter_mut().zip(self.id.as_bytes().chunks(2)) {
            *to = str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .unwrap_or_default();
        }
        bytes
    }

    fn of(object: &EncryptedObject) -> Self {
        let source = &object.encrypted_dek_source;
        let seed = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed as i32;
        let mut id = hex::encode(digest(&SHA256, source));
        id.truncate(SHORT);
        Self {
            id,
            kind: if object.encrypted_dek_source_type == seed {
                "seed"
            } else {
                "dek"
            },
            blob_id: blob_id(source).map(hex::encode),
        }
    }
}

fn annotations(object: &EncryptedObject, labelled: bool) -> BTreeMap<String, String> {
    let others = object
        .annotations
        .iter()
        .filter(|(name, _)| !(labelled && name.as_str() == ANNOTATION));
    others
        .map(|(name, value)| {
            let text = str::from_utf8(value).map_or_else(|_| STANDARD.encode(value), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

fn object(value: &Value<'_>) -> Option<Object> {
    match value {
        Value::Protobuf { api_version, kind } | Value::Json { api_version, kind } => Some(Object {
            api_version: api_version.clone(),
            kind: kind.clone(),
        }),
        _ => None,
    }
}

/// The API server fails on these too, so each says what is left to do.
fn problem(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Malformed { reason, .. } => Some(format!(
            "truncated or damaged: {reason}; the API server cannot read it either; restore the key from a snapshot that has it whole"
        )),
        Value::UnknownEncrypted { prefix } => Some(format!(
            "{prefix} is the prefix of no provider known here; read it with the Kubernetes release that wrote it"
        )),
        Value::Unrecognised => Some(
            "begins like none of the formats that Kubernetes stores: something else wrote it, and the API server cannot read it".to_owned(),
        ),
        _ => None,
    }
}

fn readable(plaintext: &[u8]) -> String {
    let clean = |text: &&str| !text.contains(|c: char| c.is_control() && c != '\n');
    match str::from_utf8(plaintext).ok().filter(clean) {
        Some(text) => text.to_owned(),
        None => plaintext.escape_ascii().to_string(),
    }
}

/// All rows and their summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The counts.
    pub summary: Summary,
    /// In the order of the keys.
    pub values: Vec<Row>,
}

/// Counts over all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Values.
    pub total: usize,
    /// Of them encrypted by whatever provider, readable or not.
    pub encrypted: usize,
    /// Not under the key of the newest value of their resource.
    pub stale: usize,
    /// That nothing here recognises, or that are damaged: `damaged` and `unknown` together.
    pub problems: usize,
    /// Of the problems, those that break a known format.
    pub damaged: usize,
    /// Of the problems, those of no format or provider that is known here.
    pub unknown: usize,
    /// Whoever reads the database reads them.
    pub plaintext: usize,
    /// Distinct DEK sources: what an API server decrypts after a restart.
    pub dek_sources: usize,
    /// Values decrypted.
    pub decrypted: usize,
    /// Values that the given keys did not open.
    pub not_decrypted: usize,
    /// By kind, provider and key.
    pub groups: Vec<Group>,
}

/// Values that need the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// As in the rows.
    pub kind: &'static str,
    /// As in the rows.
    pub provider: Option<String>,
    /// As in the rows.
    pub key_id: Option<String>,
    /// What that key_id stands for.
    pub label: Option<Label>,
    /// Values.
    pub count: usize,
    /// Distinct DEK sources among them.
    pub dek_sources: usize,
    /// Of them stale.
    pub stale: usize,
}
