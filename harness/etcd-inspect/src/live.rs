//! The live values of a database file, with memory that does not grow with the values: the first of
//! two passes finds the last revision of each key.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::thread;

use super::Stored;
use super::bbolt::{BboltError, Database};
use super::r#gen::mvccpb::KeyValue;
use super::history::{Entry, KeyValueHead, for_each_entry};

/// The last revision of each key under a prefix, unless the key was deleted.
///
/// Keys are identified by 64 bits of a keyed hash and take 20 bytes each. Among a million keys, a
/// collision occurs in one of 30 million files.
struct LastRevisions<'p> {
    prefix: &'p str,
    hasher: RandomState,
    of: HashMap<[u8; 8], [u8; 12]>,
}

impl<'p> LastRevisions<'p> {
    fn of(database: &Database, prefix: &'p str) -> Result<Self, BboltError> {
        let mut last = Self {
            prefix,
            hasher: RandomState::new(),
            of: HashMap::new(),
        };
        for_each_entry(database, &mut |entry, head: KeyValueHead| {
            if let Some(name) = last.name(&head.key) {
                if entry.deleted {
                    last.of.remove(&name);
                } else {
                    last.of.insert(name, revision(entry));
                }
            }
            Ok(())
        })?;
        Ok(last)
    }

    fn name(&self, key: &[u8]) -> Option<[u8; 8]> {
        key.starts_with(self.prefix.as_bytes())
            .then(|| self.hasher.hash_one(key).to_ne_bytes())
    }

    fn is(&self, entry: Entry, key: &[u8]) -> bool {
        self.name(key)
            .is_some_and(|name| self.of.get(&name) == Some(&revision(entry)))
    }
}

/// Main and sub revision in twelve bytes: etcd's transactions have 128 operations by default.
fn revision(entry: Entry) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&entry.main.to_ne_bytes());
    bytes[8..].copy_from_slice(&u32::try_from(entry.sub).unwrap_or(u32::MAX).to_ne_bytes());
    bytes
}

/// Calls `each` with the newest live value of each key under `prefix`, in the order of writing. The
/// file's checksum is verified during the first pass.
pub fn for_each_live(
    database: &Database,
    prefix: &str,
    each: &mut dyn FnMut(Stored) -> Result<(), BboltError>,
) -> Result<(), BboltError> {
    let (checked, last) = thread::scope(|threads| {
        let check = threads.spawn(|| database.verify_checksum());
        let last = LastRevisions::of(database, prefix);
        (check.join(), last)
    });
    // A checksum error explains more than the errors that follow from it.
    checked.unwrap_or_else(|_| Err(BboltError::Io("the checksum was not computed".to_owned())))?;
    let last = last?;
    for_each_entry(database, &mut |entry, kv: KeyValue| {
        if !last.is(entry, &kv.key) {
            return Ok(());
        }
        each(Stored {
            mod_revision: entry.main,
            ..Stored::from(kv)
        })
    })
}
