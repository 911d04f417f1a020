//! Formats of stored values, recognised by their prefix.
//!
//! An encrypted value is `k8s:enc:<scheme>:<version>:<name>:` and a payload, which decrypts to one
//! of the plaintext formats. Anything may have written to the database, so [`recognise`] is total:
//! it never fails, and a payload that violates its format is [`Value::Malformed`] with the reason.

mod name;

use std::fmt;

use kmslab_kmsv2::stored::{self, EncryptedObject};
use prost::Message;

/// Prefix of every encrypted value; the API server's `identity` provider rejects it.
pub const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Prefix of a plaintext protobuf value.
pub const PROTOBUF_MAGIC: &[u8] = b"k8s\0";
/// CBOR's self-described tag (RFC 8949 §3.4.6), the prefix of a CBOR value in Kubernetes.
pub const CBOR_MAGIC: &[u8] = &[0xd9, 0xd9, 0xf7];

const GCM_OVERHEAD: usize = 12 + 16;
const CBC_BLOCK: usize = 16;
const SECRETBOX_OVERHEAD: usize = 24 + 16;

/// A stored value, by format.
#[derive(Clone, PartialEq)]
pub enum Value<'a> {
    /// `k8s:enc:kms:v2:<provider>:` and an `EncryptedObject` that passes the API server's
    /// validation.
    KmsV2 {
        /// `kms.name` of the configuration; never contains `:`.
        provider: &'a str,
        /// The decoded payload.
        object: Box<EncryptedObject>,
    },
    /// `k8s:enc:kms:v1:<provider>:`, u16 length, encrypted DEK, data.
    KmsV1 {
        /// May contain `:`, so only the configuration identifies it for certain: see [`recognise`].
        provider: &'a str,
        /// As returned by the plugin.
        encrypted_dek: &'a [u8],
        /// nonce ‖ AES-GCM (since 1.25) or IV ‖ AES-CBC.
        data: &'a [u8],
    },
    /// `k8s:enc:aesgcm:v1:<key>:`.
    AesGcm(LocalKeyValue<'a>),
    /// `k8s:enc:aescbc:v1:<key>:`, not authenticated.
    AesCbc(LocalKeyValue<'a>),
    /// `k8s:enc:secretbox:v1:<key>:`.
    Secretbox(LocalKeyValue<'a>),
    /// `k8s:enc:` with another scheme.
    UnknownEncrypted {
        /// Printable part of the prefix, at most 64 bytes.
        prefix: String,
    },
    /// `k8s\0` and a `runtime.Unknown`.
    Protobuf {
        /// API version, such as `v1` or `apps/v1`.
        api_version: String,
        /// Kind, such as `Secret`.
        kind: String,
    },
    /// `{`: custom resources, CRDs, APIServices.
    Json {
        /// Empty if the object has none.
        api_version: String,
        /// Empty if the object has none.
        kind: String,
    },
    /// Self-described CBOR.
    Cbor,
    /// A known prefix with an invalid payload.
    Malformed {
        /// The format of the prefix.
        format: Format,
        /// Name of the provider or key, if it could be parsed.
        name: Option<&'a str>,
        /// What is wrong.
        reason: String,
    },
    /// No known prefix; `identity` passes it to the object decoder, which fails.
    Unrecognised,
}

/// A value of the local AES and NaCl providers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LocalKeyValue<'a> {
    /// Name of the key in the configuration. May contain `:`, so only the configuration identifies
    /// it for certain: see [`recognise`].
    pub key_name: &'a str,
    /// Nonce or IV, ciphertext, tag.
    pub data: &'a [u8],
}

/// The format that a value's prefix indicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are Value's")]
pub enum Format {
    KmsV2,
    KmsV1,
    AesGcm,
    AesCbc,
    Secretbox,
    UnknownEncrypted,
    Protobuf,
    Json,
    Cbor,
    Unrecognised,
}

impl Format {
    /// Short name in tables, JSON and snapshots.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KmsV2 => "kms-v2",
            Self::KmsV1 => "kms-v1",
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::Secretbox => "secretbox",
            Self::UnknownEncrypted => "unknown-encrypted",
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::Cbor => "cbor",
            Self::Unrecognised => "unrecognised",
        }
    }

    /// Whether the stored bytes are the unencrypted object.
    #[must_use]
    pub fn is_plaintext(self) -> bool {
        matches!(self, Self::Protobuf | Self::Json | Self::Cbor)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<'a> Value<'a> {
    /// The format; for a malformed value, that of its prefix.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::KmsV2 { .. } => Format::KmsV2,
            Self::KmsV1 { .. } => Format::KmsV1,
            Self::AesGcm(_) => Format::AesGcm,
            Self::AesCbc(_) => Format::AesCbc,
            Self::Secretbox(_) => Format::Secretbox,
            Self::UnknownEncrypted { .. } => Format::UnknownEncrypted,
            Self::Protobuf { .. } => Format::Protobuf,
            Self::Json { .. } => Format::Json,
            Self::Cbor => Format::Cbor,
            Self::Malformed { format, .. } => *format,
            Self::Unrecognised => Format::Unrecognised,
        }
    }

    /// Name of the KMS provider or local key that wrote it.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Self::KmsV2 { provider, .. } | Self::KmsV1 { provider, .. } => Some(provider),
            Self::AesGcm(local) | Self::AesCbc(local) | Self::Secretbox(local) => {
                Some(local.key_name)
            }
            Self::Malformed { name, .. } => *name,
            _ => None,
        }
    }
}

