//! Conversion of objects between the API's JSON and the stored bytes.

pub(crate) mod defaults;
pub(crate) mod json;
mod map_entries;
mod protobuf;
mod time;
pub(crate) mod validate;

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::Resource;
use protobuf::{ConfigMap, MAGIC, Namespace, Secret, Unknown};

/// The plaintext is not an object.
const NOT_DECODABLE: &str = "object not decodable";

/// An object of a modelled core kind, or of any other.
enum TypedObject {
    Secret(Secret),
    ConfigMap(ConfigMap),
    Namespace(Namespace),
}

impl TypedObject {
    /// `None` for kinds that are stored as JSON.
    fn from_json(kind: &str, object: &Value) -> Option<serde_json::Result<Self>> {
        let object = json::without_nulls(object);
        fn parse<T: DeserializeOwned>(
            object: Value,
            wrap: fn(T) -> TypedObject,
        ) -> Option<serde_json::Result<TypedObject>> {
            Some(serde_json::from_value(object).map(wrap))
        }
        match kind {
            "Secret" => parse(object, Self::Secret),
            "ConfigMap" => parse(object, Self::ConfigMap),
            "Namespace" => parse(object, Self::Namespace),
            _ => None,
        }
    }

    fn from_protobuf(kind: &str, raw: &[u8]) -> Result<Self, String> {
        let malformed = |err: prost::DecodeError| format!("{NOT_DECODABLE}: {err}");
        match kind {
            "Secret" => Secret::decode(raw).map(Self::Secret).map_err(malformed),
            "ConfigMap" => ConfigMap::decode(raw)
                .map(Self::ConfigMap)
                .map_err(malformed),
            "Namespace" => Namespace::decode(raw)
                .map(Self::Namespace)
                .map_err(malformed),
            other => Err(not_registered(other)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "Secret",
            Self::ConfigMap(_) => "ConfigMap",
            Self::Namespace(_) => "Namespace",
        }
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        fn with_kind(object: &impl Serialize, kind: &str) -> serde_json::Result<Value> {
            let mut value = serde_json::to_value(object)?;
            if let Some(map) = value.as_object_mut() {
                map.insert("apiVersion".into(), "v1".into());
                map.insert("kind".into(), kind.into());
            }
            Ok(value)
        }
        match self {
            Self::Secret(object) => with_kind(object, self.kind()),
            Self::ConfigMap(object) => with_kind(object, self.kind()),
            Self::Namespace(object) => with_kind(object, self.kind()),
        }
    }

    fn to_protobuf(&self) -> Vec<u8> {
        match self {
            Self::Secret(object) => protobuf::wrap(self.kind(), object),
            Self::ConfigMap(object) => protobuf::wrap(self.kind(), object),
            Self::Namespace(object) => protobuf::wrap(self.kind(), object),
        }
    }
}

fn not_registered(kind: &str) -> String {
    format!("no kind {kind:?} is registered for version \"v1\" in this model")
}

/// Normalises an object to its type: drops unknown fields and nulls. Kinds that are stored as JSON
/// are unchanged.
pub(crate) fn normalise(resource: &Resource, object: &Value) -> Result<Value, String> {
    let typed = if resource.group.is_empty() {
        TypedObject::from_json(&resource.kind, object)
    } else {
        None
    };
    let normal = typed.map(|typed| typed.and_then(|typed| typed.to_json()));
    normal
        .unwrap_or_else(|| Ok(object.clone()))
        .map_err(|err| err.to_string())
}

/// The bytes to store: protobuf for the core group, else JSON.
pub(crate) fn encode(resource: &Resource, object: &Value) -> Result<Vec<u8>, String> {
    let typed = if resource.group.is_empty() {
        TypedObject::from_json(&resource.kind, object)
    } else {
        None
    };
    match typed {
        Some(typed) => Ok(typed.map_err(|err| err.to_string())?.to_protobuf()),
        None => Ok(json::stored(object)),
    }
}

/// Decodes stored bytes, protobuf or JSON, without resourceVersion.
pub(crate) fn decode(plaintext: &[u8]) -> Result<Value, String> {
    if let Some(unknown) = plaintext.strip_prefix(MAGIC) {
        let unknown = Unknown::decode(unknown).map_err(|err| format!("{NOT_DECODABLE}: {err}"))?;
        if unknown.type_meta.api_version != "v1" {
            return Err(format!(
                "no version {:?} has been registered in this model",
                unknown.type_meta.api_version
            ));
        }
        let typed = TypedObject::from_protobuf(&unknown.type_meta.kind, &unknown.raw)?;
        return typed
            .to_json()
            .map_err(|err| format!("{NOT_DECODABLE}: {err}"));
    }
    match serde_json::from_slice(plaintext) {
        Ok(object @ Value::Object(_)) if object["apiVersion"] == "v1" => {
            let kind = object["kind"].as_str().unwrap_or_default();
            let typed =
                TypedObject::from_json(kind, &object).ok_or_else(|| not_registered(kind))?;
            typed
                .and_then(|typed| typed.to_json())
                .map_err(|_| NOT_DECODABLE.to_owned())
        }
        Ok(object @ Value::Object(_)) => Ok(object),
        // serde_json's message may quote the input.
        Ok(_) | Err(_) => Err(NOT_DECODABLE.to_owned()),
    }
}

#[cfg(test)]
mod tests;
