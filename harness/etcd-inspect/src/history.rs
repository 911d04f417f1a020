//! The keys in etcd's database: every revision in the bucket `key`, and the resulting state.
//!
//! A bucket key is the revision, `u64be main ‖ '_' ‖ u64be sub`, followed by `t` for a deletion;
//! its value is a `mvccpb.KeyValue`. The write-ahead log is not in the file: a snapshot is
//! complete, a copy of a crashed server's file may lack the last tenth of a second.

use std::collections::BTreeMap;

use prost::Message;

use super::bbolt::{BboltError, Database};
use super::r#gen::mvccpb::KeyValue;
use super::{Range, Stored};

const BUCKET: &str = "key";
const REVISION_LEN: usize = 17;
const TOMBSTONE: u8 = b't';

/// A write or deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Revision of the transaction.
    pub main: i64,
    /// Position in the transaction.
    pub sub: i64,
    /// Whether it is a deletion; the value is then empty.
    pub deleted: bool,
    /// Key and value at that revision.
    pub stored: Stored,
}

/// Everything in a database file, oldest first. Compaction removes records; until then old values
/// can be read with the file and the old key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Records in order of revision.
    pub records: Vec<Record>,
}

impl History {
    /// Reads the bucket `key`.
    pub fn read(database: &Database) -> Result<Self, BboltError> {
        let mut records = Vec::new();
        for_each_record(database, &mut |record| {
            records.push(record);
            Ok(())
        })?;
        Ok(Self { records })
    }

    /// The newest live value of each key under `prefix`, as a range request would return it.
    #[must_use]
    pub fn live(&self, prefix: &str) -> Range {
        let mut keys: BTreeMap<&str, &Stored> = BTreeMap::new();
        for record in self
            .records
            .iter()
            .filter(|record| record.stored.key.starts_with(prefix))
        {
            if record.deleted {
                keys.remove(record.stored.key.as_str());
            } else {
                keys.insert(&record.stored.key, &record.stored);
            }
        }
        let revision = self.records.last().map_or(0, |record| record.main);
        Range {
            revision,
            items: keys.into_values().cloned().collect(),
        }
    }
}

/// Calls `each` with all records of a database file, oldest first.
pub fn for_each_record(
    database: &Database,
    each: &mut dyn FnMut(Record) -> Result<(), BboltError>,
) -> Result<(), BboltError> {
    for_each_entry(
        database,
        &mut |Entry { main, sub, deleted }, kv: KeyValue| {
            let mut stored = Stored::from(kv);
            stored.mod_revision = main;
            each(Record {
                main,
                sub,
                deleted,
                stored,
            })
        },
    )
}

/// A `KeyValue` without its value: skipping it is faster than copying.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValueHead {
    /// The key; not necessarily UTF-8.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    /// Revision of the write; 0 for a deletion.
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
}

/// Position of an entry in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Revision of the transaction.
    pub(super) main: i64,
    /// Position in the transaction.
    pub(super) sub: i64,
    /// Whether it is a deletion.
    pub(super) deleted: bool,
}

/// A message that an entry of the bucket is decoded as.
pub(super) trait EntryMessage: Message + Default {
    /// Revision of the write.
    fn mod_revision(&self) -> i64;
}

impl EntryMessage for KeyValue {
    fn mod_revision(&self) -> i64 {
        self.mod_revision
    }
}

impl EntryMessage for KeyValueHead {
    fn mod_revision(&self) -> i64 {
        self.mod_revision
    }
}

/// Calls `each` with every entry of the bucket `key`, oldest first.
pub(super) fn for_each_entry<M: EntryMessage>(
    database: &Database,
    each: &mut dyn FnMut(Entry, M) -> Result<(), BboltError>,
) -> Result<(), BboltError> {
    database.for_each(BUCKET, &mut |key, value| {
        let broken = |entry, reason| BboltError::Entry {
            bucket: BUCKET.to_owned(),
            entry,
            reason,
        };
        // Bytes that are not a revision may be part of a Secret and of any length.
        let (main, sub, deleted) = revision(key).ok_or_else(|| {
            broken(
                format!("of {} bytes", key.len()),
                "its key is not a revision".to_owned(),
            )
        })?;
        let broken = |reason: String| broken(hex::encode(key), reason);
        let message = M::decode(value).map_err(|error| broken(error.to_string()))?;
        if !deleted && message.mod_revision() != main {
            return Err(broken(format!(
                "says it was written at revision {}",
                message.mod_revision()
            )));
        }
        each(Entry { main, sub, deleted }, message)
    })
}

fn revision(key: &[u8]) -> Option<(i64, i64, bool)> {
    let (numbers, mark) = key.split_at_checked(REVISION_LEN)?;
    let deleted = match mark {
        [] => false,
        [TOMBSTONE] => true,
        _ => return None,
    };
    let main = i64::from_be_bytes(*numbers.first_chunk()?);
    let sub = i64::from_be_bytes(*numbers.last_chunk()?);
    (numbers[8] == b'_' && main >= 0 && sub >= 0).then_some((main, sub, deleted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_parse_with_tombstone_mark() {
        let mut key = [&7u64.to_be_bytes()[..], b"_", &2u64.to_be_bytes()].concat();
        assert_eq!(revision(&key), Some((7, 2, false)));
        key.push(b't');
        assert_eq!(revision(&key), Some((7, 2, true)));
        for broken in [
            &key[..16],
            b"",
            &[&key[..], b"t"].concat(),
            &key.iter().map(|b| b | 0x80).collect::<Vec<_>>(),
        ] {
            assert_eq!(revision(broken), None);
        }
    }

    #[test]
    fn last_record_of_a_key_decides() {
        let record = |main, key: &str, value: &[u8], deleted| Record {
            main,
            sub: 0,
            deleted,
            stored: Stored {
                key: key.to_owned(),
                value: value.to_vec(),
                create_revision: 1,
                mod_revision: main,
                version: 1,
            },
        };
        let history = History {
            records: vec![
                record(2, "/r/a", b"1", false),
                record(3, "/r/b", b"1", false),
                record(4, "/r/a", b"2", false),
                record(5, "/r/b", b"", true),
                record(6, "/other", b"3", false),
            ],
        };
        let range = history.live("/r/");
        assert_eq!(range.revision, 6);
        assert_eq!(
            range
                .items
                .iter()
                .map(|one| (&one.key[..], one.mod_revision))
                .collect::<Vec<_>>(),
            [("/r/a", 4)]
        );
        assert_eq!(history.live("").items.first().unwrap().key, "/other");
    }
}