/// Prints formats, names and sizes, never payloads or plaintext.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Value");
        out.field("format", &self.format().as_str());
        if let Some(name) = self.name() {
            out.field("name", &name);
        }
        match self {
            Self::KmsV2 { object, .. } => out.field("key_id", &object.key_id),
            Self::Protobuf { api_version, kind } | Self::Json { api_version, kind } => {
                out.field("api_version", api_version).field("kind", kind)
            }
            Self::Malformed { reason, .. } => out.field("malformed", reason),
            Self::UnknownEncrypted { prefix } => out.field("prefix", prefix),
            _ => &mut out,
        }
        .finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalKeyValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("key_name", &self.key_name)
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// Identifies the format of `bytes`. Never fails and never panics.
///
/// A name extends past a colon if what follows looks like the rest of a name and the payload after
/// it is valid.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Value<'_> {
    if bytes.starts_with(ENCRYPTED) {
        return encrypted(bytes);
    }
    if let Some(body) = bytes.strip_prefix(PROTOBUF_MAGIC) {
        return protobuf(body);
    }
    if bytes.starts_with(b"{") {
        return json(bytes);
    }
    if bytes.starts_with(CBOR_MAGIC) {
        return Value::Cbor;
    }
    Value::Unrecognised
}

fn encrypted(bytes: &[u8]) -> Value<'_> {
    type Reader = for<'a> fn(&'a str, &'a [u8]) -> Result<Value<'a>, String>;
    const SCHEMES: [(&[u8], Format, Reader); 5] = [
        (b"k8s:enc:kms:v2:", Format::KmsV2, kms_v2),
        (b"k8s:enc:kms:v1:", Format::KmsV1, kms_v1),
        (b"k8s:enc:aesgcm:v1:", Format::AesGcm, aes_gcm),
        (b"k8s:enc:aescbc:v1:", Format::AesCbc, aes_cbc),
        (b"k8s:enc:secretbox:v1:", Format::Secretbox, secretbox),
    ];
    for (prefix, format, read) in SCHEMES {
        let Some(rest) = bytes.strip_prefix(prefix) else {
            continue;
        };
        return name::split(rest, read).unwrap_or_else(|(name, reason)| Value::Malformed {
            format,
            name,
            reason,
        });
    }
    Value::UnknownEncrypted {
        prefix: printable_prefix(bytes),
    }
}

