//! Objects between the JSON of the API and the bytes that are stored.

pub(crate) mod defaults;
pub(crate) mod json;
mod pairs;
mod protobuf;
mod time;
pub(crate) mod validate;

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::Resource;
use protobuf::{ConfigMap, MAGIC, Namespace, Secret, Unknown};

/// Why a plaintext is no object.
const UNDECODABLE: &str = "object not decodable";

/// An object of one of the modelled core kinds, or of any other.
enum Typed {
    Secret(Secret),
    ConfigMap(ConfigMap),
    Namespace(Namespace),
}

impl Typed {
    /// `None` for a kind that is stored as JSON.
    fn from_json(kind: &str, object: &Value) -> Option<serde_json::Result<Self>> {
        let object = json::without_nulls(object);
        fn parse<T: DeserializeOwned>(
            object: Value,
            wrap: fn(T) -> Typed,
        ) -> Option<serde_json::Result<Typed>> {
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
        let malformed = |err: prost::DecodeError| format!("{UNDECODABLE}: {err}");
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

/// An object as its type has it: fields that the type does not know are dropped, nulls too. Kinds
/// that are stored as JSON stay as they are.
pub(crate) fn normalise(resource: &Resource, object: &Value) -> Result<Value, String> {
    let typed = if resource.group.is_empty() {
        Typed::from_json(&resource.kind, object)
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
        Typed::from_json(&resource.kind, object)
    } else {
        None
    };
    match typed {
        Some(typed) => Ok(typed.map_err(|err| err.to_string())?.to_protobuf()),
        None => Ok(json::stored(object)),
    }
}

/// The object that stored bytes are, protobuf or JSON, without its resourceVersion.
pub(crate) fn decode(plaintext: &[u8]) -> Result<Value, String> {
    if let Some(unknown) = plaintext.strip_prefix(MAGIC) {
        let unknown = Unknown::decode(unknown).map_err(|err| format!("{UNDECODABLE}: {err}"))?;
        if unknown.type_meta.api_version != "v1" {
            return Err(format!(
                "no version {:?} has been registered in this model",
                unknown.type_meta.api_version
            ));
        }
        let typed = Typed::from_protobuf(&unknown.type_meta.kind, &unknown.raw)?;
        return typed
            .to_json()
            .map_err(|err| format!("{UNDECODABLE}: {err}"));
    }
    match serde_json::from_slice(plaintext) {
        Ok(object @ Value::Object(_)) if object["apiVersion"] == "v1" => {
            let kind = object["kind"].as_str().unwrap_or_default();
            let typed = Typed::from_json(kind, &object).ok_or_else(|| not_registered(kind))?;
            typed
                .and_then(|typed| typed.to_json())
                .map_err(|_| UNDECODABLE.to_owned())
        }
        Ok(object @ Value::Object(_)) => Ok(object),
        // serde_json's text may quote the input.
        Ok(_) | Err(_) => Err(UNDECODABLE.to_owned()),
    }
}

#[cfg(test)]
mod tests;
