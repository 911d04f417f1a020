//! Where a value stands in the text of a seed file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value of a YAML or JSON file, with the positions of what is in it.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    Sequence(Vec<Spanned<Node>>),
    Scalar,
}

/// Line and column of the value at `path`, such as `keys[0].versions[1].material`, from 1; of what
/// contains it if it is not there.
pub(crate) fn find(text: &str, path: &str) -> Option<(u64, u64)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).ok()?;
    let mut at = &root;
    for segment in segments(path) {
        let inner = match (&at.value, segment.parse::<usize>()) {
            (Node::Sequence(items), Ok(index)) => items.get(index),
            (Node::Map(entries), _) => entries
                .iter()
                .find(|(name, _)| name == segment)
                .map(|(_, value)| value),
            _ => None,
        };
        match inner {
            Some(inner) => at = inner,
            None => break,
        }
    }
    let location = &at.referenced;
    Some((location.line(), location.column()))
}

/// `keys[0].versions[1].id` is `keys`, `0`, `versions`, `1`, `id`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']'])
        .filter(|segment| !segment.is_empty())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: serde::de::Error>(self, _: $type) -> Result<Node, E> {
            Ok(Node::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    scalars!(
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str, visit_bytes: &[u8]
    );

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        let (IgnoredAny, _) = data.variant()?;
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    const YAML: &str = "\
keys:
- aliases: [alias/a, alias/b]
  versions:
  - id: x
    material: {file: f}
azure:
  vaults: [{name: abc}]
";

    #[test]
    fn values_are_found_by_their_path() {
        for (path, line, column) in [
            ("keys[0]", 2, 3),
            ("keys[0].aliases[1]", 2, 22),
            ("keys[0].versions[0].material", 5, 15),
            ("azure.vaults[0].name", 7, 19),
            // The nearest that is there.
            ("keys[0].versions[0].created", 4, 5),
            ("azure.vaults[3]", 7, 11),
        ] {
            assert_eq!(find(YAML, path), Some((line, column)), "{path}");
        }
        let json = r#"{"keys":[{"id":1,"state":true,"tags":{"a":null}}]}"#;
        assert_eq!(find(json, "keys[0].state"), Some((1, 26)));
        assert_eq!(find(json, "keys[0].tags.a"), Some((1, 43)));
        assert_eq!(find("keys: [", "keys"), None);
    }
}
