//! The live values of a database file, in memory that does not grow with the values: of two walks over the file, the first finds out which
//! revision of each key is the last.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::Stored;
use super::bbolt::{BboltError, Database};
use super::history::{Record, each_record};

/// The last revision of each key under a prefix; none where it was deleted then.
///
/// Keys are known by 64 bits of a keyed hash, so that each takes 20 bytes: among a million keys, two are taken for one in one file of 30
/// million.
struct Last<'p> {
    prefix: &'p str,
    hasher: RandomState,
    of: HashMap<[u8; 8], [u8; 12]>,
}

impl<'p> Last<'p> {
    fn of(database: &Database, prefix: &'p str) -> Result<Self, BboltError> {
        let mut last = Self { prefix, hasher: RandomState::new(), of: HashMap::new() };
        each_record(database, &mut |record| {
            if let Some(name) = last.name(&record) {
                if record.deleted {
                    last.of.remove(&name);
                } else {
                    last.of.insert(name, revision(&record));
                }
            }
            Ok(())
        })?;
        Ok(last)
    }

    fn name(&self, record: &Record) -> Option<[u8; 8]> {
        let key = &record.stored.key;
        key.starts_with(self.prefix).then(|| self.hasher.hash_one(key).to_ne_bytes())
    }

    fn is(&self, record: &Record) -> bool {
        self.name(record).is_some_and(|name| self.of.get(&name) == Some(&revision(record)))
    }
}

/// Main and sub in twelve bytes: etcd's transactions have 128 operations by default.
fn revision(record: &Record) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&record.main.to_ne_bytes());
    bytes[8..].copy_from_slice(&u32::try_from(record.sub).unwrap_or(u32::MAX).to_ne_bytes());
    bytes
}

/// Calls `each` with the newest live value of each key under `prefix`, in the order in which they were written.
pub fn each_live(
    database: &Database,
    prefix: &str,
    each: &mut dyn FnMut(Stored) -> Result<(), BboltError>,
) -> Result<(), BboltError> {
    let last = Last::of(database, prefix)?;
    each_record(database, &mut |record| if last.is(&record) { each(record.stored) } else { Ok(()) })
}
