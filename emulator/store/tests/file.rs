//! A store in a file, as its users open it.

use std::os::unix::fs::PermissionsExt as _;

use kmslab_store::{Change, Database, FileDatabase, MasterKey, Record, StoreError};

fn put(key: &str, value: &[u8]) -> Change {
    Change {
        table: "aws/keys",
        key: key.to_owned(),
        value: Some(value.to_vec()),
    }
}

fn remove(key: &str) -> Change {
    Change {
        value: None,
        ..put(key, b"")
    }
}

fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| &*record.key).collect()
}

#[test]
fn records_are_there_after_a_restart_and_sealed_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let master = MasterKey::random().unwrap();
    let secret = b"a value that must not be in the file as it is";
    {
        let database = FileDatabase::open(&path, master.clone()).unwrap();
        database
            .commit(vec![put("a", secret), put("b", b"2"), put("c", b"3")])
            .unwrap();
        database.commit(vec![remove("b"), put("c", b"4")]).unwrap();
        assert_eq!(keys(&database.load("aws/keys").unwrap()), ["a", "c"]);
    }
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = std::fs::read(&path).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"aws/keys") && !has(secret) && !has(&secret[..16]));
    let database = FileDatabase::open(&path, master).unwrap();
    let records = database.load("aws/keys").unwrap();
    assert_eq!(keys(&records), ["a", "c"]);
    assert_eq!(
        (&*records[0].value, &*records[1].value),
        (&secret[..], &b"4"[..])
    );
    assert!(database.load("azure/keys").unwrap().is_empty());
}

#[test]
fn a_file_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let master = MasterKey::random().unwrap();
    let first = FileDatabase::open(&path, master.clone()).unwrap();
    let error = FileDatabase::open(&path, master.clone()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("store is in use by another process"),
        "{error}"
    );
    drop(first);
    FileDatabase::open(&path, master).unwrap();
}

#[test]
fn another_master_key_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let master = MasterKey::random().unwrap();
    FileDatabase::open(&path, master.clone())
        .unwrap()
        .commit(vec![put("a", b"1")])
        .unwrap();
    let error = FileDatabase::open(&path, MasterKey::random().unwrap()).unwrap_err();
    assert!(
        matches!(error, StoreError::WrongMasterKey { .. }),
        "{error}"
    );
    let database = FileDatabase::open(&path, master).unwrap();
    assert_eq!(keys(&database.load("aws/keys").unwrap()), ["a"]);
}

#[test]
fn a_file_of_another_kind_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    for content in [&b"hello"[..], &[0; 5000], b"{}"] {
        std::fs::write(&path, content).unwrap();
        let error = FileDatabase::open(&path, MasterKey::random().unwrap()).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_refused_and_not_written_to() {
    const THEIRS: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("theirs");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    {
        let database = redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(THEIRS)
            .unwrap()
            .insert("a", 1)
            .unwrap();
        transaction.commit().unwrap();
    }
    let error = FileDatabase::open(&path, MasterKey::random().unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    let database = redb::Database::create(&path).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let tables: Vec<_> = transaction.list_tables().unwrap().collect();
    assert_eq!(tables.len(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("no/such/directory")] {
        let error = FileDatabase::open(&path, MasterKey::random().unwrap()).unwrap_err();
        let named = error.to_string().contains(&*path.to_string_lossy());
        assert!(
            named && matches!(error, StoreError::Open { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn changes_of_many_threads_are_all_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let database = FileDatabase::open(&path, MasterKey::random().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let database = &database;
            scope.spawn(move || {
                for number in 0..20 {
                    let name = format!("{thread}-{number}");
                    database.commit(vec![put(&name, b"x")]).unwrap();
                }
            });
        }
    });
    assert_eq!(database.load("aws/keys").unwrap().len(), 160);
}