fn kms_v2<'a>(provider: &'a str, payload: &'a [u8]) -> Result<Value<'a>, String> {
    let object = Box::new(stored::decode(payload).map_err(|error| error.to_string())?);
    Ok(Value::KmsV2 { provider, object })
}

fn kms_v1<'a>(provider: &'a str, payload: &'a [u8]) -> Result<Value<'a>, String> {
    let (length, rest) = payload
        .split_first_chunk::<2>()
        .ok_or("ends before the length of the encrypted DEK")?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (encrypted_dek, data) = rest.split_at_checked(length).ok_or_else(|| {
        format!(
            "announces {length} bytes of encrypted DEK, {} follow",
            rest.len()
        )
    })?;
    if encrypted_dek.is_empty() {
        return Err("the encrypted DEK is empty".to_owned());
    }
    ensure_len(data, GCM_OVERHEAD, "nonce and tag")?;
    Ok(Value::KmsV1 {
        provider,
        encrypted_dek,
        data,
    })
}

fn aes_gcm<'a>(key_name: &'a str, data: &'a [u8]) -> Result<Value<'a>, String> {
    ensure_len(data, GCM_OVERHEAD, "nonce and tag")?;
    Ok(Value::AesGcm(LocalKeyValue { key_name, data }))
}

fn aes_cbc<'a>(key_name: &'a str, data: &'a [u8]) -> Result<Value<'a>, String> {
    // PKCS#7 always pads, so at least one block follows the IV.
    ensure_len(data, 2 * CBC_BLOCK, "IV and one block")?;
    if !data.len().is_multiple_of(CBC_BLOCK) {
        return Err(format!(
            "{} bytes are not whole blocks of {CBC_BLOCK}",
            data.len()
        ));
    }
    Ok(Value::AesCbc(LocalKeyValue { key_name, data }))
}

fn secretbox<'a>(key_name: &'a str, data: &'a [u8]) -> Result<Value<'a>, String> {
    ensure_len(data, SECRETBOX_OVERHEAD, "nonce and tag")?;
    Ok(Value::Secretbox(LocalKeyValue { key_name, data }))
}

fn ensure_len(data: &[u8], least: usize, what: &str) -> Result<(), String> {
    if data.len() < least {
        return Err(format!(
            "{} bytes of data, {what} alone take {least}",
            data.len()
        ));
    }
    Ok(())
}

/// The part of apimachinery's `runtime.Unknown` that names the object; prost skips the other
/// fields.
#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

fn protobuf(body: &[u8]) -> Value<'_> {
    match Unknown::decode(body) {
        Ok(unknown) => {
            let TypeMeta { api_version, kind } = unknown.type_meta.unwrap_or_default();
            Value::Protobuf { api_version, kind }
        }
        Err(error) => malformed(Format::Protobuf, &error),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonMeta {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

fn json(bytes: &[u8]) -> Value<'_> {
    match serde_json::from_slice(bytes) {
        Ok(JsonMeta { api_version, kind }) => Value::Json { api_version, kind },
        // serde's message may quote the value, which may be secret; error class and position are
        // enough.
        Err(error) => malformed(
            Format::Json,
            &format!(
                "not a JSON object ({:?} error at byte {} of line {})",
                error.classify(),
                error.column(),
                error.line()
            ),
        ),
    }
}

fn malformed<'a>(format: Format, reason: &dyn fmt::Display) -> Value<'a> {
    Value::Malformed {
        format,
        name: None,
        reason: reason.to_string(),
    }
}

/// The prefix of an unknown scheme, up to the fourth `:` after `k8s:enc:` or the first unprintable
/// byte.
fn printable_prefix(bytes: &[u8]) -> String {
    let mut colons = 0;
    bytes
        .iter()
        .take(64)
        .take_while(|byte| {
            let go_on = byte.is_ascii_graphic() && colons < 5;
            colons += usize::from(**byte == b':');
            go_on
        })
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests;
