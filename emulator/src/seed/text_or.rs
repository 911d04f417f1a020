//! A value that a seed file may give as plain text or as a map.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a `T` from text, or from a map with the fields of `M`.
pub(crate) fn text_or<'de, T, M, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: From<String> + From<M>,
    M: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(TextOr::<T, M> {
        expected,
        read: PhantomData,
    })
}

struct TextOr<T, M> {
    expected: &'static str,
    read: PhantomData<(T, M)>,
}

impl<'de, T: From<String> + From<M>, M: Deserialize<'de>> Visitor<'de> for TextOr<T, M> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(text.to_owned().into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(T::from)
    }
}
