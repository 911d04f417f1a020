use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::history::History;
use crate::live::for_each_live;

/// See fixtures/etcd/README.md for its origin.
fn snapshot() -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(&include_bytes!("../../../../fixtures/etcd/snapshot.db.gz")[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// The snapshot without its checksum, like the file in a member's data directory.
fn database() -> Vec<u8> {
    let mut bytes = snapshot();
    bytes.truncate(bytes.len() - CHECKSUM_LEN);
    bytes
}

fn history(bytes: Vec<u8>) -> Result<History, BboltError> {
    History::read(&Database::parse(bytes)?)
}

#[derive(serde::Deserialize)]
struct Answer {
    revision: i64,
    /// Name, create revision, mod revision, version, SHA-256 of the value.
    keys: Vec<(String, i64, i64, i64, String)>,
}

#[test]
fn snapshot_contains_what_its_server_returned() {
    let expected: Answer =
        serde_json::from_str(include_str!("../../../../fixtures/etcd/snapshot.json")).unwrap();
    let range = history(snapshot()).unwrap().live("/");
    let found = range.items.into_iter().map(|one| {
        let sum = hex::encode(&digest(&SHA256, &one.value).as_ref()[..8]);
        (
            one.key,
            one.create_revision,
            one.mod_revision,
            one.version,
            sum,
        )
    });
    assert_eq!(range.revision, expected.revision);
    assert_eq!(found.collect::<Vec<_>>(), expected.keys);
}

#[test]
fn history_contains_deleted_and_overwritten_values() {
    let history = history(snapshot()).unwrap();
    let of = |key: &str| {
        let records = history.records.iter().filter(|one| one.stored.key == key);
        records
            .map(|one| (one.main, one.sub, one.deleted, &one.stored.value[..]))
            .collect::<Vec<_>>()
    };
    let removed = of("/registry/secrets/default/gone");
    assert_eq!(
        removed,
        [
            (126, 0, false, &b"first"[..]),
            (127, 0, false, b"second"),
            (128, 0, true, b"")
        ]
    );
    assert_eq!(
        of("/registry/secrets/default/t1"),
        [(134, 1, false, &b"b"[..])]
    );
}

#[test]
fn buckets_are_found_including_inline_ones() {
    let database = Database::parse(snapshot()).unwrap();
    assert!(database.has_checksum());
    assert!(database.buckets().unwrap().contains(&b"key".to_vec()));
    let mut version = None;
    database
        .for_each("cluster", &mut |key, value| {
            if key == b"clusterVersion" {
                version = Some(value.to_vec());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(version.as_deref(), Some(&b"3.6.0"[..]));
    let missing = database.for_each("nope", &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(missing, BboltError::NoBucket("nope".into()));
}

#[test]
fn changed_byte_of_a_snapshot_is_detected() {
    let mut bytes = snapshot();
    let length = (bytes.len() - CHECKSUM_LEN) as u64;
    bytes[40_000] ^= 1;
    assert_eq!(
        Database::parse(bytes).unwrap_err(),
        BboltError::Checksum(length)
    );
}

#[test]
fn changed_snapshot_reports_its_checksum_first() {
    let length = (snapshot().len() - CHECKSUM_LEN) as u64;
    let live = |change: fn(&mut Vec<u8>)| {
        let mut bytes = snapshot();
        change(&mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let database = Database::open_unchecked(file)?;
        let mut values = 0;
        let read = crate::live::for_each_live(&database, "/registry/", &mut |_| {
            values += 1;
            Ok(())
        });
        read.map(|()| values)
    };
    assert!(live(|_| ()).unwrap() > 1);
    // A value, both meta pages, and the header of every page.
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[40_000] ^= 1,
        |bytes| bytes[..8192].fill(0),
        |bytes| bytes[8192..].chunks_mut(4096).for_each(|page| page[0] ^= 1),
    ];
    for change in changes {
        assert!(matches!(live(change), Err(BboltError::Checksum(l)) if l == length));
    }
}

#[test]
fn newest_valid_meta_page_is_used() {
    let newest = Database::parse(database()).unwrap().meta;
    // The meta pages alternate, so with the newest broken the previous one is used, wherever it is.
    let mut bytes = database();
    let at = (newest.transaction % 2) as usize * newest.page_size;
    bytes[at + 64] ^= 1;
    let older = Database::parse(bytes.clone()).unwrap().meta;
    assert_eq!(
        (older.transaction, older.page_size),
        (newest.transaction - 1, newest.page_size)
    );

    bytes[newest.page_size - at + 64] ^= 1;
    let error = Database::parse(bytes).unwrap_err().to_string();
    assert!(
        error.contains("meta page 0:") && error.contains("checksum"),
        "{error}"
    );
    assert!(Database::parse(b"k8s".to_vec()).is_err());
}

#[test]
fn cyclic_tree_is_rejected() {
    let mut bytes = database();
    let branch = (0..bytes.len() / 4096)
        .find(|page| bytes[page * 4096 + 8] == 1)
        .unwrap();
    bytes[branch * 4096 + 24..][..8].copy_from_slice(&(branch as u64).to_le_bytes());
    let error = history(bytes).unwrap_err();
    assert_eq!(
        error,
        BboltError::Page {
            page: branch as u64,
            reason: "is part of the tree twice".into()
        }
    );
}

/// Bytes in place of a key may be a plaintext Secret or a megabyte long.
#[test]
fn invalid_revision_is_not_repeated_in_errors() {
    let mut bytes = database();
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut swallowed = 0;
    for page in (0..bytes.len()).step_by(4096) {
        // A leaf whose first key is a revision: extend the key to the end of its value.
        let element = page + 16;
        let (is_leaf, key, value) = (
            bytes[page + 8] == 2,
            number(&bytes, element + 8),
            number(&bytes, element + 12),
        );
        if is_leaf && key == 17 {
            bytes[element + 8..][..4].copy_from_slice(&(key + value).to_le_bytes());
            bytes[element + 12..][..4].copy_from_slice(&0_u32.to_le_bytes());
            swallowed = swallowed.max(key + value);
        }
    }
    assert!(swallowed > 100, "no page was changed");
    let error = history(bytes).unwrap_err().to_string();
    assert!(
        error.contains("entry of ") && error.contains(" bytes: its key is not a revision"),
        "{error}"
    );
    assert!(error.len() < 100, "{error}");
}

#[test]
fn truncated_file_error_names_the_page() {
    let mut bytes = database();
    bytes.truncate(6 * 4096);
    let error = history(bytes).unwrap_err().to_string();
    assert!(
        error.contains("is not in the file of 24576 bytes"),
        "{error}"
    );
}

#[test]
fn meta_checksum_is_fnv_1a() {
    // Test vectors of the FNV reference code.
    assert_eq!(meta::fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(meta::fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn file_and_memory_read_the_same() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&snapshot()).unwrap();
    let file = Database::open(file).unwrap();
    assert!(file.has_checksum());
    assert_eq!(History::read(&file).unwrap(), history(snapshot()).unwrap());

    let mut live = Vec::new();
    for_each_live(&file, "/registry/", &mut |stored| {
        live.push(stored);
        Ok(())
    })
    .unwrap();
    assert!(live.is_sorted_by_key(|stored| stored.mod_revision));
    live.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(live, history(snapshot()).unwrap().live("/registry/").items);

    let mut sparse = tempfile::tempfile().unwrap();
    sparse.write_all(&database()).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let root = Database::open(sparse.try_clone().unwrap())
        .unwrap()
        .meta
        .root;
    sparse
        .write_all_at(&u32::MAX.to_le_bytes(), root * 4096 + 12)
        .unwrap();
    let error = History::read(&Database::open(sparse).unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("one of more than 268435456 is not read"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_databases_never_panic_or_grow(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        in_headers: bool,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = database();
        for (at, to) in changes {
            let mut at = at.index(bytes.len());
            if in_headers {
                // Page headers and first elements determine what the reader follows.
                at = at / 4096 * 4096 + at % 64;
            }
            bytes[at] = to;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let length = bytes.len();
        if let Ok(history) = history(bytes) {
            let held: usize = history.records.iter().map(|one| one.stored.value.len()).sum();
            prop_assert!(held <= length);
        }
    }

    #[test]
    fn random_bytes_are_not_a_database(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(Database::parse(bytes).is_err());
    }
}
