//! Devices that fail: full, or with an error at one write or sync.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::{Change, Database as _, FileDatabase, MasterKey, StoreError};

/// Content that outlives a database that was closed after an error.
#[derive(Debug, Clone, Default)]
struct Device {
    content: Arc<InMemoryBackend>,
    fault: Arc<Mutex<Option<Fault>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Every write fails.
    Full,
    /// The sync fails, once, after what was written.
    Sync,
    /// Nothing can be read or written.
    Gone,
}

impl Device {
    fn database(&self, master: &MasterKey) -> Result<FileDatabase, StoreError> {
        let device = self.clone();
        let open = move |builder: &redb::Builder| builder.create_with_backend(device.clone());
        FileDatabase::with_device(Path::new("device"), master.clone(), Box::new(open))
    }

    fn set(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap() = fault.into();
    }

    fn fail_at(&self, faults: &[Fault]) -> io::Result<()> {
        let mut fault = self.fault.lock().unwrap();
        match *fault {
            Some(Fault::Sync) if faults.contains(&Fault::Sync) => {
                *fault = None;
                Err(io::Error::other("sync failed"))
            }
            Some(Fault::Full) if faults.contains(&Fault::Full) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(Fault::Gone) => Err(io::Error::other("gone")),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Device {
    fn len(&self) -> io::Result<u64> {
        self.fail_at(&[])?;
        self.content.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fail_at(&[])?;
        self.content.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fail_at(&[Fault::Full])?;
        self.content.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.content.sync_data()?;
        self.fail_at(&[Fault::Sync])
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fail_at(&[Fault::Full])?;
        self.content.write(offset, data)
    }
}

fn put(key: &str) -> Vec<Change> {
    let change = Change {
        table: "aws/keys",
        key: key.to_owned(),
        value: Some(vec![7; 100]),
    };
    vec![change]
}

fn keys(database: &FileDatabase) -> Vec<String> {
    let records = database.load("aws/keys").unwrap().into_iter();
    records.map(|record| record.key).collect()
}

#[test]
fn a_full_device_refuses_changes_and_takes_them_again_when_it_has_room() {
    let (device, master) = (Device::default(), MasterKey::random().unwrap());
    let database = device.database(&master).unwrap();
    database.commit(put("a")).unwrap();
    device.set(Fault::Full);
    for _ in 0..3 {
        let error = database.commit(put("b")).unwrap_err();
        assert!(
            matches!(error, StoreError::Full | StoreError::Unknown(_)),
            "{error:?}"
        );
    }
    device.set(None);
    assert_eq!(keys(&database), ["a"]);
    database.commit(put("c")).unwrap();
    drop(database);
    assert_eq!(keys(&device.database(&master).unwrap()), ["a", "c"]);
}

#[test]
fn what_a_failed_sync_leaves_is_what_the_answer_says() {
    let (device, master) = (Device::default(), MasterKey::random().unwrap());
    let database = device.database(&master).unwrap();
    database.commit(put("a")).unwrap();
    device.set(Fault::Sync);
    let answered = database.commit(put("b"));
    assert_eq!(
        keys(&database).contains(&"b".to_owned()),
        answered.is_ok(),
        "{answered:?}"
    );
    database.commit(put("c")).unwrap();
    assert!(keys(&database).contains(&"c".to_owned()));
}

#[test]
fn an_unreadable_device_leaves_it_open_whether_a_change_took_effect() {
    let (device, master) = (Device::default(), MasterKey::random().unwrap());
    let database = device.database(&master).unwrap();
    database.commit(put("a")).unwrap();
    device.set(Fault::Gone);
    let error = database.commit(put("b")).unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
    assert!(database.load("aws/keys").is_err());
    device.set(None);
    assert_eq!(keys(&database), ["a"]);
    database.commit(put("b")).unwrap();
    assert_eq!(keys(&database), ["a", "b"]);
}
