//! Protobuf storage of the core group: `k8s\0` and a `runtime.Unknown` around the message, byte for
//! byte as kube-apiserver writes them. Field numbers are those of k8s.io/api and
//! k8s.io/apimachinery v0.36.3, `generated.proto`.
//!
//! Kubernetes' marshaller writes every field that is not a pointer, list or map even if it is empty
//! (`required` here), and maps as entries sorted by key, each with key and value (lists of entries
//! here).

use prost::Message;
use serde::{Deserialize, Serialize};

use super::map_entries::{self, BytesEntry, StringEntry};
use super::time::Time;

/// Prefix of a protobuf value.
pub(crate) const MAGIC: &[u8] = b"k8s\0";

/// `runtime.TypeMeta`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypeMeta {
    #[prost(string, required, tag = "1")]
    pub(crate) api_version: String,
    #[prost(string, required, tag = "2")]
    pub(crate) kind: String,
}

/// `runtime.Unknown`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct Unknown {
    #[prost(message, required, tag = "1")]
    pub(crate) type_meta: TypeMeta,
    #[prost(bytes = "vec", required, tag = "2")]
    pub(crate) raw: Vec<u8>,
    #[prost(string, required, tag = "3")]
    pub(crate) content_encoding: String,
    #[prost(string, required, tag = "4")]
    pub(crate) content_type: String,
}

impl std::fmt::Debug for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unknown")
            .field("type_meta", &self.type_meta)
            .field("raw", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The stored form of a message.
pub(crate) fn wrap(kind: &str, message: &impl Message) -> Vec<u8> {
    let type_meta = TypeMeta {
        api_version: "v1".into(),
        kind: kind.into(),
    };
    let unknown = Unknown {
        type_meta,
        raw: message.encode_to_vec(),
        ..Unknown::default()
    };
    let mut out = Vec::with_capacity(MAGIC.len() + unknown.encoded_len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&unknown.encode_to_vec());
    out
}

/// `meta.v1.ObjectMeta`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObjectMeta {
    #[prost(string, required, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[prost(string, required, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) generate_name: String,
    #[prost(string, required, tag = "3")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[prost(string, required, tag = "4")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) self_link: String,
    #[prost(string, required, tag = "5")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    /// Always empty in etcd, where the revision takes its place.
    #[prost(string, required, tag = "6")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resource_version: String,
    #[prost(int64, required, tag = "7")]
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) generation: i64,
    #[prost(message, required, tag = "8")]
    #[serde(skip_serializing_if = "Time::is_zero")]
    pub(crate) creation_timestamp: Time,
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<Time>,
    #[prost(int64, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_grace_period_seconds: Option<i64>,
    #[prost(message, repeated, tag = "11")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<StringEntry>,
    #[prost(message, repeated, tag = "12")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) annotations: Vec<StringEntry>,
    #[prost(message, repeated, tag = "13")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) owner_references: Vec<OwnerReference>,
    #[prost(string, repeated, tag = "14")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) finalizers: Vec<String>,
    #[prost(message, repeated, tag = "17")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) managed_fields: Vec<ManagedFieldsEntry>,
}

/// `meta.v1.OwnerReference`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference {
    #[prost(string, required, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, required, tag = "3")]
    pub(crate) name: String,
    #[prost(string, required, tag = "4")]
    pub(crate) uid: String,
    #[prost(string, required, tag = "5")]
    pub(crate) api_version: String,
    #[prost(bool, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) controller: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) block_owner_deletion: Option<bool>,
}

/// `meta.v1.ManagedFieldsEntry`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ManagedFieldsEntry {
    #[prost(string, required, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) manager: String,
    #[prost(string, required, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) operation: String,
    #[prost(string, required, tag = "3")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) api_version: String,
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<Time>,
    #[prost(string, required, tag = "6")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) fields_type: String,
    #[prost(message, optional, tag = "7")]
    #[serde(rename = "fieldsV1", skip_serializing_if = "Option::is_none")]
    pub(crate) fields_v1: Option<FieldsV1>,
    #[prost(string, required, tag = "8")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subresource: String,
}

/// `meta.v1.FieldsV1`: JSON inside protobuf.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FieldsV1 {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(crate) raw: Option<Vec<u8>>,
}

impl Serialize for FieldsV1 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = self.raw.as_deref().unwrap_or(b"null");
        serde_json::from_slice::<serde_json::Value>(raw)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FieldsV1 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self {
            raw: Some(super::json::compact(&value)),
        })
    }
}

/// `core.v1.Secret`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Secret {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: ObjectMeta,
    #[prost(message, repeated, tag = "2")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) data: Vec<BytesEntry>,
    #[prost(string, required, tag = "3")]
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    /// Only in requests: merged into `data` before storing.
    #[prost(message, repeated, tag = "4")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) string_data: Vec<StringEntry>,
    #[prost(bool, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) immutable: Option<bool>,
}

/// `core.v1.ConfigMap`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConfigMap {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: ObjectMeta,
    #[prost(message, repeated, tag = "2")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) data: Vec<StringEntry>,
    #[prost(message, repeated, tag = "3")]
    #[serde(with = "map_entries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) binary_data: Vec<BytesEntry>,
    #[prost(bool, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) immutable: Option<bool>,
}

/// `core.v1.Namespace`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Namespace {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: ObjectMeta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: NamespaceSpec,
    #[prost(message, required, tag = "3")]
    pub(crate) status: NamespaceStatus,
}

/// `core.v1.NamespaceSpec`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NamespaceSpec {
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) finalizers: Vec<String>,
}

/// `core.v1.NamespaceStatus`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NamespaceStatus {
    #[prost(string, required, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) phase: String,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<NamespaceCondition>,
}

/// `core.v1.NamespaceCondition`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NamespaceCondition {
    #[prost(string, required, tag = "1")]
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[prost(string, required, tag = "2")]
    pub(crate) status: String,
    #[prost(message, required, tag = "4")]
    #[serde(skip_serializing_if = "Time::is_zero")]
    pub(crate) last_transition_time: Time,
    #[prost(string, required, tag = "5")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[prost(string, required, tag = "6")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}
