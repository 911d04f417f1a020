//! Maps: lists of entries in protobuf, objects in JSON.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::{Deserialize, Deserializer, Serializer};

/// An entry of `map<string, string>`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct StringEntry {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(string, required, tag = "2")]
    pub(crate) value: String,
}

/// An entry of `map<string, bytes>`. Go's marshaller omits nil values.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct BytesEntry {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) value: Option<Vec<u8>>,
}

// Values may be secret.

impl fmt::Debug for StringEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=<{} bytes>", self.key, self.value.len())
    }
}

impl fmt::Debug for BytesEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}=<{} bytes>",
            self.key,
            self.value.as_ref().map_or(0, Vec::len)
        )
    }
}

/// An entry whose JSON value is a string.
pub(crate) trait Entry: Sized {
    fn parts(&self) -> (&str, String);
    fn from_parts(key: String, text: String) -> Result<Self, String>;
}

impl Entry for StringEntry {
    fn parts(&self) -> (&str, String) {
        (&self.key, self.value.clone())
    }
    fn from_parts(key: String, value: String) -> Result<Self, String> {
        Ok(Self { key, value })
    }
}

impl Entry for BytesEntry {
    fn parts(&self) -> (&str, String) {
        (
            &self.key,
            STANDARD.encode(self.value.as_deref().unwrap_or_default()),
        )
    }
    fn from_parts(key: String, text: String) -> Result<Self, String> {
        // The message contains neither the text nor the position of the error: it may be secret.
        let value = STANDARD
            .decode(&text)
            .map_err(|_| format!("illegal base64 data in {key:?}"))?;
        Ok(Self {
            key,
            value: Some(value),
        })
    }
}

pub(crate) fn serialize<T: Entry, S: Serializer>(
    entries: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(Entry::parts))
}

/// Entries sorted by key.
pub(crate) fn deserialize<'de, T: Entry, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let map = BTreeMap::<String, String>::deserialize(deserializer)?;
    map.into_iter()
        .map(|(key, text)| T::from_parts(key, text).map_err(serde::de::Error::custom))
        .collect()
}
