//! The inspector: what every value in etcd is, which key it needs, and, given keys, whether it opens.
//!
//! [`source`] reads values from a server or a snapshot, [`pipe`] what etcdctl printed; [`opener`] turns DEK sources into plaintext by a
//! plugin, a cloud or a file; [`report`] is what comes out, [`table`] how a person sees it. Plaintext never leaves here unless asked for.

pub mod opener;
pub mod pipe;
pub mod report;
pub mod source;
pub mod table;

use std::collections::BTreeMap;

use kmslab_kmsv2::stored::EncryptedObject;

use crate::etcd::Stored;
use crate::etcd::keytable::blob_id;
use crate::etcd::layout::resource_of;
use crate::etcd::stale::{CurrentKey, Reason, judge};
use crate::etcd::value::{Value, recognise};

use opener::Openers;
use report::{Report, Row};

/// What to look at and what to tell.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Report plaintexts.
    pub show_values: bool,
    /// The API server's `--etcd-prefix`, where it is not told from the keys: see [`resource_of`].
    pub etcd_prefix: Option<String>,
}

/// Looks at every value, decrypts what `openers` can, and judges each against the newest value of its resource.
pub async fn inspect(items: &[Stored], openers: &mut Openers, options: &Options) -> Report {
    let newest = Newest::of(items, options.etcd_prefix.as_deref());
    let mut rows = Vec::with_capacity(items.len());
    for stored in items {
        let value = recognise(&stored.value);
        let mut row = Row::of(stored, &value);
        row.stale = newest.judge(&stored.key, &value);
        if let Value::KmsV2 { object, .. } = &value
            && !openers.is_empty()
        {
            match openers.open(object, stored.key.as_bytes()).await {
                Ok(plaintext) => row.opened(&plaintext, options.show_values),
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
    prefix: Option<String>,
    provider_of: BTreeMap<String, String>,
    current: BTreeMap<String, CurrentKey>,
}

impl Newest {
    fn of(items: &[Stored], prefix: Option<&str>) -> Self {
        let mut by_revision: Vec<_> = items.iter().collect();
        by_revision.sort_by_key(|stored| stored.mod_revision);
        let mut newest =
            Self { prefix: prefix.map(str::to_owned), provider_of: BTreeMap::new(), current: BTreeMap::new() };
        for stored in by_revision {
            if let Value::KmsV2 { provider, object } = recognise(&stored.value) {
                newest.provider_of.insert(resource_of(&stored.key, prefix).to_owned(), provider.to_owned());
                newest.current.insert(provider.to_owned(), current(provider, &object));
            }
        }
        newest
    }

    fn judge(&self, key: &str, value: &Value<'_>) -> Option<Reason> {
        let provider = self.provider_of.get(resource_of(key, self.prefix.as_deref()))?;
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

#[cfg(test)]
mod tests;
