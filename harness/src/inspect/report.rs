//! Results of an inspection: a row per value and a summary. The JSON form is stable.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_kmsv2::stored::{EncryptedDekSourceType, EncryptedObject};
use kmslab_plugin::{ANNOTATION, Label};
use serde::Serialize;

use crate::etcd::Stored;
use crate::etcd::label::parse_label;
use crate::etcd::stale::StaleReason;
use crate::etcd::value::{Value, recognise};
use kmslab_emulator_api::blob_id;

/// Hex digits of a DEK source's hash: enough to distinguish a million.
const DEK_SOURCE_ID_DIGITS: usize = 12;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Row {
    /// The etcd key.
    pub key: String,
    /// Revision of the last change; 0 from standard input.
    pub revision: i64,
    /// Stored size in bytes.
    pub bytes: usize,
    /// Format, such as `kms-v2`, `protobuf` or `unknown-encrypted`.
    pub kind: &'static str,
    /// KMS provider or local key.
    pub provider: Option<String>,
    /// The stored key_id.
    pub key_id: Option<String>,
    /// The DEK source.
    pub dek_source: Option<DekSource>,
    /// Key and version as labelled by kmslab's plugin.
    pub label: Option<Label>,
    /// Other annotations; values that are not UTF-8 in base64.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with the value, and the remedy.
    pub problem: Option<String>,
    /// The object, if it could be read.
    pub object: Option<Object>,
    /// Why decryption failed.
    pub decrypt_error: Option<String>,
    /// The decrypted value.
    pub plaintext: Option<Plaintext>,
    /// Why it is not encrypted with the key of the newest value; `None` if it is, or if its
    /// resource is not encrypted. Known when all values were read.
    pub stale: Option<StaleReason>,
}

/// A DEK source, identified by its stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DekSource {
    /// First digits of the SHA-256 of its ciphertext.
    pub id: String,
    /// `seed`, or `dek` for values from before Kubernetes 1.28.
    pub kind: &'static str,
    /// Id of the key material in hex, if the ciphertext is an AWS blob.
    pub blob_id: Option<String>,
}

/// Type of a Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// API version, such as `v1`.
    pub api_version: String,
    /// Kind, such as `Secret`.
    pub kind: String,
}

/// A plaintext, redacted unless requested.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Plaintext {
    /// Length in bytes.
    pub bytes: usize,
    /// SHA-256 in hex.
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
    /// Creates a row from the stored bytes, without any key.
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
            row.label = parse_label(object);
            row.annotations = annotations(object, row.label.is_some());
        }
        row
    }

    /// Adds the decrypted value.
    pub fn set_plaintext(&mut self, plaintext: &[u8], show_value: bool) {
        self.object = object(&recognise(plaintext));
        self.plaintext = Some(Plaintext {
            bytes: plaintext.len(),
            sha256: hex::encode(digest(&SHA256, plaintext)),
            value: show_value.then(|| readable(plaintext)),
        });
    }
}

impl DekSource {
    /// The id as bytes.
    pub(super) fn id_bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        // Hex digits are ASCII, two per byte.
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
        id.truncate(DEK_SOURCE_ID_DIGITS);
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

/// The API server fails on these as well, so each has a remedy.
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
    /// The summary.
    pub summary: Summary,
    /// Rows ordered by key.
    pub values: Vec<Row>,
}

/// Counts of all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub total: usize,
    /// Number of encrypted values, readable or not.
    pub encrypted: usize,
    /// Number of values not encrypted with the key of the newest value of their resource.
    pub stale: usize,
    /// Number of unrecognised or damaged values: `damaged` and `unknown` together.
    pub problems: usize,
    /// Number of values with an invalid payload.
    pub damaged: usize,
    /// Number of values of unknown format or provider.
    pub unknown: usize,
    /// Number of unencrypted values.
    pub plaintext: usize,
    /// Number of distinct DEK sources: what an API server decrypts after a restart.
    pub dek_sources: usize,
    /// Number of decrypted values.
    pub decrypted: usize,
    /// Number of values that could not be decrypted with the given keys.
    pub not_decrypted: usize,
    /// Counts by format, provider and key.
    pub groups: Vec<Group>,
}

/// Values that need the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Format, as in the rows.
    pub kind: &'static str,
    /// Provider, as in the rows.
    pub provider: Option<String>,
    /// key_id, as in the rows.
    pub key_id: Option<String>,
    /// What the key_id stands for.
    pub label: Option<Label>,
    /// Number of values.
    pub count: usize,
    /// Number of distinct DEK sources.
    pub dek_sources: usize,
    /// Number of stale values.
    pub stale: usize,
}
