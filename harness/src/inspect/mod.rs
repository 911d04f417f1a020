//! The inspector: what every value in etcd is, which key it needs, and, given keys, whether it opens.
//!
//! [`source`] reads values from a server, a snapshot or one value from a pipe; [`opener`] turns DEK sources into plaintext by a
//! plugin, a cloud or a file; [`report`] is what comes out, [`table`] how a person sees it. Plaintext never leaves here unless asked for.

pub mod opener;
pub mod report;
pub mod source;
pub mod table;

use std::collections::BTreeMap;

use kmslab_kmsv2::stored::EncryptedObject;

use crate::etcd::Stored;
use crate::etcd::keytable::blob_id;
use crate::etcd::stale::{CurrentKey, Reason, judge};
use crate::etcd::value::{Value, recognise};

use opener::Openers;
use report::{Report, Row};

/// Looks at every value, decrypts what `openers` can, and judges each against the newest value of its resource.
pub async fn inspect(items: &[Stored], openers: &mut Openers, show_values: bool) -> Report {
    let newest = Newest::of(items);
    let mut rows = Vec::with_capacity(items.len());
    for stored in items {
        let value = recognise(&stored.value);
        let mut row = Row::of(stored, &value);
        row.stale = newest.judge(&stored.key, &value);
        if let Value::KmsV2 { object, .. } = &value
            && !openers.is_empty()
        {
            match openers.open(object, stored.key.as_bytes()).await {
                Ok(plaintext) => row.opened(&plaintext, show_values),
                Err(reason) => row.decrypt_error = Some(reason),
            }
        }
        rows.push(row);
    }
    Report::new(rows)
}

/// The newest KMS v2 value of each resource and of each provider: without a cluster to ask, they tell the key in use.
///
/// A resource that has no KMS v2 value at all is taken for one that the configuration leaves out.
struct Newest {
    provider_of: BTreeMap<String, String>,
    current: BTreeMap<String, CurrentKey>,
}

impl Newest {
    fn of(items: &[Stored]) -> Self {
        let mut by_revision: Vec<_> = items.iter().collect();
        by_revision.sort_by_key(|stored| stored.mod_revision);
        let mut newest = Self { provider_of: BTreeMap::new(), current: BTreeMap::new() };
        for stored in by_revision {
            if let Value::KmsV2 { provider, object } = recognise(&stored.value) {
                newest.provider_of.insert(resource(&stored.key), provider.to_owned());
                newest.current.insert(provider.to_owned(), current(provider, &object));
            }
        }
        newest
    }

    fn judge(&self, key: &str, value: &Value<'_>) -> Option<Reason> {
        let provider = self.provider_of.get(&resource(key))?;
        judge(value, self.current.get(provider)?)
    }
}

fn current(provider: &str, object: &EncryptedObject) -> CurrentKey {
    CurrentKey {
        provider: provider.to_owned(),
        key_id: Some(object.key_id.clone()),
        blob_id: blob_id(&object.encrypted_dek_source),
        sources: None,
    }
}

/// The part of an etcd key that names the resource: `/registry/secrets/`, `/registry/example.com/widgets/`.
fn resource(key: &str) -> String {
    let prefix = key
        .find("/registry/")
        .map_or_else(|| key.get(1..).and_then(|rest| rest.find('/')).map_or(0, |at| at + 1), |at| at + 9);
    let (prefix, rest) = key.split_at(prefix);
    let mut parts = rest.split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    // A group has a dot; services keep their two kinds one level down.
    let second = parts.next().filter(|_| first.contains('.') || first == "services").unwrap_or_default();
    format!("{prefix}/{first}/{second}")
}

#[cfg(test)]
mod tests;
